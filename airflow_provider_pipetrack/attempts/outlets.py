"""What the event of a stage's asset says, and whether there is one: Airflow emits it when the task succeeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.attempts.binding import binding_of
from airflow_provider_pipetrack.config.transfer import NO_ASSET

if TYPE_CHECKING:
    from airflow_provider_pipetrack.config import StageTransfer


def say_ready(task: Any, context: Mapping[str, Any], extra: Mapping[str, Any], *, only: str | None = None) -> None:
    """Put what is known about the data into the events of a task's assets.

    :param only: URI of the asset that is meant; all of the task's outlets when None.
    """
    from airflow.sdk import Asset

    for asset in task.outlets:
        if isinstance(asset, Asset) and only in (None, asset.uri):
            context["outlet_events"][asset].extra = {**context["outlet_events"][asset].extra, **extra}


def say_nothing(task: Any) -> None:
    """Have Airflow emit no event for this task, although it succeeds."""
    task.outlets = []


def own_asset(task: Any, transfer: StageTransfer) -> str | None:
    """Return the URI of the asset that a task declares because of its transfer, or None."""
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


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
