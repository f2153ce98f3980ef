"""What Airflow keeps between the attempts of one task (3.3 and later), for things that must not fail a transfer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger("airflow_provider_pipetrack.tracking")


def recall(context: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """Return what an earlier attempt left under ``key``, or None when it is not known."""
    store = context.get("task_state_store")
    if store is None:
        return None
    try:
        known = store.get(key)
    except Exception as error:  # noqa: BLE001  not to know is an answer too
        log.warning("Airflow's task state cannot be read: %s: %s", type(error).__name__, error)
        return None
    return known if isinstance(known, Mapping) else None


def remember(context: Mapping[str, Any], key: str, value: Mapping[str, Any]) -> None:
    """Leave something for the next attempt, where Airflow can keep it."""
    store = context.get("task_state_store")
    if store is None:
        return
    try:
        store.set(key, dict(value))
    except Exception as error:  # noqa: BLE001  the next attempt will do without
        log.warning("Airflow's task state cannot be written: %s: %s", type(error).__name__, error)
