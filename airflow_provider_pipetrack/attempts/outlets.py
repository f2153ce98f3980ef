"""What the event of a stage's asset says, and whether there is one: Airflow emits it when the task succeeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.attempts.binding import binding_of
from airflow_provider_pipetrack.config.transfer import NO_ASSET

if TYPE_CHECKING:
    from airflow.sdk import Asset

    from airflow_provider_pipetrack.config import StageTransfer


def say_ready(task: Any, context: Mapping[str, Any], extra: Mapping[str, Any]) -> None:
    """Put what is known about the data into the events of all assets that a task declares."""
    from airflow.sdk import Asset

    for asset in task.outlets:
        if isinstance(asset, Asset):
            _add(context, asset, extra)


def say_stage_ready(task: Any, context: Mapping[str, Any], uri: str, extra: Mapping[str, Any]) -> None:
    """Put what is known about the data into the event of one asset.

    The task need not have declared it: Airflow takes the outlets from the process that has run the task, and emits the
    event where some Dag is scheduled on the asset. Else its API server logs a warning, which ``[pipetrack]
    inner_stage_events`` can spare it.
    """
    from airflow.sdk import Asset

    asset = Asset(uri)
    if asset not in task.outlets:
        if not settings.inner_stage_events():
            return
        task.outlets = [*task.outlets, asset]
    _add(context, asset, extra)


def say_nothing(task: Any) -> None:
    """Have Airflow emit no event for this task, although it succeeds."""
    task.outlets = []


def own_asset(task: Any, transfer: StageTransfer) -> str | None:
    """Return the URI of the asset of which a task says that it is ready, because of its transfer, or None."""
    return binding_of(task.dag).assets.get(task.task_id) or named_asset(transfer)


def named_asset(transfer: StageTransfer) -> str | None:
    """Return the URI of the asset that a transfer names for its own task; that of an audited one is its audit's."""
    return None if transfer.audit_enabled or transfer.asset == NO_ASSET else transfer.asset


def sum_of(answers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the attempts of a transfer, one of each map index, moved together."""
    rows = list(answers)
    return {
        "records_succeeded": _sum(row.get("records_succeeded") for row in rows),
        "records_failed": _sum(row.get("records_failed") for row in rows),
        "is_partial": any(row.get("is_partial") for row in rows),
    }


def _add(context: Mapping[str, Any], asset: Asset, extra: Mapping[str, Any]) -> None:
    event = context["outlet_events"][asset]
    event.extra = {**event.extra, **extra}


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
