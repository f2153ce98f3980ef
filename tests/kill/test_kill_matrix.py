"""Every way to die under a real scheduler and LocalExecutor: the record ends right, in time, and stays so.

With SQLite and with PostgreSQL as Airflow's own database. The table that is printed says how long each row took.
"""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from demo.airflow_process import AirflowStack
from tests.kill.rows import FUNCTIONS, ROWS, STARTUP_FUNCTIONS, Row
from tests.postgres_server import start

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

LOADER = "# Airflow Dag loader\nfrom airflow_provider_pipetrack import load_pipelines\nload_pipelines(globals())\n"
EXAMPLES = Path(__file__).parents[2] / "dags_examples"
#: Seconds after Airflow's own decision within which a record has to be right, where the maintenance Dag runs.
IN_TIME = 90
#: When the last orphan has done what it can, in seconds after its start.
LONGEST = 150
#: The states that Airflow gives a task when it has decided about it.
_DECIDED = {"success", "failed", "skipped", "upstream_failed", "removed"}


@dataclass
class Attempt:
    """What was seen of one attempt.

    :param decided: when Airflow had decided about it; ``right`` when its record first said so, by the monotonic clock.
    :param record: its record as it was last.
    """

    decided: float | None = None
    right: float | None = None
    record: dict[str, Any] = field(default_factory=dict)


class Matrix:
    """One stack that runs all rows at once."""

    def __init__(self, stack: AirflowStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.runs: dict[str, str] = {}
        self.begun: dict[str, float] = {}
        self.struck: set[str] = set()
        self.states: dict[str, str] = {}
        self.attempts = {(row.name, n): Attempt() for row in ROWS for n in range(1, len(row.ends) + 1)}

    def run(self) -> None:
        """Trigger every row, strike each when its first attempt runs, and look until all has been said and done."""
        for row in ROWS:
            self.stack.wait_dag(row.name, timeout=180)
            self.stack.unpause(row.name)
        for row in ROWS:
            self.runs[row.name] = self.stack.trigger(row.name)
        deadline = time.monotonic() + 420
        while time.monotonic() < deadline and not self._is_over():
            self._strike()
            self._look()
            time.sleep(0.5)

    def events(self, name: str) -> list[str]:
        """Return what a row's transfer noted."""
        path = self.folder / f"{name}.events"
        return path.read_text().splitlines() if path.exists() else []

    def history(self, row: Row) -> list[str]:
        """Return who changed the first attempt of a row."""
        query = "SELECT changed_by FROM pipeline_tracking_history WHERE record_id = ?"
        return [found["changed_by"] for found in self._query(query, self.attempts[row.name, 1].record["record_id"])]

    def _is_over(self) -> bool:
        if any(attempt.right is None for attempt in self.attempts.values()):
            return False
        return all(time.monotonic() - begun > LONGEST for begun in self.begun.values())

    def _strike(self) -> None:
        for row in ROWS:
            mark = self.folder / f"{row.name}.{row.map_index}.1.json"
            if row.name in self.struck or not mark.exists():
                continue
            self.begun.setdefault(row.name, time.monotonic())
            # The start is on its way to the location by then, as it is in life.
            if time.monotonic() - self.begun[row.name] > 3:
                self.struck.add(row.name)
                if row.strike is not None:
                    row.strike(Hands(self.stack, row.name, self.runs[row.name]), json.loads(mark.read_text()))

    def _look(self) -> None:
        now = time.monotonic()
        found = self.stack.task_instances()
        instances = {(ti["dag_id"], ti["map_index"]): ti for ti in found if ti["task_id"] == "work"}
        records = self._query("SELECT * FROM pipeline_tracking WHERE task_id = 'work'")
        for row in ROWS:
            ti = instances.get((row.name, row.map_index), {})
            self.states[row.name] = ti.get("state")
            for number, end in enumerate(row.ends, start=1):
                attempt = self.attempts[row.name, number]
                over = ti.get("state") in {*_DECIDED, "up_for_retry"} or ti.get("try_number", 0) > number
                if attempt.decided is None and over and ti.get("try_number", 0) >= number:
                    attempt.decided = now
                attempt.record = _record(records, row, number)
                if attempt.right is None and is_right(attempt.record, end):
                    attempt.right = now

    def _query(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.stack.home / "pipetrack" / "tracking.db", timeout=20)) as connection:
            connection.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in connection.execute(query, values)]
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):
                    return []
                raise


@dataclass
class Hands:
    """What a person does in Airflow's pages."""

    stack: AirflowStack
    dag_id: str
    run_id: str

    def set_state(self, state: str) -> None:
        """Mark the task as failed or as success."""
        path = f"/api/v2/dags/{self.dag_id}/dagRuns/{quote(self.run_id)}/taskInstances/work"
        answer = self.stack._request("PATCH", path, json={"new_state": state})
        # Asked again because SQLite was locked, Airflow says 409 where the first time had done it; the row itself judges.
        if answer.status_code != httpx.codes.CONFLICT:
            answer.raise_for_status()

    def clear(self) -> None:
        """Clear the task."""
        body = {"dry_run": False, "dag_run_id": self.run_id, "task_ids": ["work"], "only_failed": False}
        self.stack._request("POST", f"/api/v2/dags/{self.dag_id}/clearTaskInstances", json=body).raise_for_status()


