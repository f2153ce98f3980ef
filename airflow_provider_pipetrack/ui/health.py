"""The page about the tracking itself: which locations answer, what waits, and what is kept when something dies."""

from __future__ import annotations

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.notifications.outbox import Outbox
from airflow_provider_pipetrack.ui.asking import Asker, asker_of
from airflow_provider_pipetrack.ui.views import view
from airflow_provider_pipetrack.ui.words import location_state

router = APIRouter()

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


def require_health(asker: Asker) -> None:
    """Refuse a reader who may not see how Airflow is doing.

    :raises HTTPException: 403.
    """
    if not asker.reader.sees_health:
        raise HTTPException(403, "Only people who may see how Airflow is doing may see how its tracking is.")
