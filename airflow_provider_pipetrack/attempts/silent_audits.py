"""Audits that ended without a last word, killed or set by hand: recorded, and told if they failed, as the run ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_pipetrack.attempts.announce import announced
from airflow_provider_pipetrack.attempts.binding import Spec
from airflow_provider_pipetrack.attempts.declare import complete_binding
from airflow_provider_pipetrack.attempts.stores import pipeline_ids, store_for
from airflow_provider_pipetrack.attempts.telling import tell
from airflow_provider_pipetrack.compat import task_states
from airflow_provider_pipetrack.notifications.alerts import finish_alerts
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.openness import (
    AUDIT_ENDED,
    AUDIT_FAILED,
    AUDIT_PASSED,
    awaits_audit,
    evidence_of,
)
from airflow_provider_pipetrack.tracking.describe import COMPLETED, audit_change, audit_try

_KILLED = "the audit ended without a word: killed, out of memory, or its worker was lost"
_STOPPED = "the audit was still pending when it ended: killed, out of memory, its worker was lost, or set by hand"
_BY_HAND = "Airflow says {}; the audit itself gave no answer"


def close_silent_audits(dag: Any, run_id: str) -> None:
    """Record each audit that Airflow calls ended and whose own last word is missing; tell of those that failed.

    An audit that could say something has said it: a mismatch, an error and an answer that was pending for too long are
    recorded and told by its own process.
    """
    binding = complete_binding(dag)
    audits = binding.audits
    states = task_states(dag.dag_id, run_id, task_ids=list(audits.values())) if audits else {}
    read: dict[int, Iterable[Mapping[str, Any]]] = {}
    for name, audit in audits.items():
        state = states.get(audit)
        spec = binding.specs.get(name) or getattr(dag.get_task(audit), "_pipetrack_spec", None)
        if spec is None or state not in ("failed", "success", "skipped"):
            continue
        store = store_for(spec)
        if id(store) not in read:
            read[id(store)] = store.read_run(dag.dag_id, run_id, pipeline_ids(spec, dag.dag_id)).records
        records = [record for record in read[id(store)] if record["task_id"] == name]
        if not records and state == "failed" and name not in binding.specs:
            # The audit itself would have made the record of a transfer that this Dag only audits.
            base = announced(spec, {"dag": dag, "run_id": run_id}, RecordKey(dag.dag_id, run_id, name))
            _close_failed(spec, base, base.columns, audit)
        for record in _last_attempts(records):
            base = announced(spec, {"dag": dag, "run_id": run_id}, RecordKey.parse(record["record_id"]))
            if state == "failed" and (awaits_audit(record) or _is_without_a_word(record)):
                _close_failed(spec, base, record, audit)
            elif state != "failed" and awaits_audit(record):
                _close(spec, base, record, {AUDIT_ENDED: AUDIT_PASSED, "warning": _BY_HAND.format(state)})
    finish_alerts()


def _close_failed(spec: Spec, base: Any, record: Mapping[str, Any], audit: str) -> None:
    said = evidence_of(record)
    error = _KILLED if _is_without_a_word(record) else said.get("error") or _STOPPED
    told = {AUDIT_ENDED: AUDIT_FAILED, "audit_task": said.get("audit_task", audit), "error": error}
    _close(spec, base, record, told)
    if "error" not in said:  # whoever said it lived to tell it
        audited = {"audit_result": "pending", "audit_metadata": {**said, **told}, "error_message": error}
        tell(spec, "failed", {**record, **audited})


def _close(spec: Spec, base: Any, record: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    metadata = {**evidence_of(record), **told}
    # Its own last word may still be on its way from another host; whatever it is, it counts more.
    change = audit_change(
        base, "pending", metadata, try_number=audit_try(record.get("audit_key")), final=False, by_silence=True
    )
    store = store_for(spec)
    store.submit([change], durable=True)
    store.flush()


def _is_without_a_word(record: Mapping[str, Any]) -> bool:
    return "audit_task" not in evidence_of(record)


def _last_attempts(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the last attempt of each index of a transfer, as far as it has completed."""
    latest: dict[int, Mapping[str, Any]] = {}
    for record in records:
        known = latest.get(record["map_index"])
        if known is None or _attempt(record) >= _attempt(known):
            latest[record["map_index"]] = record
    return [record for record in latest.values() if record["transfer_status"] == COMPLETED]


def _attempt(record: Mapping[str, Any]) -> int:
    return int(record["retry_attempt_number"])
