"""Records of two pipelines with retries, map indexes, partial data, audits and everything that can go wrong."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.handmade import change_from_record, change_of_record
from airflow_provider_pipetrack.records.merge import record_of

NOON = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


def stored(
    dag_id: str,
    run: float,
    name: str,
    status: str,
    *,
    attempt: int = 1,
    map_index: int = -1,
    at: float = 0,
    **columns: Any,
) -> Change:
    """Return an attempt of run number ``run`` as one change; it was announced ``at`` hours after its day's noon."""
    begun = NOON + run * 24 * HOUR + at * HOUR
    columns = {
        "pipeline_id": columns.pop("pipeline_id", dag_id),
        "pipeline_version": "1.0",
        "logical_date": NOON + run * 24 * HOUR,
        "transfer_enabled": True,
        "transfer_unique_id": f"{name}-{run}-{map_index}",
        "stage_i_details": "shop",
        "stage_i_plus_1_details": f"stage of {name}",
        "transfer_process_owner_name": "shop_team",
        "can_access_historical_data": True,
        "estimated_duration": "10m",
        "estimated_seconds": 600.0,
        "audit_enabled": False,
        **columns,
    }
    if status != "pending":
        columns.setdefault("transfer_start_timestamp", begun)
    if status in ("completed", "failed"):
        seconds = columns.setdefault("actual_seconds", 60.0)
        columns.setdefault("transfer_end_timestamp", begun + timedelta(seconds=seconds))
    identity = {
        "dag_id": dag_id,
        "run_id": f"scheduled__{run}",
        "task_id": name,
        "map_index": map_index,
        "retry_attempt_number": attempt - 1,
        "transfer_status": status,
    }
    record = record_of(change_from_record({**identity, **columns}))
    return change_of_record({**record, "created_timestamp": begun, "updated_timestamp": begun + HOUR / 60})


def world(now: datetime) -> list[Change]:
    """Return two pipelines: ``orders`` with three runs that are over, ``billing`` with one that goes on at ``now``."""
    changes = []
    for run in range(3):
        for index in range(2):
            for attempt in range(1, 2 + (run if index else 0)):
                last = attempt == 1 + (run if index else 0)
                changes.append(
                    stored(
                        "orders", run, "load", "completed" if last else "failed", attempt=attempt, map_index=index,
                        at=0.1 * (attempt - 1), actual_seconds=100.0 * (run + 1) + attempt, records_succeeded=10 if last else None,
                    )
                )  # fmt: skip
        changes.append(
            stored(
                "orders", run, "publish", "completed", actual_seconds=500.0 * (run + 1), is_partial=run == 2,
                audit_enabled=True, audit_result=("matched", "mismatched", "matched")[run],
                audit_metadata={"audit_ended": "failed"} if run == 1 else None, transfer_order_number=2.0,
                transfer_process_owner_name="publish_team", records_succeeded=9, records_failed=1,
            )
        )  # fmt: skip
        changes.append(stored("orders", run, "unused", "pending", transfer_enabled=False, decision="disabled"))
    running = {"transfer_start_timestamp": now - HOUR, "transfer_process_owner_name": "money_team"}
    changes += [
        stored("billing", 9, "invoice", "in_progress", **running),
        stored("billing", 9, "stream", "in_progress", transfer_start_timestamp=now - 500 * HOUR, estimated_duration="continuous", estimated_seconds=None),
        stored("billing", 9, "stuck", "in_progress", transfer_start_timestamp=now - 30 * HOUR),
        stored("billing", 9, "pay", "failed", attempt=1, transfer_process_owner_name="money_team"),
        stored("billing", 9, "pay", "failed", attempt=2, at=0.5, transfer_process_owner_name="money_team", error_message="100% broken"),
        stored("billing", 9, "report", "pending"),
    ]  # fmt: skip
    return changes
