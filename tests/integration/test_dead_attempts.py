"""Attempts whose process is killed in the middle are closed by the run's next task on their host, however short."""

from __future__ import annotations

import json
import os
import sys
import uuid
from contextlib import suppress
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator

from airflow_provider_pipetrack import PipelineConfig, TrackingStore, compat, maintenance, settings, tracked
from airflow_provider_pipetrack.attempts import dead, rollback
from airflow_provider_pipetrack.attempts.binding import Spec
from airflow_provider_pipetrack.attempts.dead import close_dead_of_host
from airflow_provider_pipetrack.compat import TaskDeferred
from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking import pool, upkeep
from airflow_provider_pipetrack.tracking.marks import KEPT_FOR, set_mark
from airflow_provider_pipetrack.tracking.upkeep import stores_of_host
from tests.postgres_server import CONN_ID, DATABASE
from tests.postgres_server import postgres as postgres  # a fixture

pytestmark = pytest.mark.timeout(180)

WORDLESS = "the task ended without a word; Airflow says failed"
FORK = get_context("fork")


class Load(BaseOperator):
    """What each transfer does, by its name."""

    began = went_on = None

    @property
    def is_async(self):
        return self.task_id.startswith("async")

    def execute(self, context):
        if self.task_id.startswith("dies"):
            self._pipetrack_attempt.store.flush()
            self.began.set()
            self.went_on.wait(60)
        if self.task_id == "waits":
            raise TaskDeferred(trigger=TimeDeltaTrigger(timedelta(days=1)), method_name="execute")
        if self.task_id == "fails":
            raise ValueError("my own words")


def run_task(name, run_id, try_number, states, text, began, went_on):
    """What the process of a task does; Airflow's words about the run's tasks are given."""
    compat.states_of_runs = lambda dag_id, run_ids, **only: dict.fromkeys(run_ids, states)
    rollback.task_states = lambda *run, **only: states
    pipeline = PipelineConfig.from_text(text, "p.yaml")
    transfer = next(row for row in pipeline.stage_transfers if row.name == name)
    with DAG("d", schedule=None) as dag:
        load = tracked(Load)(task_id=name, transfer={})
    object.__setattr__(load, "_pipetrack_spec", Spec(transfer, "p", pipeline))
    Load.began, Load.went_on = began, went_on
    ti = SimpleNamespace(
        dag_id="d", run_id=run_id, task_id=name, map_index=-1, try_number=try_number, task=load, log_url=None,
        start_date=utc_now(), get_first_reschedule_date=lambda context: None, xcom_push=lambda **more: None,
    )  # fmt: skip
    run = SimpleNamespace(run_id=run_id, conf={}, run_type="manual", logical_date=None, start_date=utc_now())
    with suppress(TaskDeferred, ValueError):
        load.execute({"ti": ti, "task_instance": ti, "dag": dag, "run_id": run_id, "dag_run": run, "task": load})
    os._exit(0)


OWN_STORAGE = """
import json, os, pathlib
from airflow_provider_pipetrack import StorageAdapter

PLACE = pathlib.Path(os.environ["OWN_PLACE"])

class Own(StorageAdapter):
    def _all(self):
        return [json.loads(path.read_text()) for path in PLACE.glob("*.json")]
    def write_tracking_record(self, record):
        name = record["record_id"].replace("/", "_")
        (PLACE / f"{name}.json").write_text(json.dumps(record, default=str))
    def read_tracking_records(self, pipeline_id):
        return [record for record in self._all() if record["pipeline_id"] == pipeline_id]
    def update_tracking_record(self, transfer_id, updates):
        for record in self._all():
            if record["record_id"] == transfer_id:
                self.write_tracking_record({**record, **updates})
"""


class Host:
    """A host on which the tasks of one run are started."""

    def __init__(self, location: str, more: str = "") -> None:
        self.pipeline = (
            f"{{tracking: {{}}, {more} defaults: {{audit_enabled: false, tracking_location: [{json.dumps(location)}]}}, "
            "stage_transfers: [" + ", ".join(f"{{name: {name}}}" for name in NAMES) + "]}"
        )

    def start(self, name: str, run_id: str = "r", try_number: int = 1, **states: str) -> Any:
        """Start a task's process."""
        self.began, self.went_on = FORK.Event(), FORK.Event()
        given = (name, run_id, try_number, states, self.pipeline, self.began, self.went_on)
        process = FORK.Process(target=run_task, args=given)
        process.start()
        return process

    def run(self, name: str, *args: object, **states: str) -> None:
        """Run a task to its end."""
        process = self.start(name, *args, **states)
        process.join(60)
        assert process.exitcode == 0

    def kill(self, name: str, *args: object) -> None:
        """Start a task, and kill its process when its transfer runs."""
        process = self.start(name, *args)
        try:
            assert self.began.wait(60)
        finally:
            process.kill()
            process.join(60)

    def store(self) -> TrackingStore:
        """Return the store of the pipeline's chain."""
        return next(store for store in stores_of_host() if store.shown_locations != [settings.default_location()])

    def record(self, name: str, run_id: str = "r", attempt: int = 1) -> dict:
        """Return the record of an attempt."""
        found = self.store().read_record(RecordKey("d", run_id, name, -1, attempt).record_id, ("p",))
        assert found is not None
        return found

    def marks(self) -> list[Path]:
        """Return the marks on this host."""
        return list((settings.journal_dir() / settings.host_name() / "open").iterdir())


NAMES = ("dies", "dies_too", "short", "async_one", "waits", "fails")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An AIRFLOW_HOME of its own, known to this process and to those of tasks."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(pool, "_STORES", {})
    return tmp_path


