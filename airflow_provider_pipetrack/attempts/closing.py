"""Close attempts from outside their task, by what Airflow says about them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_pipetrack.attempts.announce import announced, announced_index
from airflow_provider_pipetrack.attempts.binding import Binding, Spec
from airflow_provider_pipetrack.attempts.declare import complete_binding, declare
from airflow_provider_pipetrack.attempts.stores import pipeline_ids, store_for
from airflow_provider_pipetrack.attempts.telling import tell_failed
from airflow_provider_pipetrack.compat import task_states
from airflow_provider_pipetrack.notifications.alerts import finish_alerts
from airflow_provider_pipetrack.records.change import Authority, Change, utc_now
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.describe import (
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    PENDING,
    Outcome,
    end_change,
    seconds_between,
    verdict_change,
)

log = logging.getLogger("airflow_provider_pipetrack.closing")

_OPEN = (PENDING, IN_PROGRESS)
_SUPERSEDED = "a later attempt began"
#: What Airflow's final state means for an attempt that has begun, and for one that never did.
_BEGUN: dict[str | None, Outcome] = {
    "success": Outcome(COMPLETED, decision="Airflow says success; the task itself did not report its end"),
    "failed": Outcome(FAILED, error_message="the task ended without a word; Airflow says failed"),
    "skipped": Outcome(COMPLETED, decision="skipped by Airflow after it had begun"),
    "removed": Outcome(FAILED, error_message="the task was removed from the Dag while it ran"),
    "upstream_failed": Outcome(FAILED, error_message="the task ended without a word; Airflow says upstream_failed"),
}
_NOT_BEGUN: dict[str | None, Outcome] = {
    "success": Outcome(COMPLETED, decision="set to success without running"),
    "failed": Outcome(FAILED, error_message="failed before it began; Airflow says failed"),
    "skipped": Outcome(PENDING, decision="skipped before it began"),
    "removed": Outcome(PENDING, decision="removed from the Dag"),
    "upstream_failed": Outcome(PENDING, decision="not run: an upstream failed"),
    None: Outcome(PENDING, decision="not run: the run ended first"),
}


def spec_of_task(task: Any, dag: Any) -> Spec:
    """Return the transfer of a task, mapped or not."""
    spec = getattr(task, "_pipetrack_spec", None)
    if isinstance(spec, Spec):
        return spec
    name = (getattr(task, "partial_kwargs", None) or {}).get("transfer") or getattr(task, "_pipetrack_name", None)
    return declare(dag, name or task.task_id, task.task_id)


def close_attempt(
    spec: Spec, context: Mapping[str, Any], key: RecordKey, outcome: Outcome, *, by: str, authority: Authority
) -> Mapping[str, Any]:
    """Write the end of one attempt that did not write it itself, with its duration where its start is known.

    :return: the record's columns as far as they are known here.
    """
    store = store_for(spec)
    record = store.read_record(key.record_id, pipeline_ids(spec, key.dag_id))
    outcome = replace(outcome, ended=utc_now())
    if record is not None and record.get("transfer_start_timestamp"):
        outcome = replace(outcome, seconds=seconds_between(record["transfer_start_timestamp"], outcome.ended))
    change = (
        verdict_change(record, outcome, by=by, authority=authority)
        if record is not None
        else end_change(announced(spec, context, key), outcome, by=by, authority=authority)
    )
    store.submit([change], durable=True)
    store.flush()
    return change.columns


def close_open_records(dag: Any, run_id: str, reason: str | None) -> None:
    """Close every open record of a finished run.

    :param reason: why the run ended, as Airflow says it: ``success``, ``task_failure``, ``timed_out`` …
    """
    binding = complete_binding(dag)
    states: Mapping[str, str | None] | None = None
    for store, task_ids in _stores(binding):
        known = {i for name in task_ids for i in pipeline_ids(binding.specs[name], dag.dag_id)}
        # The journal shows the records of every chain; each is closed along its own.
        records = [r for r in store.read_run(dag.dag_id, run_id, known).records if r["task_id"] in task_ids]
        still_open = [r for r in records if r["transfer_status"] in _OPEN and not r.get("decision")]
        missing = task_ids - {r["task_id"] for r in records}
        if not still_open and not missing:
            continue
        if states is None:
            states = task_states(dag.dag_id, run_id)
        changes = list(_closing_changes(still_open, records, states, reason))
        changes += [c for name in sorted(missing) for c in _missing(binding.specs[name], dag, run_id, name, states)]
        store.submit(changes, durable=True)
        store.flush()
        _tell(binding, changes)
    finish_alerts()


def _tell(binding: Binding, changes: Iterable[Change]) -> None:
    """Tell of the attempts that are closed as failed here, where no other attempt follows."""
    for change in changes:
        columns = change.columns
        if columns["transfer_status"] == FAILED and columns["error_message"] != _SUPERSEDED:
            spec = binding.specs[columns["task_id"]]
            begun = columns.get("transfer_start_timestamp") is not None
            tell_failed(spec, columns, owes_rollback=bool(spec.transfer.rollback) and begun)


def _stores(binding: Binding) -> Iterable[tuple[Any, set[str]]]:
    """Yield each store of the Dag once, with the transfers that it keeps."""
    found: dict[int, tuple[Any, set[str]]] = {}
    for name, spec in binding.specs.items():
        store = store_for(spec)
        found.setdefault(id(store), (store, set()))[1].add(name)
    return found.values()


def _closing_changes(
    still_open: Iterable[Mapping[str, Any]],
    records: Iterable[Mapping[str, Any]],
    states: Mapping[str, str | None],
    reason: str | None,
) -> Iterable[Change]:
    newest: dict[tuple[str, int], int] = {}
    for record in records:
        place = (record["task_id"], record["map_index"])
        newest[place] = max(newest.get(place, 0), record["retry_attempt_number"])
    for record in still_open:
        latest = record["retry_attempt_number"] == newest[record["task_id"], record["map_index"]]
        outcome = _outcome(record, states, reason) if latest else Outcome(FAILED, error_message=_SUPERSEDED)
        if outcome is not None:
            yield verdict_change(record, _timed(record, outcome), by="dag callback")


def _outcome(record: Mapping[str, Any], states: Mapping[str, str | None], reason: str | None) -> Outcome | None:
    state = state_of(record["task_id"], record["map_index"], states)
    outcomes = _BEGUN if record["transfer_status"] == IN_PROGRESS else _NOT_BEGUN
    outcome = outcomes.get(state)
    if outcome is not None and reason == "timed_out" and state == "skipped":
        if record["transfer_status"] == IN_PROGRESS:
            return Outcome(FAILED, error_message="stopped: the run exceeded its dagrun_timeout")
        return replace(outcome, decision="not run: the run exceeded its dagrun_timeout")
    return outcome


def state_of(task_id: str, map_index: int, states: Mapping[str, str | None]) -> str | None:
    """Return Airflow's state of one task instance; a mapped transfer that never expanded has that of its task."""
    if map_index >= 0 and f"{task_id}_{map_index}" in states:
        return states[f"{task_id}_{map_index}"]
    return states.get(task_id)


def _timed(record: Mapping[str, Any], outcome: Outcome) -> Outcome:
    if outcome.status == PENDING:
        return outcome
    ended = utc_now()
    started = record.get("transfer_start_timestamp")
    return replace(outcome, ended=ended, seconds=seconds_between(started, ended))


def _missing(spec: Spec, dag: Any, run_id: str, name: str, states: Mapping[str, str | None]) -> Iterable[Change]:
    """Yield what makes a transfer visible of which the store knows nothing at all."""
    key = RecordKey(dag.dag_id, run_id, name, announced_index(dag, name, spec))
    base = announced(spec, {"dag": dag, "run_id": run_id}, key)
    yield base
    outcome = _NOT_BEGUN.get(states.get(name)) if spec.transfer.transfer_enabled else None
    if outcome is not None:
        yield end_change(base, outcome, by="dag callback", authority=Authority.AIRFLOW)
