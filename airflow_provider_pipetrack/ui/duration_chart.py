"""What a transfer took, run after run, beside its estimate, its median and the time that 19 of 20 keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_pipetrack.ui.timeline import round_steps
from airflow_provider_pipetrack.ui.words import COMPLETED, FAILED, PARTIAL, State, duration, exact

#: Attempts in one chart.
MOST_POINTS = 200
WIDTH, HEIGHT = 760.0, 220.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 116.0, 14.0, 24.0
#: A line further up than this many times the longest attempt would press the points flat.
_HIGHEST_LINE = 2.0
_APART = 13.0


@dataclass(frozen=True)
class Point:
    """One attempt."""

    x: float
    y: float
    state: State
    label: str
    row: Mapping[str, Any]


@dataclass(frozen=True)
class Level:
    """A line across the chart.

    :param name: of its colour in the style sheet.
    :param text_y: where its text stands, clear of other texts.
    :param above: whether it is further up than the chart reaches.
    """

    name: str
    y: float
    text_y: float
    text: str
    above: bool


@dataclass(frozen=True)
class Tick:
    """A mark at the left."""

    y: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Everything that is drawn."""

    points: Sequence[Point]
    levels: Sequence[Level]
    ticks: Sequence[Tick]
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    bottom: float = HEIGHT - _BOTTOM


def duration_chart(attempts: Sequence[Mapping[str, Any]], levels: Mapping[str, float | None]) -> Chart | None:
    """Return the chart, or None without attempts.

    :param attempts: rows with ``actual_seconds``, the newest first.
    :param levels: lines to draw, in seconds, by their names.
    """
    rows = list(reversed(attempts[:MOST_POINTS]))
    if not rows:
        return None
    longest = max(row["actual_seconds"] for row in rows) or 1.0
    wanted = [value for value in levels.values() if value and value <= longest * _HIGHEST_LINE]
    top = max([longest, *wanted]) * 1.08
    step = (WIDTH - _LEFT - _RIGHT) / max(len(rows), 12)

    def height(seconds: float) -> float:
        return round(HEIGHT - _BOTTOM - min(seconds / top, 1.0) * (HEIGHT - _TOP - _BOTTOM), 1)

    points = [
        Point(round(_LEFT + (n + 0.5) * step, 1), height(row["actual_seconds"]), _state(row), _label(row), row)
        for n, row in enumerate(rows)
    ]
    ticks = [Tick(height(seconds), duration(seconds)) for seconds in round_steps(top)]
    return Chart(points, _levels(levels, top, height), ticks)


def _levels(levels: Mapping[str, float | None], top: float, height: Any) -> list[Level]:
    known = sorted(((name, value) for name, value in levels.items() if value), key=lambda level: -level[1])
    places: list[float] = []
    for _, value in known:
        places.append(max(height(value) + 4, places[-1] + _APART if places else 10.0))
    return [
        Level(name, height(value), place, f"{name} {duration(value)}", value > top)
        for (name, value), place in zip(known, places, strict=True)
    ]


def _state(row: Mapping[str, Any]) -> State:
    if row["transfer_status"] == "failed":
        return FAILED
    return PARTIAL if row["is_partial"] else COMPLETED


def _label(row: Mapping[str, Any]) -> str:
    when = exact(row["transfer_start_timestamp"] or row["created_timestamp"])
    attempt = f", attempt {row['retry_attempt_number'] + 1}" if row["retry_attempt_number"] else ""
    return f"{duration(row['actual_seconds'])}, {_state(row).word}{attempt}, {when}"
