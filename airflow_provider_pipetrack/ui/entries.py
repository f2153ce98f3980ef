"""Doors from Airflow's own pages: a Dag, a run or a task there leads to its pipeline, run or transfer here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from airflow_provider_pipetrack.config.checks import AUDIT_SUFFIX
from airflow_provider_pipetrack.ui.asking import Asker, asker_of
from airflow_provider_pipetrack.ui.paths import pipeline_link, run_link, transfer_link
from airflow_provider_pipetrack.ui.views import View, view

router = APIRouter()


@router.get("/dag")
def dag(request: Request, asker: Asker = Depends(asker_of)) -> Response:
    """The pipeline of a Dag."""
    shown = view(request, asker, ("dag_id",))
    return _open(shown, "pipelines", "Dag", lambda row: pipeline_link(shown.root, row))


@router.get("/dag_run")
def dag_run(request: Request, asker: Asker = Depends(asker_of)) -> Response:
    """The run of a Dag run."""
    shown = view(request, asker, ("dag_id", "run_id"))
    which = {name: value for name, value in shown.filters.values.items() if name == "run_id"}
    # A mapped transfer of one pipeline may have more records than are looked at; each pipeline is a single row.
    return _open(shown, "pipelines", "run", lambda row: run_link(shown.root, {**row, **which}))


@router.get("/task")
def task(request: Request, asker: Asker = Depends(asker_of)) -> Response:
    """The transfer of a task instance; an audit's task leads to what it audits."""
    shown = view(request, asker, ("dag_id", "run_id", "task_id", "map_index"))
    values = shown.filters.values
    index = values.get("map_index", -1)
    where = {"run_id": values.get("run_id"), "map_index": None if index == -1 else index}
    values.pop("map_index", None)
    values["task_id"] = values.get("task_id", "").removesuffix(AUDIT_SUFFIX)
    return _open(shown, "transfers", "task", lambda row: transfer_link(shown.root, row, **where), include_not_run=True)


def _open(shown: View, question: str, what: str, href: Callable[[Any], str], **more: Any) -> Response:
    """Go to the page of the only pipeline there is, or let the reader choose."""
    values = shown.filters.values
    rows = shown.asker.ask(question, **{"dag_id": "", **values}, **more, limit=200).rows if "dag_id" in values else []
    pages = {row["pipeline_id"]: href(row) for row in rows}
    if len(pages) == 1:
        return RedirectResponse(next(iter(pages.values())), 302, {"Cache-Control": "no-store"})
    # Airflow has written the address, and leaves the index of a task that is not mapped open: nobody is to mend it.
    shown.filters = replace(shown.filters, ignored=())
    return shown.page("entry.html", what=what, pages=pages)
