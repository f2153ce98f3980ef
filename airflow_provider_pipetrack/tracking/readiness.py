"""Is a stage of a pipeline ready for a date? Answered from the tracking records."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date as Date  # noqa: N812  the argument is called date
from datetime import datetime, time, timedelta, timezone
from enum import Enum
from typing import Any

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.records.openness import LEFT_OUT, evidence_of, has_failed_audit, is_audited
from airflow_provider_pipetrack.records.skips import is_skipped
from airflow_provider_pipetrack.tracking.describe import MAP_INDEXES
from airflow_provider_pipetrack.tracking.questions import Questions, questions_from_settings
from airflow_provider_pipetrack.tracking.store import TrackingStore

#: Asks Airflow for the states of tasks: Dag id, run id and task ids to state by task id (with ``_<index>`` for mapped).
TaskStates = Callable[[str, str, Sequence[str]], Mapping[str, "str | None"]]


class ReadyState(str, Enum):
    """How far a stage is, in one run."""

    READY = "ready"
    PARTIAL = "partial"
    AUDIT_PENDING = "audit_pending"
    MISMATCHED = "mismatched"
    IN_PROGRESS = "in_progress"
    FAILED = "failed"
    NOT_RUN = "not_run"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"
    MISSING = "missing"


@dataclass(frozen=True)
class Readiness:
    """Whether a stage is ready, and what the answer rests on.

    :param ready: whether its data may be used.
    :param state: how far the stage is.
    :param reason: a sentence for people.
    :param dag_id: Dag of the run that was looked at, the newest one for the date; None when there is none.
    :param run_id: that run.
    :param data_date: logical date of the run, or when it began.
    :param is_partial: whether some of the data could not be moved; None while it is not all there.
    :param audit_result: the worst of ``matched``, ``pending`` and ``mismatched``; None when nothing is audited.
    :param can_access_historical_data: whether the stage can be filled for dates of the past.
    :param records_succeeded: records that were moved, as far as they were counted.
    :param records_failed: records that could not be moved, as far as they were counted.
    :param record_id: the record that the answer rests on: the one that holds the stage up, else the last to end.
    :param unreachable: why a location could not be asked, by its name; records in it may be missing here.
    """

    pipeline_id: str
    stage: str
    date: str | None
    ready: bool
    state: ReadyState
    reason: str
    dag_id: str | None = None
    run_id: str | None = None
    data_date: datetime | None = None
    is_partial: bool | None = None
    audit_result: str | None = None
    can_access_historical_data: bool | None = None
    records_succeeded: int | None = None
    records_failed: int | None = None
    record_id: str | None = None
    unreachable: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as plain values, for JSON."""
        found = asdict(self)
        return {**found, "state": self.state.value, "data_date": self.data_date and self.data_date.isoformat()}


def is_ready(
    pipeline_id: str,
    stage: str,
    date: str | Date | datetime | None = None,
    *,
    store: TrackingStore | None = None,
    questions: Questions | None = None,
    accept_partial: bool = False,
    accept_pending_audit: bool = False,
    dag_ids: Collection[str] | None = None,
    task_states: TaskStates | None = None,
) -> Readiness:
    """Return whether a stage of a pipeline is ready for a date.

    It is when every transfer that fills the stage has completed, with all its data and, where it is audited, with a
    matching audit. Of several runs for the date the newest one counts.

    :param pipeline_id: the pipeline, as in its records.
    :param stage: text of the stage, as the transfers name their target.
    :param date: a day (UTC), or a moment; compared with the run's logical date, or with its beginning when it has
        none. None asks for the newest run.
    :param store: where the records are; that of ``[pipetrack]`` and those that were used here when not given.
    :param questions: who is asked, instead of a store.
    :param accept_partial: whether partial data, as far as the pipeline accepts it, is good enough.
    :param accept_pending_audit: whether data is good enough whose audit has not decided, or has nothing that decides.
    :param dag_ids: the Dags whose records may be seen; None for all.
    :param task_states: asks Airflow about tasks, for mapped transfers without an audit: their records do not say how
        many there will be. Without it such a stage is ``unknown`` even when all of its records are completed.
    :raises PipetrackError: when ``date`` is neither a day nor a moment, or none that can be asked for.
    """
    questions = questions or (Questions(store) if store else asked_here())
    begin, end, shown = window(date)
    answer = questions.ask(
        "readiness", pipeline_id=pipeline_id, stage=stage, since=begin, until=end, dag_ids=dag_ids, limit=1
    )
    asked: dict[str, Any] = {"pipeline_id": pipeline_id, "stage": stage, "date": shown}
    if not answer.rows:
        when = f" for {shown}" if shown else ""
        reason = f"no run of pipeline {pipeline_id!r} has a transfer to stage {stage!r}{when}"
        return Readiness(
            **asked, ready=False, state=ReadyState.MISSING, reason=reason, unreachable=dict(answer.unreachable)
        )
    accepted = {
        ReadyState.READY: True,
        ReadyState.AUDIT_PENDING: accept_pending_audit,
        ReadyState.PARTIAL: accept_partial,
    }
    found = _of_run(questions, answer, asked, task_states)
    ready = accepted.get(found.state, False) and (accept_partial or not found.is_partial)
    return replace(found, ready=ready)


