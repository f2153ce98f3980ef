"""The demo's pipeline, in the Airflow of the tests: a partial load, a retry with a rollback, two audits."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DEMO = Path(__file__).resolve().parents[2] / "demo"


def test_the_demo_runs_twice_and_shows_what_it_promises(airflow_stack):
    folder = airflow_stack.dags / "orders"
    for name in ("dags", "data"):
        shutil.copytree(DEMO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    airflow_stack.wait_dag("orders_demo", timeout=120)
    airflow_stack.unpause("orders_demo")
    for _ in range(2):
        run_id = airflow_stack.trigger("orders_demo")
        assert airflow_stack.wait_run("orders_demo", run_id, timeout=180) == "success"
        with closing(sqlite3.connect(airflow_stack.home / "pipetrack" / "tracking.db")) as connection:
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
