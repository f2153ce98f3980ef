"""What is imported before Airflow forks: then no task and no Dag file waits for it."""

from __future__ import annotations

import logging

from airflow_provider_pipetrack import settings

log = logging.getLogger("airflow_provider_pipetrack.plugins")


def preload_tasks() -> None:
    """Import what Dag files and tasks use of this package, and with ``[pipetrack] preload`` clients of storages.

    Never raises: Airflow must start without us.
    """
    try:
        from airflow_provider_pipetrack import build_dag, load_pipelines, tracked  # noqa: F401
        from airflow_provider_pipetrack.tracking.preload import preload_clients, preload_tracking

        preload_tracking()
        if settings.preload():
            preload_clients()
    except Exception as error:  # noqa: BLE001
        log.debug("pipetrack imports nothing early: %s: %s", type(error).__name__, error)
