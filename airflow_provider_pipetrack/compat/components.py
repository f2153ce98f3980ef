"""The base classes of what Airflow loads from a package, and what those may do in a version."""

from __future__ import annotations

from typing import Any


def dag_bundle_base() -> Any:
    """Return the base class of Dag bundles."""
    from airflow.dag_processing.bundles.base import BaseDagBundle

    return BaseDagBundle


def dag_importers() -> Any:
    """Return Airflow's interface for Dag importers.

    :raises ImportError: before Airflow 3.4.
    """
    from importlib import import_module

    try:
        return import_module("airflow.sdk.importers")
    except ModuleNotFoundError:
        raise ImportError(
            "Airflow reads Dags through importers from 3.4 on; before, use the Dag bundle "
            "airflow_provider_pipetrack.dag.bundle.PipetrackDagBundle"
        ) from None


def plugin_base() -> Any:
    """Return the class that an Airflow plugin derives from."""
    try:  # 3.2 and later
        from airflow.sdk.plugins_manager import AirflowPlugin
    except ImportError:  # 3.1
        from airflow.plugins_manager import AirflowPlugin  # type: ignore[assignment]
    return AirflowPlugin


def trigger_classes() -> tuple[Any, Any]:
    """Return the base class of triggers, and the class of their events."""
    from airflow.triggers.base import BaseTrigger, TriggerEvent

    return BaseTrigger, TriggerEvent


def triggers_may_ask() -> bool:
    """Return whether a trigger may ask Airflow for something, such as a connection, from a thread.

    In 3.1 its messages then get mixed up with those of the triggerer, which ends.
    """
    from airflow.sdk import exceptions

    return hasattr(exceptions, "AirflowFailException")  # since 3.2


def keeps_first_start() -> bool:
    """Return whether a task instance knows when it first started after it was deferred; in 3.1 it does not."""
    return triggers_may_ask()  # since 3.2, too
