"""The page of one pipeline: how it has done lately, and where it hurts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from airflow_provider_pipetrack.records.queries import QUESTIONS
from airflow_provider_pipetrack.ui import catalog
from airflow_provider_pipetrack.ui.asking import Asker, asker_of
from airflow_provider_pipetrack.ui.configured import Next, next_run
from airflow_provider_pipetrack.ui.paths import from_segment, link
from airflow_provider_pipetrack.ui.stage_graph import stage_graph
from airflow_provider_pipetrack.ui.tables import Row, Shown
from airflow_provider_pipetrack.ui.views import View, view

router = APIRouter()

_FILTERS = ("dag_id", "status", "since", "until")
#: Records of the last run that are looked at for the picture; a mapped transfer has many.
_MOST_RECORDS = 1000
#: Where there are more, these are looked at, too: some of each transfer, and what makes one look worse than another.
_STANDING_FOR_ALL: Sequence[Mapping[str, Any]] = (
    {"map_index": -1},
    {"map_index": 0},
    {"status": "failed"},
    {"audit_result": "stopped"},
    {"status": "in_progress"},
    {"status": "waiting"},
)
#: Days back from today, and the newest records of them, in which it is looked for what hurts, where the reader has
#: chosen no time.
LATELY, _MOST_LOOKED_AT = 30, 50_000
_RUNS = replace(
    catalog.RUNS, size=20, columns=[column for column in catalog.RUNS.columns if column.title != "Pipeline"]
)


@router.get("/p/{pipeline}")
def pipeline(request: Request, pipeline: str, asker: Asker = Depends(asker_of)) -> Response:
    """One pipeline."""
    pipeline_id = from_segment(pipeline)
    shown = view(request, asker, _FILTERS, pipeline_id=pipeline_id)
    # Where it hurts is asked of all runs; a state would hide what failed on the way to it.
    hurts = _lately(shown.without("status"))
    export = shown.export(_RUNS) or hurts.export(catalog.FLAKY, catalog.SLOW)
    if export is not None:
        return export
    dag_id = shown.filters.values.get("dag_id")
    current = asker.ask("pipelines", pipeline_id=pipeline_id, dag_id=dag_id).rows
    flaky, slow = hurts.show(catalog.FLAKY), hurts.show(catalog.SLOW)
    return shown.page(
        "pipeline.html",
        status=200 if current or asker.unreachable else 404,
        pipeline_id=pipeline_id,
        dag_id=dag_id,
        current=current,
        graph=_graph(asker, current[0]) if current else None,
        runs=shown.show(_RUNS),
        flaky=flaky,
        slow=slow,
        flakiest=_worst(hurts, flaky),
        slowest=_worst(hurts, slow),
        window=hurts.window,
        days=LATELY if "since" in hurts.about else None,
        looked_at=_MOST_LOOKED_AT,
        link=link,
        following=_following(asker, current),
    )


def _lately(shown: View) -> View:
    """Return a view of the last days only, unless the reader has chosen a time."""
    if {"since", "until"} & shown.filters.values.keys():
        return shown
    today = shown.asker.now.replace(hour=0, minute=0, second=0, microsecond=0)
    lately = {"since": today - timedelta(days=LATELY), "newest_records": _MOST_LOOKED_AT}
    return replace(shown, about={**shown.about, **lately})


def _worst(hurts: View, shown: Shown) -> Row | None:
    """Return what stands first in a table in its own order, whatever order and page of it are shown."""
    if shown.total > len(shown.records):
        return next(iter(hurts.first(shown.table)), None)
    name, _ = QUESTIONS[shown.table.question].order
    return max(shown.records, key=lambda row: row[name], default=None)


def _following(asker: Asker, rows: Sequence[Row]) -> Callable[[Row], Next | None]:
    """Return what says when a pipeline runs next."""
    configured = asker.configured(rows)
    return lambda row: next_run(configured.get(row["config_hash"]), row["began_at"], asker.now)


def _graph(asker: Asker, last: Row) -> Any:
    of_run = {name: last[name] for name in ("pipeline_id", "dag_id", "run_id")}
    asked = {**of_run, "include_not_run": True, "limit": _MOST_RECORDS}
    first = asker.ask("transfers", **asked, order_by="transfer_order_number")
    rows = first.rows
    if first.total > len(rows):
        rows = [*rows, *(row for some in _STANDING_FOR_ALL for row in asker.ask("transfers", **asked, **some).rows)]
    return stage_graph(rows, asker.now) if rows else None
