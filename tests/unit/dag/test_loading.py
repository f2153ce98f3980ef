"""Finding pipeline files, building them one by one, and what is remembered of them."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_pipetrack import load_pipelines, report_problems
from airflow_provider_pipetrack.dag import files, loader, models
from airflow_provider_pipetrack.dag.factory import read_config
from airflow_provider_pipetrack.dag.loader import build_file, find_problems_in, load_pipeline
from airflow_provider_pipetrack.errors import ConfigError, PipetrackError, Problem
from tests.airflow_versions import AIRFLOW

GOOD = "stage_transfers: [{name: a}]\n"
BASH = "airflow.providers.standard.operators.bash.BashOperator"
BROKEN = "stage_transfers: [{nme: a}]\n"


def test_a_broken_file_stops_no_other_and_is_named_in_the_log(folder, caplog):
    for name, text in (("one", GOOD), ("two", BROKEN), ("three", GOOD)):
        (folder / f"{name}.yaml").write_text(text)
    namespace = {"__file__": str(folder / "load.py")}
    with caplog.at_level(logging.ERROR):
        dags = load_pipelines(namespace)
    assert set(dags) == {"one", "three"}
    assert {dag.dag_id for name, dag in namespace.items() if name.startswith("pipetrack_")} == {"one", "three"}
    assert f"{folder}/two.yaml:1:20: stage_transfers[0].nme: there is no such key (did you mean 'name'?)" in caplog.text


def test_the_problems_of_all_files_are_raised_together(folder):
    (folder / "one.yaml").write_text(BROKEN)
    (folder / "two.json").write_text("{}{}")
    (folder / "three.yml").write_text(
        "stage_transfers: [{name: a, operator: airflow.providers.standard.operators.bash.Bsh}]\n"
    )
    (folder / "four.json").write_text('{"stage_transfers": [}')
    with pytest.raises(ConfigError) as raised:
        report_problems(folder)
    assert [str(problem).split("/")[-1] for problem in raised.value.problems] == [
        "four.json:1:22: malformed JSON: expecting value",
        "one.yaml:1:20: stage_transfers[0].nme: there is no such key (did you mean 'name'?)",
        "three.yml:1:39: stage_transfers[0].operator: there is no operator 'Bsh' in "
        "airflow.providers.standard.operators.bash",
    ]


def test_a_dag_id_that_two_files_claim_stays_with_the_first(folder, caplog):
    for name in ("a", "b"):
        (folder / f"{name}.yaml").write_text("dag: {dag_id: same}\n" + GOOD)
    with caplog.at_level(logging.ERROR):
        assert set(load_pipelines({}, folder)) == {"same"}
    assert "b.yaml: the Dag id 'same' is already that of another file" in caplog.text
    with pytest.raises(
        ConfigError, match=rf"b\.yaml:1:15: dag\.dag_id: the Dag id 'same' is already that of {folder}/a\.yaml"
    ):
        report_problems(folder)


def test_folders_below_are_searched_and_some_files_left_alone(folder):
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "ignored").mkdir()
    (folder / "deep" / "er" / "p.yaml").write_text(GOOD)
    (folder / ".hidden" / "q.yaml").write_text(GOOD)
    (folder / "ignored" / "r.yaml").write_text(GOOD)
    (folder / "compose.yaml").write_text("services: {}\n")
    (folder / "skip.yaml").write_text(GOOD)
    (folder / "notes.txt").write_text(GOOD)
    (folder / ".airflowignore").write_text("# not these\nignored/\nskip.*\n")
    (folder / "deep" / "back").symlink_to(folder)
    assert [path.relative_to(folder).as_posix() for path, _ in files.pipeline_files(folder)] == ["deep/er/p.yaml"]


@pytest.mark.parametrize(
    "text", ["\ufeff" + GOOD, "# one\r\nstage_transfers:\r\n- name: a\r\n", '{"stage_transfers":[{}]}']
)
def test_it_does_not_matter_how_an_editor_saves_a_file(folder, text):
    (folder / "p.yaml").write_bytes(text.encode())
    report_problems(folder)
    assert set(load_pipelines({}, folder)) == {"p"}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_file_that_windows_calls_unicode_is_not_left_alone_without_a_word(folder, encoding):
    (folder / "p.yaml").write_bytes(("\ufeff" + GOOD).encode(encoding))
    (folder / "data.json").write_bytes("\ufeff{}".encode(encoding))
    assert load_pipelines({}, folder) == {}
    with pytest.raises(ConfigError, match=rf"^{folder}/p\.yaml:1:1: the file is UTF-16 text; save it as UTF-8$"):
        report_problems(folder)


def test_a_folder_is_meant_from_the_file_that_names_it(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "p.yaml").write_text(GOOD)
    namespace = {"__file__": str(folder / "load.py"), "report_problems": report_problems}
    assert set(load_pipelines(namespace, "pipelines")) == {"p"}
    (folder / "pipelines" / "q.yaml").write_text(BROKEN)
    with pytest.raises(ConfigError, match=r"q\.yaml:1:20"):
        exec("report_problems('pipelines')", namespace)
    for wrong in ("pipeline", "pipelines/p.yaml"):
        with pytest.raises(PipetrackError, match=f"there is no folder {folder}/{wrong} with pipeline files"):
            load_pipelines(namespace, wrong)


def test_modules_beside_the_pipelines_of_a_bundle_can_be_named(folder, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (folder / "functions_of_a_bundle.py").write_text("from helpers_of_a_bundle import load\n")
    (folder / "helpers_of_a_bundle.py").write_text("def load():\n    return 1\n")
    (folder / "p.yaml").write_text(
        "user_functions: functions_of_a_bundle\nstage_transfers: [{python_callable: load}]\n"
    )
    namespace: dict = {}
    load_pipeline(namespace, folder / "p.yaml", folder)
    assert set(namespace) == {"pipetrack_p"}


def test_a_file_that_cannot_be_read_is_a_problem_and_one_that_is_gone_is_none(folder, monkeypatch):
    for name in ("a.yaml", "b.yaml"):
        (folder / name).write_text(GOOD)
    (folder / "c.yaml").symlink_to("gone.yaml")
    read = Path.read_bytes

    def read_bytes(path):
        if path.name == "a.yaml":
            raise PermissionError(errno.EACCES, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert set(load_pipelines({}, folder)) == {"b"}
    with pytest.raises(ConfigError, match=rf"^{folder}/a\.yaml:0:0: cannot be read: Permission denied$"):
        report_problems(folder)


def test_a_folder_that_vanishes_or_an_odd_ignore_file_stops_no_pipeline(folder, monkeypatch):
    (folder / "p.yaml").write_text(GOOD)
    (folder / "gone").mkdir()
    (folder / ".airflowignore").write_bytes(b"caf\xe9.yaml\n!\n")
    found = files._identity
    monkeypatch.setattr(files, "_identity", lambda path: None if path.name == "gone" else found(path))
    assert set(load_pipelines({}, folder)) == {"p"}


def test_a_folder_that_cannot_be_read_is_named_in_the_log_and_stops_no_pipeline(folder, monkeypatch, caplog):
    (folder / "p.yaml").write_text(GOOD)
    for name in ("team", "lost+found"):
        (folder / name).mkdir()
    scandir = os.scandir

    def listed(path):
        if Path(path).name in {closed, "lost+found"}:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", listed)
    closed = "team"
    assert set(load_pipelines({}, folder)) == {"p"}
    assert f"{folder}/team cannot be read, so its pipelines are left out: Permission denied" in caplog.text
    assert "lost+found" not in caplog.text, "a volume has one, which only root may read"
    closed = folder.name
    with pytest.raises(PipetrackError, match=f"the folder {folder} with pipeline files cannot be read: Permission den"):
        load_pipelines({}, folder)


def test_a_file_that_cannot_be_looked_at_is_not_taken_for_gone(folder, monkeypatch):
    looked_at = Path.stat

    def stat(path, **how):
        if path.name == "p.yaml":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return looked_at(path, **how)

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(ConfigError, match=rf"^{folder}/p\.yaml:0:0: cannot be read: Stale file handle$"):
        load_pipeline({}, folder / "p.yaml", folder)


def test_a_task_start_builds_only_its_own_dag(folder, monkeypatch):
    for name in ("one", "two", "three"):
        (folder / f"{name}.yaml").write_text(GOOD)
    (folder / "renamed.yaml").write_text("pipeline_metadata: {pipeline_id: 'other/name'}\n" + GOOD)
    built = []
    monkeypatch.setattr(loader, "build_dag", lambda config: built.append(config.dag_id) or loader_dag(config))
    for wanted in ("two", "other_name"):
        monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", wanted)
        monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "a")
        assert set(load_pipelines({}, folder)) == {wanted}
        report_problems(folder)
    assert built == ["two", "other_name"]


def test_a_task_whose_file_was_broken_meanwhile_says_so_in_its_log(folder, monkeypatch, caplog):
    (folder / "one.yaml").write_text(GOOD)
    (folder / "two.yaml").write_text(BROKEN)
    (folder / "three.yaml").write_text(BROKEN)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "two")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "a")
    with caplog.at_level(logging.ERROR):
        assert load_pipelines({}, folder) == {}
    assert "two.yaml:1:20: stage_transfers[0].nme: there is no such key" in caplog.text
    assert "three.yaml" not in caplog.text


def test_a_task_start_finds_the_same_file_as_the_dag_processor(folder, monkeypatch):
    (folder / "a.yaml").write_text(
        "pipeline_metadata: {pipeline_id: 'daily orders'}\nstage_transfers: [{name: first}]\n"
    )
    (folder / "b.yaml").write_text("dag: {dag_id: daily_orders}\nstage_transfers: [{name: second}]\n")
    assert "first" in load_pipelines({}, folder)["daily_orders"].task_ids
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "daily_orders")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "first")
    assert "first" in load_pipelines({}, folder)["daily_orders"].task_ids


def loader_dag(config):
    from airflow_provider_pipetrack.dag.factory import build_dag

    return build_dag(config)


def test_what_an_operator_refuses_is_a_problem_of_the_file_and_not_a_traceback(folder, caplog):
    path = folder / "p.yaml"
    path.write_text(
        f"stage_transfers: [{{name: a, operator: {BASH}, operator_args: {{bash_command: x, pool_slots: 0}}}}]\n"
    )
    (folder / "q.yaml").write_text(GOOD)
    expected = (
        f"{path}:1:110: stage_transfers[0].operator_args: BashOperator refuses its arguments: "
        "pool slots for a in dag p cannot be less than 1"
    )
    with pytest.raises(ConfigError) as raised:
        report_problems(folder)
    assert str(raised.value) == expected
    with caplog.at_level(logging.ERROR):
        assert set(load_pipelines({}, folder)) == {"q"}
    assert expected in caplog.text
    assert "Traceback" not in caplog.text
    with pytest.raises(ConfigError, match="refuses its arguments"):
        build_file(path, folder)


def test_a_dag_that_was_built_before_is_not_built_again_to_find_its_problems(folder, monkeypatch):
    path = folder / "p.yaml"
    path.write_text(GOOD)
    built = []
    monkeypatch.setattr(loader, "build_dag", lambda config: built.append(config.dag_id) or loader_dag(config))
    report_problems(folder)
    for _ in range(2):
        files._VERDICTS.clear()  # what a fresh process knows
        models.forget()
        report_problems(folder)
    assert built == ["p"]
    assert find_problems_in([path], build_all=True) == []
    assert built == ["p", "p"]


def test_what_airflow_cannot_keep_is_a_problem_when_a_file_is_validated(folder, monkeypatch):
    path = folder / "p.yaml"
    path.write_text(GOOD)

    def fail(dag):
        raise ValueError(f"no place for {dag.dag_id}")

    monkeypatch.setattr(loader, "serialize", fail)
    assert [str(problem) for problem in find_problems_in([path], build_all=True)] == [
        f"{path}:0:0: Airflow cannot keep the Dag: no place for p"
    ]


def test_where_airflow_keeps_dags_each_is_serialized_once_before_airflow_does_it(folder, monkeypatch):
    (folder / "a.yaml").write_text(GOOD)
    (folder / "b.yaml").write_text(GOOD)
    load_pipelines({}, folder)  # a task start, say: it serializes nothing, and has no say in it
    tried = []

    def fail_b(dag):
        tried.append(dag.dag_id)
        if dag.dag_id == "b":
            raise ValueError("no place for b")

    monkeypatch.setattr(loader, "serialize", fail_b)
    monkeypatch.setitem(sys.modules, "airflow.dag_processing.processor", sys)
    for expected in (["a", "b"], ["b"]):
        files._VERDICTS.clear()  # what a fresh process knows
        models.forget()
        assert set(load_pipelines({}, folder)) == {"a"}
        assert tried == expected
        tried.clear()
    files._VERDICTS.clear()
    models.forget()
    with pytest.raises(ConfigError, match=rf"^{folder}/b\.yaml:0:0: Airflow cannot keep the Dag: no place for b$"):
        report_problems(folder)


PROCESSOR = """
import sys
from pathlib import Path
import structlog
from airflow.dag_processing import processor
for name in ("load.py", "report.py"):
    asked = {"file": str(Path(sys.argv[1], name)), "bundle_path": sys.argv[1], "bundle_name": "dags-folder"}
    request = processor.DagFileParseRequest.model_validate(asked)
    result = processor._parse_file(request, structlog.get_logger())
    print("==", name, [dag.dag_id for dag in result.serialized_dags], list((result.import_errors or {}).values()))
