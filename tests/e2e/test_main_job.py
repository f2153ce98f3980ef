"""The main job in a real Airflow: a YAML file is dropped in, Airflow runs it twice, every attempt is tracked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PIPELINE = """
pipeline_metadata:
  pipeline_id: shop_orders
  pipeline_version: "7"
dag: {tags: [e2e]}
user_functions: shop_functions.py
defaults:
  retry_delay: 1s
  transfer_process_owner_name: shop_team
stage_transfers:
  - name: load
    stage_i_details: shop
    stage_i_plus_1_details: staging
    transfer_order_number: 1
    estimated_duration: 1m
    python_callable: load
    audit: {function: same_rows, poke_interval: 1s}
  - name: publish
    stage_i_details: staging
    stage_i_plus_1_details: production
    transfer_order_number: 2
    estimated_duration: 1m
    python_callable: publish
    max_retry_attempts: 2
    audit_enabled: false
  - name: archive
    stage_i_details: production
    stage_i_plus_1_details: archive
    transfer_order_number: 3
    transfer_enabled: false
  - name: report
    stage_i_details: production
    stage_i_plus_1_details: mail
    transfer_order_number: 4
    operator: airflow.providers.standard.operators.bash.BashOperator
    operator_args: {bash_command: "echo {{ run_id }}"}
    audit_enabled: false
"""

FUNCTIONS = """
def load():
    return {"records_succeeded": 700, "records_failed": 300}

def publish(ti):
    if ti.try_number == 1:
        raise ConnectionError("the warehouse hung up")

def same_rows(source_stage, target_stage, audit_config):
    return {"audit_result": "matched", "rows": 700, "stages": [source_stage, target_stage]}
"""

BROKEN = "stage_transfers:\n  - name: oops\n    retry_dellay: 5m\n"
LOADER = "# Airflow Dag loader\nfrom airflow_provider_pipetrack import load_pipelines\nload_pipelines(globals())\n"
REPORTER = "# Airflow Dag loader\nfrom airflow_provider_pipetrack import report_problems\nreport_problems()\n"

# The three queries that operations people run, as they know them.
CURRENT = """
SELECT
  stage_i_details,
  stage_i_plus_1_details,
  transfer_status,
  actual_duration,
  retry_attempt_number,
  transfer_process_owner_name
FROM pipeline_tracking
WHERE pipeline_id = 'shop_orders'
ORDER BY transfer_order_number;
"""
PROBLEMATIC = """
SELECT
  stage_i_details,
  stage_i_plus_1_details,
  COUNT(*) as total_attempts,
  AVG(retry_attempt_number) as avg_retries
FROM pipeline_tracking
GROUP BY stage_i_details, stage_i_plus_1_details
HAVING AVG(retry_attempt_number) > 1;
"""
LATEST = """
SELECT * FROM pipeline_tracking p1
WHERE p1.retry_attempt_number = (
  SELECT MAX(p2.retry_attempt_number)
  FROM pipeline_tracking p2
  WHERE p1.pipeline_id = p2.pipeline_id
    AND p1.transfer_unique_id = p2.transfer_unique_id
);
"""


@pytest.fixture(scope="module")
def runs(airflow_stack) -> list[str]:
    """Drop the files into Airflow's dags folder and run the pipeline twice."""
    dags = airflow_stack.dags / "shop"
    dags.mkdir()
    (dags / "shop_functions.py").write_text(FUNCTIONS)
    (dags / "shop_orders.yaml").write_text(PIPELINE)
    (dags / "broken.yaml").write_text(BROKEN)
    (dags / "load_pipelines.py").write_text(LOADER)
    (dags / "report_problems.py").write_text(REPORTER)
    airflow_stack.wait_dag("shop_orders", timeout=120)
    airflow_stack.unpause("shop_orders")
    run_ids = []
    for _ in range(2):
        run_id = airflow_stack.trigger("shop_orders")
        assert airflow_stack.wait_run("shop_orders", run_id, timeout=180) == "success", airflow_stack.logs()
        run_ids.append(run_id)
    return run_ids


