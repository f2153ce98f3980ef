"""Rows of tables as HTML: a page has many cells, and a template takes ten times as long for each."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from airflow_provider_pipetrack.ui.tables import Cell, Head, Mark, Shown
from airflow_provider_pipetrack.ui.words import State, exact

#: Signs of a whole text that a browser shows beside a cut one.
_LONGEST_TITLE = 2000
_SHORT, _LONG = 50, 30
#: What a text must not bring into a page as it is.
_AWKWARD = re.compile("[&<>\"']")


def safe(text: str) -> str:
    """Return a text, escaped; most texts need no change, and to find that out is much faster than to escape them."""
    return text if _AWKWARD.search(text) is None else str(escape(text))


def table_rows(shown: Shown) -> Markup:
    """Return all rows of a table; every text is escaped."""
    openings = [f'<td data-title="{safe(head.title)}" class="{_side(head)}' for head in shown.heads]
    rows = []
    for key, cells in zip(shown.keys, shown.rows, strict=True):
        written = "".join([_cell(cell, opening) for cell, opening in zip(cells, openings, strict=True)])
        rows.append(f'<tr data-key="{key}">{written}</tr>')
    return Markup("\n".join(rows))


def shape(state: State) -> Markup:
    """Return a state's sign in its colour."""
    return Markup(sign(state))


def sign(state: State) -> str:
    """Return a state's sign in its colour, as text; see :func:`shape`."""
    return f'<span class="shape {safe(state.colour)}" aria-hidden="true">{safe(state.shape)}</span>'


def _side(head: Head) -> str:
    return "numeric" if head.numeric else ""


def _cell(cell: Cell, opening: str) -> str:
    """Return a cell.

    :param opening: its tag, up to the end of the class that its head gives.
    """
    text = cell.text
    if not (text or cell.marks or cell.state):
        return f'{opening} blank"></td>'
    width = ""
    if len(text) < _SHORT and (cell.state or cell.href):
        width = "whole"
    elif len(text) > _LONG:
        width = "long"
    content = _strip(cell) if cell.marks else _content(cell)
    if cell.href and not cell.marks:
        content = f'<a href="{safe(cell.href)}">{content}</a>'
    return f'{opening}"><span class="{width}">{content}</span></td>'


def _content(cell: Cell) -> str:
    mark = sign(cell.state) if cell.state else ""
    text = safe(cell.text)
    if cell.moment:
        return f'{mark}<time datetime="{cell.moment.isoformat()}" title="{exact(cell.moment)}">{text}</time>'
    if not cell.full or cell.full == cell.text:
        return f"{mark}<bdi>{text}</bdi>"
    if cell.href:
        return f'{mark}<bdi title="{safe(cell.full[:_LONGEST_TITLE])}">{text}</bdi>'
    whole = safe(cell.full)
    return f'{mark}<details class="more"><summary><bdi>{text}</bdi></summary><pre>{whole}</pre></details>'


def _strip(cell: Cell) -> str:
    return f'<ul class="strip">{"".join(map(_mark, cell.marks))}</ul>'


def _mark(mark: Mark) -> str:
    label = safe(mark.label)
    return (
        f'<li><a href="{safe(mark.href)}" title="{label}"><span class="mark {safe(mark.state.colour)}" '
        f'aria-hidden="true">{safe(mark.state.shape)}</span><span class="unseen">{label}</span></a></li>'
    )
