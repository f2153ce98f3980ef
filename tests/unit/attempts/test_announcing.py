"""All transfers of a run are visible from its first start on: announced in one write, once per host and run."""

from __future__ import annotations

import os
from typing import ClassVar

import pytest
from airflow.cli.commands import task_command

from airflow_provider_pipetrack import PipelineConfig, build_dag, settings
from airflow_provider_pipetrack.attempts import announce
from airflow_provider_pipetrack.attempts.announce import announce_run
from airflow_provider_pipetrack.attempts.binding import binding_of
from airflow_provider_pipetrack.attempts.stores import store_for
from airflow_provider_pipetrack.storage.base import StorageAdapter

PIPELINE = f"""
storage_adapters: {{noting: {__name__}.Noting}}
defaults: {{tracking_location: ["noting||x"], audit_enabled: false}}
stage_transfers: [{{name: load}}, {{name: publish}}]
"""


class Noting(StorageAdapter):
    """Notes what it is written, write by write."""

    writes: ClassVar[list] = []

    def apply(self, changes, *, owed=()):
        self.writes.append([(change.record_id, change.columns["transfer_status"]) for change in changes])


@pytest.fixture
def dag(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(Noting, "writes", [])
    return build_dag(PipelineConfig.from_text(PIPELINE, "orders.yaml"))


def start(dag, run_id="r1") -> None:
    """Do what the first tasks of a run do when they start."""
    store = store_for(binding_of(dag).specs["load"])
    announce_run(store, dag, {"dag": dag, "run_id": run_id})
    assert store.flush() is True


def announced(run_id="r1") -> list[tuple[str, str]]:
    return [(f"orders/{run_id}/{name}/-1/1", "pending") for name in ("load", "publish")]


def test_every_transfer_of_a_run_is_announced_once_on_a_host(dag, monkeypatch, tmp_path):
    for _ in range(3):
        start(dag)
    assert Noting.writes == [announced()]
    start(dag, "r2")
    assert Noting.writes == [announced(), announced("r2")]
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "another host"))
    start(dag)
    assert Noting.writes == [announced(), announced("r2"), announced()], "another host cannot know"


def test_a_run_that_airflow_makes_to_test_one_task_announces_no_others(dag):
    start(dag, task_command._generate_temporary_run_id())
    assert Noting.writes == []


def test_marks_of_runs_that_are_long_over_are_swept(dag, monkeypatch):
    monkeypatch.setattr(announce, "_SWEEP_ABOVE", 1)
    start(dag)
    (first,) = (settings.state_dir() / "announced").iterdir()
    os.utime(first, (0, 0))
    start(dag, "r2")
    (second,) = first.parent.iterdir()
    assert second != first
