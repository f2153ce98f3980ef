"""The demo, in the Airflow of the tests: a partial load, a retry with a rollback, two audits, and what is printed."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing, nullcontext

import pytest

from demo import run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def demo(airflow_stack, monkeypatch):
    """The demo, which works in a folder of the running Airflow's dags and does not start another one."""
    folder = airflow_stack.dags / "orders"
    monkeypatch.setattr(run, "WORK", folder)
    monkeypatch.setattr(run, "stack", lambda: nullcontext(airflow_stack))
    monkeypatch.setattr(run, "tracking_database", lambda: airflow_stack.home / "pipetrack" / "tracking.db")
    return folder


def test_the_demo_runs_twice_and_shows_what_it_promises(demo, capsys):
    for _ in range(2):
        assert run.demo() == 0
        printed = capsys.readouterr().out
        run_id = re.search(r"^Airflow is up; running orders_demo, run (\S+) …$", printed, re.MULTILINE)[1]
        with closing(sqlite3.connect(run.tracking_database())) as connection:
            rows = connection.execute(
                "SELECT task_id, transfer_status, records_succeeded, records_failed, audit_result, decision "
                "FROM pipeline_tracking WHERE run_id = ? ORDER BY transfer_order_number, retry_attempt_number",
                (run_id,),
            ).fetchall()
        assert rows == [
            ("load_orders", "completed", 237, 3, "matched", "partial data accepted: 237 of 240 records"),
            ("publish_orders", "failed", None, None, None, "rolled back"),
            ("publish_orders", "completed", 237, 0, "matched", None),
            ("total_orders", "completed", 4, 0, None, None),
        ]
        records, audits = printed.partition("Tracking records of this run")[2].split("Audits of this run")
        assert [cells[:3] + cells[4:7] for cells in table(records)] == [
            ["load_orders", "1", "completed", "237", "3", "matched"],
            ["publish_orders", "1", "failed", "", "", ""],
            ["publish_orders", "2", "completed", "237", "0", "matched"],
            ["total_orders", "1", "completed", "4", "0", ""],
        ]
        assert [cells[:2] for cells in table(audits)] == [["load_orders", "matched"], ["publish_orders", "matched"]]
        assert printed.splitlines()[-5:] == [
            "The run ended as: success",
            f"Pipeline file:    {run.PIPELINE} (change it and run it again; Airflow reads a copy)",
            f"Tracking records: {run.tracking_database()} (table pipeline_tracking)",
            f"The data itself:  {demo / 'warehouse.db'}",
            "Next:             make ui   opens the same pipeline in Airflow",
        ]
        assert (demo / "warehouse.db").exists()


def table(printed: str) -> list[list[str]]:
    """Return the rows of a printed table, each by its first line."""
    rows = re.split(r"^[├└]", printed, flags=re.MULTILINE)
    lines = [re.findall(r"^│(.*)│$", row, re.MULTILINE) for row in rows]
    return [[cell.strip() for cell in of_row[0].split("│")] for of_row in lines if of_row]
