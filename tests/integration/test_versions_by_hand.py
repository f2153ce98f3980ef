"""A hand-written Dag that changes between runs, in Airflow: one hash on all records of a pipeline, what is kept and told."""

from __future__ import annotations

import json
import logging
import os
import runpy
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner

from airflow_provider_pipetrack import TrackingStore
from airflow_provider_pipetrack.cli.main import main

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]

DAG = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task, task_group
from airflow_provider_pipetrack import AuditSensor, TrackedOperator, tracked

def fields(source, target, **more):
    return {{"tracking_location": [{location!r}], "stage_i_details": source, "stage_i_plus_1_details": target, **more}}

def broken():
    raise ValueError("broken")

with DAG({name!r}, schedule=None, default_args={{"retries": 1, "retry_delay": 0, "owner": "crew"}}) as dag:
    metadata = {{"api_key": "hush-Pa55", "regions": {{"north", "south", "east", "west"}}, "dsn": "postgres://me:hush-Pa55@host/db"}}
    load = TrackedOperator(
        task_id="load",
        operator=BashOperator,
        operator_args={{"bash_command": "true", "env": {{"SHOP": "hush-Pa55"}}}},
        pool="default_pool",
        transfer=fields({source!r}, "staging", audit_metadata=metadata),
    )
    check = AuditSensor(task_id="check", transfer="load", function=lambda: True)

    @task.tracked(transfer=fields("staging", "clean", transfer_order_number=2.0))
    def clean(part):
        return part

    @task_group
    def out():
        countries = tracked(BashOperator).partial(task_id="countries", transfer=fields("clean", "reports"))
        countries.expand(bash_command=["true", "true"]) >> EmptyOperator(task_id="join")

    @task.tracked(pipeline_id={name!r} + "_archive", transfer=fields("clean", "archive"))
    def archive():
        pass

    wrong = TrackedOperator(task_id="wrong", python_callable=broken, transfer=fields("archive", "tape"))
    behind = TrackedOperator(task_id="behind", transfer=fields("tape", "vault"))
    outside = AuditSensor(task_id="outside", transfer=fields("vendor", "lake", name="vendor"), function=lambda: True)
    load >> check >> clean.expand(part=[1, 2]) >> out() >> archive() >> wrong >> behind
"""


class HandWritten:
    """A Dag file that can be written anew and run."""

    def __init__(self, folder: Path, location: str) -> None:
        self.name = f"by_hand_{uuid.uuid4().hex[:8]}"
        self.path, self.location = folder / f"{self.name}.py", location

    def run(self, source: str = "shop") -> list[dict]:
        """Write the file, run its Dag, and return the records of the run."""
        self.path.write_text(DAG.format(name=self.name, source=source, location=self.location))
        logging.disable(logging.INFO)
        try:
            run = runpy.run_path(str(self.path))["dag"].test()
        finally:
            logging.disable(logging.NOTSET)
        with TrackingStore([self.location]) as store:
            return sorted(store.read_run(self.name, run.run_id).records, key=lambda r: r["record_id"])

    def history(self, *arguments: str):
        return CliRunner().invoke(main, ["history", *arguments, "--location", self.location])

    def kept(self, pipeline_id: str) -> list[str]:
        """The hashes that are kept of a pipeline; those of a Dag are found by the Dag's id, too."""
        versions = json.loads(self.history(pipeline_id, "--output", "json").output)
        return [version["config_hash"] for version in versions if version["pipeline_id"] == pipeline_id]


@pytest.fixture
def dag(airflow_home, tmp_path):
    (airflow_home / "dags").mkdir(exist_ok=True)
    return HandWritten(airflow_home / "dags", f"sqlite||{tmp_path}/tracking.db||t")


def of(records, task_id):
    return [record for record in records if record["task_id"] == task_id]


