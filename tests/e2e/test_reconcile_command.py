"""``--airflow-url``: attempts that were left open are shown as stale, and closed, by what Airflow's REST API says."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest
from click.testing import CliRunner

from airflow_provider_pipetrack.cli.airflow_rest import AirflowRest, AirflowUnreachableError
from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.records.handmade import change_from_record, change_of_record
from airflow_provider_pipetrack.records.merge import record_of
from airflow_provider_pipetrack.tracking.store import TrackingStore

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DAG_ID = "asked_over_rest"
DAG = f"""
from airflow.sdk import DAG, task

with DAG("{DAG_ID}", schedule=None):

    @task
    def good():
        pass

    @task(retries=0)
    def bad():
        raise ValueError("no")

    @task
    def each(number):
        pass

    good()
    bad()
    each.expand(number=list(range(120)))
"""


@pytest.fixture(scope="module")
def run_id(airflow_stack):
    (airflow_stack.dags / f"{DAG_ID}.py").write_text(DAG)
    airflow_stack.wait_dag(DAG_ID)
    airflow_stack.unpause(DAG_ID)
    run = airflow_stack.trigger(DAG_ID)
    airflow_stack.wait_run(DAG_ID, run, timeout=400)
    return run


@pytest.fixture(scope="module")
def airflow(airflow_stack):
    user, password = airflow_stack.login.split(" / ")
    rest = AirflowRest(airflow_stack.url, user, password)
    rest.log_in()
    return rest


def test_states_come_of_every_page_and_only_of_known_runs(airflow, run_id):
    found = airflow.states(DAG_ID, [run_id, "never/ran"])
    assert list(found) == [run_id]
    assert (found[run_id]["good"], found[run_id]["bad"]) == ("success", "failed")
    assert {found[run_id][f"each_{index}"] for index in range(120)} == {"success"}
    assert airflow.states("no_such_dag", ["r"]) == {}


def test_a_wrong_login_gets_a_sentence(airflow_stack):
    with pytest.raises(AirflowUnreachableError, match=f"Airflow at {airflow_stack.url} refuses this login"):
        AirflowRest(airflow_stack.url, "nobody", "wrong").log_in()
    with pytest.raises(AirflowUnreachableError, match="refuses this login"):
        AirflowRest(airflow_stack.url, None, None, "no-token").states(DAG_ID, ["r"])
    with pytest.raises(PipetrackError, match="Airflow wants a login"):
        AirflowRest(airflow_stack.url, None, None).log_in()


@pytest.fixture
def location(run_id, tmp_path, monkeypatch):
    """Where attempts were left open an hour ago: three that Airflow has ended, and one that it does not know."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    location = f"sqlite||{tmp_path}/tracking.db||t"
    begun = utc_now() - timedelta(hours=1)
    places = [("good", -1), ("bad", -1), ("each", 117), ("gone", -1)]
    with TrackingStore([location]) as store:
        for task_id, map_index in places:
            fields = {"dag_id": DAG_ID, "run_id": run_id, "task_id": task_id, "map_index": map_index}
            started = {"transfer_status": "in_progress", "transfer_start_timestamp": begun}
            record = record_of(change_from_record({**fields, **started, "pipeline_id": "p"}))
            record.update(created_timestamp=begun, updated_timestamp=begun)
            store.legs[0].call(lambda adapter, record=record: adapter.apply([change_of_record(record)]), 30)
    return location


@pytest.fixture
def asking(airflow_stack, location, monkeypatch):
    """The options of a command that asks Airflow about the records there."""
    user, password = airflow_stack.login.split(" / ")
    monkeypatch.setenv("PIPETRACK_AIRFLOW_PASSWORD", password)
    return ["--location", location, "--airflow-url", airflow_stack.url, "--airflow-user", user]


def test_open_attempts_that_airflow_has_ended_are_shown_as_stale(asking):
    # What has ended less than ten seconds ago may still be closed by its own word.
    deadline = time.monotonic() + 60
    shown = CliRunner().invoke(main, ["status", "p", *asking, "--output", "json"])
    while shown.output.count("airflow_says") < 3 and time.monotonic() < deadline:
        time.sleep(1)
        shown = CliRunner().invoke(main, ["status", "p", *asking, "--output", "json"])
    assert (shown.exit_code, shown.stderr) == (0, "")
    rows = {row["task_id"]: row for row in json.loads(shown.stdout)["transfers"]}
    assert {name: row.get("airflow_says") for name, row in rows.items()} == {
        "good": "Airflow says success",
        "bad": "Airflow says failed",
        "each": "Airflow says success",
        "gone": None,
    }
    assert {row["transfer_status"] for row in rows.values()} == {"in_progress"}
    text = CliRunner().invoke(main, ["status", "p", *asking])
    assert (text.exit_code, text.stdout.count("stale")) == (0, 3)


def test_open_attempts_are_closed_by_airflows_word(run_id, location, asking):
    done = CliRunner().invoke(main, ["reconcile", *asking, "--output", "json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["closed"] == 3
    with TrackingStore([location]) as store:
        records = {record["task_id"]: record for record in store.read_run(DAG_ID, run_id).records}
    assert {name: record["transfer_status"] for name, record in records.items()} == {
        "good": "completed",
        "bad": "failed",
        "each": "completed",
        "gone": "in_progress",
    }
    assert "Airflow says failed" in records["bad"]["error_message"]
