"""The command line: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from airflow_provider_pipetrack.cli.main import main

PIPELINE = """
on_schema_change: fail
stage_transfers:
  - {name: load, stage_i_details: shop, stage_i_plus_1_details: staging, rollback: os.getcwd}
  - {name: idle, transfer_order_number: 2, transfer_enabled: false}
  - {name: publish, transfer_order_number: 3, audit_enabled: false, operator: airflow.providers.standard.operators.bash.BashOperator, operator_args: {bash_command: x}}
  - {name: free, transfer_order_number: 3, audit_enabled: false, dependent_on_previous_transfer: false}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "orders.yaml"
    path.write_text(PIPELINE)
    return str(path)


def run(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def test_a_plan_is_a_tree_of_levels(file):
    shown = run("plan", file)
    assert shown.exit_code == 0
    assert shown.output.splitlines() == [
        "orders (pipeline orders, schedule none)",
        "├─ level 1",
        "│  ├─ load: shop → staging",
        "│  │    runs nothing (a marker), 3 retries, waits for nothing",
        "│  │    then audit: execute_audit of user_functions, if there is one",
        "│  │    when it matched, Airflow asset pipetrack://orders/staging",
        "│  │    rollback: os.getcwd (it must be harmless to run it twice)",
        "├─ level 3",
        "│  ├─ publish: ? → ?",
        "│  │    runs airflow.providers.standard.operators.bash.BashOperator, 3 retries, waits for load__audit",
        "│  ├─ free: ? → ?",
        "│  │    runs nothing (a marker), 3 retries, waits for nothing",
        "├─ disabled: idle",
        "! free (order 3) waits for nothing and may start before the levels above it",
        "└─ 3 transfers, 4 tasks",
    ]


def test_a_plan_says_what_may_start_before_the_levels_above_though_it_waits_for_others(tmp_path):
    path = tmp_path / "lanes.yaml"
    path.write_text("""
defaults: {audit_enabled: false, dependent_on_previous_transfer: false, upstream_completion_required: true}
stage_transfers:
  - {name: a, stage_i_details: shop, stage_i_plus_1_details: a1}
  - {name: b, stage_i_details: shop, stage_i_plus_1_details: b1}
  - {name: stream, stage_i_details: shop, stage_i_plus_1_details: c1, estimated_duration: continuous}
  - {name: d, stage_i_details: shop, stage_i_plus_1_details: d1}
  - {name: e, stage_i_details: shop, stage_i_plus_1_details: e1}
  - {name: f, stage_i_details: shop, stage_i_plus_1_details: f1}
  - {name: a2, stage_i_details: a1, stage_i_plus_1_details: done, transfer_order_number: 2}
  - {name: d2, stage_i_details: d1, stage_i_plus_1_details: done, transfer_order_number: 2}
  - {name: named, transfer_order_number: 2, depends_on: [b], stage_i_plus_1_details: done}
  - {name: all, transfer_order_number: 2, dependent_on_previous_transfer: true, stage_i_plus_1_details: done}
  - {name: ordered, transfer_order_number: 3, stage_i_details: done}
""")
    assert json.loads(run("plan", str(path), "--output", "json").output)["warnings"] == [
        "a2, d2 (order 2) may start before b, d, e and 2 more of the levels above"
    ]


def test_a_plan_is_json_or_a_picture(file):
    plan = json.loads(run("plan", file, "--output", "json").output)
    assert plan["tasks"]["publish"] == {"kind": "transfer", "transfer": "publish", "upstream": ["load__audit"]}
    assert plan["assets"] == {"load": "pipetrack://orders/staging"}
    picture = run("plan", file, "--output", "dot").output
    assert '"load__audit" -> "publish";' in picture
    assert picture.startswith('digraph "orders" {')


def test_files_are_validated_together(file, tmp_path):
    good = run("validate", file)
    assert (good.exit_code, good.output) == (0, "1 file checked, 0 problems\n")
    (tmp_path / "twin.yaml").write_text("pipeline_metadata: {pipeline_id: orders}\nstage_transfers: [{name: a}]\n")
    both = run("validate", str(tmp_path))
    assert both.exit_code == 1
    assert "twin.yaml:1:34: pipeline_metadata.pipeline_id: the Dag id 'orders' is already that of" in both.output
    assert "2 files checked, 1 problem\n" in both.output


def test_a_folder_without_a_pipeline_is_a_wrong_call(tmp_path):
    (tmp_path / "other.yaml").write_text("a: 1\n")
    shown = run("validate", str(tmp_path))
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert shown.stderr == f"Error: {tmp_path}: no file there is a pipeline: none has stage_transfers\n"


def test_a_file_may_name_modules_beside_it_and_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "functions_beside.py").write_text("from functions_here import load\n")
    (tmp_path / "functions_here.py").write_text("def load():\n    return 1\n")
    file = tmp_path / "dags" / "p.yaml"
    file.write_text("user_functions: functions_beside\nstage_transfers: [{name: a, python_callable: load}]\n")
    monkeypatch.chdir(tmp_path)
    assert run("validate", str(file)).output == "1 file checked, 0 problems\n"
    assert "runs load()" in run("plan", str(file)).output


