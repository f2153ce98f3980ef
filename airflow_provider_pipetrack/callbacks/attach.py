"""Hang pipetrack's callbacks beside the user's own, on tasks and on Dags."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.callbacks.dag import close_run
from airflow_provider_pipetrack.callbacks.task import record_failure, record_retry
from airflow_provider_pipetrack.compat import current_dag, current_task_group, scheduler_bears_callbacks

if TYPE_CHECKING:
    from airflow.sdk import DAG

_TASK_CALLBACKS: dict[str, Callable[[Any], None]] = {
    "on_failure_callback": record_failure,
    "on_retry_callback": record_retry,
}
#: Marks a Dag that has our callbacks; looked at once for each of its tasks.
_HOOKED = "_pipetrack_hooked"
_DAG_CALLBACKS = ("on_success_callback", "on_failure_callback")


def with_task_callbacks(kwargs: Mapping[str, Any], inherited: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapped task's arguments with our callbacks behind those of the user, given here or in ``default_args``.

    :param kwargs: arguments of an operator's ``partial`` or of a task decorator.
    :param inherited: what the task's ``default_args`` say, as :func:`inherited_arguments` finds it.
    """
    arguments = dict(kwargs)
    if scheduler_bears_callbacks():
        for name, ours in _TASK_CALLBACKS.items():
            arguments[name] = _with(ours, kwargs.get(name, inherited.get(name)))
    return arguments


def show_task_callbacks(task: Any) -> None:
    """Hang our callbacks on a task as it is written, behind those of the user and of its operator.

    Where the scheduler does not bear them, only the process that runs the task gets them, and the record of one that is
    killed is ended as where nobody says so.
    """
    if scheduler_bears_callbacks():
        add_task_callbacks(task)


def add_task_callbacks(task: Any) -> None:
    """Hang our callbacks on a task of this process, if they are not there yet."""
    for name, ours in _TASK_CALLBACKS.items():
        setattr(task, name, _with(ours, getattr(task, name)))


def _with(ours: Callable[[Any], None], theirs: Any) -> list[Any]:
    given = as_list(theirs)
    return given if ours in given else [*given, ours]


def inherited_arguments(kwargs: Mapping[str, Any], dag: DAG | None = None) -> Mapping[str, Any]:
    """Return the ``default_args`` that count for a task: those of its Dag, of its task group, and its own.

    :param kwargs: the task's arguments.
    :param dag: the Dag when it is known; else the one in ``kwargs`` or of the ``with`` block.
    """
    dag = dag or kwargs.get("dag") or current_dag()
    own = kwargs.get("default_args") or {}
    if dag is None:
        return own
    group = kwargs.get("task_group") or current_task_group(dag)
    of_group = group.default_args if group is not None else {}
    return {**dag.default_args, **of_group, **own} if of_group or own else dag.default_args


def hook_dag(dag: DAG) -> None:
    """Have the end of each run close the records that its tasks could not close themselves."""
    if getattr(dag, _HOOKED, False):
        return
    setattr(dag, _HOOKED, True)
    ours = partial(close_run, dag)
    for name in _DAG_CALLBACKS:
        setattr(dag, name, [*as_list(getattr(dag, name, None)), ours])
        setattr(dag, f"has_{name}", True)


def as_list(callbacks: Any) -> list[Any]:
    """Return callbacks as a list: none, one, or several."""
    if callbacks is None:
        return []
    if isinstance(callbacks, list):
        return callbacks.copy()
    if isinstance(callbacks, Collection) and not isinstance(callbacks, str):
        return list(callbacks)
    return [callbacks]
