"""Long work shows how far it is where a person looks on, and leaves nothing of it behind."""

from __future__ import annotations

import os
import re

import pytest

from airflow_provider_pipetrack.cli.trial import _run
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.terminals import run_looking_on


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    with TrackingStore.from_settings() as store:
        for number in range(3):
            store.write_tracking_record({"pipeline_id": "p", "dag_id": "d", "run_id": "r", "task_id": f"t{number}"})
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "bar"),
    [
        (["init", "sqlite||HOME/a.db||t", "sqlite||HOME/b.db||t"], "locations .* 2 of 2 0:00:"),
        (["export", "HOME/exported"], "records and changes .* 3 0:00:"),
        (["reconcile"], "records and changes .* 0 0:00:"),
    ],
)
def test_a_bar_moves_on_the_terminal_alone(home, arguments, bar):
    given = [argument.replace("HOME", str(home)) for argument in arguments]
    done = run_looking_on(*given)
    assert re.search(bar, done.stderr), done.stderr
    assert done.stderr.endswith("\x1b[1A\x1b[2K"), "the bar is gone in the end"
    assert "\x1b" not in done.stdout
    assert "━" not in run_looking_on(*given, "--output", "json").stderr, "programs need none"


def test_who_runs_a_pipeline_looks_on_until_it_ends(tmp_path):
    looked = tmp_path / "looked"
    waiting = ["sh", "-c", f"until [ -e {looked} ]; do sleep 0.1; done"]
    _run(waiting, {**os.environ}, tmp_path / "log", 60.0, "wait", looked.touch)
    assert looked.exists()
