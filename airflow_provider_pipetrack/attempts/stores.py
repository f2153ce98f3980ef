"""Which tracking store keeps the records of a transfer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.tracking.pool import get_store

if TYPE_CHECKING:
    from airflow_provider_pipetrack.attempts.binding import Spec
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.tracking")

#: Seconds that a write waits at most when ``[pipetrack] delivery_deadline`` itself is wrong.
_DEADLINE = 5.0
_complained: set[str] = set()


def store_for(spec: Spec) -> TrackingStore:
    """Return the store of a transfer's chain; one store per chain is shared within a process.

    The chain is the transfer's own, else that of ``[pipetrack]``, else SQLite under ``AIRFLOW_HOME``. Settings that
    cannot be used must not stop a transfer: they are named in the log, and what is left of the chain is used.
    """
    try:
        return _store(spec, _chain(spec), settings.mode())
    except PipetrackError as error:
        _complain(error)
    good = [text for text in _readable_chain(spec) if _is_good(spec, text)]
    return _store(spec, good or [settings.default_location()], "fallback", deadline=_DEADLINE)


def pipeline_ids(spec: Spec, dag_id: str) -> tuple[str, ...]:
    """Return the pipelines under which the records of a transfer may stand, for storages that search only by them."""
    return tuple(dict.fromkeys((spec.pipeline_id or dag_id, dag_id)))


def _chain(spec: Spec) -> Sequence[str]:
    return spec.transfer.tracking_location or settings.tracking_location() or [settings.default_location()]


def _readable_chain(spec: Spec) -> Sequence[str]:
    try:
        return _chain(spec)
    except PipetrackError:
        return ()


def _is_good(spec: Spec, text: str) -> bool:
    try:
        _store(spec, [text], "fallback", deadline=_DEADLINE)
    except PipetrackError as error:
        _complain(error)
        return False
    return True


def _store(spec: Spec, chain: Sequence[str], mode: str, deadline: float | None = None) -> TrackingStore:
    pipeline = spec.pipeline
    tracking = pipeline.tracking if pipeline else None
    return get_store(
        tuple(chain),
        mode=tracking.mode if tracking and tracking.mode else mode,
        connections=dict(tracking.connections) if tracking else {},
        adapters=dict(pipeline.storage_adapters) if pipeline else {},
        deadline=deadline,
        delivery=tracking.delivery if tracking else "now",
    )


def _complain(error: PipetrackError) -> None:
    """Say once in a process what is wrong."""
    text = str(error)
    if text not in _complained:
        _complained.add(text)
        log.error("pipetrack: %s", text)
