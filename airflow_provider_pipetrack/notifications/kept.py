"""The alerts that were not sent, as a list for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airflow_provider_pipetrack.notifications.outbox import Alert, Outbox

#: Whether an alert is still tried, or was given up.
WAITING, GIVEN_UP = "waiting", "given_up"
_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)


def kept_alerts(folder: Path) -> list[dict[str, Any]]:
    """Return the alerts that wait or were given up, what was raised last first.

    Whom an alert has still to be told is in it as mail addresses and classes, since arguments of a notifier may be
    secrets. Of a file that is damaged nothing is known but its name.

    :param folder: the folder of alerts.
    """
    box = Outbox(folder)
    rows = {name: _row(WAITING, name, alert) for name, alert in box.unsent() if alert is not None}
    # Behind those that wait: one that is given up in the meantime is in both.
    rows.update((name, _row(GIVEN_UP, name, alert)) for name, alert in box.given_up())
    return sorted(rows.values(), key=lambda row: row["raised_at"] or _LONG_AGO, reverse=True)


def _row(sending: str, name: str, alert: Alert | None) -> dict[str, Any]:
    record: Mapping[str, Any] = alert.record if alert else {}
    return {
        "alert_id": name,
        "raised_at": _moment(alert.raised) if alert else None,
        "kind": alert.kind if alert else None,
        "pipeline_id": record.get("pipeline_id") or record.get("dag_id"),
        "dag_id": record.get("dag_id"),
        "run_id": record.get("run_id"),
        "task_id": record.get("task_id") or None,  # what is told of a run is about no transfer of it
        "map_index": record.get("map_index", -1),
        "retry_attempt_number": record.get("retry_attempt_number", 0),
        "to": ", ".join(map(_told, alert.deliveries)) if alert else None,
        "sending": sending,
        "tries": alert.tries if alert else None,
        "next_try_at": _moment(alert.due) if alert and alert.due and sending == WAITING else None,
        "error": (alert.error or None) if alert else None,
        "record_id": record.get("record_id"),
    }


def _told(delivery: Mapping[str, Any]) -> str:
    return str(delivery.get("notifier") or ", ".join(delivery["to"]))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
