"""Pages, and `pipetrack status`, over a million records, against all statements that they need and nothing else."""

from __future__ import annotations

import asyncio
import io
import math
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fastapi import FastAPI

from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.tracking.questions import Questions
from airflow_provider_pipetrack.tracking.store import TrackingStore
from airflow_provider_pipetrack.ui import rights
from airflow_provider_pipetrack.ui.app import build_app
from airflow_provider_pipetrack.ui.asking import Desk
from benchmarks.questions import fill_postgres, fill_sqlite, print_report, seconds_of

PAGES = {
    "overview": "",
    "runs": "runs",
    "failed runs": "runs?status=failed",
    "completed runs": "runs?status=completed",
    "runs, by state": "runs?runs.sort=state",
    "runs, searched": "runs?search=warehouse",
    "transfers": "transfers",
    "transfers, searched": "transfers?search=warehouse",
    "transfers, page 100, slowest first": "transfers?transfers.sort=-actual_seconds&transfers.page=100",
    "transfers of an owner": "transfers?owner=team_3",
    "attention": "attention",
    "audits": "audits",
    "readiness": "ready",
    "readiness of a stage": "ready?stage=stage%207",
    "readiness of a stage, by a pipeline": "ready?stage=stage%207&pipeline_id=pipeline_1",
    "a pipeline": "p/pipeline_1?dag_id=dag_1",
    "a run": "p/pipeline_1/r/scheduled__42?dag_id=dag_1",
    "a transfer": "p/pipeline_1/t/transfer_3?dag_id=dag_1",
    "API: pipelines": "api/v1/pipelines",
    "API: transfers": "api/v1/transfers?limit=1000",
}
#: What `pipetrack` is called with; its process and imports are not counted, a connection of its own is.
COMMANDS = {
    "pipetrack status": ("status",),
    "pipetrack status of a pipeline": ("status", "pipeline_1"),
    "pipetrack status, as JSON": ("status", "--output", "json"),
    "pipetrack status of a pipeline, as JSON": ("status", "pipeline_1", "--output", "json"),
}


def listen(adapter: Any) -> list[tuple[str, Any]]:
    """Return a list of the queries that databases of this kind are sent from now on, with their values."""
    heard: list[tuple[str, Any]] = []
    kind = type(adapter)
    plain = kind._query

    def query(self: Any, connection: Any, statement: str, values: Any) -> Any:
        heard.append((statement, values))
        return plain(self, connection, statement, values)

    kind._query = query
    return heard


class Door:
    """Asks an application for pages, as the server does, without a network between."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()

    def get(self, path: str) -> str:
        """Return the body of a page.

        :raises TimeoutError: when the page had no answer within its time.
        """
        status, body = self._loop.run_until_complete(self._get(path))
        text = body.decode()
        assert status == 200, text
        if "could not be asked" in text or "did not answer" in text:
            raise TimeoutError(path)
        return text

    async def _get(self, path: str) -> tuple[int, bytes]:
        name, _, query = path.partition("?")
        sent: list[Any] = []
        scope = {
            "type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "path": f"/{name}",
            "raw_path": f"/{name}".encode(), "root_path": "", "query_string": query.encode(), "headers": [],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def compare(
    location: str, fill: Callable[[Any, int], None], count: int, runs: int
) -> Iterator[tuple[str, float, float]]:
    """Yield for each page the seconds of the bare SQL of its questions, and of the page."""
    os.environ["AIRFLOW__PIPETRACK__JOURNAL_DIR"] = tempfile.mkdtemp(prefix="bench-journal-")
    with TrackingStore([location]) as store:
        adapter: Any = store.legs[0].adapter
        fill(adapter, count)
        heard = listen(adapter)
        dags = {f"dag_{number}" for number in range(max(1, count // 5000))}
        rights.readable_dags = lambda user: dags  # type: ignore[assignment]
        rights.may_see_health = lambda user: True  # type: ignore[assignment]
        questions = Questions(store)
        door = Door(build_app(login=lambda: "reader", desk=Desk(lambda: questions)))
        asking = {name: partial(door.get, path) for name, path in PAGES.items()}
        asking |= {name: partial(_command, location, arguments) for name, arguments in COMMANDS.items()}
        for name, ask in asking.items():
            try:
                ask()
                heard.clear()  # the first time it is asked for what is then known for a while
                ask()
                bare = _sql_of(adapter, list(heard))
                pairs = [(seconds_of(bare), seconds_of(ask)) for _ in range(runs)]
            except TimeoutError:
                yield name, math.nan, math.inf
            else:
                yield name, *(statistics.median(times) for times in zip(*pairs, strict=True))


def _command(location: str, arguments: Sequence[str]) -> None:
    with redirect_stdout(io.StringIO()):
        try:
            main([*arguments, "--location", location], standalone_mode=False)
        except SystemExit as ended:
            if ended.code:
                raise


def _sql_of(adapter: Any, heard: Sequence[tuple[str, Any]]) -> Callable[[], None]:
    """Return what sends queries once more, on an open connection, and fetches what they find."""

    def run() -> None:
        with adapter._transaction() as connection:
            if adapter._native_times:  # PostgreSQL, whose session has a limit meant for writes
                connection.execute("SET LOCAL statement_timeout = 0")
            for statement, values in heard:
                connection.execute(statement, values).fetchall()

    return run


def report(count: int, runs: int) -> int:
    """Print the figures of both databases; return how many pages take more than twice the bare SQL."""
    folder = Path(tempfile.mkdtemp(prefix="bench-pages-"))
    missed = 0
    try:
        compared = compare(f"sqlite||{folder}/tracking.db||pipeline_tracking", fill_sqlite, count, runs)
        missed += print_report(f"pages, SQLite, {count:,} records", compared, "page")
        from tests.postgres_server import CONN_ID, DATABASE, start

        server, handle = start()
        try:
            os.environ.update(server.environment())
            compared = compare(f"postgres@{CONN_ID}||{DATABASE}||public||pipeline_tracking", fill_postgres, count, runs)
            missed += print_report(f"pages, PostgreSQL, {count:,} records", compared, "page")
        finally:
            handle.cleanup()
            shutil.rmtree(server.folder, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return missed


if __name__ == "__main__":
    sys.exit(1 if report(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, runs=5) else 0)
