"""What other Dags see of ready data: assets with their events, and the sensor in every mode."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import PIPELINES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PIPELINE = """
user_functions: ready_functions.py
defaults: {max_retry_attempts: 0, stage_i_details: shop, depends_on: [], python_callable: load}
stage_transfers:
  - {name: matched, stage_i_plus_1_details: "mart||orders", audit: {function: matched, poke_interval: 1s}}
  - {name: warned, stage_i_plus_1_details: warned, audit: {function: mismatched, on_mismatch: warn}}
  - {name: unchecked, stage_i_plus_1_details: unchecked}
  - {name: last, stage_i_plus_1_details: last, audit_enabled: false, python_callable: partly}
  - {name: skipped, stage_i_plus_1_details: skipped, audit_enabled: false, python_callable: skip}
  - {name: named, stage_i_plus_1_details: x, audit_enabled: false, asset: "s3://bucket/named"}
  - {name: inner, stage_i_plus_1_details: inner, audit_enabled: false}
  - {name: unread, stage_i_plus_1_details: unread, audit_enabled: false}
  - {name: beyond, stage_i_details: inner, audit_enabled: false, asset: none}
  - {name: further, stage_i_details: unread, audit_enabled: false, asset: none}
  - {name: silent, stage_i_plus_1_details: y, audit_enabled: false, asset: none}
  - name: mapped
    stage_i_plus_1_details: mapped
    audit_enabled: false
    python_callable: numbered
    expand: {number: [1, 2, 3]}
"""
FUNCTIONS = """
from airflow_provider_pipetrack.compat import AirflowSkipException
import pathlib

def load(): return {"records_succeeded": 5, "records_failed": 0}
def partly(): return {"records_succeeded": 3, "records_failed": 1}
def skip(): raise AirflowSkipException("nothing new")
def numbered(number): return {"records_succeeded": number, "records_failed": 0}

def matched(source_stage, target_stage, audit_config, run_id):
    seen = pathlib.Path(__file__).with_name(f"seen-{run_id[-8:]}")
    if not seen.exists():
        seen.touch()
        return "pending"
    return "matched"

def mismatched(source_stage, target_stage, audit_config): return "mismatched"
"""
FOLLOWERS = """
from airflow.sdk import DAG, Asset, task
from airflow_provider_pipetrack import TransferReadySensor

ORDERS, INNER = Asset("pipetrack://ready_data/mart||orders"), Asset("pipetrack://ready_data/inner")

for dag_id, asset in (("ready_follower", ORDERS), ("ready_inner_follower", INNER)):
    with DAG(dag_id, schedule=[asset]):
        @task
        def said(uri, triggering_asset_events=None):
            return [event.extra for event in triggering_asset_events[Asset(uri)]]
        said(asset.uri)

with DAG("ready_waiters", schedule=None):
    for stage, name, more in (
        ("mart||orders", "deferred", {"deferrable": True}),
        ("mart||orders", "poked", {}),
        ("mart||orders", "rescheduled", {"mode": "reschedule", "poke_interval": 3}),
        ("last", "partial", {"accept_partial": True, "date": "{{ ds }}"}),
        ("mapped", "all_indexes", {"deferrable": True}),
        ("warned", "never", {"deferrable": True, "timeout": 5}),
        ("last", "never_partial", {"timeout": 3}),
    ):
        TransferReadySensor(task_id=name, pipeline_id="ready_data", stage=stage, **{"poke_interval": 1, "timeout": 120, **more})
