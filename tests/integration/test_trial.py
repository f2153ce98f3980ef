"""``pipetrack new`` and ``pipetrack test``: a pipeline to begin with, run once in an Airflow of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.cli.trial import _run, _state_in
from airflow_provider_pipetrack.errors import TrialError
from tests.terminals import run_looking_on

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]


def run(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def trial(*arguments: str, env=None):
    command = [sys.executable, "-m", "airflow_provider_pipetrack.cli.main", "test", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


@pytest.fixture
def starter(tmp_path):
    assert run("new", "shop", "--folder", str(tmp_path)).exit_code == 0
    return tmp_path / "shop.yaml"


def test_what_new_writes_validates_and_is_not_overwritten(starter):
    assert run("validate", str(starter)).exit_code == 0
    assert "then audit: compare_counts" in run("plan", str(starter)).output
    again = run("new", "shop", "--folder", str(starter.parent))
    assert (again.exit_code, "is there already; take another name or remove it" in again.stderr) == (2, True)
    ending = run("new", "orders.yaml", "--folder", str(starter.parent))
    assert (ending.exit_code, ending.stderr) == (
        2, "Error: 'orders.yaml' cannot name files, a Dag and a module; take for example 'orders'\n",
    )  # fmt: skip
    odd = run("new", "my shop")
    assert (odd.exit_code, odd.stderr) == (
        2, "Error: 'my shop' cannot name files, a Dag and a module; take for example 'my_shop'\n",
    )  # fmt: skip


def test_a_pipeline_is_tried_with_retries_and_audits_and_leaves_nothing_behind(starter):
    functions = starter.parent / "shop_functions.py"
    functions.write_text(
        functions.read_text().replace(
            "def load(ds=None):", "def load(ds=None, ti=None):\n    assert ti.try_number > 1, 'not yet'"
        )
    )
    elsewhere = starter.parent / "elsewhere.db"
    starter.write_text(
        starter.read_text()
        .replace("defaults:", f"defaults:\n  tracking_location: ['sqlite||{elsewhere}||t']\n  transfer_process_email_alerts: [a@b.c]")
        .replace("schedule: null", "deadline: 1h")
    )  # fmt: skip
    done = trial(str(starter), "--date", "2026-03-01T01:30+01:30", "--output", "json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["dag_id"], answer["state"]) == ("shop", "success")
    assert [(a["task_id"], a["transfer_status"], a["audit_result"]) for a in answer["attempts"]] == [
        ("load", "failed", None),
        ("load", "completed", "matched"),
        ("publish", "completed", None),
    ]
    assert answer["attempts"][0]["logical_date"] == "2026-03-01T00:00:00+00:00"
    assert not elsewhere.exists()


def test_a_trial_that_fails_says_where_its_log_is(starter):
    functions = starter.parent / "shop_functions.py"
    functions.write_text(functions.read_text().replace('"audit_result": "matched"', '"audit_result": "mismatched"'))
    done = run_looking_on("test", str(starter))
    assert done.returncode == 1
    assert "completed transfers ━" in done.stderr
    assert "shop: failed" in done.stdout
    assert "mismatched" in done.stdout
    assert "What Airflow and the transfers said is in " in done.stderr
    broken = starter.parent / "broken.yaml"
    broken.write_text("stage_transfers: [{name: a, retry_dellay: 1m}]\n")
    mistake = trial(str(broken))
    assert mistake.returncode == 1
    assert "did you mean 'retry_delay'?" in mistake.stderr
    assert "Traceback" not in mistake.stderr
    assert "log" not in mistake.stderr, "nothing was set up"


def test_a_date_that_is_none_is_refused_before_anything_is_set_up(starter):
    mistake = run("test", str(starter), "--date", "soon")
    assert mistake.exit_code == 2
    assert "Invalid value for '--date': date 'soon': expected a day such as 2026-01-31, or a moment" in mistake.stderr
    assert "Setting up" not in mistake.stderr
    early = run("test", str(starter), "--date", "0001-01-01T00:00+05:00")
    assert (early.exit_code, "expected a day from 0001-01-01 to 9999-12-30, in UTC" in early.stderr) == (2, True)


def test_a_run_that_does_not_come_to_its_end_has_failed(starter):
    functions = starter.parent / "shop_functions.py"
    functions.write_text(
        functions.read_text().replace("def load(ds=None):", "def load(ds=None):\n    __import__('os')._exit(3)")
    )
    for limit, words in (("250", "could not run the pipeline; see "), ("1", "could not run the pipeline within 1 s")):
        broken = trial(str(starter), "--limit", limit)
        assert (broken.returncode, words in broken.stderr) == (1, True), broken.stderr
        assert "What Airflow and the transfers said is in " in broken.stderr


def test_whatever_a_transfer_prints_the_state_is_found(tmp_path):
    log = tmp_path / "trial.log"
    log.write_bytes(b"\xff\xfe no text\npipetrack: the run ended as success\n")
    assert _state_in(log) == "success"


def test_what_a_trial_has_started_ends_with_it(tmp_path):
    with pytest.raises(TrialError, match=r"could not wait within 1 s; see .*log"):
        _run(["sh", "-c", f"(sleep 2; touch {tmp_path}/lives) & wait"], {}, tmp_path / "log", 1.0, "wait")
    time.sleep(2)
    assert not (tmp_path / "lives").exists()


def test_what_never_began_behind_a_failure_says_so(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(
        "defaults: {audit_enabled: false, max_retry_attempts: 0}\nstage_transfers:\n"
        "  - {name: a, operator: airflow.providers.standard.operators.bash.BashOperator, "
        "operator_args: {bash_command: exit 1}}\n"
        "  - {name: b, transfer_order_number: 2}\n"
    )
    done = trial(str(file), "--output", "json")
    assert done.returncode == 1, done.stderr
    assert [(a["task_id"], a["transfer_status"], a["decision"]) for a in json.loads(done.stdout)["attempts"]] == [
        ("a", "failed", None),
        ("b", "pending", "not run: an upstream failed"),
    ]
