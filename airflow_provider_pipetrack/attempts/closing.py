"""Close attempts from outside their task, by what Airflow says about them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.attempts.announce import announced
from airflow_provider_pipetrack.attempts.binding import Binding, Spec
from airflow_provider_pipetrack.attempts.declare import complete_binding, declare
from airflow_provider_pipetrack.attempts.indexes import index_count, is_counted_at_the_end, unrecorded
from airflow_provider_pipetrack.attempts.removed import may_be_removed, never_again
from airflow_provider_pipetrack.attempts.stores import pipeline_ids, store_for
from airflow_provider_pipetrack.attempts.telling import tell_by_record, tell_failed
from airflow_provider_pipetrack.attempts.verdicts import (
    RETRIED,
    SUPERSEDED,
    closing_changes,
    state_of,
    timed,
    without_record,
)
from airflow_provider_pipetrack.compat import task_states
from airflow_provider_pipetrack.notifications.alerts import finish_alerts
from airflow_provider_pipetrack.notifications.stored import stored_config
from airflow_provider_pipetrack.records.change import Authority, Change, utc_now
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.openness import is_open
from airflow_provider_pipetrack.tracking.describe import (
    FAILED,
    IN_PROGRESS,
    PENDING,
    Outcome,
    end_change,
    guess_sequence,
    verdict_change,
    with_log,
)
from airflow_provider_pipetrack.tracking.marks import forget_run
from airflow_provider_pipetrack.tracking.questions import Questions
from airflow_provider_pipetrack.tracking.reading import silent_among

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.reading import Reading
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.closing")

#: Runs whose states Airflow is asked for at once; it gets their ids in an address.
_RUNS_AT_ONCE = 50
#: An attempt is not looked at before it has been left alone for so long.
GRACE = timedelta(seconds=10)
#: An attempt that runs and was left alone for longer is left to people; its run may be gone from Airflow.
LOOK_BACK = timedelta(days=14)
#: The same for one that waits to begin; no index helps to find those.
LOOK_BACK_WAITING = timedelta(days=3)
_MOST = 5000

#: Asks Airflow for the states of runs: ``(dag_id, run_ids) -> {run_id: {task: state}}``; a mapped task's index is found
#: under ``<task id>_<index>``, and a run that Airflow does not know is missing.
AskStates = Callable[[str, Sequence[str]], Mapping[str, Mapping[str, str | None]]]


def spec_of_task(task: Any, dag: Any) -> Spec:
    """Return the transfer of a task, mapped or not."""
    spec = getattr(task, "_pipetrack_spec", None)
    if isinstance(spec, Spec):
        return spec
    name = (getattr(task, "partial_kwargs", None) or {}).get("transfer") or getattr(task, "_pipetrack_name", None)
    return declare(dag, name or task.task_id, task.task_id)


def close_attempt(
    spec: Spec,
    context: Mapping[str, Any],
    key: RecordKey,
    outcome: Outcome,
    *,
    by: str,
    authority: Authority,
    log_url: str | None,
) -> Mapping[str, Any]:
    """Write the end of one attempt that did not write it itself, with its duration where its start is known.

    :param log_url: where its log can be read, in case that it never began.
    :return: the record's columns as far as they are known here.
    """
    store = store_for(spec)
    record = store.read_record(key.record_id, pipeline_ids(spec, key.dag_id))
    outcome = timed(record or {}, outcome)
    change = (
        verdict_change(record, outcome, by=by, authority=authority)
        if record is not None
        else end_change(announced(spec, context, key), outcome, by=by, authority=authority)
    )
    change = with_log(change, log_url)
    store.submit([change], durable=True)
    store.flush()
    return change.columns


def close_open_records(dag: Any, run_id: str, reason: str | None) -> Sequence[Mapping[str, Any]]:
    """Close every open record of a finished run.

    :param reason: why the run ended, as Airflow says it: ``success``, ``task_failure``, ``timed_out`` …
    :return: the records of the run, as they were before.
    """
    binding = complete_binding(dag)
    before: list[Mapping[str, Any]] = []
    silent: dict[str, str] = {}
    states: Mapping[str, str | None] | None = None
    for store, task_ids in _stores(binding):
        known = {i for name in task_ids for i in pipeline_ids(binding.specs[name], dag.dag_id)}
        # The journal shows the records of every chain; each is closed along its own.
        reading = store.read_run(dag.dag_id, run_id, known)
        records = [r for r in reading.records if r["task_id"] in task_ids]
        before += records
        silent.update(silent_among(store.legs, reading.unreachable))
        missing = task_ids - {r["task_id"] for r in records}
        mapped = [name for name in sorted(task_ids) if is_counted_at_the_end(binding.specs[name], dag, name)]
        gone = [r for r in reading.records if r["task_id"] not in binding.specs and _is_kept_in(store, r)]
        failures = may_be_removed(dag, [*records, *gone])
        if not missing and not mapped and not failures and not any(map(is_open, [*records, *gone])):
            continue
        if states is None:
            states = task_states(dag.dag_id, run_id)
        changes = list(
            closing_changes(
                records,
                states,
                by="dag callback",
                run_ended=True,
                is_whole=not reading.unreachable,
                reason=reason,
                owes_rollback=lambda record: bool(binding.specs[record["task_id"]].transfer.rollback),
            )
        )
        keys = [key for name in sorted({*missing, *mapped}) for key in unrecorded(dag, run_id, name, records, states)]
        found = [change for key in keys for change in _missing(binding.specs[key.name], dag, key, states)]
        counted = [change for name in mapped for change in index_count(dag, name, records, states)]
        disabled = {name for name in task_ids if not binding.specs[name].transfer.transfer_enabled}
        left_out = list(never_again(dag, failures, states, disabled, reason=reason))
        store.submit([*changes, *found, *counted, *left_out], durable=True)
        store.flush()
        _tell(binding, [*changes, *found])
        _close_removed(store, reading, gone, states)
    if not silent:
        for folder in {store.journal_folder for store, _ in _stores(binding)}:
            forget_run(folder, dag.dag_id, run_id)
    finish_alerts()
    return before


def _close_removed(
    store: TrackingStore, reading: Reading, gone: Iterable[dict[str, Any]], states: Mapping[str, str | None]
) -> None:
    """Close what is open of transfers that the Dag no longer has."""
    removed = [r for r in gone if state_of(r["task_id"], r["map_index"], states) == "removed"]
    if removed:
        keep_closed(store, closed_by_airflow(store, replace(reading, records=removed), states, by="dag callback"))
        store.flush()


def close_stale(
    stores: Iterable[TrackingStore],
    states: AskStates,
    *,
    grace: timedelta = GRACE,
    unreachable: dict[str, str] | None = None,
) -> int:
    """Close attempts that were left open, whatever killed them, by what Airflow says of their tasks.

    It may be called at any time, again and by several processes at once. An attempt of which Airflow has not decided
    stays open, and so does one whose run Airflow does not know, since several Airflows may share a location.

    :param states: asks Airflow.
    :param grace: how long an attempt must have been left alone.
    :param unreachable: gets the reason for each location that could not be asked which attempts are open, by its name.
    :return: how many attempts were closed.
    """
    closed = 0
    for store in stores:
        for dag_id, runs in _open_runs(store, grace, unreachable if unreachable is not None else {}).items():
            for run_id, of_run in states_in_parts(states, dag_id, list(runs)).items():
                closed += _close_run(store, dag_id, run_id, runs[run_id], of_run)
        store.flush()
    return closed


def close_leftovers(store: TrackingStore, own: RecordKey, pipeline_ids: Sequence[str]) -> int:
    """Close what other attempts of a run left open, while a later one of its transfers runs.

    :param own: the attempt that looks after them.
    :return: how many were closed.
    """
    now = utc_now()
    records = store.read_run(own.dag_id, own.run_id, pipeline_ids).records
    left = [
        record
        for record in records
        if record["transfer_status"] == IN_PROGRESS
        and record["task_id"] != own.name
        and record["updated_timestamp"] <= now - GRACE
    ]
    return _close_run(store, own.dag_id, own.run_id, left, task_states(own.dag_id, own.run_id)) if left else 0


def states_in_parts(states: AskStates, dag_id: str, run_ids: Sequence[str]) -> dict[str, Mapping[str, str | None]]:
    """Return the states of many runs; a Dag that cannot be asked about is named in the log."""
    found: dict[str, Mapping[str, str | None]] = {}
    for start in range(0, len(run_ids), _RUNS_AT_ONCE):
        try:
            found.update(states(dag_id, run_ids[start : start + _RUNS_AT_ONCE]))
        except Exception as error:  # noqa: BLE001  one Dag that cannot be asked about must not stop the others
            log.warning("Airflow gives no states of %s: %s: %s", dag_id, type(error).__name__, error)
            break
    return found


def _open_runs(
    store: TrackingStore, grace: timedelta, unreachable: dict[str, str]
) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
    """Return the open records that were left alone, by Dag and run."""
    now, questions = utc_now(), Questions(store)
    # Sorted as the index of unsettled records is, so that a database needs no other. What has begun may have been
    # announced long before; without any bound, only the newest records of all would be looked at.
    begun = questions.ask(
        "attempts",
        status=IN_PROGRESS,
        since=now - 2 * LOOK_BACK,
        order_by="updated_timestamp",
        descending=True,
        limit=_MOST,
    )
    waiting = questions.ask("transfers", status=PENDING, since=now - LOOK_BACK_WAITING, limit=_MOST)
    unreachable.update(silent_among(store.legs, {**begun.unreachable, **waiting.unreachable}))
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for record in (*begun.rows, *waiting.rows):
        if now - LOOK_BACK <= record["updated_timestamp"] <= now - grace:
            found.setdefault(record["dag_id"], {}).setdefault(record["run_id"], []).append(record)
    return found


def _close_run(
    store: TrackingStore,
    dag_id: str,
    run_id: str,
    still_open: Sequence[Mapping[str, Any]],
    states: Mapping[str, str | None],
) -> int:
    """Close what is open of one run; other locations and attempts are read only when there is something to close."""
    if not any(True for _ in closing_changes(still_open, states, by="reconcile", run_ended=False)):
        return 0
    known = dict.fromkeys(name for r in still_open for name in (r["pipeline_id"], dag_id) if name)
    return keep_closed(store, closed_by_airflow(store, store.read_run(dag_id, run_id, known), states))


def closed_by_airflow(
    store: TrackingStore, reading: Reading, states: Mapping[str, str | None], *, by: str = "reconcile"
) -> list[Change]:
    """Return the ends of the attempts of a run of which Airflow has decided, whether it still goes on or not.

    :param reading: the records of the run.
    :param states: Airflow's states of its tasks.
    :param by: who closes.
    """
    return list(
        closing_changes(
            reading.records,
            states,
            by=by,
            run_ended=False,
            is_whole=not reading.unreachable,
            owes_rollback=partial(_owes_rollback, store),
        )
    )


def keep_closed(store: TrackingStore, changes: Sequence[Change]) -> int:
    """Write ends that Airflow has decided, tell of the failures among them, and return how many there are."""
    store.submit(changes, durable=True)
    for change in changes:
        columns = change.columns
        log.info("Closed %s: %s", change.record_id, columns["error_message"] or columns["decision"])
        if _is_final_failure(columns):
            tell_by_record("failed", columns, store)
            if columns.get("transfer_start_timestamp") is not None and _owes_rollback(store, columns):
                tell_by_record("rollback_owed", columns, store)
    return len(changes)


def _owes_rollback(store: TrackingStore, record: Mapping[str, Any]) -> bool:
    """Return whether a record's transfer would have to be rolled back, by the configuration kept with it."""
    return record["task_id"] in stored_config([store], record).rollbacks


