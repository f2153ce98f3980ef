"""Airflow's exceptions, which have moved between versions, and what they mean for an attempt."""

from __future__ import annotations

import sys

try:  # 3.2 and later
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowRescheduleException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferred,
    )
except ImportError:  # 3.1
    from airflow.exceptions import (  # type: ignore[attr-defined,no-redef]
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowRescheduleException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferred,
    )

__all__ = [
    "CONTROL_FLOW",
    "SUCCESSFUL_EXITS",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "TaskDeferred",
]


def _exceptions(*names: str) -> tuple[type[BaseException], ...]:
    """Return those of the named exceptions that this version of Airflow has."""
    home = sys.modules[AirflowFailException.__module__]  # 3.1 has another one than later versions
    return tuple(getattr(home, name) for name in names if hasattr(home, name))


#: Leave ``execute`` without ending the attempt: it goes on later, or Airflow goes on and tells callbacks how it ended.
CONTROL_FLOW: tuple[type[BaseException], ...] = (
    TaskDeferred,
    AirflowRescheduleException,
    *_exceptions("TaskAwaitingInput", "DagRunTriggerException"),
)
#: Leave ``execute`` by an exception although the task succeeded.
SUCCESSFUL_EXITS: tuple[type[BaseException], ...] = _exceptions("DownstreamTasksSkipped")
