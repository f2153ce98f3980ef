"""Bad days in a real Airflow: storages that are down, functions that misbehave. The transfer's outcome stays right."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from airflow_provider_pipetrack.compat import scheduler_bears_callbacks

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PIPELINE = """
user_functions: bad_functions.py
defaults: {max_retry_attempts: 0, audit_enabled: false}
stage_transfers:
  - name: first_is_down
    tracking_location: ["postgres@tracking_down||db||public||pipeline_tracking", "sqlite||%(folder)s/second.db"]
  - name: first_is_unknown
    tracking_location: ["postgres@no_such_connection||db||public||t", "sqlite||%(folder)s/second.db"]
  - name: first_is_missing
    tracking_location: ["postgres@tracking_pg||no_such_database||public||t", "sqlite||%(folder)s/second.db"]
  - name: first_has_no_adapter
    tracking_location: ["snowflake||db||schema||t", "sqlite||%(folder)s/second.db"]
  - name: all_are_down
    tracking_location: ["postgres@tracking_down||db||public||pipeline_tracking", "local_file||/proc/no/such/file.json"]
  - name: disk_is_full
    tracking_location: ["local_file||/dev/full", "sqlite||%(folder)s/second.db"]
  - name: text_raises
    stage_i_details: "raises(1)"
    stage_i_plus_1_details: fine
  - name: text_is_nonsense
    stage_i_details: "nonsense()"
    stage_i_plus_1_details: fine
  - name: counts_raise
    python_callable: works
    counts: raises
  - name: counts_are_nonsense
    python_callable: works
    counts: nonsense
  - name: reports_negative
    python_callable: negative
  - name: load_fails
    python_callable: fails
    rollback: raises
  - name: audit_is_nonsense
    audit_enabled: true
    audit: {function: nonsense, poke_interval: 1s}
  - name: refused
    python_callable: half
    can_partial_data_be_collected: false
  - name: partial
    python_callable: half
  - name: killed
    python_callable: killed
  - name: killed_once
    python_callable: killed_once
    max_retry_attempts: 1
    retry_delay: 1s
  - name: insists
    transfer_order_number: 2
    dependent_on_previous_transfer: false
    depends_on: [partial]
    upstream_completion_required: true
"""
FUNCTIONS = """
import os, signal

def raises(*values, **more):
    raise RuntimeError("the password is hunter2" if values else "out of luck")

def nonsense(*values, **more):
    return {"what": "ever"}

def works():
    return "done"

def fails():
    raise ValueError("the source is gone")

def half():
    return {"records_succeeded": 5, "records_failed": 5}

def killed():
    os.kill(os.getpid(), signal.SIGKILL)

def killed_once(ti):
    if ti.try_number == 1:
        killed()

def negative():
    from airflow_provider_pipetrack import report
    report(records_succeeded=-1)
"""
LOADER = "# Airflow Dag loader\nfrom airflow_provider_pipetrack import load_pipelines\nload_pipelines(globals())\n"

# What Airflow says of each task, and what its record says: status, a part of the decision, a part of the error.
EXPECTED = {
    "first_is_down": ("success", "completed", None, None),
    "first_is_unknown": ("success", "completed", None, None),
    "first_is_missing": ("success", "completed", None, None),
    "first_has_no_adapter": ("success", "completed", None, None),
    "disk_is_full": ("success", "completed", None, None),
    "text_raises": ("success", "completed", None, None),
    "text_is_nonsense": ("success", "completed", None, None),
    "counts_raise": ("success", "completed", "counts unknown: out of luck", None),
    "counts_are_nonsense": ("success", "completed", "counts unknown: the counts function returned", None),
    "reports_negative": ("failed", "failed", None, "records_succeeded=-1: expected a number from 0"),
    "load_fails": ("failed", "failed", "rollback failed and is owed: RuntimeError", "ValueError: the source is gone"),
    "audit_is_nonsense": ("success", "completed", None, None),
    "refused": ("failed", "failed", "partial data refused: 5 of 10 records", "partial data refused"),
    "partial": ("success", "completed", "partial data accepted: 5 of 10 records", None),
    "killed": ("failed", "failed", None, "the task ended without a word; Airflow says failed"),
    "killed_once": ("success", "completed", None, None),
    "insists": ("failed", "failed", None, "upstream 'partial' delivered partial data"),
}


@pytest.fixture(scope="module")
def run(airflow_stack) -> str:
    folder = airflow_stack.dags / "bad"
    folder.mkdir()
    (folder / "bad_functions.py").write_text(FUNCTIONS)
    (folder / "bad_days.yaml").write_text(PIPELINE % {"folder": airflow_stack.home})
    (folder / "load_bad.py").write_text(LOADER)
    airflow_stack.wait_dag("bad_days", timeout=120)
    airflow_stack.unpause("bad_days")
    run_id = airflow_stack.trigger("bad_days")
    airflow_stack.wait_run("bad_days", run_id, timeout=240)
    return run_id


@pytest.fixture(scope="module")
def states(airflow_stack, run) -> dict[str, str]:
    return {ti["task_id"]: ti["state"] for ti in airflow_stack.task_instances("bad_days", run)}


@pytest.fixture(scope="module")
def attempts(airflow_stack, run) -> list[dict]:
    """Every attempt's record, once the end of the run has closed what was left open."""

    def closed() -> list[dict] | None:
        found = []
        for name in ("pipetrack/tracking.db", "second.db"):
            with closing(sqlite3.connect(airflow_stack.home / name)) as connection:
                connection.row_factory = sqlite3.Row
                query = "SELECT * FROM pipeline_tracking WHERE run_id = ? ORDER BY retry_attempt_number"
                found += [dict(row) for row in connection.execute(query, (run,))]
        # A task that is killed at once may have its start in the journal only; the run's end reads that too.
        waiting = [r for r in found if r["transfer_status"] in {"pending", "in_progress"} and not r["decision"]]
        unseen = {*EXPECTED} - {record["task_id"] for record in found}
        return None if waiting or unseen else found

    return airflow_stack._wait("the records to be closed", closed, 60)


