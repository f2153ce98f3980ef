"""One answer from the rows of several storages: in order, and what several of them know made one row."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from airflow_provider_pipetrack.records.queries.asked import Asked

Row = dict[str, Any]

#: Questions whose rows are few, so that all of them are asked for, put together, and then put in order.
WHOLE = ("pipelines", "last_runs", "stages", "slow", "flaky", "estimates")
#: Runs of each pipeline that ``last_runs`` has.
_LAST_RUNS = 10
_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)
_RANKS = {"pending": 0, "in_progress": 1, "failed": 2, "completed": 2}


@dataclass
class Joined:
    """A row, and which storages it is from.

    :param sources: their places in the list of answers.
    """

    row: Row
    sources: set[int]


def combine(asked: Asked, answers: Sequence[Sequence[Row]], *, apart: bool = True) -> list[Joined]:
    """Return the rows of all answers in the order of the question, each key once.

    A row that several storages have a part of stands where its first part stands, and says what the parts say together.

    :param answers: the rows of each storage, each in the order of the question.
    :param apart: whether no record stands in two of the storages; else averages are those of the storage with most.
    """
    join = together if apart else _of_most
    joined: dict[tuple[Any, ...], Joined] = {}
    for place, row in heapq.merge(*map(_numbered, range(len(answers)), answers), key=lambda one: _order(asked, one[1])):
        known = joined.setdefault(key_of(asked, row), Joined(row, {place}))
        if place not in known.sources:
            known.row = join(asked.question, known.row, row)
            known.sources.add(place)
    found = list(joined.values())
    if asked.question not in WHOLE:
        return found
    if asked.question == "last_runs":
        found = _newest(found)
    return sorted(found, key=lambda one: _order(asked, one.row))


def key_of(asked: Asked, row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what makes a row of the answer one row."""
    return tuple(row[name] for name in asked.known.keys)


def together(question: str, one: Row, other: Row) -> Row:
    """Return one row from two about the same thing that two storages gave."""
    return _TOGETHER.get(question, newer_record)(one, other)


def run_together(one: Row, other: Row) -> Row:
    """Return one run, or one pipeline by its last run, from two parts that hold different transfers of it."""
    row = {**one, **_sums(one, other, _RUN_COUNTS)}
    row.update({name: _best(min, one, other, name) for name in ("began_at", "started_at")})
    row.update(
        {name: _best(max, one, other, name) for name in ("ended_at", "logical_date", "pipeline_version", "config_hash")}
    )
    for name in ("owners", "failed_transfers"):
        if name in row:
            row[name] = sorted({*(one.get(name) or ()), *(other.get(name) or ())})
    row["state"] = _run_state(row)
    if "took_seconds" in row:
        row["took_seconds"] = _took_together(one, other)
    if "first_owner" in row:
        row["first_owner"] = next(iter(row["owners"]), None)
    if "shown_state" in row:
        row["shown_state"] = _shown_state(row)
    return row


def _newest(found: Sequence[Joined]) -> list[Joined]:
    """Return the last runs of each pipeline; each storage gave as many."""
    seen: Counter[tuple[str, str]] = Counter()
    newest = []
    for one in sorted(found, key=lambda one: (one.row["began_at"] or _LONG_AGO, one.row["run_id"]), reverse=True):
        pipeline = one.row["pipeline_id"], one.row["dag_id"]
        seen[pipeline] += 1
        if seen[pipeline] <= _LAST_RUNS:
            newest.append(one)
    return newest


def _numbered(place: int, rows: Sequence[Row]) -> Iterator[tuple[int, Row]]:
    return ((place, row) for row in rows)


def _pipeline_together(one: Row, other: Row) -> Row:
    if one["run_id"] == other["run_id"]:
        return run_together(one, other)
    return _of_the_later_run(one, other)


def _of_the_later_run(one: Row, other: Row) -> Row:
    return max(one, other, key=lambda row: (row["began_at"] or _LONG_AGO, row["run_id"]))


def _stage_together(one: Row, other: Row) -> Row:
    row = {**one, **_sums(one, other, _STAGE_COUNTS)}
    row["began_at"] = _best(min, one, other, "began_at")
    row.update({name: _best(max, one, other, name) for name in ("ended_at", "data_date")})
    row["can_access_historical_data"] = min(one["can_access_historical_data"], other["can_access_historical_data"])
    row["state"] = _stage_state(row)
    return row


def _slow_together(one: Row, other: Row) -> Row:
    averages = _averages(one, other, "completed", ("average_seconds", "estimated_seconds", "ratio"))
    longest = _best(max, one, other, "longest_seconds")
    return {**one, **_sums(one, other, ("completed", "over_estimate")), **averages, "longest_seconds": longest}


