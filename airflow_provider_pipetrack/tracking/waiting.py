"""What waits in the journals of this host and of those beside it, or was lost, change by change: lists for people."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.tracking.losses import Loss, losses_of, lost_on_host
from airflow_provider_pipetrack.tracking.reading import waiting_changes

#: The columns of the list.
COLUMNS = (
    "event_id", "host", "changed_at", "changed_by", "pipeline_id", "dag_id", "run_id", "task_id", "map_index",
    "retry_attempt_number", "says", "record_id",
)  # fmt: skip


#: The same for what was lost.
LOST_COLUMNS = (*COLUMNS, "lost_at", "reason", "process", "log_url")


def journals(folder: Path) -> dict[str, Path]:
    """Return the journal folders of this host and of the hosts beside it, by the host's name.

    :param folder: that of this host.
    """
    try:
        others = sorted(path for path in folder.parent.iterdir() if path.is_dir() and path != folder)
    except OSError:
        others = []
    return {path.name: path for path in (folder, *others)}


def undelivered_changes(folder: Path) -> list[dict[str, Any]]:
    """Return the changes that wait, with the columns :data:`COLUMNS`.

    :param folder: the journal folder of this host.
    """
    return [_row(host, change) for host, path in journals(folder).items() for change in waiting_changes(path)]


def lost_changes(folder: Path) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Return what could be kept nowhere, with the columns :data:`LOST_COLUMNS`, and how much is only counted, by host.

    :param folder: the journal folder of this host.
    """
    rows: list[dict[str, Any]] = []
    more: dict[str, int] = {}
    for host, path in journals(folder).items():
        listed = [_lost_row(host, loss) for loss in reversed(losses_of(path))]
        rows += listed
        if (left := lost_on_host(path) - len(listed)) > 0:
            more[host] = left
    return rows, more


def _lost_row(host: str, loss: Loss) -> dict[str, Any]:
    told = {"lost_at": loss.at, "reason": loss.reason, "process": loss.process}
    return {**_row(host, loss.change), **told, "log_url": loss.change.columns.get("log_url")}


def _row(host: str, change: Change) -> dict[str, Any]:
    told = {
        "event_id": change.event_id,
        "host": host,
        "changed_at": change.at,
        "changed_by": change.by,
        "says": ", ".join(_said(change)),
        "record_id": change.record_id,
        # A change without its start group does not know its pipeline.
        "pipeline_id": change.columns.get("pipeline_id") or change.columns.get("dag_id"),
    }
    return {name: told.get(name, change.columns.get(name)) for name in COLUMNS}


def _said(change: Change) -> Iterable[str]:
    """Yield what a change says, in words."""
    if "end" in change.keys:
        yield str(change.columns["transfer_status"]).replace("_", " ")
    elif "start" in change.keys:
        yield "in progress" if change.columns["transfer_start_timestamp"] else "pending"
    if "audit" in change.keys and change.columns["audit_result"]:
        yield f"audit {change.columns['audit_result']}"
    if "free" in change.keys and change.columns["extra_columns"]:
        yield "extra columns"
