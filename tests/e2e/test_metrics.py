"""A running Airflow sends numbers about its transfers, also about those that it closes itself."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PIPELINE = """
user_functions: counted_functions.py
defaults: {max_retry_attempts: 0, audit_enabled: false}
stage_transfers:
  - {name: works, python_callable: works, audit_enabled: true, audit: {function: matches}}
  - {name: killed, python_callable: killed}
"""
FUNCTIONS = """
import os, signal

def works():
    return {"records_succeeded": 7, "records_failed": 1}

def killed():
    os.kill(os.getpid(), signal.SIGKILL)

def matches():
    return True
"""
LOADER = "# Airflow Dag loader\nfrom airflow_provider_pipetrack import load_pipelines\nload_pipelines(globals())\n"


@pytest.fixture(scope="module")
def told(airflow_stack, metrics_of_stack):
    folder = airflow_stack.dags / "counted"
    folder.mkdir()
    (folder / "counted_functions.py").write_text(FUNCTIONS)
    (folder / "counted.yaml").write_text(PIPELINE)
    (folder / "load_counted.py").write_text(LOADER)
    airflow_stack.wait_dag("counted", timeout=120)
    airflow_stack.unpause("counted")
    run_id = airflow_stack.trigger("counted")
    airflow_stack.wait_run("counted", run_id, timeout=240)
    return metrics_of_stack


def test_what_the_task_says(told):
    works = {"dag_id": "counted", "task_id": "works"}
    assert told.wait("airflow.pipetrack.transfers.completed", **works) == [1]
    assert told.values("airflow.pipetrack.records.succeeded", **works) == [7]
    assert len(told.values("airflow.pipetrack.transfers.duration", **works)) == 1
    assert told.wait("airflow.pipetrack.audits.matched", **works) == [1]
    assert told.values("airflow.pipetrack.tracking.delivery")


def test_what_the_dag_processor_says(told):
    assert told.wait("airflow.pipetrack.transfers.failed", dag_id="counted", task_id="killed") == [1]
