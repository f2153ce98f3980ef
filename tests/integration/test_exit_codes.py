"""The page about commands says of each with which code it ends; here each is run."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.tracking.store import TrackingStore

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()
#: What the page says of each command: when it ends with 1, and when with 3.
SAID = {name: (one, three) for name, one, three in re.findall(r"^\| `([^`]+)` \| (.*?) ?\| (.*?) ?\|$", PAGE, re.M)}
RECORD = {"pipeline_id": "orders", "dag_id": "orders", "run_id": "r1", "task_id": "load"}
HERE, GONE = "sqlite||HOME/here.db||t", "sqlite||HOME/shut/gone.db||t"
AWAY = ("--location", GONE)

#: Calls that find what is not well; there is none that would make ``copy`` differ.
NOT_WELL = {
    "validate": ["validate", "HOME/broken.yaml"],
    "plan": ["plan", "HOME/broken.yaml"],
    "test": ["test", "HOME/broken.yaml"],
    "status PIPELINE": ["status", "nobody", "--location", HERE],
    "ready": ["ready", "nobody", "x", "--location", HERE],
    "history": ["history", "a/r/nothing/-1/1", "--location", HERE],
    "reconcile": ["reconcile", "--location", GONE, "--location", HERE],
    "doctor": ["doctor", *AWAY],
    "export": ["export", "HOME/exported", "--verify"],
}
#: Calls where a location does not answer.
UNANSWERED = {
    "init": ["init", GONE],
    "status": ["status", *AWAY],
    "status PIPELINE": ["status", "orders", *AWAY],
    "ready": ["ready", "orders", "x", *AWAY],
    "history": ["history", "orders/r1/load/-1/1", *AWAY],
    "queries run": ["queries", "run", "runs", *AWAY],
    "reconcile": ["reconcile", *AWAY],
    "copy": ["copy", GONE, HERE],
    "export": ["export", "HOME/new", *AWAY],
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A location that answers and owes a record to one that does not, an export that was changed, and a bad file."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    (tmp_path / "shut").write_text("in the way")
    (tmp_path / "broken.yaml").write_text("stage_transfers: [{name: a, retry_dellay: 1m}]\n")
    with TrackingStore([at(tmp_path, GONE), at(tmp_path, HERE)]) as store:
        store.write_tracking_record(RECORD)
    assert ended("export", "HOME/exported", "--location", HERE) == 0
    (tmp_path / "exported" / "records.ndjson").write_text("")
    return tmp_path


def at(home, text: str) -> str:
    return text.replace("HOME", str(home))


def ended(*arguments: str) -> int:
    shown = CliRunner().invoke(main, [at(os.environ["AIRFLOW_HOME"], argument) for argument in arguments])
    return shown.exit_code


def test_the_page_has_a_row_for_each_command():
    assert {name.split()[0] for name in SAID} == set(main.commands)


def test_each_code_that_is_said_is_tried():
    assert {name for name, (one, _) in SAID.items() if one} == {*NOT_WELL, "copy"}
    assert {name for name, (_, three) in SAID.items() if three} == set(UNANSWERED)


@pytest.mark.parametrize("name", NOT_WELL)
def test_it_ends_with_1_when_something_is_not_well(home, name):
    assert ended(*NOT_WELL[name]) == 1


@pytest.mark.parametrize("name", UNANSWERED)
def test_it_ends_with_3_when_a_location_does_not_answer(home, name):
    assert ended(*UNANSWERED[name]) == 3


@pytest.mark.parametrize(
    "arguments", [["history", "orders/r1/load/-1/1"], ["status", "orders"], ["reconcile"]], ids=lambda words: words[0]
)
def test_a_file_that_is_not_here_is_no_location_that_does_not_answer(home, arguments):
    (home / "shut").unlink()
    with TrackingStore([at(home, HERE)]) as store:
        assert ended("reconcile", "--location", GONE, "--location", HERE) == 0  # pays what is owed
        assert store.read_tracking_records("orders")
    (home / "shut" / "gone.db").unlink()
    assert ended(*arguments, "--location", GONE, "--location", HERE) == 0