def _tell(binding: Binding, changes: Iterable[Change]) -> None:
    """Tell of the attempts that are closed as failed here, where no other attempt follows."""
    for change in changes:
        columns = change.columns
        if _is_final_failure(columns):
            spec = binding.specs[columns["task_id"]]
            begun = columns.get("transfer_start_timestamp") is not None
            tell_failed(spec, columns, owes_rollback=bool(spec.transfer.rollback) and begun)


def _is_kept_in(store: TrackingStore, record: Mapping[str, Any]) -> bool:
    """Return whether a store is that of a record whose task the Dag no longer has, and so does not say it."""
    return list(record.get("tracking_location") or ()) == store.shown_locations


def _is_final_failure(columns: Mapping[str, Any]) -> bool:
    """Return whether an attempt failed and no other follows it."""
    # What is owed may be said behind it.
    followed = columns["error_message"] == SUPERSEDED or str(columns["decision"] or "").startswith(RETRIED)
    return bool(columns["transfer_status"] == FAILED and not followed)


def _stores(binding: Binding) -> Iterable[tuple[Any, set[str]]]:
    """Yield each store of the Dag once, with the transfers that it keeps."""
    found: dict[int, tuple[Any, set[str]]] = {}
    for name, spec in binding.specs.items():
        store = store_for(spec)
        found.setdefault(id(store), (store, set()))[1].add(name)
    return found.values()


def _missing(spec: Spec, dag: Any, key: RecordKey, states: Mapping[str, str | None]) -> Iterable[Change]:
    """Yield what makes a transfer, or an index of it, visible of which the store knows nothing at all.

    Where a location could not be asked, or another host's journal has the record, whatever the task itself has said
    counts more.
    """
    base = announced(spec, {"dag": dag, "run_id": key.run_id}, key)
    yield base
    verdict = without_record(state_of(key.name, key.map_index, states)) if spec.transfer.transfer_enabled else None
    if verdict is not None:
        authority = min(verdict.authority, Authority.TASK)
        yield end_change(
            base, timed({}, verdict.outcome), by="dag callback", authority=authority, sequence=guess_sequence(authority)
        )
