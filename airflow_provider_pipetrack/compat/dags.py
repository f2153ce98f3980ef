"""Dags: the one that is being written, its edges, dates, deadlines and runs, its serialized form."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any


def current_dag() -> Any:
    """Return the Dag of the ``with DAG(…)`` block we are in, or None."""
    from airflow.sdk.definitions._internal.contextmanager import DagContext

    return DagContext.get_current()


def current_task_group(dag: Any) -> Any:
    """Return the task group of the block we are in, or None."""
    from airflow.sdk.definitions._internal.contextmanager import TaskGroupContext

    return TaskGroupContext.get_current(dag)


def connect(tasks: Mapping[str, Any], upstream: Mapping[str, Sequence[str]]) -> None:
    """Make each task wait for its upstream tasks, all of them tasks of one Dag outside of task groups.

    ``set_upstream`` hashes the whole Dag for every edge, so that it takes ever longer for large Dags. What it leaves
    behind for such tasks are these two sets.

    :param upstream: ids of the upstream tasks, by the id of the task that waits.
    """
    for task_id, names in upstream.items():
        tasks[task_id].upstream_task_ids.update(names)
        for name in names:
            tasks[name].downstream_task_ids.add(task_id)


def is_cron(text: str) -> bool:
    """Return whether Airflow can read a text as a cron expression, and finds a date that it means."""
    from croniter import CroniterError, croniter

    try:
        croniter(text).get_next()
    except CroniterError:
        return False
    return True


def next_cron_date(expression: str, after: datetime, zone: Any) -> datetime:
    """Return the first moment behind ``after`` that a cron expression names.

    :param zone: the time zone that the expression means, as a timetable has it; None for that of ``after``.
    """
    from zoneinfo import ZoneInfo

    from croniter import croniter

    local = after if zone is None else after.astimezone(ZoneInfo(zone) if isinstance(zone, str) else zone)
    # The only one of Airflow's presets that croniter does not know.
    written = "0 0 1 */3 *" if expression == "@quarterly" else expression
    found: datetime = croniter(written, local).get_next(datetime)
    return found


def deadline_alert(interval: timedelta, callback: str, kwargs: Mapping[str, Any]) -> Any:
    """Return an alert that calls a coroutine in the triggerer when a run has not ended in time; None before 3.2.

    :param interval: the time from when the run was queued.
    :param callback: dotted path of the coroutine; it gets ``context`` and ``kwargs``.
    """
    import airflow.sdk

    sdk: Any = airflow.sdk
    if not hasattr(sdk, "DeadlineAlert"):
        return None
    return sdk.DeadlineAlert(
        reference=sdk.DeadlineReference.DAGRUN_QUEUED_AT,
        interval=interval,
        callback=sdk.AsyncCallback(callback, kwargs=dict(kwargs)),
    )


def is_temporary(run_id: str) -> bool:
    """Return whether a run was made by ``airflow tasks test`` for its one task; Airflow deletes it afterwards."""
    return run_id.startswith("__airflow_temporary_run_")


def keeps_dags() -> bool:
    """Return whether this process reads Dags for Airflow to keep them, serialized: it belongs to the Dag processor."""
    from airflow.sdk import get_parsing_context

    return "airflow.dag_processing.processor" in sys.modules and get_parsing_context().dag_id is None


def serialize(dag: Any) -> Any:
    """Return a Dag as Airflow serializes it for its database.

    :raises Exception: when it cannot be serialized.
    """
    from airflow.serialization import serialized_objects

    # Renamed in 3.2.
    serialization: Any = (
        getattr(serialized_objects, "DagSerialization", None) or vars(serialized_objects)["SerializedDAG"]
    )
    return serialization.to_dict(dag)