"""
DATE = "2026-03-01T00:00:00Z"


@pytest.fixture(scope="module")
def runs(airflow_stack) -> tuple[str, str]:
    """The waiters start first; then the pipeline runs, for their date."""
    stack, folder = airflow_stack, airflow_stack.dags.parent / PIPELINES
    (folder / "ready_functions.py").write_text(FUNCTIONS)
    (folder / "ready_data.yaml").write_text(PIPELINE)
    (stack.dags / "ready_followers.py").write_text(FOLLOWERS)
    for dag_id in ("ready_data", "ready_follower", "ready_inner_follower", "ready_waiters"):
        stack.wait_dag(dag_id, timeout=120)
        stack.unpause(dag_id)
    waiters = stack.trigger("ready_waiters", logical_date=DATE)
    waiting = ("deferred", "up_for_reschedule")  # the latter in Airflow 3.1
    stack._wait("a sensor to wait", lambda: state(stack, "ready_waiters", waiters, "deferred") in waiting, 90)
    pipeline = stack.trigger("ready_data", logical_date=DATE)
    assert stack.wait_run("ready_data", pipeline, timeout=240) == "success", stack.logs()
    stack.wait_run("ready_waiters", waiters, timeout=240)
    return pipeline, waiters


def state(stack, dag_id: str, run_id: str, task_id: str) -> str | None:
    return next((ti["state"] for ti in stack.task_instances(dag_id, run_id) if ti["task_id"] == task_id), None)


def returned(stack, dag_id: str, run_id: str, task_id: str):
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value?deserialize=true"
    return stack._request("GET", path).json()["value"]


def test_an_event_is_emitted_for_ready_data_and_for_nothing_else(airflow_stack, runs):
    answer = airflow_stack._request("GET", "/api/v2/assets/events?source_dag_id=ready_data&limit=100").json()
    events = {event["uri"]: event for event in answer["asset_events"]}
    stages = {f"pipetrack://ready_data/{stage}" for stage in ("mart||orders", "last", "inner")}
    assert set(events) == {*stages, "s3://bucket/named"}, "nobody is scheduled on the inner stage that is unread"
    assert answer["total_entries"] == 4
    audited = events["pipetrack://ready_data/mart||orders"]
    assert audited["source_task_id"] == "matched__audit"
    wanted = {"records_succeeded": 5, "records_failed": 0, "is_partial": False, "audit_result": "matched"}
    assert audited["extra"].items() >= {**wanted, "record_ids": [f"ready_data/{runs[0]}/matched/-1/1"]}.items()
    partial = events["pipetrack://ready_data/last"]["extra"]
    assert partial.items() >= {"records_succeeded": 3, "records_failed": 1, "is_partial": True}.items()
    assert partial["record_id"] == f"ready_data/{runs[0]}/last/-1/1"
    inner = events["pipetrack://ready_data/inner"]
    assert (inner["source_task_id"], inner["source_run_id"]) == ("inner", runs[0])
    assert inner["extra"]["record_id"] == f"ready_data/{runs[0]}/inner/-1/1"


def test_an_inner_stage_that_nobody_is_scheduled_on_leaves_no_trace(airflow_stack, runs):
    assert state(airflow_stack, "ready_data", runs[0], "unread") == "success"
    known = airflow_stack._request("GET", "/api/v2/assets?only_active=false&limit=100").json()["assets"]
    assert "pipetrack://ready_data/unread" not in {asset["uri"] for asset in known}


@pytest.mark.parametrize("dag_id", ["ready_follower", "ready_inner_follower"])
def test_a_dag_that_is_scheduled_on_a_stage_runs_with_what_the_event_says(airflow_stack, runs, dag_id):
    def follower():
        found = airflow_stack._request("GET", f"/api/v2/dags/{dag_id}/dagRuns").json()["dag_runs"]
        return [run["dag_run_id"] for run in found]

    (run_id,) = airflow_stack._wait("the follower's run", follower, 60)
    assert airflow_stack.wait_run(dag_id, run_id, timeout=120) == "success"
    (extra,) = returned(airflow_stack, dag_id, run_id, "said")
    assert extra["records_succeeded"] == 5


@pytest.mark.parametrize("task_id", ["deferred", "poked", "rescheduled"])
def test_the_sensor_waits_in_every_mode(airflow_stack, runs, task_id):
    assert state(airflow_stack, "ready_waiters", runs[1], task_id) == "success"
    answer = returned(airflow_stack, "ready_waiters", runs[1], task_id)
    assert (answer["ready"], answer["state"], answer["run_id"]) == (True, "ready", runs[0])
    assert (answer["date"], answer["audit_result"]) == ("2026-03-01", "matched")
    assert answer["record_id"] == f"ready_data/{runs[0]}/matched/-1/1"


def test_the_sensor_can_be_content_with_less_and_knows_when_all_indexes_are_there(airflow_stack, runs):
    assert returned(airflow_stack, "ready_waiters", runs[1], "partial")["state"] == "partial"
    assert returned(airflow_stack, "ready_waiters", runs[1], "all_indexes")["records_succeeded"] == 6


def test_the_pages_know_all_indexes_once_the_run_has_ended(airflow_stack, runs):
    def answer():
        path = "/pipetrack/api/v1/readiness?pipeline_id=ready_data&stage=mapped"
        (found,) = airflow_stack._request("GET", path).json()["pipelines"]
        return found if found["ready"] else None

    assert airflow_stack._wait("the run's end to be noted", answer, 90)["records_succeeded"] == 6


def test_what_is_not_ready_is_waited_for_until_the_timeout(airflow_stack, runs):
    for task_id in ("never", "never_partial"):
        assert state(airflow_stack, "ready_waiters", runs[1], task_id) == "failed"
