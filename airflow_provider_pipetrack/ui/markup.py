"""Rows of tables, points of charts and boxes of graphs as HTML: a template takes ten times as long for each."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from airflow_provider_pipetrack.ui.duration_chart import Chart, Point
from airflow_provider_pipetrack.ui.paths import run_link, transfer_link
from airflow_provider_pipetrack.ui.stage_graph import Box, Graph
from airflow_provider_pipetrack.ui.tables import Cell, Head, Mark, Part, Shown
from airflow_provider_pipetrack.ui.words import PARTIAL, State, exact

#: Signs of a whole text that a browser shows beside a cut one.
_LONGEST_TITLE = 2000
_SHORT, _LONG = 50, 30
#: What a link has that leads to a page of Airflow's own.
IN_AIRFLOW = ' data-airflow rel="noopener"'
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


def chart_points(chart: Chart, root: str) -> Markup:
    """Return the points of a chart as SVG, each leading to its run."""
    return Markup("".join([_point(point, run_link(root, point.row)) for point in chart.points]))


def graph_boxes(graph: Graph, root: str) -> Markup:
    """Return the boxes of a graph as SVG, each transfer leading to its page."""
    return Markup("".join([_box(box, root) for box in graph.boxes]))


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
    if len(text) < _SHORT and (cell.state or cell.href or cell.parts):
        width = "whole"
    elif len(text) > _LONG:
        width = "long"
    content = _strip(cell) if cell.marks else _content(cell)
    if cell.href and not cell.marks:
        content = f'<a href="{safe(cell.href)}"{IN_AIRFLOW if cell.in_airflow else ""}>{content}</a>'
    return f'{opening}"><span class="{width}">{content}</span></td>'


def _content(cell: Cell) -> str:
    mark = sign(cell.state) if cell.state else ""
    if cell.parts:
        return mark + "".join(map(_part, cell.parts))
    text = safe(cell.text)
    if cell.moment:
        return f'{mark}<time datetime="{cell.moment.isoformat()}" title="{exact(cell.moment)}">{text}</time>'
    if not cell.full or cell.full == cell.text:
        return f"{mark}<bdi>{text}</bdi>"
    if cell.href:
        return f'{mark}<bdi title="{safe(cell.full[:_LONGEST_TITLE])}">{text}</bdi>'
    whole = safe(cell.full)
    return f'{mark}<details class="more"><summary><bdi>{text}</bdi></summary><pre>{whole}</pre></details>'


def _part(part: Part) -> str:
    text = safe(part.text)
    return text if part.href is None else f'<a href="{safe(part.href)}">{text}</a>'


def _strip(cell: Cell) -> str:
    return f'<ul class="strip">{"".join(map(_mark, cell.marks))}</ul>'


def _mark(mark: Mark) -> str:
    label = safe(mark.label)
    return (
        f'<li><a href="{safe(mark.href)}" title="{label}"><span class="mark {safe(mark.state.colour)}" '
        f'aria-hidden="true">{safe(mark.state.shape)}</span><span class="unseen">{label}</span></a></li>'
    )


def _point(point: Point, href: str) -> str:
    label, colour, x, y = safe(point.label), safe(point.state.colour), point.x, point.y
    if colour == "failed":
        drawn = f'<path class="point failed" d="M{x - 4:g} {y - 4:g}l8 8m0-8l-8 8"/>'
    else:
        hollow = " hollow" if point.state is PARTIAL else ""
        drawn = f'<circle class="point {colour}{hollow}" cx="{x}" cy="{y}" r="4"/>'
    return f'<a href="{safe(href)}" aria-label="{label}"><title>{label}</title>{drawn}</a>'


def _box(box: Box, root: str) -> str:
    title = f"<title>{safe(box.full)}</title>"
    size = f'y="{box.y}" height="{box.height}"'
    if box.row is None or box.state is None:
        middle = f'x="{box.x + box.width / 2}" y="{box.y + 28}"'
        return (
            f'<g>{title}<rect class="stage" x="{box.x}" width="{box.width}" {size} rx="23"/>'
            f'<text class="name" text-anchor="middle" {middle}>{safe(box.text)}</text></g>'
        )
    href, text_x = safe(transfer_link(root, box.row, run_id=box.row["run_id"])), box.x + 14
    return (
        f'<a href="{href}" aria-label="{safe(box.full)}">{title}'
        f'<rect class="transfer" x="{box.x}" width="{box.width}" {size} rx="6"/>'
        f'<rect class="side {safe(box.state.colour)}" x="{box.x}" width="5" {size}/>'
        f'<text class="name" x="{text_x}" y="{box.y + 19}">{safe(box.text)}</text>'
        f'<text class="note" x="{text_x}" y="{box.y + 36}">{safe(box.state.shape)} {safe(box.note)}</text></a>'
    )
