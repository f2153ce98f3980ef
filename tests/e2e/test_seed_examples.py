"""Two pipelines that name no operator and no function: stages only. They run to success and are tracked."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from tests.unit.config.test_pipelines import ETL, STREAM

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

LOADER = "# Airflow Dag loader\nfrom airflow_provider_pipetrack import load_pipelines\nload_pipelines(globals())\n"
KEPT = """
user_functions: kept_functions.py
stage_transfers:
  - name: kept
    stage_i_details: tick()
    stage_i_plus_1_details: "run {{ run_id }}"
    transfer_unique_id: f"{unit}-{run_id}"
    python_callable: fail_once
    max_retry_attempts: 1
    retry_delay: 1s
    audit_enabled: false
variables: {unit: retail}
"""
FUNCTIONS = """
import pathlib

TICKS = pathlib.Path(__file__).with_suffix(".ticks")

def tick():
    number = len(TICKS.read_text()) + 1 if TICKS.exists() else 1
    TICKS.write_text("x" * number)
    return f"tick {number}"

def fail_once(ti):
    if ti.try_number == 1:
        raise RuntimeError("once")
"""
FILES = {
    "daily_customer_etl_20250807_001": ("etl.yaml", ETL),
    "stream": ("stream.yaml", STREAM),
    "kept": ("kept.yaml", KEPT),
}


@pytest.fixture(scope="module")
def runs(airflow_stack) -> dict[str, str]:
    folder = airflow_stack.dags / "examples"
    folder.mkdir()
    for name, text in FILES.values():
        (folder / name).write_text(text)
    (folder / "kept_functions.py").write_text(FUNCTIONS)
    (folder / "load_examples.py").write_text(LOADER)
    started = {}
    for dag_id in FILES:
        airflow_stack.wait_dag(dag_id, timeout=120)
        airflow_stack.unpause(dag_id)
        started[dag_id] = airflow_stack.trigger(dag_id)
    for dag_id, run_id in started.items():
        assert airflow_stack.wait_run(dag_id, run_id, timeout=240) == "success", airflow_stack.logs()
    return started


def records(airflow_stack, dag_id: str, run_id: str) -> list[dict]:
    with closing(sqlite3.connect(airflow_stack.home / "pipetrack" / "tracking.db")) as connection:
        connection.row_factory = sqlite3.Row
        query = (
            "SELECT * FROM pipeline_tracking WHERE dag_id = ? AND run_id = ? "
            "ORDER BY transfer_order_number, retry_attempt_number"
        )
        return [dict(row) for row in connection.execute(query, (dag_id, run_id))]


def test_a_pipeline_of_stages_only_runs_in_order(airflow_stack, runs):
    dag_id = "daily_customer_etl_20250807_001"
    first, second = records(airflow_stack, dag_id, runs[dag_id])
    assert (first["transfer_status"], second["transfer_status"]) == ("completed", "completed")
    assert first["transfer_end_timestamp"] <= second["transfer_start_timestamp"]
    assert (first["audit_result"], second["audit_result"]) == ("pending", "pending")
    assert "the data was not checked" in first["audit_metadata"]
    assert second["transfer_process_owner_name"] == "analytics_team"
    assert json.loads(second["transfer_process_email_alerts"]) == ["analytics@company.com", "ops@company.com"]


def test_a_stream_runs_and_has_no_estimate(airflow_stack, runs):
    (record,) = records(airflow_stack, "stream", runs["stream"])
    assert (record["transfer_status"], record["estimated_duration"]) == ("completed", "continuous")
    assert record["estimated_seconds"] is None


def test_a_retry_keeps_the_texts_that_its_first_attempt_made(airflow_stack, runs):
    first, second = records(airflow_stack, "kept", runs["kept"])
    assert (first["transfer_status"], second["transfer_status"]) == ("failed", "completed")
    for name in ("stage_i_details", "stage_i_plus_1_details", "transfer_unique_id", "stage_i_unique_identifier"):
        assert first[name] == second[name], name
    assert first["stage_i_details"] == "tick 1"
    assert first["stage_i_plus_1_details"] == f"run {runs['kept']}"
    assert first["transfer_unique_id"] == f"retail-{runs['kept']}"
    assert first["stage_i_unique_identifier"] == "kept/tick 1"