def _flaky_together(one: Row, other: Row) -> Row:
    averages = _averages(one, other, "attempts", ("failed_share", "average_retries"))
    last = _best(max, one, other, "last_failed_at")
    return {**one, **_sums(one, other, ("runs", "attempts", "failed")), **averages, "last_failed_at": last}


def _of_most(question: str, one: Row, other: Row) -> Row:
    """Return the row of the storage that has seen more, where numbers cannot be put together."""
    count = {"slow": "completed", "estimates": "completed", "flaky": "attempts"}.get(question)
    return max(one, other, key=lambda row: row[count]) if count else together(question, one, other)


def newer_record(one: Row, other: Row) -> Row:
    """Return what is further of two versions of a record."""

    def known(row: Row) -> tuple[int, datetime]:
        moment = row.get("updated_timestamp") or row.get("transfer_end_timestamp")
        return _RANKS.get(row.get("transfer_status") or "", 0), moment or _LONG_AGO

    return max(one, other, key=known)


_RUN_COUNTS = (
    "transfers", "attempts", "pending", "in_progress", "completed", "failed", "not_run", "partial", "overdue",
    "audits_matched", "audits_mismatched", "audits_failed", "audits_waiting", "audits_total", "records_succeeded",
    "records_failed",
)  # fmt: skip
_STAGE_COUNTS = (
    "transfers", "completed", "failed", "not_run", "skipped", "partial", "audits_matched", "audits_mismatched",
    "audits_pending", "records_succeeded", "records_failed",
)  # fmt: skip
_TOGETHER: Mapping[str, Callable[[Row, Row], Row]] = {
    "pipelines": _pipeline_together,
    "runs": run_together,
    "last_runs": run_together,
    "readiness": _stage_together,
    "stages": _of_the_later_run,
    "slow": _slow_together,
    "flaky": _flaky_together,
    # Percentiles cannot be put together.
    "estimates": lambda one, other: _of_most("estimates", one, other),
}


def _run_state(row: Row) -> str:
    """Return the state of a run by its counts, as the query does."""
    if row["in_progress"] or row["audits_waiting"]:
        return "in_progress"
    if row["failed"] or row["audits_failed"]:
        return "failed"
    if row["completed"]:
        return "in_progress" if row["pending"] else "completed"
    return "pending"


def _took_together(one: Row, other: Row) -> float | None:
    """Return what a run took, from when its first part started to when its last ended, or was looked at."""
    parts = [row for row in (one, other) if row["started_at"] and row["took_seconds"] is not None]
    if not parts:
        return None
    begin = min(row["started_at"] for row in parts)
    return round(max(float((row["started_at"] - begin).total_seconds() + row["took_seconds"]) for row in parts), 3)


def _shown_state(row: Row) -> str:
    """Return the state of a run as it is shown, as the query does."""
    if row["state"] == "in_progress" and row["overdue"]:
        return "overdue"
    return "partial" if row["state"] == "completed" and row["partial"] else str(row["state"])


def _stage_state(row: Row) -> str:
    """Return the state of a stage by its counts, as the query does."""
    if row["failed"]:
        return "failed"
    if row["not_run"]:
        return "not_run"
    if row["completed"] < row["transfers"]:
        return "in_progress"
    worst = (
        ("skipped", "skipped"),
        ("audits_mismatched", "mismatched"),
        ("audits_pending", "audit_pending"),
        ("partial", "partial"),
    )
    return next((state for count, state in worst if row[count]), "ready")


def _sums(one: Row, other: Row, names: Collection[str]) -> Row:
    known = {name: [row[name] for row in (one, other) if row[name] is not None] for name in names}
    return {name: sum(values) if values else None for name, values in known.items()}


def _averages(one: Row, other: Row, weight: str, names: Collection[str]) -> Row:
    whole = one[weight] + other[weight]
    return {name: (one[name] * one[weight] + other[name] * other[weight]) / whole for name in names}


def _best(choose: Callable[..., Any], one: Row, other: Row, name: str) -> Any:
    return choose((row[name] for row in (one, other) if row[name] is not None), default=None)


def _order(asked: Asked, row: Row) -> tuple[_Place, ...]:
    """Return what a row is sorted by, as the query does: what is NULL comes last, and its key makes it certain."""
    name, down = asked.sorting
    rest = (_Place(row[other], down=False) for other in asked.then)
    return (_Place(row[name], down=down), *rest)


class _Place:
    """A value in an order that knows NULL and both directions."""

    __slots__ = ("down", "value")

    def __init__(self, value: Any, *, down: bool) -> None:
        self.value = json.dumps(value) if isinstance(value, (list, dict)) else value
        self.down = down

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Place) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]

    def __lt__(self, other: _Place) -> bool:
        if self.value is None or other.value is None:
            return self.value is not None
        one, two = (other.value, self.value) if self.down else (self.value, other.value)
        return bool(one < two)
