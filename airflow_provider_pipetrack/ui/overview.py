"""The overview, and the lists of runs, transfers and what needs attention."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from airflow_provider_pipetrack.ui import catalog
from airflow_provider_pipetrack.ui.acceptance import AcceptedBy, acceptances
from airflow_provider_pipetrack.ui.asking import Asker, asker_of
from airflow_provider_pipetrack.ui.configured import Next, next_run
from airflow_provider_pipetrack.ui.filters import PIPELINE_STATES, STATUSES, TRANSFER_STATES
from airflow_provider_pipetrack.ui.paths import link, run_link
from airflow_provider_pipetrack.ui.tables import Added, Beside, Context, Mark, Orders, Row, Table
from airflow_provider_pipetrack.ui.views import view
from airflow_provider_pipetrack.ui.words import State, exact, location_state, run_state

router = APIRouter()

#: The first four filters of a list are always shown.
_LIST = ("search", "pipeline_id", "status", "owner", "task_id", "audit_result", "stage", "target", "since", "until",
         "dag_id", "run_id")  # fmt: skip
_FEW = replace(catalog.ATTENTION, size=8)
#: Pipelines whose last runs are asked for at once: the answer has a thousand runs at most, ten of each.
_ASKED_AT_ONCE = 100


@router.get("/", name="overview")
def overview(request: Request, asker: Asker = Depends(asker_of)) -> Response:
    """Answer whether anything is wrong right now, and whose it is."""
    shown = view(request, asker, ("search", "owner", "status"), PIPELINE_STATES)
    troubled = shown.without("status")
    values = shown.filters.values
    if "status" in values:
        values["shown_state"] = values.pop("status")
    orders = _orders(asker)
    export = shown.export(catalog.PIPELINES, orders=orders) or troubled.export(_FEW)
    if export is not None:
        return export
    attention = troubled.show(_FEW)
    pipelines = shown.show(catalog.PIPELINES, partial(_beside, asker), orders)
    return shown.page(
        "overview.html",
        pipelines=pipelines,
        attention=attention,
        all_attention=link(shown.root, "attention", **troubled.filters.texts),
        health=asker.health(),
        location_state=location_state,
        counts=_counts(asker, pipelines.records, pipelines.total, filtered=bool(shown.asked)),
    )


@router.get("/runs")
def runs(request: Request, asker: Asker = Depends(asker_of)) -> Response:
    """All runs."""
    return _list(request, asker, catalog.RUNS, ("search", "pipeline_id", "status", "since", "until", "owner", "dag_id"))


@router.get("/transfers")
def transfers(request: Request, asker: Asker = Depends(asker_of)) -> Response:
    """All transfers, each by its latest attempt in each run."""
    beside = partial(_pools, asker)
    return _list(request, asker, catalog.TRANSFERS, _LIST, TRANSFER_STATES, beside, include_not_run=True)


@router.get("/attention")
def attention(request: Request, asker: Asker = Depends(asker_of)) -> Response:
    """Everything that needs attention."""
    names = ("search", "pipeline_id", "reason", "owner", "since", "until", "include_recovered", "dag_id", "run_id")
    return _list(request, asker, catalog.ATTENTION, names)


@router.get("/audits")
def audits(request: Request, asker: Asker = Depends(asker_of)) -> Response:
    """What was checked, with what result, and who accepted what."""
    names = ("search", "pipeline_id", "audit_result", "owner", "task_id", "stage", "since", "until", "dag_id", "run_id")
    return _list(request, asker, catalog.AUDITS, names, beside=partial(_accepted, asker), added=AcceptedBy(asker))


def _list(
    request: Request,
    asker: Asker,
    table: Table,
    names: Sequence[str],
    states: Sequence[str] = STATUSES,
    beside: Beside | None = None,
    added: Added | None = None,
    **fixed: Any,
) -> Response:
    shown = view(request, asker, names, states, **fixed)
    return shown.export(table, added=added) or shown.page("list.html", shown=shown.show(table, beside), names=names)


def _accepted(asker: Asker, context: Context, rows: Sequence[Row]) -> Context:
    return replace(context, accepted=acceptances(asker, rows))


def _pools(asker: Asker, context: Context, rows: Sequence[Row]) -> Context:
    return replace(context, configured=asker.configured(rows))


def _beside(asker: Asker, context: Context, rows: Sequence[Row]) -> Context:
    """Give the last runs of the pipelines on the page, and when they run next."""
    nexts = zip(map(_pair, rows), _nexts(asker, rows), strict=True)
    known = {pair: following for pair, following in nexts if following is not None}
    return replace(context, strips=_strips(asker, context.root, rows), nexts=known)


def _orders(asker: Asker) -> Orders:
    """Return how pipelines are sorted by what is not in their records; there are no more than somebody has written."""

    def failures(rows: Sequence[Row]) -> Sequence[int]:
        failed = Counter(map(_pair, _last_runs(asker, rows, status="failed")))
        return [failed[_pair(row)] for row in rows]

    def moments(rows: Sequence[Row]) -> Sequence[datetime | None]:
        return [following.moment if following else None for following in _nexts(asker, rows)]

    return {"failures": failures, "next_run_at": moments}


def _nexts(asker: Asker, rows: Sequence[Row]) -> list[Next | None]:
    """Return for each pipeline when it runs next."""
    configured = asker.configured(rows)
    return [next_run(configured.get(row["config_hash"]), row["began_at"], asker.now) for row in rows]


def _strips(asker: Asker, root: str, rows: Sequence[Row]) -> dict[tuple[str, str], list[Mark]]:
    """Return the last runs of pipelines, the oldest first."""
    strips: dict[tuple[str, str], list[Mark]] = {}
    for row in _last_runs(asker, rows):
        state = run_state(row)
        mark = Mark(run_link(root, row), state, f"{state.word}, began {exact(row['began_at'])}")
        strips.setdefault(_pair(row), []).insert(0, mark)
    return strips


def _last_runs(asker: Asker, rows: Sequence[Row], **filters: str) -> Iterator[Row]:
    """Yield the last ten runs of each of some pipelines, the newest first; of these those that fit."""
    names = sorted({row["pipeline_id"] for row in rows})
    for first in range(0, len(names), _ASKED_AT_ONCE):
        some = names[first : first + _ASKED_AT_ONCE]
        yield from asker.ask("last_runs", pipeline_ids=some, limit=None, **filters).rows


def _pair(row: Row) -> tuple[str, str]:
    return row["pipeline_id"], row["dag_id"]


def _counts(asker: Asker, rows: Sequence[Row], total: int, *, filtered: bool) -> list[tuple[State, int, str]]:
    """Return how many pipelines are in which state, with the word that filters by it."""
    if filtered or len(rows) < total:
        rows = asker.ask("pipelines", limit=None).rows
    states = {row["shown_state"]: run_state(row) for row in rows}
    counted = Counter(row["shown_state"] for row in rows)
    return [(states[word], count, word) for word, count in counted.most_common()]
