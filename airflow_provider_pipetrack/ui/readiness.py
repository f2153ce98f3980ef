"""May I use a stage for a date? The page, and how it is asked with a reader's rights."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from airflow_provider_pipetrack.tracking.readiness import Readiness, is_ready
from airflow_provider_pipetrack.ui import catalog
from airflow_provider_pipetrack.ui.asking import Asker, asker_of
from airflow_provider_pipetrack.ui.paths import link
from airflow_provider_pipetrack.ui.views import view
from airflow_provider_pipetrack.ui.words import readiness_state

router = APIRouter()

_FILTERS = ("stage", "pipeline_id", "date", "state", "since", "until")
#: Pipelines that the page answers for; a stage that more of them fill is asked about with its pipeline.
MOST_ANSWERS = 50
#: Runs that are looked through, the newest, for a stage that no pipeline filled in its last run.
LOOKED_THROUGH = 1000
#: Stages that are offered to choose from.
_MOST_STAGES = 500


@router.get("/ready")
def ready(request: Request, asker: Asker = Depends(asker_of)) -> Response:
    """Answer whether a stage can be used for a date."""
    shown = view(request, asker, _FILTERS)
    values = shown.filters.values
    day = values.pop("date", None)
    if day is not None:
        values.update(since=day, until=day + timedelta(days=1))
    if "state" in values:
        values["status"] = values.pop("state")
    stage = values.get("stage")
    names = _filling(asker, stage, values.get("pipeline_id")) if stage else []
    if names:
        values["pipeline_ids"] = names
    export = shown.export(catalog.READINESS)
    if export is not None:
        return export
    day_text = day.date().isoformat() if day else None
    return shown.page(
        "ready.html",
        stage=stage,
        day=day_text,
        answers=_answers(asker, stage, names[:MOST_ANSWERS], day_text) if stage else [],
        looked_through=LOOKED_THROUGH,
        left_out=max(len(names) - MOST_ANSWERS, 0),
        readiness_state=readiness_state,
        answer_link=lambda answer: _answer_link(shown.root, answer),
        shown=shown.show(catalog.READINESS),
        names=_FILTERS,
        stages=_stages(asker),
    )


def readiness(asker: Asker, stage: str, pipeline_id: str | None, date: str | None) -> list[Readiness]:
    """Return whether a stage is ready, for each pipeline that fills it.

    :param stage: text of the stage, as transfers name their target.
    :param pipeline_id: the only pipeline that is asked about; all that fill the stage when None.
    :param date: a day or a moment; the newest run of each pipeline when None.
    :raises PipetrackError: when ``date`` is neither.
    """
    return _answers(asker, stage, _filling(asker, stage, pipeline_id), date)


def _answers(asker: Asker, stage: str, names: Sequence[str], date: str | None) -> list[Readiness]:
    answers = [asker.bounded(lambda name=name: _one(asker, stage, name, date)) for name in names]  # type: ignore[misc]
    found = [answer for answer in answers if answer is not None]
    for answer in found:
        asker.unreachable.update(answer.unreachable)
    return found


def _filling(asker: Asker, stage: str, pipeline_id: str | None) -> list[str]:
    """Return the pipelines that fill a stage: the one that is asked about, or all that did so in their last run.

    A stage whose text changes with the date, or that is filled no more, is looked for in runs before that.
    """
    if pipeline_id:
        return [pipeline_id]
    rows = asker.ask("stages", stage=stage, limit=None).rows
    rows = rows or asker.ask("readiness", stage=stage, newest=LOOKED_THROUGH, limit=None).rows
    return list(dict.fromkeys(row["pipeline_id"] for row in rows))


def _stages(asker: Asker) -> list[str]:
    rows = asker.ask("stages", limit=_MOST_STAGES).rows
    return sorted({row["stage"] for row in rows})


def _one(asker: Asker, stage: str, pipeline_id: str, date: str | None) -> Readiness:
    return is_ready(pipeline_id, stage, date, questions=asker.questions, dag_ids=asker.reader.dag_ids)


def _answer_link(root: str, answer: Readiness) -> str | None:
    """Return the link to the run that an answer rests on."""
    if answer.run_id is None:
        return None
    other: Any = None if answer.dag_id == answer.pipeline_id else answer.dag_id
    return link(root, "p", answer.pipeline_id, "r", answer.run_id, dag_id=other)