@pytest.fixture(scope="module")
def tracking(airflow_stack, runs) -> Path:
    return airflow_stack.home / "pipetrack" / "tracking.db"


def rows(database: Path, query: str, *values: str) -> list[dict]:
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query, values)]


def attempts(database: Path, run_id: str) -> dict[tuple[str, int], dict]:
    found = rows(database, "SELECT * FROM pipeline_tracking WHERE run_id = ?", run_id)
    return {(row["task_id"], row["retry_attempt_number"]): row for row in found}


@pytest.mark.parametrize("run", [0, 1])
def test_every_attempt_of_a_run_has_one_right_record(tracking, runs, run):
    found = attempts(tracking, runs[run])
    assert {key: row["transfer_status"] for key, row in found.items()} == {
        ("load", 0): "completed",
        ("publish", 0): "failed",
        ("publish", 1): "completed",
        ("archive", 0): "pending",
        ("report", 0): "completed",
    }
    assert found["archive", 0]["decision"] == "disabled"
    assert "the warehouse hung up" in found["publish", 0]["error_message"]
    assert {row["pipeline_version"] for row in found.values()} == {"7"}
    assert {row["closed_by"] for key, row in found.items() if key[0] != "archive"} == {"task"}


@pytest.mark.parametrize("run", [0, 1])
def test_times_and_durations_are_filled_and_agree(tracking, runs, run):
    for (name, _), row in attempts(tracking, runs[run]).items():
        if name == "archive":
            assert row["transfer_start_timestamp"] is None
            continue
        started = datetime.fromisoformat(row["transfer_start_timestamp"])
        ended = datetime.fromisoformat(row["transfer_end_timestamp"])
        assert started.utcoffset() == ended.utcoffset() == timedelta(0)
        assert timedelta(0) <= ended - started < timedelta(seconds=60)
        # What pipetrack does before the transfer's own work is left out.
        assert 0 <= row["actual_seconds"] <= (ended - started).total_seconds() + 0.01
        assert row["actual_duration"]


def test_partial_data_and_the_audit_are_recorded(tracking, runs):
    load = attempts(tracking, runs[0])["load", 0]
    assert (load["records_succeeded"], load["records_failed"], bool(load["is_partial"])) == (700, 300, True)
    assert load["decision"] == "partial data accepted: 700 of 1,000 records"
    assert load["audit_result"] == "matched"
    assert '"stages"' in load["audit_metadata"]


def test_the_known_queries_answer_rightly(tracking, runs):
    current = rows(tracking, CURRENT)
    assert len(current) == 10
    assert [row["stage_i_details"] for row in current[:2]] == ["shop", "shop"]
    assert [row for row in rows(tracking, PROBLEMATIC) if row["stage_i_details"] in {"shop", "staging"}] == []
    latest = [row for row in rows(tracking, LATEST) if row["dag_id"] == "shop_orders"]
    assert len(latest) == 8
    assert {(row["run_id"], row["task_id"]): row["retry_attempt_number"] for row in latest} == {
        (run_id, name): int(name == "publish") for run_id in runs for name in ("load", "publish", "archive", "report")
    }


def test_a_broken_file_beside_it_is_shown_and_stops_nothing(airflow_stack, runs):
    errors = [e for e in airflow_stack.wait_import_errors(timeout=60) if "shop" in e["filename"]]
    assert [Path(error["filename"]).name for error in errors] == ["report_problems.py"]
    assert "broken.yaml:3:5: stage_transfers[0].retry_dellay:" in errors[0]["stack_trace"]
    assert "did you mean 'retry_delay'?" in errors[0]["stack_trace"]


def test_nothing_is_left_in_the_journal(airflow_stack, runs):
    from airflow_provider_pipetrack import TrackingStore

    home = airflow_stack.home / "pipetrack"
    with TrackingStore([f"sqlite||{home / 'tracking.db'}||pipeline_tracking"], journal_dir=home / "journal") as store:
        before = {row["record_id"] for row in store.read_tracking_records("shop_orders")}
        store.reconcile()
        after = {row["record_id"] for row in store.read_tracking_records("shop_orders")}
    assert before == after
    assert len(after) == 10
