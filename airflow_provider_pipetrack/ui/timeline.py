"""A run as bars on one axis of time: where each attempt began and ended, and how long it was estimated to take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from airflow_provider_pipetrack.ui.words import State, attempt_words, duration, state_of

#: The axis is this wide; the browser stretches it.
WIDTH = 1000.0
#: No bar is thinner, so that it can be seen.
_THINNEST = 4.0
#: An estimate may make the axis longer than the run by this factor, not more.
_ESTIMATE_STRETCH = 1.5
_STEPS = (
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    10800,
    21600,
    43200,
)
_DAY = 86400


class Segment(NamedTuple):
    """One attempt.

    :param left: where it begins, in units of :data:`WIDTH`.
    :param hatched: whether the data is only a part.
    """

    left: float
    width: float
    state: State
    hatched: bool
    label: str


class Line(NamedTuple):
    """All attempts of one transfer and map index, and the estimate of the last."""

    segments: Sequence[Segment]
    estimate_left: float | None = None
    estimate_width: float = 0.0


@dataclass(frozen=True)
class Tick:
    """A mark on the axis."""

    left: float
    text: str


@dataclass(frozen=True)
class Axis:
    """From when to when a run is drawn."""

    begin: datetime
    seconds: float

    def place(self, moment: datetime) -> float:
        """Return where a moment is, in units of :data:`WIDTH`, never outside."""
        share = (moment - self.begin).total_seconds() / self.seconds
        return round(min(max(share, 0.0), 1.0) * WIDTH, 1)

    def ticks(self) -> list[Tick]:
        """Return marks at round distances from the beginning."""
        return [Tick(round(s / self.seconds * WIDTH, 1), duration(s)) for s in round_steps(self.seconds, 8)]


def round_steps(seconds: float, most: int = 5) -> list[float]:
    """Return at most ``most`` and one round durations from 0 to ``seconds``, all equally far apart."""
    step = next((step for step in _STEPS if seconds / step <= most), None)
    if step is None:
        step = _DAY * math.ceil(seconds / _DAY / most)
    return [n * step for n in range(int(seconds // step) + 1)]


def axis_of(
    attempts: Sequence[Mapping[str, Any]], now: datetime, runs: Sequence[Mapping[str, Any]] = ()
) -> Axis | None:
    """Return the axis that holds all attempts, or None when none has begun.

    :param runs: the runs that they are of, so that each page of a run is drawn on the axis of all of it.
    """
    begun = [row for row in attempts if row["transfer_start_timestamp"] is not None]
    begins = [row["transfer_start_timestamp"] for row in begun] + [row["started_at"] for row in runs]
    ends = [_end(row, now) for row in begun] + [now if row["in_progress"] else row["ended_at"] for row in runs]
    known = [moment for moment in begins if moment]
    if not known:
        return None
    begin = min(known)
    end = max([begin, *filter(None, ends)])
    seconds = max((end - begin).total_seconds(), 1.0)
    estimated = [
        (row["transfer_start_timestamp"] - begin).total_seconds() + row["estimated_seconds"]
        for row in begun
        if row["estimated_seconds"]
    ]
    within = [wanted for wanted in estimated if wanted <= seconds * _ESTIMATE_STRETCH]
    return Axis(begin, max([seconds, *within]) * 1.01)


def line_of(attempts: Sequence[Mapping[str, Any]], axis: Axis, now: datetime) -> Line:
    """Return the bars of one transfer.

    :param attempts: of one transfer and map index, the first first.
    """
    begun = [row for row in attempts if row["transfer_start_timestamp"] is not None]
    if not begun:
        return Line(())
    last = begun[-1]
    if not last["estimated_seconds"]:
        return Line([_segment(row, axis, now) for row in begun])
    left = axis.place(last["transfer_start_timestamp"])
    try:
        until = last["transfer_start_timestamp"] + timedelta(seconds=last["estimated_seconds"])
        right = axis.place(until)
    except OverflowError:
        right = WIDTH
    return Line([_segment(row, axis, now) for row in begun], left, max(right - left, 1.0))


def _segment(row: Mapping[str, Any], axis: Axis, now: datetime) -> Segment:
    end = _end(row, now)
    left = axis.place(row["transfer_start_timestamp"])
    width = max(axis.place(end) - left, _THINNEST)
    state = state_of(row, now)
    took = duration((end - row["transfer_start_timestamp"]).total_seconds())
    label = f"attempt {attempt_words(row)}: {state.word}, {took}"
    return Segment(round(min(left, WIDTH - width), 1), round(width, 1), state, bool(row.get("is_partial")), label)


def _end(row: Mapping[str, Any], now: datetime) -> datetime:
    """Return when an attempt ended, or now when it is open; a clock that is behind makes no bar run backwards."""
    end: datetime = row["transfer_end_timestamp"] or now
    begin: datetime = row["transfer_start_timestamp"]
    return max(end, begin)
