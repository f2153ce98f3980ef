"""A record's history as a person reads it: each change with what it changed, and whether it counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.handmade import change_of_event
from airflow_provider_pipetrack.records.merge import Record, is_newer, merge, record_of


def explained(events: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the changes of one record, oldest first: who, when, from, to, why, and the config's hash.

    :param events: the record's history as a storage keeps it, oldest first.
    :return: for each change ``event_id, record_id, changed_at, changed_by, status_before, status_after,
        audit_result, why, config_hash``, ``waiting``: True for one that no location has yet, and ``counted``: False
        for one that knew less than what was there already, such as the late word of a task that Airflow had given up.
    """
    record: Record | None = None
    shown = []
    for event in events:
        change = change_of_event(event)
        counted = record is None or is_newer(change, record)
        before = record["transfer_status"] if record else None
        version = record_of(change)
        record = version if record is None else merge(record, version)
        marks = {"counted": counted, "waiting": bool(event.get("waiting"))}
        shown.append({**_facts(change, record), "status_before": before, **_outcome(change, before), **marks})
    return shown


def _facts(change: Change, record: Record) -> dict[str, Any]:
    return {
        "event_id": change.event_id,
        "record_id": change.record_id,
        "changed_at": change.at,
        "changed_by": change.by,
        # What a person changes says nothing of the configuration; it stays the record's.
        "config_hash": change.columns.get("config_hash") or record["config_hash"],
    }


def _outcome(change: Change, before: str | None) -> dict[str, Any]:
    """Return what a change says; one without the end group leaves the status as it is."""
    columns = change.columns
    return {
        "status_after": columns.get("transfer_status") if "end" in change.keys else before,
        "audit_result": columns.get("audit_result") if "audit" in change.keys else None,
        "why": columns.get("error_message") or columns.get("decision"),
    }
