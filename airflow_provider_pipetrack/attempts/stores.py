"""Which tracking store keeps the records of a transfer."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.tracking.own_functions import FUNCTIONS, reference_for
from airflow_provider_pipetrack.tracking.pool import get_store

if TYPE_CHECKING:
    from airflow_provider_pipetrack.attempts.binding import Spec
    from airflow_provider_pipetrack.config import PipelineConfig
    from airflow_provider_pipetrack.hooks.pipetrack import Chain
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.tracking")

#: Seconds that a write waits at most when ``[pipetrack] delivery_deadline`` itself is wrong.
_DEADLINE = 5.0
_complained: set[str] = set()


@dataclass(frozen=True)
class _Chain:
    """Where the records of a transfer go.

    :param mode: ``fallback`` or ``mirror``; None for that of ``[pipetrack]``.
    :param connections: Airflow connection of each type of location.
    """

    locations: tuple[str, ...]
    mode: str | None
    connections: Mapping[str, str]


def store_for(spec: Spec) -> TrackingStore:
    """Return the store of a transfer's chain; one store per chain is shared within a process.

    The chain is the transfer's own, else that of the connection under ``tracking.conn_id``, else that of
    ``[pipetrack]``, else SQLite under ``AIRFLOW_HOME``. Settings that cannot be used must not stop a transfer: they are
    named in the log, and what is left of the chain is used.
    """
    chain = _chain(spec)
    try:
        return _store(spec, chain, chain.mode or settings.mode())
    except PipetrackError as error:
        _complain(error)
    good = tuple(text for text in chain.locations if _is_good(spec, replace(chain, locations=(text,))))
    last = replace(chain, locations=good or (settings.default_location(),))
    return _store(spec, last, "fallback", deadline=_DEADLINE)


def pipeline_ids(spec: Spec, dag_id: str) -> tuple[str, ...]:
    """Return the pipelines under which the records of a transfer may stand, for storages that search only by them."""
    return tuple(dict.fromkeys((spec.pipeline_id or dag_id, dag_id)))


def _chain(spec: Spec) -> _Chain:
    tracking = spec.pipeline.tracking if spec.pipeline else None
    connections = dict(tracking.connections) if tracking else {}
    mode = tracking.mode if tracking else None
    if spec.transfer.tracking_location:
        return _Chain(spec.transfer.tracking_location, mode, connections)
    try:
        if tracking and tracking.conn_id:
            held = _held_by(os.getpid(), tracking.conn_id)
            return _Chain(held.locations, mode or held.mode, {**held.connections, **connections})
        named = settings.tracking_location()
    except PipetrackError as error:
        _complain(error)
        named = []
    return _Chain(tuple(named) or (settings.default_location(),), mode, connections)


@functools.cache
def _held_by(pid: int, conn_id: str) -> Chain:
    """Return the chain in a connection; a process asks Airflow for it once."""
    from airflow_provider_pipetrack.hooks.pipetrack import PipetrackHook

    del pid  # a forked child asks again
    return PipetrackHook(conn_id).chain()


def _is_good(spec: Spec, chain: _Chain) -> bool:
    try:
        _store(spec, chain, "fallback", deadline=_DEADLINE)
    except PipetrackError as error:
        _complain(error)
        return False
    return True


def _store(spec: Spec, chain: _Chain, mode: str, deadline: float | None = None) -> TrackingStore:
    return get_store(
        chain.locations,
        mode=mode,
        connections=chain.connections,
        adapters=_adapters(spec.pipeline, chain.locations),
        deadline=deadline,
        delivery=spec.pipeline.tracking.delivery if spec.pipeline else "now",
    )


def _adapters(pipeline: PipelineConfig | None, locations: tuple[str, ...]) -> dict[str, str]:
    """Return the adapters of the user's own types, and where his storage functions are if these locations need them."""
    if pipeline is None:
        return {}
    functions = reference_for(pipeline.functions, locations, pipeline.storage_adapters)
    return {**pipeline.storage_adapters, **({FUNCTIONS: functions} if functions else {})}


def _complain(error: PipetrackError) -> None:
    """Say once in a process what is wrong."""
    text = str(error)
    if text not in _complained:
        _complained.add(text)
        log.error("pipetrack: %s", text)
