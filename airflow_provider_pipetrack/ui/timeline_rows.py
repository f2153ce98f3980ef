"""The rows of a run's timeline as HTML, as :mod:`~airflow_provider_pipetrack.ui.markup` makes those of tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from markupsafe import Markup

from airflow_provider_pipetrack.ui.markup import IN_AIRFLOW, safe, sign
from airflow_provider_pipetrack.ui.paths import log_address
from airflow_provider_pipetrack.ui.timeline import WIDTH, Line, Segment
from airflow_provider_pipetrack.ui.words import (
    FAILED,
    State,
    attempt_words,
    duration,
    first_line,
    number,
    remarks,
    took,
)

#: Signs of a name, and of what went wrong, in a row.
_NAME, _REMARK = 80, 200
_LONGEST_TITLE = 2000
#: Distance of the strokes that mark data as a part, and the width of a cross that marks a failure.
_STROKES, _CROSS = 8, 12


class TransferLine(NamedTuple):
    """One transfer and map index of the run.

    :param key: what it is known by when the page renews itself.
    :param attempts: how many there are.
    :param pool: the Airflow pool that it runs in, where its configuration names one.
    """

    row: Mapping[str, Any]
    state: State
    audit: State | None
    line: Line | None
    href: str
    key: str
    attempts: int
    pool: str | None = None


def timeline_rows(lines: Sequence[TransferLine], now: datetime) -> Markup:
    """Return the rows; every text is escaped."""
    return Markup("\n".join([f'<tr data-key="{line.key}">{"".join(_cells(line, now))}</tr>' for line in lines]))


def _cells(line: TransferLine, now: datetime) -> Sequence[str]:
    row = line.row
    place = row["transfer_order_number"]
    estimate = duration(row["estimated_seconds"]) or row["estimated_duration"] or ""
    owner = first_line(row["transfer_process_owner_name"], _NAME)
    return (
        f'<th scope="row" data-title="Transfer"><span>{_name(line)}{_flags(line)}</span></th>',
        _cell("Order", "" if place is None else f"{place:g}", numeric=True),
        f'<td data-title="State"><span>{_badge(line.state)}{_attempt(line)}</span></td>',
        f'<td class="axis" data-title="When">{_bars(line.line)}{_remark(row)}</td>',
        _cell("Audit", _badge(line.audit) if line.audit else ""),
        _cell("Took", safe(took(row, now)), numeric=True),
        _cell("Estimate", safe(estimate), numeric=True),
        _cell("Owner", f"<bdi>{safe(owner)}</bdi>" if owner else ""),
        _cell("Records", _records(row), numeric=True),
        _cell("Log", _log(row["log_url"])),
    )


def _cell(title: str, content: str, *, numeric: bool = False) -> str:
    side, blank = "numeric" if numeric else "", "" if content else " blank"
    return f'<td data-title="{title}" class="{side}{blank}">{content}</td>'


def _badge(state: State) -> str:
    return f'<span class="badge">{sign(state)}{safe(state.word)}</span>'


def _name(line: TransferLine) -> str:
    whole, index = line.row["task_id"], line.row["map_index"]
    shown = safe(first_line(whole, _NAME)) + (f" [{index}]" if index != -1 else "")
    return f'<a href="{safe(line.href)}" title="{safe(whole[:_LONGEST_TITLE])}"><bdi>{shown}</bdi></a>'


def _flags(line: TransferLine) -> str:
    """Return how the transfer shares its level and the pool."""
    flags = ""
    if line.row["can_process_be_parallelized"] is False:
        flags += ' <span class="flag" title="runs one at a time within its level">alone</span>'
    if line.pool:
        pool = safe(first_line(line.pool, _NAME))
        flags += f' <span class="flag" title="shares the slots of this Airflow pool">pool <bdi>{pool}</bdi></span>'
    return flags


def _attempt(line: TransferLine) -> str:
    if line.attempts < 2 and not line.row["retry_attempt_number"]:
        return ""
    return f'<br><small class="whole">attempt {attempt_words(line.row)}</small>'


def _bars(line: Line | None) -> str:
    if line is None or not line.segments:
        return ""
    label = "; ".join([part.label for part in line.segments])
    estimate = ""
    if line.estimate_left is not None:
        estimate = f'<rect class="estimate" x="{line.estimate_left}" y="1" width="{line.estimate_width}" height="22"/>'
    return (
        '<svg class="bars" viewBox="0 0 1000 24" preserveAspectRatio="none" role="img" '
        f'aria-label="{safe(label)}">{estimate}{"".join(map(_bar, line.segments))}</svg>'
    )


def _bar(part: Segment) -> str:
    marks = ""
    if part.hatched:
        strokes = range(int(part.left), int(part.left + part.width), _STROKES)
        marks = f'<path class="hatch" d="{"".join([f"M{n} 19L{n + 4} 5" for n in strokes])}"/>'
    if part.state is FAILED:
        marks += _crosses(part)
    colour = safe(part.state.colour)
    bar = f'<rect class="bar {colour}" x="{part.left}" y="5" width="{part.width}" height="14"/>'
    return f"<g><title>{safe(part.label)}</title>{bar}{marks}</g>"


def _crosses(part: Segment) -> str:
    """Return the mark of a failure; on a bar that is too thin for it one cross that stands out above and below."""
    if part.width < 2 * _CROSS:
        left = min(max(part.left + (part.width - _CROSS) / 2, 0.0), WIDTH - _CROSS)
        return f'<path class="cross thin failed" d="M{left:g} 1l{_CROSS} 22m0 -22l-{_CROSS} 22"/>'
    places = range(int(part.left) + _CROSS // 2, int(part.left + part.width) - _CROSS + 1, 2 * _CROSS)
    return f'<path class="cross" d="{"".join([f"M{n} 7l{_CROSS} 10m0 -10l-{_CROSS} 10" for n in places])}"/>'


def _remark(row: Mapping[str, Any]) -> str:
    return "".join([f"<small><bdi>{safe(text)}</bdi></small>" for text in remarks(row, _REMARK)])


def _records(row: Mapping[str, Any]) -> str:
    if row["records_succeeded"] is None:
        return ""
    failed = f", {number(row['records_failed'])} failed" if row["records_failed"] else ""
    return number(row["records_succeeded"]) + failed


def _log(url: str | None) -> str:
    """Return the link to Airflow's log."""
    href = log_address(url)
    return f'<a href="{safe(href)}"{IN_AIRFLOW}>log</a>' if href else ""