def _of_run(questions: Questions, answer: Any, asked: Mapping[str, Any], task_states: TaskStates | None) -> Readiness:
    """Return how far a stage is in the run that was found, whatever of it is accepted."""
    run, stage = answer.rows[0], asked["stage"]
    # A Dag may have several pipelines, and some storages find records by their pipeline alone.
    of_run = {name: run[name] for name in ("pipeline_id", "dag_id", "run_id")}
    filling = questions.ask("transfers", **of_run, stage=stage, include_not_run=True, limit=None)
    records = [record for record in filling.rows if _fills(record, stage)]
    state, record = _judge(records, ReadyState(run["state"]), task_states)
    return Readiness(
        **asked,
        ready=False,
        state=state,
        reason=_reason(state, record, stage),
        dag_id=run["dag_id"],
        run_id=run["run_id"],
        data_date=run["data_date"],
        is_partial=bool(run["partial"]) if state in _ENDED else None,
        audit_result=_audit_result(records),
        can_access_historical_data=bool(run["can_access_historical_data"]),
        records_succeeded=run["records_succeeded"],
        records_failed=run["records_failed"],
        record_id=record["record_id"] if record else None,
        unreachable={**answer.unreachable, **filling.unreachable},
    )


_ENDED = {ReadyState.READY, ReadyState.PARTIAL, ReadyState.AUDIT_PENDING, ReadyState.MISMATCHED, ReadyState.UNKNOWN}


def _judge(
    records: Sequence[Mapping[str, Any]], state: ReadyState, task_states: TaskStates | None
) -> tuple[ReadyState, Mapping[str, Any] | None]:
    """Return the state with what a run's counts do not show, and the record that it rests on."""
    if state in (ReadyState.READY, ReadyState.PARTIAL):
        open_map = next(_unfinished_maps(records, task_states), None)
        if open_map is not None:
            return (ReadyState.UNKNOWN if task_states is None else ReadyState.IN_PROGRESS), open_map
    holding = [record for record in records if _HOLDS_UP[state](record)] if state in _HOLDS_UP else []
    return state, max(holding or records, key=_ended_at, default=None)


def _unfinished_maps(
    records: Sequence[Mapping[str, Any]], task_states: TaskStates | None
) -> Iterator[Mapping[str, Any]]:
    """Yield a record of each mapped transfer that may have indexes still to come.

    An audit waits for all of them; without one, the end of the run notes how many there are.
    """
    mapped: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        if record["map_index"] >= 0 and not (record["audit_enabled"] or record["audit_result"]):
            mapped.setdefault(record["task_id"], []).append(record)
    for task_id, indexes in mapped.items():
        first = indexes[0]
        if task_states is None:
            is_whole = _are_all_there(indexes)
        else:
            states = task_states(first["dag_id"], first["run_id"], [task_id])
            # What was removed is of an earlier try, which had more indexes.
            left = {name: state for name, state in states.items() if state != "removed"}
            known = {f"{task_id}_{record['map_index']}" for record in indexes} - (states.keys() - left.keys())
            is_whole = bool(left) and left == dict.fromkeys(known, "success")
        if not is_whole:
            yield first


