"""The stages of a pipeline and the transfers between them, laid out from left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_provider_pipetrack.records.openness import LEFT_OUT, has_failed_audit
from airflow_provider_pipetrack.ui.words import AUDIT_FAILED, State, audit_state, first_line, state_of

#: More transfers than this make no picture that anybody can read.
MOST_TRANSFERS = 120
_STAGE_WIDTH, _TRANSFER_WIDTH, _HEIGHT = 130, 170, 46
_GAP_X, _GAP_Y, _MARGIN = 24, 16, 4
_UNKNOWN = "(not known yet)"


@dataclass(frozen=True)
class Box:
    """A stage or a transfer.

    :param row: the transfer's record; None for a stage.
    """

    x: float
    y: float
    width: int
    height: int
    text: str
    full: str
    row: Mapping[str, Any] | None = None
    state: State | None = None
    note: str = ""

    @property
    def middle(self) -> float:
        """The height at which lines meet it."""
        return self.y + self.height / 2


@dataclass(frozen=True)
class Graph:
    """Boxes, and the lines between them as SVG paths."""

    boxes: Sequence[Box] = ()
    lines: Sequence[str] = ()
    width: float = 0
    height: float = 0
    left_out: int = 0


@dataclass
class _Grid:
    """Gives each box a free row of its column."""

    taken: dict[int, set[int]] = field(default_factory=dict)

    def place(self, column: int, wanted: int) -> int:
        used = self.taken.setdefault(column, set())
        while wanted in used:
            wanted += 1
        used.add(wanted)
        return wanted


def stage_graph(transfers: Sequence[Mapping[str, Any]], now: datetime) -> Graph:
    """Return the picture of a run's transfers.

    :param transfers: the latest attempt of each; of a mapped transfer one is drawn, the worst of those that count.
    """
    rows = _one_each(transfers, now)
    drawn = rows[:MOST_TRANSFERS]
    ranks = _ranks(drawn)
    grid, boxes, lines = _Grid(), [], []
    stages: dict[str, Box] = {}

    def stage(text: str, row: int) -> Box:
        if text not in stages:
            column = 2 * ranks[text]
            stages[text] = _stage_box(text, column, grid.place(column, row))
            boxes.append(stages[text])
        return stages[text]

    for transfer in drawn:
        source_text, target_text = _ends(transfer)
        source = stage(source_text, 0)
        column = 2 * ranks[source_text] + 1
        row = grid.place(column, _row_of(source))
        box = _transfer_box(transfer, column, row, now)
        boxes.append(box)
        target = stage(target_text, row)
        lines += [_line(source, box), _line(box, target)]
    width = max((box.x + box.width for box in boxes), default=0) + _MARGIN
    height = max((box.y + box.height for box in boxes), default=0) + _MARGIN
    return Graph(boxes, lines, width, height, len(rows) - len(drawn))


def _one_each(transfers: Sequence[Mapping[str, Any]], now: datetime) -> list[Mapping[str, Any]]:
    worst = ("failed", "warned", "running", "waiting", "skipped", "success")
    found: dict[str, Mapping[str, Any]] = {}
    for row in transfers:
        known = found.get(row["task_id"])
        if known is None or _rank(row, now, worst) < _rank(known, now, worst):
            found[row["task_id"]] = row
    return sorted(found.values(), key=lambda row: (row["transfer_order_number"] or 0, row["task_id"]))


def _rank(row: Mapping[str, Any], now: datetime, worst: Sequence[str]) -> int:
    if row["decision"] in LEFT_OUT:  # of an earlier try, which had more indexes
        return len(worst)
    return worst.index(_state(row, now).colour)


def _state(row: Mapping[str, Any], now: datetime) -> State:
    """Return how a transfer stands; one that has loaded but whose audit stopped the run has not come through."""
    return (audit_state(row) or AUDIT_FAILED) if has_failed_audit(row) else state_of(row, now)


def _ranks(transfers: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the column of each stage: right of what fills it; a circle is broken where it closes."""
    ranks: dict[str, int] = {}
    for transfer in transfers:
        source, target = _ends(transfer)
        ranks.setdefault(source, 0)
        if target not in ranks:
            ranks[target] = ranks[source] + 1
    return ranks


def _ends(transfer: Mapping[str, Any]) -> tuple[str, str]:
    return transfer["stage_i_details"] or _UNKNOWN, transfer["stage_i_plus_1_details"] or _UNKNOWN


def _stage_box(text: str, column: int, row: int) -> Box:
    return Box(_x(column), _y(row), _STAGE_WIDTH, _HEIGHT, first_line(text, 16), text)


def _transfer_box(transfer: Mapping[str, Any], column: int, row: int, now: datetime) -> Box:
    state = _state(transfer, now)
    owner = transfer["transfer_process_owner_name"]
    note = first_line(f"{state.word} · {owner}" if owner else state.word, 24)
    full = f"{transfer['task_id']}: {state.word}" + (f", owner {owner}" if owner else "")
    name = first_line(transfer["task_id"], 19)
    return Box(_x(column), _y(row), _TRANSFER_WIDTH, _HEIGHT, name, full, transfer, state, note)


def _x(column: int) -> float:
    pairs, rest = divmod(column, 2)
    return _MARGIN + pairs * (_STAGE_WIDTH + _TRANSFER_WIDTH + 2 * _GAP_X) + rest * (_STAGE_WIDTH + _GAP_X)


def _y(row: int) -> float:
    return _MARGIN + row * (_HEIGHT + _GAP_Y)


def _row_of(box: Box) -> int:
    return round((box.y - _MARGIN) / (_HEIGHT + _GAP_Y))


def _line(source: Box, target: Box) -> str:
    x1, y1, x2, y2 = source.x + source.width, source.middle, target.x, target.middle
    bend = max(abs(x2 - x1) / 2, _GAP_X / 2)
    return f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
