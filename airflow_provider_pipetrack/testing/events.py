"""What happens to a record, as changes: the material of the storage contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_provider_pipetrack.records.change import Authority, Change, Rank, group_key
from airflow_provider_pipetrack.records.columns import MERGED_GROUPS, NAMES_BY_GROUP, Group
from airflow_provider_pipetrack.records.key import RecordKey

NOON = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)
#: Columns that a storage keeps for itself, or that count how often it was asked.
OF_THE_STORAGE = ("stored_at", "record_version", "owed")


def change(
    key: RecordKey,
    number: int,
    rank: Rank,
    groups: Sequence[Group] = ("start", "end"),
    *,
    authority: Authority = Authority.TASK,
    failed: bool = False,
    **columns: Any,
) -> Change:
    """Return a change of the record ``key``.

    :param number: its place among the changes of its record; a change with a greater number happens later.
    :param groups: the column groups that it carries.
    :param columns: values of columns in these groups; the others are None.
    """
    event_id = f"{key.record_id}#{number}"
    group = group_key(rank=rank, authority=authority, failed=failed, sequence=number, event_id=event_id)
    values: dict[str, Any] = {name: None for name_group in groups for name in NAMES_BY_GROUP[name_group]}
    values.update(key.columns(), **{"pipeline_id": "orders", **columns})
    at = NOON + timedelta(seconds=number)
    return Change(key.record_id, values, dict.fromkeys(groups, group), "task", event_id, at)


def attempt(map_index: int = -1, *, run_id: str = "manual__1") -> list[Change]:
    """Return the five events of an attempt: announced, started, ended by the task, audited, closed by Airflow."""
    key = RecordKey("orders_dag", run_id, "load", map_index, 1)
    started: dict[str, Any] = {"transfer_start_timestamp": NOON, "transfer_enabled": True, "transfer_order_number": 1.5}
    ended: dict[str, Any] = {"transfer_status": "completed", "records_succeeded": 7, "is_partial": False}
    closed: dict[str, Any] = {"transfer_status": "failed", "error_message": "killed"}
    return [
        change(key, 1, Rank.PENDING, MERGED_GROUPS, transfer_status="pending", extra_columns={"cost": [1, 2.5, None]}),
        change(key, 2, Rank.STARTED, transfer_status="in_progress", transfer_unique_id=f"u{map_index}", **started),
        change(key, 3, Rank.ENDED, ("end",), **ended),
        change(key, 4, Rank.ENDED, ("audit",), audit_result="matched", audit_metadata={"rows": {"left": 7}}),
        change(key, 5, Rank.ENDED, ("end",), authority=Authority.AIRFLOW, failed=True, **closed),
    ]


def facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without what each storage adds on its own."""
    return {name: value for name, value in record.items() if name not in OF_THE_STORAGE}
