"""The bundle: where its stubs are, and what a stub does when Airflow parses it."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest

from airflow_provider_pipetrack.dag import bundle as bundle_module
from airflow_provider_pipetrack.dag.bundle import PipetrackDagBundle
from airflow_provider_pipetrack.errors import ConfigError, PipetrackError

GOOD = "stage_transfers: [{name: a}]\n"
BROKEN = "stage_transfers: [{nme: a}]\n"


@pytest.fixture
def bundle(folder, tmp_path) -> PipetrackDagBundle:
    return make(folder, tmp_path)


def make(folder, tmp_path, **more) -> PipetrackDagBundle:
    made = PipetrackDagBundle(name="pipelines", path=str(folder), **more)
    made.base_dir = tmp_path / "storage" / "pipelines"
    made._stubs = made._places()[0]
    return made


def dags_of(stub: Path) -> set[str]:
    return {value.dag_id for name, value in runpy.run_path(str(stub)).items() if name.startswith("pipetrack_")}


def test_a_task_process_that_only_initializes_finds_the_stubs(bundle, folder):
    (folder / "a.yaml").write_text(GOOD)
    bundle.initialize()
    assert bundle.is_initialized
    assert dags_of(bundle.path / "a.yaml.py") == {"a"}


def test_a_broken_file_is_an_error_of_its_own(bundle, folder):
    (folder / "a.yaml").write_text(GOOD)
    (folder / "b.yaml").write_text(BROKEN)
    bundle.refresh()
    assert dags_of(bundle.path / "a.yaml.py") == {"a"}
    with pytest.raises(ConfigError) as raised:
        dags_of(bundle.path / "b.yaml.py")
    assert str(raised.value) == (
        f"{folder}/b.yaml:1:20: stage_transfers[0].nme: there is no such key (did you mean 'name'?)"
    )


def test_a_changed_file_counts_at_once_and_a_removed_one_is_no_error(bundle, folder):
    (folder / "a.yaml").write_text(GOOD)
    bundle.refresh()
    (folder / "a.yaml").write_text("dag: {dag_id: renamed}\n" + GOOD)
    assert dags_of(bundle.path / "a.yaml.py") == {"renamed"}
    (folder / "a.yaml").write_text(BROKEN)
    for _ in range(2):  # Airflow parses it again and again
        with pytest.raises(ConfigError, match="there is no such key"):
            dags_of(bundle.path / "a.yaml.py")
    (folder / "a.yaml").write_text(GOOD)
    assert dags_of(bundle.path / "a.yaml.py") == {"a"}
    (folder / "a.yaml").unlink()
    assert dags_of(bundle.path / "a.yaml.py") == set()


@pytest.mark.parametrize(
    ("first", "dag_id"),
    [("dag: {dag_id: same}\n", "same"), ("pipeline_metadata: {pipeline_id: 'the  same / one'}\n", "the_same_one")],
)
def test_a_dag_id_that_two_files_claim_stays_with_the_first(bundle, folder, monkeypatch, first, dag_id):
    (folder / "a.yaml").write_text(first + GOOD)
    (folder / "b.yaml").write_text(f"dag: {{dag_id: {dag_id}}}\n" + GOOD)
    bundle.refresh()
    assert dags_of(bundle.path / "a.yaml.py") == {dag_id}
    with pytest.raises(ConfigError) as raised:
        dags_of(bundle.path / "b.yaml.py")
    assert str(raised.value) == (
        f"{folder}/b.yaml:1:15: dag.dag_id: the Dag id {dag_id!r} is already that of {folder}/a.yaml; "
        "set another dag.dag_id"
    )
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", dag_id)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_TASK_ID", "a")
    assert dags_of(bundle.path / "b.yaml.py") == {dag_id}  # a task is starting: nobody looks at problems now


def test_folders_airflows_users_and_versions_have_stubs_of_their_own(folder, tmp_path, monkeypatch):
    places = [make(folder, tmp_path).path, make(folder, tmp_path).path, make(tmp_path, tmp_path).path]
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "other"))
    places.append(make(folder, tmp_path).path)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    places.append(make(folder, tmp_path).path)
    monkeypatch.setattr(bundle_module, "__version__", "99")
    places.append(make(folder, tmp_path).path)
    assert places[0] == places[1]
    assert len(set(places)) == 5


def test_where_airflows_storage_is_closed_the_stubs_are_beside_our_other_files(bundle, folder, tmp_path):
    (tmp_path / "storage").write_text("a file where the folder should be")
    (folder / "a.yaml").write_text(GOOD)
    bundle.initialize()
    assert bundle.path.parent == tmp_path / "home" / "pipetrack" / "stubs"
    assert dags_of(bundle.path / "a.yaml.py") == {"a"}


def test_stubs_that_can_be_kept_nowhere_are_an_error(bundle, tmp_path):
    (tmp_path / "storage").write_text("a file where the folder should be")
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(NotADirectoryError, match="storage"):
        bundle.initialize()
    assert not bundle.is_initialized


def test_a_folder_that_cannot_be_written_to_is_good_enough_while_it_is_right(bundle, folder, monkeypatch):
    (folder / "a.yaml").write_text(GOOD)
    bundle.initialize()
    first = bundle.path

    def refuse(*_, **__):
        raise PermissionError(13, "read-only")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    bundle.refresh()
    assert bundle.path == first


def test_the_folder_is_airflows_dags_folder_unless_it_is_named():
    from airflow_provider_pipetrack.compat import airflow_option

    assert PipetrackDagBundle(name="x").source == Path(airflow_option("core", "dags_folder"))
    assert PipetrackDagBundle(name="x", path="~/p", refresh_interval=7).source == Path.home() / "p"
    assert PipetrackDagBundle(name="x", path="p", refresh_interval=7).refresh_interval == 7


def test_a_missing_folder_is_said(bundle, folder):
    folder.rmdir()
    with pytest.raises(PipetrackError, match=f"^there is no folder {folder} with pipeline files$"):
        bundle.initialize()