"""


def test_a_dag_that_airflow_cannot_serialize_is_held_against_no_other(folder, tmp_path):
    (folder / "good.yaml").write_text(
        f"stage_transfers: [{{name: a, operator: {BASH}, operator_args: {{bash_command: x}}}}]"
    )
    (folder / "odd.yaml").write_text(
        f"stage_transfers: [{{name: a, operator: {BASH}, operator_args: {{bash_command: x, weight_rule: odd}}}}]"
    )
    for name, call in (("load", "load_pipelines(globals())"), ("report", "report_problems()")):
        text = f"# Airflow Dags\nfrom airflow_provider_pipetrack import load_pipelines, report_problems\n{call}\n"
        (folder / f"{name}.py").write_text(text)
    command = [sys.executable, "-c", PROCESSOR, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, cwd=tmp_path)
    loaded, reported = (line for line in done.stdout.splitlines() if line.startswith("== "))
    assert loaded == "== load.py ['good'] []", done.stderr
    assert reported.startswith("== report.py [] [")
    if AIRFLOW < (3, 2):  # the operator itself refuses it there
        assert "operator_args: BashOperator refuses its arguments: Unknown priority strategy odd" in reported
    else:
        assert f"{folder}/odd.yaml:0:0: Airflow cannot keep the Dag: Failed to serialize DAG" in reported


def test_what_is_refused_only_later_is_found_by_the_next_process(folder, monkeypatch):
    path = folder / "p.yaml"
    path.write_text(GOOD)
    load_pipelines({}, folder)

    def refuse(config):
        raise ConfigError([Problem(str(path), 1, 1, "", "no more")])

    monkeypatch.setattr(loader, "build_dag", refuse)
    for expected in ({}, {}):
        files._VERDICTS.clear()
        models.forget()
        assert load_pipelines({}, folder) == expected
    files._VERDICTS.clear()
    models.forget()
    with pytest.raises(ConfigError, match="no more"):
        report_problems(folder)


def test_a_mistake_of_ours_is_named_with_its_file_and_stops_no_other(folder, monkeypatch):
    for name in ("a", "b"):
        (folder / f"{name}.yaml").write_text(GOOD)

    def fail_once(config):
        if config.dag_id == "a":
            raise RuntimeError("boom")
        return loader_dag(config)

    monkeypatch.setattr(loader, "build_dag", fail_once)
    assert set(load_pipelines({}, folder)) == {"b"}
    with pytest.raises(ConfigError, match=rf"^{folder}/a\.yaml:0:0: the Dag cannot be built: RuntimeError: boom$"):
        report_problems(folder)


def test_a_file_that_we_stumble_over_is_named_and_stops_no_other(folder, monkeypatch):
    for name in ("a", "b"):
        (folder / f"{name}.yaml").write_text(GOOD)

    def stumble(path):
        if path.stem == "a":
            raise RuntimeError("boom")
        return read_config(path)

    monkeypatch.setattr(files, "read_config", stumble)
    assert set(load_pipelines({}, folder)) == {"b"}
    with pytest.raises(ConfigError, match=rf"^{folder}/a\.yaml:0:0: the file cannot be checked: RuntimeError: boom$"):
        report_problems(folder)


def test_a_text_in_the_place_of_a_module_is_a_problem_and_stops_no_other(folder):
    (folder / "good.yaml").write_text(GOOD)
    (folder / "bad.yaml").write_text(f"user_functions: {'load_orders and ' * 20}\nstage_transfers: [{{name: a}}]\n")
    assert set(load_pipelines({}, folder)) == {"good"}
    with pytest.raises(ConfigError, match=r"bad\.yaml:1:17: user_functions: 'load_orders.*… cannot be imported: Mod"):
        report_problems(folder)


class Reads:
    """Counts how often files are read and validated."""

    def __init__(self, monkeypatch) -> None:
        self.number = 0
        original = files._read

        def counted(path):
            self.number += 1
            return original(path)

        monkeypatch.setattr(files, "_read", counted)


def test_an_unchanged_file_is_read_once_also_by_another_process(folder, monkeypatch):
    path = folder / "p.yaml"
    path.write_text(GOOD)
    reads = Reads(monkeypatch)
    load_pipelines({}, folder)
    first = files.read_pipeline(path).config
    assert files.read_pipeline(path).config is first
    files._VERDICTS.clear()  # what a fresh process knows
    models.forget()
    again = files.read_pipeline(path).config
    assert (again.stage_transfers, again.config_hash) == (first.stage_transfers, first.config_hash)
    assert reads.number == 1


@pytest.mark.parametrize("change", ["text", "functions", "version", "damage"])
def test_whatever_changes_makes_it_read_again(folder, monkeypatch, change):
    path, functions = folder / "p.yaml", folder / "f.py"
    functions.write_text("def load(): pass\n")
    path.write_text("user_functions: f.py\nstage_transfers: [{name: a, python_callable: load}]\n")
    reads = Reads(monkeypatch)
    assert set(load_pipelines({}, folder)) == {"p"}
    files._VERDICTS.clear()
    models.forget()
    if change == "text":
        path.write_text(path.read_text() + "variables: {a: 1}\n")
    elif change == "functions":
        functions.write_text("def lod(): pass\n# longer than before\n")
    elif change == "version":
        monkeypatch.setattr(files, "__version__", "99")
    else:
        (cached,) = (folder.parent / "home" / "pipetrack" / "cache").iterdir()
        cached.write_bytes(cached.read_bytes()[:-40])
    verdict = files.read_pipeline(path)
    assert reads.number == 2
    assert bool(verdict.problems) == (change == "functions")


def test_a_mended_function_is_noticed_within_one_process(folder):
    path, functions = folder / "p.yaml", folder / "f.py"
    functions.write_text("def lod(): pass\n")
    path.write_text("user_functions: f.py\nstage_transfers: [{name: a, python_callable: load}]\n")
    assert files.read_pipeline(path).problems
    functions.write_text("def load(): pass\n# mended\n")
    assert not files.read_pipeline(path).problems


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(folder, tmp_path):
    (tmp_path / "home").write_text("a file where the folder should be")
    path = folder / "p.yaml"
    path.write_text(GOOD)
    assert set(load_pipelines({}, folder)) == {"p"}


def test_what_several_processes_read_in_one_folder_is_kept_together(folder, monkeypatch):
    reads = Reads(monkeypatch)
    for name in ("a", "b", "a"):
        models.forget()  # what a fresh process knows
        (folder / f"{name}.yaml").write_text(f"stage_transfers: [{{name: {name}}}]\n# {reads.number}\n")
        build_file(folder / f"{name}.yaml", folder)
    assert reads.number == 3
    for name in ("a", "b"):
        files._VERDICTS.clear()
        models.forget()
        assert files.read_pipeline(folder / f"{name}.yaml").config.stage_transfers[0].name == name
    assert reads.number == 3
    assert len(list((folder.parent / "home" / "pipetrack" / "cache").iterdir())) == 1


def test_a_file_that_changes_for_ever_does_not_fill_the_disk(folder):
    path = folder / "p.yaml"
    sizes = []
    for number in range(models.MOST_OUTDATED + 5):
        path.write_text(f"stage_transfers: [{{name: a}}]\n#{'x' * number}\n")
        load_pipelines({}, folder)
        (cached,) = (folder.parent / "home" / "pipetrack" / "cache").iterdir()
        sizes.append(cached.stat().st_size)
    assert sizes[-1] < max(sizes) / 5
    models.forget()
    files._VERDICTS.clear()
    assert files.read_pipeline(path).config is not None


def test_the_cache_keeps_no_folders_that_were_left_long_ago(folder, tmp_path):
    for version in ("one", "two", "three"):
        (folder / version).mkdir()
        (folder / version / "orders.yaml").write_text(GOOD)
        load_pipelines({}, folder / version)
        (pack, *_) = sorted(
            (tmp_path / "home" / "pipetrack" / "cache").iterdir(), key=lambda file: -file.stat().st_mtime
        )
        if version == "one":
            os.utime(pack, (0, 0))
    assert len([*pack.parent.iterdir()]) == 2


def test_of_a_file_of_data_only_so_much_is_read_as_a_pipeline_may_have(folder, monkeypatch):
    monkeypatch.setattr(files, "MAX_BYTES", 100)
    (folder / "data.json").write_text('{"rows": [' + "0, " * 1000 + '0], "stage_transfers": []}')
    (folder / "long.yaml").write_text(GOOD + "#" * 1000)
    assert [(path.name, len(data)) for path, data in files.pipeline_files(folder)] == [("long.yaml", 101)]


def test_the_cache_is_for_its_owner_only(folder):
    path = folder / "p.yaml"
    path.write_text(GOOD)
    load_pipelines({}, folder)
    (cached,) = (folder.parent / "home" / "pipetrack" / "cache").iterdir()
    assert os.stat(cached).st_mode & 0o077 == 0
