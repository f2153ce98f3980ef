"""What Airflow's state of a task means for an attempt that did not write its own end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from airflow_provider_pipetrack.records.change import Authority, Change, utc_now
from airflow_provider_pipetrack.records.openness import REMOVED, SET_TO_SUCCESS, is_open
from airflow_provider_pipetrack.tracking.describe import (
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    PENDING,
    Outcome,
    seconds_between,
    verdict_change,
)

Record = Mapping[str, Any]
States = Mapping[str, str | None]

SUPERSEDED = "a later attempt began"
RETRIED = "Airflow retries"
ROLLBACK_OWED = "rollback owed: the attempt ended before it could be rolled back"
TIMED_OUT = "the run exceeded its dagrun_timeout"


class Verdict(NamedTuple):
    """How an attempt ended, and whose word that is.

    :param authority: ``AIRFLOW`` where its state contradicts whatever the task may still say; less where the task's own
        word, which may be on its way from another host, agrees and knows more.
    """

    outcome: Outcome
    authority: Authority = Authority.AIRFLOW


_BEGUN: dict[str | None, Verdict] = {
    "success": Verdict(
        Outcome(COMPLETED, decision="Airflow says success; the task itself did not report its end"), Authority.TASK
    ),
    "failed": Verdict(Outcome(FAILED, error_message="the task ended without a word; Airflow says failed")),
    "upstream_failed": Verdict(
        Outcome(FAILED, error_message="the task ended without a word; Airflow says upstream_failed")
    ),
    "removed": Verdict(Outcome(FAILED, error_message="the task was removed from the Dag while it ran")),
    # A task that skips itself says so; one that Airflow skips while it runs was stopped.
    "skipped": Verdict(
        Outcome(FAILED, error_message="stopped: Airflow skipped the task while it ran, as after dagrun_timeout"),
        Authority.GUESS,
    ),
    "up_for_retry": Verdict(
        Outcome(FAILED, decision=RETRIED, error_message="the task ended without a word; Airflow retries")
    ),
}
_NOT_BEGUN: dict[str | None, Verdict] = {
    "success": Verdict(Outcome(COMPLETED, decision=SET_TO_SUCCESS), Authority.TASK),
    # When it is cleared it begins after all, as the same attempt.
    "failed": Verdict(Outcome(FAILED, error_message="failed before it began; Airflow says failed"), Authority.GUESS),
    "skipped": Verdict(Outcome(PENDING, decision="skipped before it began")),
    "removed": Verdict(Outcome(PENDING, decision=REMOVED)),
    "upstream_failed": Verdict(Outcome(PENDING, decision="not run: an upstream failed")),
}
_NEVER_RUN = Verdict(Outcome(PENDING, decision="not run: the run ended first"))


def closing_changes(
    records: Iterable[Record],
    states: States,
    *,
    by: str,
    run_ended: bool,
    is_whole: bool = True,
    reason: str | None = None,
    owes_rollback: Callable[[Record], bool] = lambda record: False,  # noqa: ARG005
) -> Iterator[Change]:
    """Yield the ends of the attempts of a run that are open although Airflow has decided about them.

    A state belongs to the latest attempt; of an earlier one it is only known that it is over.

    :param records: all records of the run.
    :param states: Airflow's states of its tasks, see :func:`state_of`.
    :param by: who closes.
    :param run_ended: whether the run is over, so that what has not begun never will.
    :param is_whole: whether ``records`` are all that is known. Where a location could not be asked, the task's own end
        may lie there, which knows more than Airflow's state does and counts wherever it agrees.
    :param reason: why the run ended, when that is known.
    :param owes_rollback: whether the transfer of a record would have to be rolled back.
    """
    known = list(records)
    newest: dict[tuple[str, int], int] = {}
    for record in known:
        place = (record["task_id"], record["map_index"])
        newest[place] = max(newest.get(place, 0), record["retry_attempt_number"])
    for record in filter(is_open, known):
        if record["retry_attempt_number"] < newest[record["task_id"], record["map_index"]]:
            verdict: Verdict | None = Verdict(Outcome(FAILED, error_message=SUPERSEDED))
        else:
            verdict = _verdict(record, states, run_ended=run_ended, reason=reason)
        if verdict is not None:
            outcome = verdict.outcome
            begun = outcome.status == FAILED and record["transfer_status"] == IN_PROGRESS
            # A later attempt that has begun has paid what was owed.
            if begun and outcome.error_message != SUPERSEDED and owes_rollback(record):
                outcome = replace(outcome, decision="; ".join(filter(None, (outcome.decision, ROLLBACK_OWED))))
            authority = verdict.authority if is_whole else min(verdict.authority, Authority.TASK)
            yield verdict_change(record, timed(record, outcome), by=by, authority=authority)


def without_record(state: str | None) -> Verdict | None:
    """Return how a transfer ended of which nothing is recorded, by its state at the end of the run."""
    return _NEVER_RUN if state is None else _NOT_BEGUN.get(state)


def state_of(task_id: str, map_index: int, states: States) -> str | None:
    """Return Airflow's state of one task instance; a mapped transfer that never expanded has that of its task."""
    if map_index >= 0 and f"{task_id}_{map_index}" in states:
        return states[f"{task_id}_{map_index}"]
    return states.get(task_id)


def timed(record: Record, outcome: Outcome) -> Outcome:
    """Return an outcome with the time of now as its end, unless the attempt never ran."""
    if outcome.status == PENDING:
        return outcome
    ended = utc_now()
    return replace(outcome, ended=ended, seconds=seconds_between(record.get("transfer_start_timestamp"), ended))


def _verdict(record: Record, states: States, *, run_ended: bool, reason: str | None) -> Verdict | None:
    state = state_of(record["task_id"], record["map_index"], states)
    begun = record["transfer_status"] == IN_PROGRESS
    if state == "skipped" and reason == "timed_out":
        if begun:
            return Verdict(Outcome(FAILED, error_message=f"stopped: {TIMED_OUT}"))
        return Verdict(Outcome(PENDING, decision=f"not run: {TIMED_OUT}"))
    if begun:
        return _BEGUN.get(state)
    return without_record(state) if run_ended or state is not None else None
