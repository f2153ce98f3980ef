"""Airflow's own word about a run's tasks beside their records: what Airflow has ended and no record says yet is stale.

A page asks Airflow as a browser would, through the application that the pages are mounted in and with the login of its
reader, so that it answers only what the reader may see; a command has a login of its own. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from airflow_provider_pipetrack.compat import Viewer
from airflow_provider_pipetrack.records.openness import is_open

Row = Mapping[str, Any]
#: Returns Airflow's newest task instances of a run, by Dag and run id.
AskAirflow = Callable[[str, str], Sequence[Row]]

#: Where a row says what Airflow says of it, if that contradicts the record.
AIRFLOW_SAYS = "airflow_says"
#: Seconds that Airflow has to answer in.
LIMIT = 3.0
#: Task instances that a page looks at, those that began last first: one page of Airflow's API.
_MOST = 100
#: Runs that are asked about for one page, or one command.
_MOST_RUNS = 3
#: What Airflow has ended so recently is left to its own last word, which may be on its way.
_GRACE = timedelta(seconds=10)
_ENDED = ("failed", "success", "up_for_retry", "upstream_failed", "skipped", "removed")
#: Which task instances of a run Airflow's API is asked for, in which order.
ASKED: Mapping[str, Any] = {"state": (*_ENDED, "running"), "order_by": "-start_date"}


def asks_airflow(viewer: Viewer, left: Callable[[], float]) -> AskAirflow:
    """Return what asks Airflow for the reader of a page.

    :param left: gives the seconds that the page has left.
    """

    def ask(dag_id: str, run_id: str) -> Sequence[Row]:
        limit = min(LIMIT, left())
        return viewer.ask(lambda client: _task_instances(client, dag_id, run_id), limit) or [] if limit > 0 else []

    return ask


def compared(rows: Sequence[Row], airflow: AskAirflow | None, now: datetime) -> list[Row]:
    """Return records; those that are open although Airflow has decided say so.

    Of a few runs with open records Airflow is asked, those that come first.

    :param airflow: asks Airflow; nothing is compared when None.
    """
    runs = list(dict.fromkeys((row["dag_id"], row["run_id"]) for row in rows if is_open(row)))
    if airflow is None or not runs:
        return [*rows]
    said = {
        (dag_id, run_id, task["task_id"], task["map_index"]): task
        for dag_id, run_id in runs[:_MOST_RUNS]
        for task in airflow(dag_id, run_id)
    }
    return [_doubted(row, said.get(_place(row)), now) if is_open(row) else row for row in rows]


def in_words(row: Row) -> Row:
    """Return a record as people read it: what Airflow says against it stands in its decision, too."""
    word = row.get(AIRFLOW_SAYS)
    if not word:
        return row
    known = [row["decision"]] if row["decision"] else []
    return {**row, "decision": "; ".join([f"{word}; the record is not closed yet", *known])}


def _doubted(row: Row, task: Row | None, now: datetime) -> Row:
    if task is None or _has_just_ended(task, now):
        return row
    attempt = row["retry_attempt_number"] + 1
    # Airflow counts no try of a task that it never ran.
    is_meant = task["try_number"] == attempt or row["transfer_status"] == "pending"
    if task["try_number"] > attempt:
        return {**row, AIRFLOW_SAYS: f"Airflow is at attempt {task['try_number']}"}
    if is_meant and task["state"] in _ENDED:
        return {**row, AIRFLOW_SAYS: f"Airflow says {task['state']}"}
    return row


def _has_just_ended(task: Row, now: datetime) -> bool:
    ended = task["end_date"]
    return bool(ended) and now - datetime.fromisoformat(ended.replace("Z", "+00:00")) < _GRACE


def _place(row: Row) -> tuple[str, str, str, int]:
    return row["dag_id"], row["run_id"], row["task_id"], row["map_index"]


async def _task_instances(client: Any, dag_id: str, run_id: str) -> Sequence[Row]:
    path = f"dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}/taskInstances"
    answer = await client.get(path, params={**ASKED, "limit": _MOST})
    found = answer.json().get("task_instances", []) if answer.is_success else []
    return [task for task in found if isinstance(task, dict)]
