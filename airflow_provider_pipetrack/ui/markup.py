"""Cells of tables as HTML: a page has many of them, and a template takes ten times as long for each."""

from __future__ import annotations

from markupsafe import Markup, escape

from airflow_provider_pipetrack.ui.tables import Cell, Head, Mark
from airflow_provider_pipetrack.ui.words import State, exact

#: Signs of a whole text that a browser shows beside a cut one.
_LONGEST_TITLE = 2000
_SHORT, _LONG = 50, 30


def table_cell(cell: Cell, head: Head) -> Markup:
    """Return a cell of a table under its head; every text is escaped."""
    side = "numeric" if head.numeric else ""
    if not (cell.text or cell.marks or cell.state):
        return Markup('<td data-title="{}" class="{} blank"></td>').format(head.title, side)
    width = ""
    if len(cell.text) < _SHORT and (cell.state or cell.href):
        width = "whole"
    elif len(cell.text) > _LONG:
        width = "long"
    content = _strip(cell) if cell.marks else _content(cell)
    if cell.href and not cell.marks:
        content = f'<a href="{escape(cell.href)}">{content}</a>'
    return Markup(f'<td data-title="{escape(head.title)}" class="{side}"><span class="{width}">{content}</span></td>')


def shape(state: State) -> Markup:
    """Return a state's sign in its colour."""
    return Markup(f'<span class="shape {escape(state.colour)}" aria-hidden="true">{escape(state.shape)}</span>')


def _content(cell: Cell) -> str:
    sign = shape(cell.state) if cell.state else ""
    text = escape(cell.text)
    if cell.moment:
        moment = f'<time datetime="{cell.moment.isoformat()}" title="{exact(cell.moment)}">{text}</time>'
        return f"{sign}{moment}"
    if not cell.full or cell.full == cell.text:
        return f"{sign}<bdi>{text}</bdi>"
    if cell.href:
        return f'{sign}<bdi title="{escape(cell.full[:_LONGEST_TITLE])}">{text}</bdi>'
    whole = escape(cell.full)
    return f'{sign}<details class="more"><summary><bdi>{text}</bdi></summary><pre>{whole}</pre></details>'


def _strip(cell: Cell) -> str:
    return f'<ul class="strip">{"".join(map(_mark, cell.marks))}</ul>'


def _mark(mark: Mark) -> str:
    label, sign = escape(mark.label), escape(mark.state.shape)
    return (
        f'<li><a href="{escape(mark.href)}" title="{label}"><span class="mark {escape(mark.state.colour)}" '
        f'aria-hidden="true">{sign}</span><span class="unseen">{label}</span></a></li>'
    )
