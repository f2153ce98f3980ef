"""Who did what in Airflow, by its event log, as far as who looks may read that."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from airflow_provider_pipetrack.compat.viewer import Viewer

#: The events of somebody who sets the state of a task, of several, or of a whole run; the same from 3.1 to 3.4.
_EVENTS = ("patch_task_instance", "bulk_task_instances", "patch_dag_run")
#: Events of one run that are looked at, and questions that are open at the same time.
_MOST_EVENTS, _AT_ONCE = 100, 4


class Task(NamedTuple):
    """A task of a run."""

    dag_id: str
    run_id: str
    task_id: str


def who_set_to_success(viewer: Viewer, tasks: Collection[Task], limit: float) -> dict[Task, str]:
    """Return who set tasks to success, as far as the viewer may know it and Airflow has noted it.

    One question is asked for each run.

    :param limit: seconds to wait for all answers; those that have not come by then are left out.
    """
    found: dict[Task, str] = {}
    viewer.ask(lambda client: _ask_all(client, tasks, found), limit)
    return dict(found)


async def _ask_all(client: Any, tasks: Collection[Task], found: dict[Task, str]) -> None:
    import asyncio

    turns = asyncio.Semaphore(_AT_ONCE)

    async def ask(dag_id: str, run_id: str) -> None:
        wanted: dict[str, Any] = {"dag_id": dag_id, "run_id": run_id, "limit": _MOST_EVENTS, "included_events": _EVENTS}
        async with turns:
            answer = await client.get("eventLogs", params=wanted)
        events = answer.json().get("event_logs", ()) if answer.is_success else ()
        for task in tasks:
            if (task.dag_id, task.run_id) == (dag_id, run_id) and (person := _last_who(events, task.task_id)):
                found[task] = person

    runs = {(task.dag_id, task.run_id) for task in tasks}
    await asyncio.gather(*(ask(*run) for run in runs), return_exceptions=True)


def _last_who(events: Sequence[Mapping[str, Any]], task_id: str) -> str | None:
    """Return who was the last to set a task to success."""
    known = [event for event in events if event.get("owner") and _sets_to_success(event, task_id)]
    return max(known, key=lambda event: str(event["when"]))["owner"] if known else None


def _sets_to_success(event: Mapping[str, Any], task_id: str) -> bool:
    try:
        told = json.loads(event.get("extra") or "{}")
    except ValueError:
        return False
    if not isinstance(told, Mapping):
        return False
    if event["event"] == "patch_dag_run":
        return told.get("state") == "success"
    entities = [entity for action in told.get("actions", ()) for entity in action.get("entities", ())]
    sets = [{**told, "task_id": event.get("task_id")}, *entities]
    return any(one.get("task_id") == task_id and one.get("new_state") == "success" for one in sets)
