"""The page about the tracking itself: which locations answer, what waits, and what is kept when something dies."""

from __future__ import annotations

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.notifications.outbox import Outbox
from airflow_provider_pipetrack.tracking.waiting import undelivered_changes
from airflow_provider_pipetrack.ui import catalog
from airflow_provider_pipetrack.ui.asking import Asker, asker_of
from airflow_provider_pipetrack.ui.at_hand import AtHand
from airflow_provider_pipetrack.ui.views import view
from airflow_provider_pipetrack.ui.words import location_state

router = APIRouter()

_FILTERS = ("search", "host", "pipeline_id", "task_id", "run_id", "dag_id")
#: Dead letters that the page names.
_MOST_LETTERS = 100


@router.get("/health")
def health(request: Request, asker: Asker = Depends(asker_of)) -> Response:
    """Answer whether the tracking itself is well."""
    require_health(asker)
    found = asker.health()
    return view(request, asker).page(
        "health.html",
        health=found,
        alerts=Outbox(settings.alerts_dir()).standing(),
        modes=[store.mode for store in asker.questions.stores],
        left_out=asker.questions.left_out,
        location_state=location_state,
        most_letters=_MOST_LETTERS,
    )


@router.get("/undelivered")
def undelivered(request: Request, asker: Asker = Depends(asker_of)) -> Response:
    """Which changes wait, here and on hosts that share the journal folder, of Dags that the reader may read."""
    require_health(asker)
    shown = view(request, asker, _FILTERS)
    changes = asker.bounded(lambda: undelivered_changes(asker.questions.store.journal_folder)) or []
    found = AtHand([change for change in changes if change["dag_id"] in asker.reader.dag_ids])
    return shown.export(catalog.UNDELIVERED, source=found) or shown.page(
        "undelivered.html",
        shown=shown.show(catalog.UNDELIVERED, source=found),
        names=_FILTERS,
        hidden=len(changes) - len(found.rows),
    )


def require_health(asker: Asker) -> None:
    """Refuse a reader who may not see how Airflow is doing.

    :raises HTTPException: 403.
    """
    if not asker.reader.sees_health:
        raise HTTPException(403, "Only people who may see how Airflow is doing may see how its tracking is.")
