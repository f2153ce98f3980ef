"""The page of one pipeline: how it has done lately, and where it hurts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from airflow_provider_pipetrack.ui import catalog
from airflow_provider_pipetrack.ui.asking import Asker, asker_of
from airflow_provider_pipetrack.ui.configured import Next, next_run
from airflow_provider_pipetrack.ui.paths import from_segment, link
from airflow_provider_pipetrack.ui.stage_graph import stage_graph
from airflow_provider_pipetrack.ui.tables import Row
from airflow_provider_pipetrack.ui.views import view

router = APIRouter()

_FILTERS = ("dag_id", "status", "since", "until")
#: Records of the last run that are looked at for the picture; a mapped transfer has many.
_MOST_RECORDS = 1000
_RUNS = replace(
    catalog.RUNS, size=20, columns=[column for column in catalog.RUNS.columns if column.title != "Pipeline"]
)


@router.get("/p/{pipeline}")
def pipeline(request: Request, pipeline: str, asker: Asker = Depends(asker_of)) -> Response:
    """One pipeline."""
    pipeline_id = from_segment(pipeline)
    shown = view(request, asker, _FILTERS, pipeline_id=pipeline_id)
    # Where it hurts is asked of all runs; a state would hide what failed on the way to it.
    hurts = shown.without("status")
    export = shown.export(_RUNS) or hurts.export(catalog.FLAKY, catalog.SLOW)
    if export is not None:
        return export
    dag_id = shown.filters.values.get("dag_id")
    current = asker.ask("pipelines", pipeline_id=pipeline_id, dag_id=dag_id).rows
    runs = shown.show(_RUNS)
    return shown.page(
        "pipeline.html",
        status=200 if current or asker.unreachable else 404,
        pipeline_id=pipeline_id,
        dag_id=dag_id,
        current=current,
        graph=_graph(asker, current[0]) if current else None,
        runs=runs,
        flaky=hurts.show(catalog.FLAKY),
        slow=hurts.show(catalog.SLOW),
        link=link,
        following=_following(asker, current),
    )


def _following(asker: Asker, rows: Sequence[Row]) -> Callable[[Row], Next | None]:
    """Return what says when a pipeline runs next."""
    configured = asker.configured(rows)
    return lambda row: next_run(configured.get(row["config_hash"]), row["began_at"], asker.now)


def _graph(asker: Asker, last: Any) -> Any:
    found = asker.ask(
        "transfers",
        pipeline_id=last["pipeline_id"],
        dag_id=last["dag_id"],
        run_id=last["run_id"],
        include_not_run=True,
        limit=_MOST_RECORDS,
        order_by="transfer_order_number",
    )
    return stage_graph(found.rows, asker.now) if found.rows else None