def test_a_broken_file_has_no_plan_and_no_traceback(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("stage_transfers:\n  - {name: a, depends_on: [b]}\n  - {name: b, depends_on: [a]}\n")
    shown = run("plan", str(path))
    assert shown.exit_code == 1
    assert (
        "p.yaml:2:27: stage_transfers[0].depends_on: the transfers wait for each other in a circle: a -> b -> a"
        in shown.output
    )


def test_the_schema_is_printed_and_is_no_pipeline_beside_those_it_is_for(file, tmp_path):
    schema = run("schema").output
    assert json.loads(schema)["title"] == "pipetrack pipeline"
    (tmp_path / "pipetrack.schema.json").write_text(schema)
    checked = run("validate", str(tmp_path))
    assert (checked.exit_code, checked.output) == (0, "1 file checked, 0 problems\n")


def test_a_wrong_call_is_told_apart_from_problems():
    assert run("validate").exit_code == 2
    assert run("validate", "/no/such/file.yaml").exit_code == 2


@pytest.mark.parametrize("name", ["2024", "on", "null", "0x1F", "1e3"])
def test_a_new_pipeline_validates_whatever_yaml_would_read_its_name_as(tmp_path, name):
    assert run("new", name, "--folder", str(tmp_path)).exit_code == 0
    assert run("validate", str(tmp_path)).output == "1 file checked, 0 problems\n"


@pytest.mark.parametrize("charset", ["latin-1", "utf-8"])
def test_what_a_terminal_cannot_show_is_escaped(tmp_path, charset):
    path = tmp_path / os.fsdecode(b"caf\xff.yaml")
    path.write_text("stage_transfers: [{name: a, stage_i_details: \U0001f600 caf\u00e9}]\n")
    shown = CliRunner(charset=charset).invoke(main, ["plan", str(path)])
    assert shown.exit_code == 0
    assert r"(pipeline caf\udcff, schedule none)" in shown.output
    assert charset == "utf-8" or r"\u251c\u2500 a: \ud83d\ude00" in shown.output
    path.write_text("stage_transfers: [{name: a, caf\u00e9: \U0001f600}]\n")
    said = CliRunner(charset=charset).invoke(main, ["validate", str(path), "--output", "json"]).output
    assert [(row["file"], row["key"]) for row in json.loads(said)] == [(str(path), "stage_transfers[0].caf\u00e9")]


@pytest.mark.parametrize("arguments", [["schema"], ["validate", "--output", "json"], ["queries", "list"]])
def test_an_answer_that_cannot_be_written_is_told_in_a_sentence(file, arguments):
    arguments = [*arguments, file] if arguments[0] == "validate" else arguments
    command = [sys.executable, "-m", "airflow_provider_pipetrack.cli.main", *arguments]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "Error: No space left on device\n")


def test_a_wrong_call_whose_answer_cannot_be_written_is_told_without_a_traceback():
    command = [sys.executable, "-m", "airflow_provider_pipetrack.cli.main", "validate", "/nobody", "--output", "json"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert done.stderr.endswith("Path '/nobody' does not exist.\n")


def test_an_airflow_cfg_that_cannot_be_read_is_told_in_a_sentence(file, tmp_path):
    (tmp_path / "airflow.cfg").write_text("dags_folder = /x\n")
    command = [sys.executable, "-m", "airflow_provider_pipetrack.cli.main", "validate", file, "--output", "json"]
    done = subprocess.run(
        command, env={**os.environ, "AIRFLOW_HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    (told,) = done.stderr.splitlines()
    assert told.startswith("Error: airflow.cfg cannot be read: File contains no section headers.")
    assert f"Error: {json.loads(done.stdout)['error']}" == told


@pytest.mark.parametrize("name", ["", "\u5ba2\u6237"])
def test_a_name_without_any_letter_for_a_file_names_none(tmp_path, name):
    shown = run("new", name, "--folder", str(tmp_path))
    assert shown.exit_code == 2
    assert f"{name!r} cannot name files, a Dag and a module; take for example 'orders'" in shown.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "--limit", "9" * 20], "is not in the range"),
        (["queries", "run", "runs", "--offset", "9" * 20], "is not in the range"),
        (["queries", "run", "transfers", "--where", f"map_index={'9' * 20}"], "expected at most 2,147,483,647"),
        (["status", "caf\udcff"], r"'caf\udcff' is not UTF-8 text"),
        (["queries", "run", "transfers", "--where", "owner=caf\udcff"], r"'caf\udcff' is not UTF-8 text"),
    ],
)
def test_what_no_database_takes_is_a_wrong_call(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    location = f"sqlite||{tmp_path / 't.db'}||t"
    assert run("init", location).exit_code == 0
    shown = run(*arguments, "--location", location)
    assert (shown.exit_code, message in shown.output) == (2, True), shown.output
