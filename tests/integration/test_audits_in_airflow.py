"""Audits among what a Dag says for all of its tasks: a mismatch fails, whatever other sensors are allowed to do."""

from __future__ import annotations

import json
import logging
import re
import runpy

import pytest

from airflow_provider_pipetrack import settings

MAPPED = """
from airflow.sdk import DAG
from airflow_provider_pipetrack import AuditSensor, TrackedOperator

def is_wrong():
    return {{"audit_result": "mismatched"}}

with DAG("mapped_audit", schedule=None) as dag:
    told = {{"tracking_location": [{location!r}], "transfer_process_email_alerts": ["team@example.com"]}}
    load = TrackedOperator(task_id="load", transfer=told)
    load >> AuditSensor.partial(task_id="mapped", transfer="load", function=is_wrong).expand(
        audit_config=[{{"column": "a"}}, {{"column": "b"}}]
    )
"""

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]

DAG = """
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.sdk import DAG, TaskGroup
from airflow_provider_pipetrack import AuditSensor, TrackedOperator

def absent():
    return False

def is_wrong():
    return {{"audit_result": "mismatched"}}

def has_no_answer():
    raise ValueError("the source is gone")

GIVES_UP = {{"timeout": 0.1, "poke_interval": 0.1}}
NEVER = {{"soft_fail": False, "never_fail": True}}
with DAG("audits_among_defaults", schedule=None, default_args={{"soft_fail": True, "silent_fail": True}}) as dag:
    PythonSensor(task_id="other", python_callable=absent, **GIVES_UP)
    load = TrackedOperator(task_id="load", transfer={{"tracking_location": [{location!r}]}})
    load >> AuditSensor(task_id="wrong", transfer="load", function=is_wrong)
    with TaskGroup("group", default_args=NEVER):
        load >> AuditSensor(task_id="unanswered", transfer="load", function=has_no_answer, **GIVES_UP)
    load >> AuditSensor(task_id="own", transfer="load", function=is_wrong, default_args=NEVER)
    load >> AuditSensor.partial(task_id="mapped", transfer="load", function=is_wrong).expand(
        audit_config=[{{"column": "a"}}, {{"column": "b"}}]
    )
"""


def alerts() -> list[tuple[str, str, str]]:
    waiting = [json.loads(path.read_text()) for path in (settings.alerts_dir() / "waiting").glob("*.json")]
    records = [(alert["kind"], alert["record"]) for alert in waiting]
    return sorted((kind, record["task_id"], record["log_url"].partition("/tasks/")[2]) for kind, record in records)


def test_a_mismatch_of_a_mapped_audit_is_told_with_the_log_of_the_audit(airflow_home, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    path = airflow_home / "dags" / "mapped_audit.py"
    path.write_text(MAPPED.format(location=f"sqlite||{tmp_path}/tracking.db"))
    dag = runpy.run_path(str(path))["dag"]
    logging.disable(logging.INFO)
    try:
        dag.test()
    finally:
        logging.disable(logging.NOTSET)
    (alert,) = alerts()
    assert alert[:2] == ("mismatched", "load"), "one for its record, whichever index found it"
    assert re.fullmatch(r"mapped/mapped/[01]\?try_number=1", alert[2])


def test_no_default_argument_turns_a_mismatch_into_a_skip(airflow_home, tmp_path):
    path = airflow_home / "dags" / "audits_among_defaults.py"
    path.write_text(DAG.format(location=f"sqlite||{tmp_path}/tracking.db"))
    dag = runpy.run_path(str(path))["dag"]
    logging.disable(logging.INFO)
    try:
        run = dag.test()
    finally:
        logging.disable(logging.NOTSET)
    states = {f"{ti.task_id} {ti.map_index}": str(ti.state) for ti in run.get_task_instances()}
    assert states == {
        "other -1": "skipped",
        "load -1": "success",
        "wrong -1": "failed",
        "group.unanswered -1": "failed",
        "own -1": "failed",
        "mapped 0": "failed",
        "mapped 1": "failed",
    }