@pytest.fixture(params=["sqlite", "postgres", "own"])
def host(request, home, monkeypatch):
    if request.param == "own":
        (home / "own_storage.py").write_text(OWN_STORAGE)
        (home / "kept").mkdir()
        monkeypatch.setenv("OWN_PLACE", str(home / "kept"))
        monkeypatch.syspath_prepend(str(home))
        monkeypatch.delitem(sys.modules, "own_storage", raising=False)
        return Host("own||x", "storage_adapters: {own: own_storage.Own},")
    if request.param == "postgres":
        request.getfixturevalue("postgres")
        return Host(f"postgres@{CONN_ID}||{DATABASE}||public||dead_{uuid.uuid4().hex[:8]}")
    return Host(f"sqlite||{home}/own.db||pipeline_tracking")


def of(record):
    return record["transfer_status"], record["error_message"], record["closed_by"]


@pytest.mark.parametrize("next_one", ["short", "async_one", "waits", "fails"])
def test_the_next_task_of_the_run_closes_what_was_killed(host, next_one):
    host.kill("dies")
    assert of(host.record("dies")) == ("in_progress", None, None)
    assert len(host.marks()) == 1
    host.run(next_one, "another run", dies="failed", **{next_one: "running"})
    assert of(host.record("dies")) == ("in_progress", None, None), "it looks after its own run"
    host.run(next_one, dies="failed", **{next_one: "running"})
    if next_one == "waits":  # what waits for a later process is not kept waiting
        assert host.record("waits")["transfer_status"] == "in_progress"
        host.run("short", dies="failed")
    assert of(host.record("dies")) == ("failed", WORDLESS, "reconcile")
    assert host.record("dies")["actual_seconds"] > 0
    assert host.marks() == []


def test_what_airflow_still_calls_running_waits_for_whoever_comes_next(host):
    host.kill("dies")
    host.run("short", dies="running")
    assert of(host.record("dies")) == ("in_progress", None, None)
    assert len(host.marks()) == 1
    host.run("short", "r", 2, dies="up_for_retry")
    assert host.record("dies")["decision"] == "Airflow retries"
    assert host.marks() == []


def test_one_that_lives_is_never_closed_whatever_airflow_says(host):
    living = host.start("dies")
    try:
        assert host.began.wait(60)
        goes_on = host.went_on
        host.run("short", dies="failed")
        assert of(host.record("dies")) == ("in_progress", None, None)
        assert close_dead_of_host([host.store()], lambda dag_id, runs: {"r": {"dies": "failed"}}) == 0
        goes_on.set()
        living.join(60)
        assert of(host.record("dies")) == ("completed", None, "task")
    finally:
        living.kill()
        living.join()
    assert host.marks() == []


def test_its_retry_ends_what_was_killed_without_a_question(host):
    host.kill("dies")
    host.kill("dies", "r", 2)
    assert host.record("dies")["error_message"] == "a later attempt began"
    assert len(host.marks()) == 1
    host.run("short", dies="failed")
    assert of(host.record("dies", attempt=2)) == ("failed", WORDLESS, "reconcile")


def test_maintenance_closes_it_at_once_and_in_a_storage_that_can_list_nothing_too(host, monkeypatch):
    for name in ("dies", "dies_too"):
        host.kill(name)
    host.kill("dies", "gone from Airflow")
    states = {"r": {"dies": "failed", "dies_too": "running"}}
    monkeypatch.setattr(
        maintenance, "states_of_runs", lambda dag_id, runs: {run: states[run] for run in runs if run in states}
    )
    assert maintenance.run_maintenance()["closed"] == 1
    assert of(host.record("dies")) == ("failed", WORDLESS, "reconcile")
    assert host.record("dies_too")["transfer_status"] == "in_progress"
    states["r"]["dies_too"] = "failed"
    assert maintenance.run_maintenance()["closed"] == 1
    (left,) = host.marks()
    long_ago = left.stat().st_mtime - KEPT_FOR - 60
    os.utime(left, (long_ago, long_ago))
    assert maintenance.run_maintenance()["closed"] == 0
    assert host.marks() == []


OTHER_CHAIN = {"locations": ["sqlite||/other/t.db||t"], "mode": "fallback", "connections": {}, "adapters": {}}


@pytest.mark.parametrize("chain", [{"places": ["sqlite||/other/t.db||t"]}, OTHER_CHAIN])
def test_a_chain_that_nobody_can_use_keeps_no_other_from_being_closed(home, monkeypatch, caplog, chain):
    def store_of_chain(of):
        if of == OTHER_CHAIN:
            raise RuntimeError("nobody has thought of it")
        return upkeep.store_of_chain(of)

    monkeypatch.setattr(dead, "store_of_chain", store_of_chain)
    host = Host(f"sqlite||{home}/own.db||pipeline_tracking")
    host.kill("dies")
    journal = settings.journal_dir() / settings.host_name()
    set_mark(journal, RecordKey("d", "r", "another"), ("p",), chain).let_go()
    states = {"r": {"dies": "failed", "another": "failed"}}
    monkeypatch.setattr(maintenance, "states_of_runs", lambda dag_id, runs: states)
    assert maintenance.run_maintenance()["closed"] == 1
    assert of(host.record("dies")) == ("failed", WORDLESS, "reconcile")
    words = "pipetrack leaves d/r/another/-1/1 open: RuntimeError: nobody has thought of it"
    assert (words in caplog.messages, len(host.marks())) == ((True, 1) if chain is OTHER_CHAIN else (False, 0))