def _are_all_there(indexes: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a run's end has noted how many indexes there are, and each of them has its record."""
    said = (record["audit_metadata"] for record in indexes if isinstance(record["audit_metadata"], Mapping))
    noted = next((number for metadata in said if isinstance(number := metadata.get(MAP_INDEXES), int)), None)
    return noted is not None and {record["map_index"] for record in indexes} >= set(range(noted))


_HOLDS_UP: dict[ReadyState, Callable[[Mapping[str, Any]], bool]] = {
    ReadyState.FAILED: lambda record: record["transfer_status"] == "failed",
    ReadyState.NOT_RUN: lambda record: record["transfer_status"] == "pending" and bool(record["decision"]),
    ReadyState.IN_PROGRESS: lambda record: record["transfer_status"] in ("pending", "in_progress"),
    ReadyState.SKIPPED: is_skipped,
    ReadyState.MISMATCHED: lambda record: record["audit_result"] == "mismatched",
    ReadyState.AUDIT_PENDING: lambda record: is_audited(record) and record["audit_result"] != "matched",
    ReadyState.PARTIAL: lambda record: bool(record["is_partial"]),
}


def _fills(record: Mapping[str, Any], stage: str) -> bool:
    return bool(record["stage_i_plus_1_details"] == stage and record["decision"] not in LEFT_OUT)


def _ended_at(record: Mapping[str, Any]) -> datetime:
    return record["transfer_end_timestamp"] or datetime.min.replace(tzinfo=timezone.utc)


def _audit_result(records: Sequence[Mapping[str, Any]]) -> str | None:
    results = [record["audit_result"] or "pending" for record in records if is_audited(record)]
    return min(results, key=("mismatched", "pending", "matched").index, default=None)


def _reason(state: ReadyState, record: Mapping[str, Any] | None, stage: str) -> str:
    found = record or {}
    name = found.get("task_id", "?")
    detail = _detail(found.get("decision"))
    said = evidence_of(found)
    audit = (
        f"gave no answer{_detail(said.get('error'))}"
        if has_failed_audit(found)
        else f"has not decided{_detail(said.get('warning'))}"
    )
    return {
        ReadyState.READY: f"stage {stage!r} has its data, {name!r} ended last",
        ReadyState.PARTIAL: f"transfer {name!r} delivered a part of its data{detail}",
        ReadyState.AUDIT_PENDING: f"the audit of transfer {name!r} {audit}",
        ReadyState.MISMATCHED: f"the audit of transfer {name!r} found a mismatch",
        ReadyState.IN_PROGRESS: f"transfer {name!r} has not completed",
        ReadyState.FAILED: f"transfer {name!r} failed{_detail(found.get('error_message')) or detail}",
        ReadyState.NOT_RUN: f"transfer {name!r} does not run{detail}",
        ReadyState.SKIPPED: f"transfer {name!r} brought no data{detail}",
        ReadyState.UNKNOWN: f"transfer {name!r} is mapped and not audited: only its run's end says how many there are",
    }[state]


def _detail(text: Any) -> str:
    """Return the first line of what is said about it, to end a sentence."""
    lines = str(text or "").strip().splitlines()
    return f": {lines[0]}" if lines else ""


def window(date: str | Date | datetime | None) -> tuple[datetime | None, datetime | None, str | None]:
    """Return from when until when the data of a date is, UTC, and the date as a text.

    :raises PipetrackError: when it is neither a day nor a moment, or one that has no end.
    """
    if date is None:
        return None, None, None
    given = _parsed(date) if isinstance(date, str) else date
    length = timedelta(microseconds=1) if isinstance(given, datetime) else timedelta(days=1)
    begin = _in_utc(given)
    try:
        return begin, begin + length, (_begin(given) if isinstance(given, datetime) else given).isoformat()
    except OverflowError:
        raise _out_of_range(given) from None


def begin_of(text: str) -> datetime:
    """Return the moment that a text names, or the beginning of the day, UTC.

    :raises PipetrackError: when it names neither.
    """
    return _in_utc(_parsed(text))


def _in_utc(given: Date | datetime) -> datetime:
    try:
        return _begin(given).astimezone(timezone.utc)
    except OverflowError:
        raise _out_of_range(given) from None


def _out_of_range(given: Date | datetime) -> PipetrackError:
    return PipetrackError(f"date {given.isoformat()!r}: expected a day from 0001-01-01 to 9999-12-30, in UTC")


def _begin(given: Date | datetime) -> datetime:
    if not isinstance(given, datetime):
        return datetime.combine(given, time(), timezone.utc)
    return given if given.tzinfo else given.replace(tzinfo=timezone.utc)


def _parsed(text: str) -> Date | datetime:
    wanted = text.strip().replace("Z", "+00:00")
    try:
        return datetime.fromisoformat(wanted) if len(wanted) > len("2026-01-31") else Date.fromisoformat(wanted)
    except ValueError:
        raise PipetrackError(
            f"date {text!r}: expected a day such as 2026-01-31, or a moment such as 2026-01-31T06:00:00+00:00"
        ) from None


def asked_here(locations: Sequence[str] = ()) -> Questions:
    """Return the questions of a chain of locations, whose store this process makes once.

    :param locations: the chain; when there is none, all that people are shown is asked.
    """
    if not locations:
        return questions_from_settings(own_code=True)
    return Questions(_made_store(os.getpid(), tuple(locations)))


@functools.cache
def _made_store(process: int, locations: tuple[str, ...]) -> TrackingStore:  # noqa: ARG001  a fork makes its own
    return TrackingStore(locations, mode=settings.mode(), deadline=settings.delivery_deadline())
