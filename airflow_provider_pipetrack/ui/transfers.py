"""The page of one transfer: whether it is slow, flaky or drifting, and what estimate it should have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from airflow_provider_pipetrack.records.openness import is_audited, is_open
from airflow_provider_pipetrack.ui import catalog
from airflow_provider_pipetrack.ui.acceptance import acceptances
from airflow_provider_pipetrack.ui.asking import Asker, asker_of
from airflow_provider_pipetrack.ui.configured import Configured
from airflow_provider_pipetrack.ui.duration_chart import MOST_POINTS, duration_chart
from airflow_provider_pipetrack.ui.filters import ATTEMPT_STATES
from airflow_provider_pipetrack.ui.paths import attempts_of, from_segment, run_link
from airflow_provider_pipetrack.ui.tables import row_key
from airflow_provider_pipetrack.ui.trend import drift, flakiness
from airflow_provider_pipetrack.ui.views import view
from airflow_provider_pipetrack.ui.words import audit_state, state_of

router = APIRouter()

_FILTERS = ("dag_id", "run_id", "map_index", "status", "since", "until")
#: Attempts that are shown with all they have, when the page is about one run.
_MOST_DETAILS = 20
_ATTEMPTS = replace(catalog.ATTEMPTS, size=25)


@router.get("/p/{pipeline}/t/{transfer}")
def transfer(request: Request, pipeline: str, transfer: str, asker: Asker = Depends(asker_of)) -> Response:
    """One transfer."""
    pipeline_id, task_id = from_segment(pipeline), from_segment(transfer)
    shown = view(request, asker, _FILTERS, ATTEMPT_STATES, pipeline_id=pipeline_id, task_id=task_id)
    export = shown.export(_ATTEMPTS)
    if export is not None:
        return export
    values = shown.filters.values
    # The chart and the estimate are about the transfer, whatever run was clicked on.
    whole = {**shown.about, "dag_id": values.get("dag_id")}
    # A state or a time is what the list is filtered by; the transfer is there all the same.
    chosen: dict[str, Any] = {**whole, "run_id": values.get("run_id"), "map_index": values.get("map_index")}
    estimate = next(iter(asker.ask("estimates", **whole).rows), None)
    durations = asker.ask("durations", **whole, limit=MOST_POINTS)
    latest = asker.ask("attempts", **chosen, limit=_MOST_DETAILS if "run_id" in values else 1)
    details = asker.compared(latest.rows)
    # Somebody may have changed it, and the runs before had another.
    current = durations.rows[0]["estimated_seconds"] if durations.rows else None
    return shown.page(
        "transfer.html",
        status=200 if latest.rows or asker.unreachable else 404,
        pipeline_id=pipeline_id,
        task_id=task_id,
        estimate=estimate,
        flakiness=flakiness(partial(asker.ask, "attempts", **whole)),
        drift=drift(durations.rows, is_all=len(durations.rows) < MOST_POINTS),
        listed=partial(attempts_of, shown.root, {"dag_id": None, **whole}),
        chart=duration_chart(durations.rows, _levels(estimate, current)),
        current_estimate=current,
        attempts=shown.show(_ATTEMPTS),
        details=details,
        attempts_of_run=latest.total,
        is_audited=is_audited,
        is_open=is_open,
        row_key=row_key,
        accepted=acceptances(asker, details),
        of_run="run_id" in values,
        run_link=run_link,
        state_of=state_of,
        audit_state=audit_state,
        evidence=_evidence,
        places_of=_places,
        pool_of=partial(_pool, asker.configured(latest.rows)),
    )


def _pool(configured: Mapping[str, Configured], row: Mapping[str, Any]) -> str | None:
    """Return in which pool a record's transfer ran; None when its configuration is not known."""
    known = configured.get(row["config_hash"])
    return None if known is None else known.pools.get(row["task_id"], "default_pool")


def _places(row: Mapping[str, Any]) -> list[str]:
    """Return where a record is kept; what somebody wrote by hand may be no list."""
    told = row["tracking_location"] or []
    places = told if isinstance(told, list) else [told]
    return [place if isinstance(place, str) else _evidence(place) for place in places]


def _levels(estimate: Mapping[str, Any] | None, current: float | None) -> dict[str, float | None]:
    if estimate is None:
        return {}
    return {"p50": estimate["p50_seconds"], "p95": estimate["p95_seconds"], "estimate": current}


def _evidence(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)
