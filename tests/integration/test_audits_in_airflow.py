"""Audits in Airflow: what a file says of them, and what a Dag says for all of its tasks; a mismatch fails in any case."""

from __future__ import annotations

import json
import logging
import re
import runpy
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from airflow_provider_pipetrack import TrackingStore, build_dag, settings
from airflow_provider_pipetrack.records.openness import has_failed_audit
from airflow_provider_pipetrack.tracking.questions import Questions
from tests.airflow_versions import AIRFLOW

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

IN_A_GROUP = """
from airflow.sdk import DAG, task, task_group
from airflow_provider_pipetrack import AuditSensor, TrackedOperator, report

def load(country):
    report(records_succeeded=len(country), records_failed=0 if country == "de" else 1)

def is_german(ti):
    return {{"audit_result": "matched" if ti.map_index == 0 else "mismatched", "index": ti.map_index}}

with DAG("audits_in_a_group", schedule=None) as dag:
    told = {{"tracking_location": [{location!r}]}}

    @task_group
    def each(country):
        loaded = TrackedOperator(task_id="load", python_callable=load, op_args=[country], transfer=told)
        audit = AuditSensor(task_id="check", transfer="each.load", function=is_german, on_mismatch="warn")
        loaded >> audit >> TrackedOperator(task_id="use", transfer={{**told, "upstream_completion_required": True}})

    each.expand(country=["de", "fra"])
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


LOADER = "# Airflow Dag loader\nfrom airflow_provider_pipetrack import load_pipelines\nload_pipelines(globals())\n"
OF_A_FILE = """
user_functions: audit_functions.py
dag: {dag_id: audits_of_a_file, default_args: {retry_delay: 0.1s}}
defaults:
  stage_i_details: shop
  depends_on: []
  tracking_location: [sqlite||LOCATION]
  audit: {poke_interval: 0.1s, timeout: 30s, config: {seen: FOLDER}}
stage_transfers:
  - {name: retried, stage_i_plus_1_details: retried, audit: {function: breaks_twice, retries: 2}}
  - {name: broken, stage_i_plus_1_details: broken, audit: {function: breaks_twice, retries: 1}}
  - {name: rescheduled, stage_i_plus_1_details: rescheduled, audit: {function: later, mode: reschedule}}
  - {name: undecided, stage_i_plus_1_details: undecided, audit: {function: never, timeout: 0.3s}}
  - {name: let_pass, stage_i_plus_1_details: let_pass, audit: {function: never, timeout: 0.3s, on_mismatch: warn}}
"""
FUNCTIONS = """
import pathlib

def calls(target_stage, folder):
    with pathlib.Path(folder, target_stage).open("a+") as file:
        file.write("x")
        return file.tell()

def breaks_twice(target_stage, audit_config):
    if calls(target_stage, audit_config["seen"]) <= 2:
        raise ConnectionError("the source is gone")
    return True

def later(target_stage, audit_config):
    return "matched" if calls(target_stage, audit_config["seen"]) > 1 else "pending"

def never(target_stage):
    return {"audit_result": "pending", "missing": 7}
"""


ENDS = """
from airflow.sdk import DAG
from airflow_provider_pipetrack import AuditSensor, TrackedOperator

def says(answer):
    return lambda source_stage, target_stage, audit_config: {{"audit_result": answer, "rows": 7, "audit_ended": "mine"}}

def has_no_answer():
    raise ValueError("the source is gone")

SHORT = {{"timeout": 0.1, "poke_interval": 0.1}}
with DAG("audit_ends", schedule=None) as dag:
    for name, how in {{
        "matched": {{"function": says("matched")}},
        "mismatched": {{"function": says("mismatched")}},
        "warned": {{"function": says("mismatched"), "on_mismatch": "warn"}},
        "error": {{"function": has_no_answer, "retries": 1, "retry_delay": 0}},
        "late": {{"function": says("pending"), **SHORT}},
        "late_warned": {{"function": says("pending"), "on_mismatch": "warn", **SHORT}},
        "unchecked": {{}},
    }}.items():
        load = TrackedOperator(task_id=name, transfer={{"tracking_location": [{location!r}]}})
        load >> AuditSensor(task_id=name + "_audit", transfer=name, **how)
