"""Audits that were killed before they said a word: recorded and told when the run ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_pipetrack.attempts.announce import announced
from airflow_provider_pipetrack.attempts.binding import Spec
from airflow_provider_pipetrack.attempts.declare import complete_binding
from airflow_provider_pipetrack.attempts.stores import pipeline_ids, store_for
from airflow_provider_pipetrack.attempts.telling import tell
from airflow_provider_pipetrack.compat import task_states
from airflow_provider_pipetrack.notifications.alerts import finish_alerts
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.describe import COMPLETED, audit_change

_ERROR = "the audit ended without a word: killed, out of memory, or its worker was lost"


def close_silent_audits(dag: Any, run_id: str) -> None:
    """Record and tell of each audit that Airflow calls failed and that has left nothing in the record it is about.

    An audit that could say something has said it: a mismatch, an error and an answer that was pending for too long are
    recorded and told by its own process.
    """
    audits = complete_binding(dag).audits
    states = task_states(dag.dag_id, run_id, task_ids=list(audits.values())) if audits else {}
    for name, audit in audits.items():
        if states.get(audit) != "failed":
            continue
        spec = complete_binding(dag).specs[name]
        for record in _without_a_word(spec, dag.dag_id, run_id, name):
            metadata = {**(record.get("audit_metadata") or {}), "audit_task": audit, "error": _ERROR}
            base = announced(spec, {"dag": dag, "run_id": run_id}, RecordKey.parse(record["record_id"]))
            store = store_for(spec)
            # Its own word may still be on its way from another host; whatever it is, it counts more.
            store.submit([audit_change(base, "pending", metadata, try_number=0, final=False)], durable=True)
            store.flush()
            audited = {"audit_result": "pending", "audit_metadata": metadata, "error_message": _ERROR}
            tell(spec, "failed", {**record, **audited})
    finish_alerts()


def _without_a_word(spec: Spec, dag_id: str, run_id: str, name: str) -> Iterator[Mapping[str, Any]]:
    """Yield the last attempt of each index of a transfer whose audit has left nothing in it."""
    latest: dict[int, dict[str, Any]] = {}
    for record in store_for(spec).read_run(dag_id, run_id, pipeline_ids(spec, dag_id)).records:
        known = latest.get(record["map_index"])
        if record["task_id"] == name and (known is None or _attempt(record) >= _attempt(known)):
            latest[record["map_index"]] = record
    for record in latest.values():
        if record["transfer_status"] == COMPLETED and "audit_task" not in (record.get("audit_metadata") or {}):
            yield record


def _attempt(record: Mapping[str, Any]) -> int:
    return int(record["retry_attempt_number"])
