"""What Airflow says about the tasks of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def task_states(
    dag_id: str, run_id: str, *, task_ids: Sequence[str] | None = None, map_index: int | None = None
) -> Mapping[str, str | None]:
    """Return Airflow's current states of a run's tasks, from a task or from a Dag's callback.

    :param task_ids: only these tasks; all of the run's when None.
    :param map_index: only this map index.
    :return: state by task id; a mapped task's index is found under ``<task id>_<index>``.
    """
    asked = list(task_ids) if task_ids else None
    return states_of_runs(dag_id, [run_id], task_ids=asked, map_index=map_index).get(run_id, {})


def states_of_runs(dag_id: str, run_ids: Sequence[str], **only: Any) -> Mapping[str, Mapping[str, str | None]]:
    """Return Airflow's current states of the tasks of several runs of a Dag; an unknown run is missing.

    :param only: as :func:`task_states` narrows it.
    """
    from airflow.sdk.execution_time import task_runner

    found: dict[str, Any]
    if getattr(task_runner, "SUPERVISOR_COMMS", None) is not None:
        found = task_runner.RuntimeTaskInstance.get_task_states(dag_id=dag_id, run_ids=list(run_ids), **only)
    else:
        found = _api_of_test_runs().get_task_states(dag_id=dag_id, run_ids=list(run_ids), **only).task_states
    return {
        run_id: {task: None if state is None else str(state) for task, state in states.items()}
        for run_id, states in found.items()
    }


def _api_of_test_runs() -> Any:
    """Return what ``dag.test()`` asks about task instances; its callbacks have nobody to send a message to."""
    from airflow.sdk.execution_time.supervisor import InProcessTestSupervisor

    return InProcessTestSupervisor._api_client().task_instances  # type: ignore[no-untyped-call]  # noqa: SLF001