"""


def run_of(path: Path, text: str):
    """Run the Dag of a file with this text, and return its run."""
    path.write_text(text)
    dag = runpy.run_path(str(path))["dag"]
    logging.disable(logging.INFO)
    try:
        return dag.test()
    finally:
        logging.disable(logging.NOTSET)


def test_the_record_tells_whether_an_audit_stopped_the_run(airflow_home, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    location = f"sqlite||{tmp_path}/tracking.db"
    run = run_of(airflow_home / "dags" / "audit_ends.py", ENDS.format(location=location))
    failed = {ti.task_id.removesuffix("_audit") for ti in run.get_task_instances() if str(ti.state) == "failed"}
    with TrackingStore([location], journal_dir=tmp_path / "journal") as store:
        questions = Questions(store)
        found = {row["task_id"]: row for row in questions.ask("transfers").rows}
        (row,) = questions.ask("runs").rows
        attention = {row["task_id"]: row["reason"] for row in questions.ask("attention").rows}
    assert failed == {"mismatched", "error", "late"} == {name for name, one in found.items() if has_failed_audit(one)}
    assert {name: (one["audit_result"], one["audit_metadata"].get("audit_ended")) for name, one in found.items()} == {
        "matched": ("matched", None),
        "mismatched": ("mismatched", "failed"),
        "warned": ("mismatched", "passed"),
        "error": ("pending", "failed"),
        "late": ("pending", "failed"),
        "late_warned": ("pending", "passed"),
        "unchecked": ("pending", "passed"),
    }
    assert found["error"]["audit_metadata"]["error"] == "ValueError: the source is gone"
    if AIRFLOW >= (3, 3):  # before it dag.test(), unlike a real task, gives callbacks no exception
        assert "Sensor has timed out" in found["late"]["audit_metadata"]["error"]
    assert found["late"]["audit_metadata"]["rows"] == 7
    assert (row["state"], row["failed"], row["failed_transfers"]) == ("failed", 0, sorted(failed))
    assert attention == {
        "mismatched": "mismatched", "warned": "mismatched", "error": "audit_failed", "late": "audit_failed"
    }  # fmt: skip


def alerts() -> list[tuple[str, str, str]]:
    waiting = [json.loads(path.read_text()) for path in (settings.alerts_dir() / "waiting").glob("*.json")]
    records = [(alert["kind"], alert["record"]) for alert in waiting]
    return sorted((kind, record["task_id"], record["log_url"].partition("/tasks/")[2]) for kind, record in records)


def test_a_mismatch_of_a_mapped_audit_is_told_with_the_log_of_the_audit(airflow_home, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    run_of(airflow_home / "dags" / "mapped_audit.py", MAPPED.format(location=f"sqlite||{tmp_path}/tracking.db"))
    (alert,) = alerts()
    assert alert[:2] == ("mismatched", "load"), "one for its record, whichever index found it"
    assert re.fullmatch(r"mapped/mapped/[01]\?try_number=1", alert[2])


def test_in_a_mapped_group_an_audit_is_about_the_data_of_its_own_index(airflow_home, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    location = f"sqlite||{tmp_path}/tracking.db"
    run = run_of(airflow_home / "dags" / "audits_in_a_group.py", IN_A_GROUP.format(location=location))
    with TrackingStore([location], journal_dir=tmp_path / "journal") as store:
        records = {(r["task_id"], r["map_index"]): r for r in store.read_run(run.dag_id, run.run_id).records}
    loaded = [records["each.load", index] for index in (0, 1)]
    assert [(r["audit_result"], r["audit_metadata"]["index"]) for r in loaded] == [("matched", 0), ("mismatched", 1)]
    assert records["each.use", 0]["transfer_status"] == "completed"
    assert records["each.use", 0]["decision"] is None
    assert "upstream 'each.load' delivered partial data" in records["each.use", 1]["error_message"]


def test_no_default_argument_turns_a_mismatch_into_a_skip(airflow_home, tmp_path):
    run = run_of(
        airflow_home / "dags" / "audits_among_defaults.py", DAG.format(location=f"sqlite||{tmp_path}/tracking.db")
    )
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


def test_an_audit_of_a_file_does_what_its_settings_say(airflow_home, tmp_path):
    folder = airflow_home / "dags"
    (folder / "audit_functions.py").write_text(FUNCTIONS)
    text = OF_A_FILE.replace("LOCATION", f"{tmp_path}/tracking.db").replace("FOLDER", str(tmp_path))
    (folder / "audits_of_a_file.yaml").write_text(text)
    (folder / "load_audits.py").write_text(LOADER)
    dag = build_dag(folder / "audits_of_a_file.yaml")
    assert dag.get_task("rescheduled__audit").mode == "reschedule"
    logging.disable(logging.INFO)
    try:
        run = dag.test()
    finally:
        logging.disable(logging.NOTSET)
    audits = {ti.task_id.removesuffix("__audit"): ti for ti in run.get_task_instances() if "__audit" in ti.task_id}
    assert {name: (str(ti.state), ti.try_number) for name, ti in audits.items()} == {
        "retried": ("success", 3),
        "broken": ("failed", 2),
        "rescheduled": ("success", 1),
        "undecided": ("failed", 1),
        "let_pass": ("success", 1),
    }
    with TrackingStore([f"sqlite||{tmp_path}/tracking.db"]) as store:
        records = {record["task_id"]: record for record in store.read_run(run.dag_id, run.run_id).records}
    assert {name: record["audit_result"] for name, record in records.items()} == {
        "retried": "matched",
        "broken": "pending",
        "rescheduled": "matched",
        "undecided": "pending",
        "let_pass": "pending",
    }
    assert records["broken"]["audit_metadata"]["error"] == "ConnectionError: the source is gone"
    assert records["let_pass"]["audit_metadata"]["missing"] == 7
    with closing(sqlite3.connect(airflow_home / "airflow.db")) as database:
        found = database.execute("SELECT source_task_id FROM asset_event WHERE source_dag_id = 'audits_of_a_file'")
        assert {task_id for (task_id,) in found} == {"retried__audit", "rescheduled__audit"}
