"""Which tracking store keeps the records of a transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_pipetrack import settings

if TYPE_CHECKING:
    from airflow_provider_pipetrack.attempts.binding import Spec
    from airflow_provider_pipetrack.tracking.store import TrackingStore


def locations_of(spec: Spec) -> tuple[str, ...]:
    """Return the chain of a transfer: its own, else that of ``[pipetrack]``, else SQLite under ``AIRFLOW_HOME``."""
    return tuple(spec.transfer.tracking_location or settings.tracking_location() or [settings.default_location()])


def store_for(spec: Spec) -> TrackingStore:
    """Return the store of a transfer's chain; one store per chain is shared within a process."""
    from airflow_provider_pipetrack.tracking.store import get_store

    pipeline = spec.pipeline
    tracking = pipeline.tracking if pipeline else None
    return get_store(
        locations_of(spec),
        mode=(tracking.mode if tracking and tracking.mode else settings.mode()),
        connections=dict(tracking.connections or {}) if tracking else {},
        adapters=dict(pipeline.storage_adapters or {}) if pipeline else {},
    )
