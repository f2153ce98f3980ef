"""Numbers about transfers and their tracking, through Airflow's own metrics."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.records.skips import SKIPPED, is_skipped

if TYPE_CHECKING:
    from airflow_provider_pipetrack.records.change import Change

log = logging.getLogger("airflow_provider_pipetrack.metrics")

#: Counters and timers of ends and audits; ``…`` is a status or a result.
TRANSFERS, AUDITS, ALERTS = "pipetrack.transfers", "pipetrack.audits", "pipetrack.alerts"
DURATION = "pipetrack.transfers.duration"
RECORDS_SUCCEEDED, RECORDS_FAILED = "pipetrack.records.succeeded", "pipetrack.records.failed"
#: Of the tracking itself.
LATENCY = "pipetrack.tracking.delivery"
FALLBACK = "pipetrack.tracking.fallback_writes"
UNDELIVERED = "pipetrack.tracking.undelivered"
WAITING, OWED = "pipetrack.tracking.waiting", "pipetrack.tracking.owed"


def count(name: str, number: int = 1, **tags: Any) -> None:
    """Add to a counter. Never raises."""
    _send("incr", name, number, tags)


def time(name: str, seconds: float, **tags: Any) -> None:
    """Report how long something took. Never raises."""
    _send("timing", name, seconds * 1000.0, tags)


def gauge(name: str, value: float, **tags: Any) -> None:
    """Report how much there is of something now. Never raises."""
    _send("gauge", name, value, tags)


def count_changes(changes: Iterable[Change]) -> None:
    """Count what changes of records say: ends, and audits' answers. Never raises."""
    for change in changes:
        columns = change.columns
        tags = {name: columns.get(name) for name in ("dag_id", "task_id")}
        if change.by == "audit":
            count(f"{AUDITS}.{columns['audit_result']}", 1, **tags)
        elif "end" in change.keys and columns.get("transfer_status") in {"completed", "failed"}:
            _count_end(columns, tags)


def count_delivery(changes: int, seconds: float, failures: Collection[str], *, confirmed: bool) -> None:
    """Count a delivery. Never raises.

    :param changes: how many changes were to be delivered.
    :param seconds: from the moment they were handed over.
    :param failures: the locations that did not take them.
    :param confirmed: whether another one did.
    """
    time(LATENCY, seconds)
    if failures or not confirmed:
        count(FALLBACK if confirmed else UNDELIVERED, changes)


def _count_end(columns: Mapping[str, Any], tags: Mapping[str, Any]) -> None:
    count(f"{TRANSFERS}.{SKIPPED if is_skipped(columns) else columns['transfer_status']}", 1, **tags)
    if columns.get("actual_seconds") is not None:
        time(DURATION, columns["actual_seconds"], **tags)
    for name, column in ((RECORDS_SUCCEEDED, "records_succeeded"), (RECORDS_FAILED, "records_failed")):
        if columns.get(column):
            count(name, columns[column], **tags)


def _send(method: str, name: str, value: float, tags: Mapping[str, Any]) -> None:
    if "airflow.sdk" not in sys.modules:  # a plain script has no metrics, and need not load Airflow for them
        return
    try:
        from airflow_provider_pipetrack.compat import airflow_stats

        stats = airflow_stats()
        if stats is not None:
            getattr(stats, method)(name, value, tags={key: str(tag) for key, tag in tags.items() if tag is not None})
    except Exception as error:  # noqa: BLE001  numbers are no reason to stop
        log.debug("pipetrack could not report %s: %s", name, error)
