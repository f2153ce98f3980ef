"""One store for each chain of locations in a process."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.tracking.chains import remember_chain
from airflow_provider_pipetrack.tracking.store import TrackingStore

_STORES: dict[Any, TrackingStore] = {}


def get_store(
    locations: Sequence[str],
    *,
    mode: str,
    connections: Mapping[str, str],
    adapters: Mapping[str, str],
    deadline: float | None = None,
    delivery: str = "now",
    remember: bool = True,
) -> TrackingStore:
    """Return this process's store of a chain; the same chain gives the same store.

    :param deadline: seconds that a write waits at most; that of ``[pipetrack]`` when not given.
    :param delivery: ``now`` or ``batch``.
    :param remember: whether it is kept that this chain is used, so that others find it.
    """
    key = (
        os.getpid(),
        tuple(locations),
        mode,
        tuple(sorted(connections.items())),
        tuple(sorted(adapters.items())),
        str(settings.journal_dir()),
        delivery,
    )
    if key not in _STORES:
        deadline = settings.delivery_deadline() if deadline is None else deadline
        _STORES[key] = TrackingStore(
            locations, mode=mode, connections=connections, deadline=deadline, adapters=adapters, delivery=delivery
        )
        if remember:
            remember_chain(_STORES[key].chain())
    return _STORES[key]
