"""Who did what in Airflow, by its event log, as far as who looks may read that."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from airflow_provider_pipetrack.compat.viewer import Viewer

#: The events of somebody who sets the state of a task, of several, or of a whole run; the same from 3.1 to 3.4.
_EVENTS = ("patch_task_instance", "bulk_task_instances", "patch_dag_run")
#: Events of one run that are looked at, the newest, and questions that are open at the same time.
_MOST_EVENTS, _AT_ONCE = 100, 4
#: Clocks of hosts may differ by so much.
_CLOCKS = timedelta(minutes=1)


class Task(NamedTuple):
    """A task of a run that somebody has set to success.

    :param map_index: which one of a mapped task; None for whichever.
    :param noted: when the record was told of it. Airflow also logs what it then refuses, and a task may be cleared and
        set to success again: what came later was not this.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int | None = None
    noted: datetime | None = None


def who_set_to_success(viewer: Viewer, tasks: Collection[Task], limit: float) -> dict[Task, str | None]:
    """Return who set tasks to success; None where the viewer may not know it, or Airflow has nobody noted.

    One question is asked for each run.

    :param limit: seconds to wait for all answers; tasks of runs that were not answered by then are left out.
    """
    found: dict[Task, str | None] = {}
    viewer.ask(lambda client: _ask_all(client, tasks, found), limit)
    return dict(found)


async def _ask_all(client: Any, tasks: Collection[Task], found: dict[Task, str | None]) -> None:
    import asyncio

    turns = asyncio.Semaphore(_AT_ONCE)

    async def ask(dag_id: str, run_id: str) -> None:
        wanted: dict[str, Any] = {"dag_id": dag_id, "run_id": run_id, "included_events": _EVENTS}
        wanted |= {"order_by": "-when", "limit": _MOST_EVENTS}
        async with turns:
            answer = await client.get("eventLogs", params=wanted)
        if answer.is_server_error:
            return
        events = answer.json().get("event_logs", ()) if answer.is_success else ()
        for task in tasks:
            if (task.dag_id, task.run_id) == (dag_id, run_id):
                found[task] = _last_who(events, task)

    runs = {(task.dag_id, task.run_id) for task in tasks}
    await asyncio.gather(*(ask(*run) for run in runs), return_exceptions=True)


def _last_who(events: Sequence[Mapping[str, Any]], task: Task) -> str | None:
    """Return who was the last to set a task to success before that was noted."""
    known = [(_when(event), event["owner"]) for event in events if event.get("owner") and _sets_to_success(event, task)]
    in_time = [(when, owner) for when, owner in known if task.noted is None or when <= task.noted + _CLOCKS]
    return max(in_time)[1] if in_time else None


def _when(event: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(event["when"].replace("Z", "+00:00"))


def _sets_to_success(event: Mapping[str, Any], task: Task) -> bool:
    try:
        told = json.loads(event.get("extra") or "{}")
    except ValueError:
        return False
    if not isinstance(told, Mapping):
        return False
    if event["event"] == "patch_dag_run":
        return told.get("state") == "success"
    sets = ({**told, "task_id": event.get("task_id")}, *_entities(told))
    return any(one.get("new_state") == "success" and _is_about(one, task) for one in sets)


def _entities(told: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield what is said of each task in a request about several; one that is to be deleted may be named only."""
    for action in told.get("actions") or ():
        yield from (entity for entity in action.get("entities") or () if isinstance(entity, Mapping))


def _is_about(said: Mapping[str, Any], task: Task) -> bool:
    """Return whether a task is meant; without an index all of a mapped task are."""
    index, wanted = said.get("map_index"), task.map_index
    return said.get("task_id") == task.task_id and (index is None or wanted is None or str(index) == str(wanted))
