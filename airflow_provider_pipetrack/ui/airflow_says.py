"""Airflow's own word about a run's tasks beside their records: what Airflow has ended and no record says yet is stale.

Airflow is asked as a browser would ask it, through the application that the pages are mounted in and with the reader's
login, so that it answers only what the reader may see. Nothing is written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from fastapi import Request

from airflow_provider_pipetrack.records.openness import is_open

log = logging.getLogger("airflow_provider_pipetrack.ui")

Row = Mapping[str, Any]
#: Returns Airflow's newest task instances of a run, by Dag and run id.
AskAirflow = Callable[[str, str], Sequence[Row]]

#: Where a row says what Airflow says of it, if that contradicts the record.
AIRFLOW_SAYS = "airflow_says"
#: Seconds that Airflow has to answer in.
LIMIT = 3.0
#: Task instances that are looked at, those that began last first: one page of Airflow's API.
_MOST = 100
#: Runs that are asked about for one page.
_MOST_RUNS = 3
#: What Airflow has ended so recently is left to its own last word, which may be on its way.
_GRACE = timedelta(seconds=10)
_ENDED = ("failed", "success", "up_for_retry", "upstream_failed", "skipped", "removed")


def airflow_of(request: Request) -> AskAirflow | None:
    """Return what asks Airflow for the reader of a page; None where the pages stand alone."""
    outer = request.scope.get("pipetrack_outer")
    if outer is None:
        return None
    import httpx

    loop: asyncio.AbstractEventLoop = request.state.pipetrack_loop
    # What Airflow writes into its log of requests is about the reader.
    reader = (request.client.host, request.client.port) if request.client else ("", 0)
    login = {name: request.headers[name] for name in ("authorization", "cookie") if name in request.headers}
    address = f"{request.url.scheme}://{request.url.netloc}"

    transport = httpx.ASGITransport(app=outer, raise_app_exceptions=False, client=reader)

    def ask(dag_id: str, run_id: str) -> Sequence[Row]:
        # In the server's own loop, where Airflow answers everything else.
        answer = asyncio.run_coroutine_threadsafe(_task_instances(transport, address, login, dag_id, run_id), loop)
        try:
            return answer.result(LIMIT)
        except Exception as error:  # noqa: BLE001  the records are shown as they are
            answer.cancel()
            log.debug("Airflow does not say how the tasks of %s are: %r", run_id, error)
            return []

    return ask


def compared(rows: Sequence[Row], airflow: AskAirflow | None, now: datetime) -> list[Row]:
    """Return records of a run; those that are open although Airflow has decided say so, in their decision too.

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


def _doubted(row: Row, task: Row | None, now: datetime) -> Row:
    if task is None or _has_just_ended(task, now):
        return row
    attempt = row["retry_attempt_number"] + 1
    # Airflow counts no try of a task that it never ran.
    is_meant = task["try_number"] == attempt or row["transfer_status"] == "pending"
    if task["try_number"] > attempt:
        word = f"Airflow is at attempt {task['try_number']}"
    elif is_meant and task["state"] in _ENDED:
        word = f"Airflow says {task['state']}"
    else:
        return row
    known = [row["decision"]] if row["decision"] else []
    return {**row, AIRFLOW_SAYS: word, "decision": "; ".join([f"{word}; the record is not closed yet", *known])}


def _has_just_ended(task: Row, now: datetime) -> bool:
    ended = task["end_date"]
    return bool(ended) and now - datetime.fromisoformat(ended.replace("Z", "+00:00")) < _GRACE


def _place(row: Row) -> tuple[str, str, str, int]:
    return row["dag_id"], row["run_id"], row["task_id"], row["map_index"]


async def _task_instances(
    transport: Any, address: str, login: Mapping[str, str], dag_id: str, run_id: str
) -> Sequence[Row]:
    import httpx

    asked: Iterable[tuple[str, str | int]] = [
        *(("state", state) for state in (*_ENDED, "running")),
        ("order_by", "-start_date"),
        ("limit", _MOST),
    ]
    path = f"/api/v2/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}/taskInstances"
    async with httpx.AsyncClient(transport=transport, base_url=address, timeout=LIMIT) as client:
        answer = await client.get(path, params=httpx.QueryParams(list(asked)), headers=login)
    found = answer.json().get("task_instances", []) if answer.is_success else []
    return [task for task in found if isinstance(task, dict)]
