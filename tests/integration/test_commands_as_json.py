"""With ``--output json`` a command prints one JSON value, however it ends; what is for people is on standard error."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.tracking.store import TrackingStore

RECORD = {"pipeline_id": "orders", "dag_id": "orders", "run_id": "r1", "task_id": "load"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A host with one record, a folder that cannot be made, and a pipeline file with a mistake."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shut").write_text("in the way")
    (tmp_path / "broken.yaml").write_text("stage_transfers: [{name: a, retry_dellay: 1m}]\n")
    with TrackingStore.from_settings() as store:
        store.write_tracking_record(RECORD)
    return tmp_path


def answered(*arguments: str):
    given = [argument.replace("HERE", os.environ["AIRFLOW_HOME"]) for argument in arguments]
    shown = CliRunner().invoke(main, [*given, "--output", "json"])
    assert isinstance(shown.exception, (SystemExit, type(None)))
    return shown.exit_code, json.loads(shown.stdout), shown.stderr


GONE = "sqlite||HERE/shut/gone.db||t"
AWAY = ("--location", GONE)


@pytest.mark.parametrize(
    ("arguments", "code", "keys"),
    [
        (["status", *AWAY], 3, {"pipelines", "pipelines_total", "attention", "attention_total", "sources", "unreachable"}),
        (["status", "orders", *AWAY], 3, {"run", "transfers", "others", "dags_total", "sources", "unreachable"}),
        (["status", "nope"], 1, {"run", "transfers", "others", "dags_total", "sources", "unreachable"}),
        (["queries", "run", "runs", *AWAY], 3, {"rows", "total", "bounds", "sources", "unreachable"}),
        (["queries", "run", "nope"], 2, {"error"}),
        (["queries", "run", "runs", "--where", "x"], 2, {"error"}),
        (["ready", "orders", "x", "soon"], 2, {"error"}),
        (["reconcile", "--adopt", "nobody"], 2, {"error"}),
        (["init", GONE], 3, {"error"}),
        (["init"], 2, {"error"}),
        (["copy", GONE, "sqlite||HERE/new.db||t"], 3, {"error"}),
        (["nope"], 2, {"error"}),
        (["status", "--nope"], 2, {"error"}),
        (["plan", "broken.yaml"], 1, {"error", "problems"}),
        (["test", "broken.yaml"], 1, {"error", "problems"}),
        (["new", "a b"], 2, {"error"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_command_that_fails_prints_an_object(home, arguments, code, keys):
    found = answered(*arguments)
    assert (found[0], found[1].keys()) == (code, keys)
    assert found[2], "people are told, too"


def test_who_could_not_be_asked_is_in_the_answer(home):
    for command in (["status"], ["status", "orders"], ["queries", "run", "runs"]):
        _, found, errors = answered(*command, *AWAY)
        gone = GONE.replace("HERE", str(home))
        assert (found["sources"], list(found["unreachable"])) == ([], [gone])
        assert f"Not asked: {gone}: " in errors


def test_the_mistakes_of_a_file_have_their_places(home):
    _, found, _ = answered("plan", "broken.yaml")
    (problem,) = found["problems"]
    assert (problem["line"], problem["column"], problem["suggestion"]) == (1, 29, "retry_delay")
    assert found["error"].startswith("broken.yaml:1:29: ")


def test_what_is_not_found_is_an_empty_value(home):
    assert answered("history", "a/r/nothing/-1/1")[:2] == (1, [])
    assert answered("history", "orders", "--config", "c0ffee")[:2] == (1, None)


def test_what_is_made_is_listed(home):
    place = f"sqlite||{home}/new.db||t"
    assert answered("init", place) == (0, [{"location": place, "added": []}], "")
    assert answered("new", "shop") == (0, {"written": ["shop.yaml", "shop_functions.py"]}, "")


def test_a_host_whose_journal_cannot_be_written_is_not_well(home, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(home / "shut"))
    code, found, _ = answered("doctor", "--location", f"sqlite||{home}/pipetrack/tracking.db||pipeline_tracking")
    assert {g["against"]: g["holds"] for g in found["guarantees"]}["process kill"] is False
    assert (code, found["is_well"]) == (1, False)


def test_a_trial_that_cannot_be_set_up_has_its_own_code(home, monkeypatch):
    answered("new", "shop")
    monkeypatch.setenv("AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS", "nowhere.NOTHING")
    code, found, errors = answered("test", "shop.yaml")
    assert (code, found["error"].startswith("could not set up Airflow; see ")) == (4, True)
    assert "What Airflow and the transfers said is in " in errors