@pytest.fixture(scope="module")
def records(attempts) -> dict[str, dict]:
    """The last attempt of each transfer."""
    return {row["task_id"]: row for row in attempts}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_outcome_is_right_and_recorded(states, records, name):
    state, status, decision, error = EXPECTED[name]
    record = records[name]
    assert (states[name], record["transfer_status"]) == (state, status), record
    assert (decision or "") in (record["decision"] or "")
    assert (error or "") in (record["error_message"] or "")
    assert bool(record["error_message"]) == (status == "failed")


def test_an_attempt_that_was_killed_is_closed_with_the_cause(attempts):
    first, second = (row for row in attempts if row["task_id"] == "killed_once")
    assert (first["transfer_status"], first["closed_by"], first["decision"]) == (
        "failed",
        "callback" if scheduler_bears_callbacks() else "reconcile",
        "Airflow retries",
    )
    assert "ended without a word: killed, out of memory" in first["error_message"]
    assert first["transfer_start_timestamp"]
    assert first["actual_seconds"] is not None
    assert (second["transfer_status"], second["closed_by"]) == ("completed", "task")
    (killed,) = (row for row in attempts if row["task_id"] == "killed")
    assert killed["closed_by"] in {"reconcile", "dag callback"}, "by the run's next task on this host, or at its end"


def test_the_second_location_knows_what_the_first_one_lacks(airflow_stack, records):
    assert json.loads(records["first_is_down"]["owed"]) == ["postgres@tracking_down||db||public||pipeline_tracking"]
    assert json.loads(records["partial"]["owed"]) == []


def test_where_nothing_can_be_reached_the_journal_keeps_the_record(airflow_stack, states, run):
    from airflow_provider_pipetrack import TrackingStore

    assert states["all_are_down"] == "success"
    home = airflow_stack.home
    with TrackingStore([f"sqlite||{home}/empty.db"], journal_dir=home / "pipetrack" / "journal") as store:
        (record,) = [r for r in store.read_run("bad_days", run).records if r["task_id"] == "all_are_down"]
    assert record["transfer_status"] == "completed"


def test_a_text_that_cannot_be_made_is_missing_and_nothing_else(records):
    for name in ("text_raises", "text_is_nonsense"):
        assert records[name]["stage_i_details"] is None
        assert records[name]["stage_i_plus_1_details"] == "fine"
        assert records[name]["transfer_unique_id"]


def test_an_audit_that_answers_nonsense_is_no_match(states, records):
    assert states["audit_is_nonsense__audit"] == "failed"
    assert records["audit_is_nonsense"]["audit_result"] == "pending"
    assert "expected the key audit_result" in records["audit_is_nonsense"]["audit_metadata"]


def test_the_task_log_says_what_to_do(airflow_stack, run, states):
    text = "".join(path.read_text() for path in (airflow_stack.home / "logs").rglob("*task_id=first_is_unknown*/*.log"))
    assert "there is no such Airflow connection" in text
    text = "".join(path.read_text() for path in (airflow_stack.home / "logs").rglob("*task_id=first_is_missing*/*.log"))
    assert "there is no database 'no_such_database'" in text
    everything = "".join(path.read_text() for path in (airflow_stack.home / "logs").rglob("*.log"))
    assert "secret-Pa55" not in everything
