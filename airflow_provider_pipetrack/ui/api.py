"""The JSON API under ``/pipetrack/api/v1/``: the same questions and the same rights as the pages, for programs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.notifications.outbox import Outbox
from airflow_provider_pipetrack.ui import answers
from airflow_provider_pipetrack.ui.asking import Asker, asker_of
from airflow_provider_pipetrack.ui.configured import with_next_runs
from airflow_provider_pipetrack.ui.health import require_health
from airflow_provider_pipetrack.ui.parameters import AskedPipelines, AskedReadiness, AskedRuns, AskedTransfers
from airflow_provider_pipetrack.ui.readiness import readiness as ask_readiness

router = APIRouter(prefix="/api/v1")

_Asker = Annotated[Asker, Depends(asker_of)]


@router.get("/pipelines")
def pipelines(asker: _Asker, asked: Annotated[AskedPipelines, Query()]) -> answers.Pipelines:
    """One row for each pipeline and Dag: how its last run stands, and when it runs next."""
    found = _page(asker, "pipelines", asked, asked.filters())
    rows = with_next_runs(found["rows"], asker.configured(found["rows"]), asker.now)
    return answers.Pipelines(**{**found, "rows": rows})


@router.get("/runs")
def runs(asker: _Asker, asked: Annotated[AskedRuns, Query()]) -> answers.Runs:
    """One row for each Dag run: how it stands, and what failed in it."""
    return answers.Runs(**_page(asker, "runs", asked, asked.filters()))


@router.get("/transfers")
def transfers(asker: _Asker, asked: Annotated[AskedTransfers, Query()]) -> answers.Transfers:
    """One row for each transfer, run and map index: the tracking record of its latest attempt."""
    filters = asked.filters()
    if filters.pop("every_attempt"):
        return answers.Transfers(**_page(asker, "attempts", asked, filters))
    return answers.Transfers(**_page(asker, "transfers", asked, {**filters, "include_not_run": True}))


@router.get("/readiness")
def readiness(asker: _Asker, asked: Annotated[AskedReadiness, Query()]) -> answers.ReadinessAnswer:
    """Whether a stage is ready for a date, for each pipeline that fills it."""
    found = ask_readiness(asker, asked.stage, asked.pipeline_id, asked.date)
    return answers.ReadinessAnswer(
        stage=asked.stage,
        date=asked.date,
        ready=bool(found) and all(answer.ready for answer in found) and not asker.unreachable,
        pipelines=[answers.ReadyPipeline.model_validate(answer, from_attributes=True) for answer in found],
        unreachable=asker.unreachable,
    )


@router.get("/health")
def health(asker: _Asker) -> answers.HealthAnswer:
    """How the tracking itself is."""
    require_health(asker)
    found = asker.health()
    if found is None:
        raise HTTPException(503, f"The tracking did not say within {asker.limit:g} s how it is.")
    alerts = Outbox(settings.alerts_dir()).standing()
    known = {**vars(found), "alerts": alerts, "is_well": found.is_well and alerts.is_well}
    return answers.HealthAnswer.model_validate(known, from_attributes=True)


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> dict[str, Any]:
    """Describe this API."""
    described: dict[str, Any] = request.app.openapi()
    return described


def _page(
    asker: Asker, question: str, asked: AskedPipelines | AskedRuns | AskedTransfers, filters: dict[str, Any]
) -> dict[str, Any]:
    page = {"limit": asked.limit, "offset": asked.offset}
    answer = asker.ask(question, **filters, **page, order_by=asked.order_by, descending=asked.descending)
    known = {"rows": answer.rows, "total": answer.total, "sources": answer.sources, "bounds": answer.bounds}
    return {**known, **page, "unreachable": asker.unreachable}