def _record(records: list[dict[str, Any]], row: Row, number: int) -> dict[str, Any]:
    wanted = (row.name, row.map_index, number - 1)
    return next((r for r in records if (r["dag_id"], r["map_index"], r["retry_attempt_number"]) == wanted), {})


def reason(record: dict[str, Any]) -> str:
    """Return what a record says about its end."""
    return " ".join(filter(None, (record.get("decision"), record.get("error_message"))))


def is_right(record: dict[str, Any], end: Any) -> bool:
    """Return whether a record ends as it has to."""
    return (
        record.get("transfer_status") == end.status
        and re.search(end.cause, reason(record)) is not None
        and re.search(end.by, record.get("closed_by") or "") is not None
    )


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def matrix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """All rows, run to their ends."""
    folder = tmp_path_factory.mktemp(f"kill-{request.param}")
    env = {
        "KILL_FOLDER": str(folder),
        "PYTHONPATH": str(folder / "dags"),
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    }
    server, handle = start() if request.param == "postgres" else (None, None)
    if server is not None:
        server.run("CREATE DATABASE airflow_metadata")
        for driver, option in (("psycopg2", "SQL_ALCHEMY_CONN"), ("asyncpg", "SQL_ALCHEMY_CONN_ASYNC")):
            env[f"AIRFLOW__DATABASE__{option}"] = (
                f"postgresql+{driver}://postgres@/airflow_metadata?host={quote(server.folder, safe='')}"
            )
    try:
        _write_dags(folder / "dags")
        stack = AirflowStack(home=folder / "airflow", dags=folder / "dags", env=env, parallelism=len(ROWS) + 4)
        with stack:
            found = Matrix(stack, folder)
            found.run()
            _print(request, found, request.param)
            yield found
    finally:
        _remove_cgroup(folder)
        if server is not None:
            handle.cleanup()
            shutil.rmtree(server.folder, ignore_errors=True)


def _write_dags(folder: Path) -> None:
    folder.mkdir()
    (folder / "kill_functions.py").write_text(FUNCTIONS)
    (folder / "startup_functions.py").write_text(STARTUP_FUNCTIONS)
    (folder / "load_rows.py").write_text(LOADER)
    shutil.copy(EXAMPLES / "pipetrack_maintenance.py", folder)
    for row in ROWS:
        (folder / f"{row.name}.yaml").write_text(row.yaml)


def _remove_cgroup(folder: Path) -> None:
    """Remove the cgroup that the task without memory has left behind."""
    events = folder / "out_of_memory.events"
    for line in events.read_text().splitlines() if events.exists() else ():
        if line.startswith("cgroup "):
            Path(line.removeprefix("cgroup ")).rmdir()


def _print(request: pytest.FixtureRequest, matrix: Matrix, database: str) -> None:
    lines = [f"\nkill matrix, Airflow's database: {database}"]
    for row in ROWS:
        for number in range(1, len(row.ends) + 1):
            attempt = matrix.attempts[row.name, number]
            took = "never" if attempt.right is None else f"{max(0.0, attempt.right - (attempt.decided or 0)):5.1f} s"
            record = attempt.record
            lines.append(
                f"{row.what[:52]:52} try {number}  {record.get('transfer_status')!s:11} {took:>8}  "
                f"{record.get('closed_by')!s:12} {reason(record)[:90]}"
            )
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        sys.stdout.write("\n".join(lines) + "\n")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_record_ends_right_and_in_time(matrix: Matrix, row: Row):
    assert matrix.states[row.name] == row.state
    for number, end in enumerate(row.ends, start=1):
        attempt = matrix.attempts[row.name, number]
        assert attempt.decided is not None
        assert attempt.right is not None, attempt.record
        assert attempt.right - attempt.decided <= IN_TIME
        assert is_right(attempt.record, end), ("a late writer turned it", attempt.record)
        assert attempt.record["transfer_end_timestamp"]


def test_no_orphan_undoes_what_the_next_attempt_has_loaded(matrix: Matrix):
    events = matrix.events("supervisor_with_retry")
    assert events == ["try 2 rolled back", "try 2 loaded", "orphan fails"]


def test_a_load_that_somebody_declared_good_is_not_undone(matrix: Matrix):
    assert matrix.events("set_success") == []


def test_a_signal_is_an_event_and_no_end(matrix: Matrix):
    (row,) = (row for row in ROWS if row.name == "sigterm")
    assert "on_kill" in matrix.history(row)


def test_orphans_have_really_written_late(matrix: Matrix):
    assert matrix.events("supervisor") == ["try 1 loaded"]