def test_all_records_of_a_pipeline_have_one_hash_and_its_changes_are_told_once(dag, caplog):
    first = dag.run()
    states = {(r["task_id"], r["map_index"], r["retry_attempt_number"]): r["transfer_status"] for r in first}
    assert states == {
        ("load", -1, 0): "completed",
        ("clean", 0, 0): "completed",
        ("clean", 1, 0): "completed",
        ("out.countries", 0, 0): "completed",
        ("out.countries", 1, 0): "completed",
        ("archive", -1, 0): "completed",
        ("wrong", -1, 0): "failed",
        ("wrong", -1, 1): "failed",
        ("behind", -1, 0): "pending",
        ("vendor", -1, 0): "pending",
    }
    hashes = {
        pipeline: {r["config_hash"] for r in first if r["pipeline_id"] == pipeline}
        for pipeline in (dag.name, f"{dag.name}_archive")
    }
    assert [len(found) for found in hashes.values()] == [1, 1]
    (config_hash,), (of_archive,) = hashes.values()
    assert None not in (config_hash, of_archive)
    assert config_hash != of_archive
    assert {r["pipeline_version"] for r in first} == {None}
    assert [r["config_hash"] for r in dag.run()] == [r["config_hash"] for r in first], "it does not change with the run"
    assert "are others than" not in caplog.text

    changed = dag.run("landing")
    told = "stages changed under an unchanged version: added landing -> staging; removed shop -> staging"
    assert [r["decision"] for r in of(changed, "load")] == [told]
    assert [r["config_hash"] for r in of(changed, "archive")] == [of_archive], "the other pipeline is as it was"
    assert [r["decision"] for r in of(dag.run("landing"), "load")] == [None]
    assert [text for text in caplog.messages if "are others than" in text] == [
        f"pipetrack: the stages of pipeline {dag.name!r} are others than when it was first run with no pipeline_version: "
        "added landing -> staging; removed shop -> staging; give its tasks a new pipeline_id to track it apart"
    ]
    assert dag.kept(dag.name) == [config_hash, of(changed, "load")[0]["config_hash"]]
    assert dag.kept(f"{dag.name}_archive") == [of_archive]
    assert "landing -> staging" in dag.history(dag.name).output


def test_a_configuration_can_be_shown_again_without_secrets(dag):
    load = of(dag.run(), "load")[0]
    shown = dag.history(dag.name, "--config", load["config_hash"][:10])
    assert (shown.exit_code, "hush" in shown.output) == (0, False)
    content = json.loads(shown.output)
    rows = {row["name"]: row for row in content.pop("stage_transfers")}
    assert list(rows) == ["load", "vendor", "clean", "out.countries", "wrong", "behind"], "in the order of the run"
    assert content == {
        "pipeline_metadata": {"pipeline_id": dag.name},
        "dag": {"dag_id": dag.name},
        "other_tasks": {"check": ["load"], "out.join": ["out.countries"], "archive": ["out.join"]},
    }
    assert {name: row["depends_on"] for name, row in rows.items()} == {
        "load": [],
        "vendor": [],
        "clean": ["check"],
        "out.countries": ["clean"],
        "wrong": ["archive"],
        "behind": ["wrong"],
    }
    assert rows["load"]["audit_metadata"] == {
        "api_key": "***",
        "regions": ["east", "north", "south", "west"],
        "dsn": "postgres://me:***@host/db",
    }
    said = ("max_retry_attempts", "transfer_process_owner_name", "pool", "estimated_duration", "rollback")
    assert [rows["load"][name] for name in said] == [1, "crew", None, "1d12h30m", None]
    assert not {"operator", "operator_args", "python_callable", "expand"} & set(rows["load"])


def test_each_process_finds_the_same_hash(dag):
    expected = {r["pipeline_id"]: r["config_hash"] for r in dag.run()}
    script = (
        "import json, runpy, sys\n"
        "from airflow_provider_pipetrack.attempts.binding import binding_of\n"
        "from airflow_provider_pipetrack.attempts.configuration import configuration_of\n"
        "from airflow_provider_pipetrack.attempts.declare import complete_binding\n"
        "dag = runpy.run_path(sys.argv[1])['dag']\n"
        "specs = complete_binding(dag).specs.values()\n"
        "print(json.dumps({s.pipeline_id or dag.dag_id: configuration_of(s, dag).config_hash for s in specs}))\n"
    )
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", script, str(dag.path)], env=environment, capture_output=True, text=True, timeout=120
        )
        assert json.loads(done.stdout.splitlines()[-1]) == expected, done.stderr
