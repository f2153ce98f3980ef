"""Audits that ended without a last word, killed or set by hand: recorded, and told if they failed, as the run ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_pipetrack.attempts.announce import announced
from airflow_provider_pipetrack.attempts.binding import Spec, are_of_one_index, binding_of, is_mapped
from airflow_provider_pipetrack.attempts.declare import complete_binding
from airflow_provider_pipetrack.attempts.stores import pipeline_ids, store_for
from airflow_provider_pipetrack.attempts.telling import of_all_indexes, tell
from airflow_provider_pipetrack.attempts.verdicts import TIMED_OUT
from airflow_provider_pipetrack.compat import task_states
from airflow_provider_pipetrack.notifications.alerts import finish_alerts
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.openness import (
    AUDIT_ENDED,
    AUDIT_FAILED,
    AUDIT_PASSED,
    AUDIT_REMOVED,
    OVERRULED,
    UNANSWERED,
    awaits_audit,
    evidence_of,
    has_failed_audit,
)
from airflow_provider_pipetrack.tracking.describe import COMPLETED, audit_change, audit_try

#: The states of an audit that has ended; of several indexes, the first counts most.
_ENDED = ("failed", "skipped", "success")
_KILLED = "the audit ended without a word: killed, out of memory, or its worker was lost"
_STOPPED = "the audit was still pending when it ended: killed, out of memory, its worker was lost, or set by hand"
_CUT_OFF = f"the audit did not end: {TIMED_OUT}"
_SKIPPED = "Airflow says skipped; the audit itself gave no answer"


def close_silent_audits(dag: Any, run_id: str, reason: str | None = None) -> None:
    """Record each audit that Airflow calls ended and whose own last word is missing; tell of those that failed.

    An audit that could say something has said it: a mismatch, an error and an answer that was pending for too long are
    recorded and told by its own process.

    :param reason: why the run ended, as Airflow says it.
    """
    binding = complete_binding(dag)
    audits = binding.audits
    states = task_states(dag.dag_id, run_id, task_ids=list(audits.values())) if audits else {}
    records_of = _Records(dag, run_id)
    for name, audit in audits.items():
        spec = binding.specs.get(name) or getattr(dag.get_task(audit), "_pipetrack_spec", None)
        ended = _ended(dag, audit, name, states)
        if spec is None or not ended:
            continue
        records = records_of(spec, name)
        is_tracked = name in binding.specs
        if not records and not is_tracked and ended.get(None) == "failed":
            # The audit itself would have made the record of a transfer that this Dag only audits.
            base = announced(spec, {"dag": dag, "run_id": run_id}, RecordKey(dag.dag_id, run_id, name))
            _close_failed(spec, base, base.columns, audit, _KILLED, of_index=True)
        for record in _last_attempts(records):
            state = ended.get(record["map_index"], ended.get(None))
            if state and (record["transfer_status"] == COMPLETED or not is_tracked):
                base = announced(spec, {"dag": dag, "run_id": run_id}, RecordKey.parse(record["record_id"]))
                of_index = record["map_index"] in ended
                _close_audit(spec, base, record, audit, state, cut_off=reason == "timed_out", of_index=of_index)
    for name in binding.specs.keys() - audits.keys():
        _close_removed(dag, run_id, binding.specs[name], records_of(binding.specs[name], name))
    finish_alerts()


class _Records:
    """The records of a run, of which each store is asked once."""

    def __init__(self, dag: Any, run_id: str) -> None:
        self._run = (dag.dag_id, run_id)
        # A storage of the user's own finds them only by these, and keeps those of all pipelines of the Dag.
        self._known = {i for spec in binding_of(dag).specs.values() for i in pipeline_ids(spec, dag.dag_id)}
        self._read: dict[int, dict[str, list[Mapping[str, Any]]]] = {}

    def __call__(self, spec: Spec, name: str) -> list[Mapping[str, Any]]:
        """Return the records of one transfer, whose specification says where they are kept."""
        store = store_for(spec)
        if id(store) not in self._read:
            by_name: dict[str, list[Mapping[str, Any]]] = {}
            for record in store.read_run(*self._run, self._known | {*pipeline_ids(spec, self._run[0])}).records:
                by_name.setdefault(record["task_id"], []).append(record)
            self._read[id(store)] = by_name
        return self._read[id(store)].get(name, [])


def _close_removed(dag: Any, run_id: str, spec: Spec, records: Iterable[Mapping[str, Any]]) -> None:
    """Record of a transfer that is audited no more that the run goes on in spite of what its audit found."""
    for record in _last_attempts(records):
        said = evidence_of(record)
        is_gone = bool(said.get("audit_task")) and not dag.has_task(said["audit_task"])
        if is_gone and (has_failed_audit(record) or awaits_audit(record)):
            base = announced(spec, {"dag": dag, "run_id": run_id}, RecordKey.parse(record["record_id"]))
            told = {**said, AUDIT_ENDED: AUDIT_PASSED, "warning": AUDIT_REMOVED}
            _keep(spec, audit_change(base, record["audit_result"], told, try_number=_try_of(record) + 1, final=False))


def _ended(dag: Any, audit: str, name: str, states: Mapping[str, str | None]) -> dict[int | None, str]:
    """Return how an audit ended, by the index of the transfer that it is about; under None, when it is about all."""
    matches = (re.fullmatch(re.escape(audit) + r"_(\d+)", task_id) for task_id in states)
    indexes: dict[int | None, str | None] = {int(match[1]): states[match[0]] for match in matches if match}
    if not is_mapped(dag, audit):
        indexes = {None: states.get(audit)}
    elif not are_of_one_index(dag, audit, name):
        # Mapped itself, it has ended when all its indexes have, and failed when one has.
        every = set(indexes.values()) or {states.get(audit)}
        indexes = {None: min(every, key=_ENDED.index) if every <= set(_ENDED) else None}
    return {index: state for index, state in indexes.items() if state in _ENDED}


def _close_audit(
    spec: Spec,
    base: Change,
    record: Mapping[str, Any],
    audit: str,
    state: str,
    *,
    cut_off: bool,
    of_index: bool,
) -> None:
    """Record how the audit of one attempt ended, unless its own last word says the same.

    :param cut_off: whether Airflow has skipped what still ran, since the run took too long.
    :param of_index: whether the audit is about this index alone.
    """
    said = evidence_of(record)
    has_failed = state == "failed" or (state == "skipped" and cut_off)
    if has_failed and _is_without_a_word(record):
        _close_failed(spec, base, record, audit, _KILLED if state == "failed" else _CUT_OFF, of_index=of_index)
    elif awaits_audit(record):
        if has_failed:
            why = _STOPPED if state == "failed" else _CUT_OFF
            _close_failed(spec, base, record, audit, said.get("error") or why, of_index=of_index)
        else:
            told = {**said, AUDIT_ENDED: AUDIT_PASSED, "warning": UNANSWERED if state == "success" else _SKIPPED}
            _keep(spec, audit_change(base, "pending", told, try_number=_try_of(record), final=False, by_silence=True))
    elif state == "success" and has_failed_audit(record) and said.get("audit_task", audit) == audit:
        told = {**said, AUDIT_ENDED: AUDIT_PASSED, "warning": OVERRULED}
        # It counts more than what failed, and less than what a later try finds.
        _keep(spec, audit_change(base, record["audit_result"], told, try_number=_try_of(record) + 1, final=False))


def _close_failed(
    spec: Spec, base: Change, record: Mapping[str, Any], audit: str, error: str, *, of_index: bool
) -> None:
    said = evidence_of(record)
    told = {**said, AUDIT_ENDED: AUDIT_FAILED, "audit_task": said.get("audit_task", audit), "error": error}
    # Its own last word may still be on its way from another host; whatever it is, it counts more.
    _keep(spec, audit_change(base, "pending", told, try_number=_try_of(record), final=False, by_silence=True))
    if "error" not in said:  # whoever said it lived to tell it
        about = record if of_index or record["map_index"] < 0 else of_all_indexes(record)
        tell(spec, "failed", {**about, "audit_result": "pending", "audit_metadata": told, "error_message": error})


def _keep(spec: Spec, change: Change) -> None:
    store = store_for(spec)
    store.submit([change], durable=True)
    store.flush()


def _try_of(record: Mapping[str, Any]) -> int:
    return audit_try(record.get("audit_key"))


def _is_without_a_word(record: Mapping[str, Any]) -> bool:
    return "audit_task" not in evidence_of(record)


def _last_attempts(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the last attempt of each index of a transfer."""
    latest: dict[int, Mapping[str, Any]] = {}
    for record in records:
        known = latest.get(record["map_index"])
        if known is None or _attempt(record) >= _attempt(known):
            latest[record["map_index"]] = record
    return list(latest.values())


def _attempt(record: Mapping[str, Any]) -> int:
    return int(record["retry_attempt_number"])
