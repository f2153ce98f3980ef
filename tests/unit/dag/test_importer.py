"""Airflow's own importers, from 3.4 on; before, who asks for ours is told what to use."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from airflow_provider_pipetrack.dag import files, models

GOOD = "stage_transfers: [{name: a}]\n"

if importlib.util.find_spec("airflow.sdk.importers") is None:

    def test_before_airflow_3_4_the_bundle_is_named():
        with pytest.raises(ImportError, match="PipetrackDagBundle$"):
            import airflow_provider_pipetrack.dag.importer  # noqa: F401

else:
    from airflow.sdk.importers import DagImporterRegistry, DagImportError

    CLASSPATH = "airflow_provider_pipetrack.dag.importer.PipetrackDagImporter"

    @pytest.fixture
    def bundle(tmp_path, monkeypatch):
        monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
        files._VERDICTS.clear()
        models.forget()
        (tmp_path / "pipelines").mkdir()
        return SimpleNamespace(name="pipelines", path=tmp_path / "pipelines")

    @pytest.fixture
    def registry():
        made = DagImporterRegistry()
        made.register_specs([CLASSPATH], context="a test")
        return made

    def results(registry, bundle):
        found = {}
        for importer, item in registry.list_dag_definitions(bundle):
            found[Path(repr(item)).name] = (
                item if isinstance(item, DagImportError) else importer.import_definition(item, bundle)
            )
        return found

    def test_a_good_file_is_a_dag_and_a_broken_one_an_error_with_our_words(registry, bundle):
        (bundle.path / "a.yaml").write_text(GOOD)
        (bundle.path / "b.json").write_text('{"stage_transfers": [{"nme": "a"}]}')
        (bundle.path / "compose.yaml").write_text("services: {}\n")
        found = results(registry, bundle)
        assert set(found) == {"a.yaml", "b.json"}
        (dag,) = found["a.yaml"].dags
        assert (dag.dag_id, dag.fileloc, dag.relative_fileloc) == ("a", str(bundle.path / "a.yaml"), "a.yaml")
        (error,) = found["b.json"].errors
        assert error.stacktrace is None
        assert error.message == (
            f"{bundle.path}/b.json:1:23: stage_transfers[0].nme: there is no such key (did you mean 'name'?)"
        )

    def test_a_dag_id_that_two_files_claim_stays_with_the_first(registry, bundle):
        for name in ("a", "b"):
            (bundle.path / f"{name}.yaml").write_text("dag: {dag_id: same}\n" + GOOD)
        found = results(registry, bundle)
        assert found["a.yaml"].success
        assert "the Dag id 'same' is already that of" in found["b.yaml"].errors[0].message

    def test_the_code_tab_shows_the_file(registry, bundle):
        (bundle.path / "a.yaml").write_bytes(GOOD.encode() + b"# \xff\n")
        ((importer, definition),) = registry.list_dag_definitions(bundle)
        code = importer.get_source_code(definition)
        assert (code.source_code, code.language) == (GOOD + "# \\xff\n", "yaml")

    def test_other_endings_can_be_ours_alone(bundle):
        from airflow_provider_pipetrack.dag.importer import PipetrackDagImporter

        importer = PipetrackDagImporter(extensions=["pipeline"])
        (bundle.path / "a.pipeline").write_text(GOOD)
        (bundle.path / "b.yaml").write_text(GOOD)
        assert [repr(found) for found in importer.list_dag_definitions(bundle)] == [str(bundle.path / "a.pipeline")]
        assert importer.can_handle(bundle.path / "a.pipeline")
        assert not importer.can_handle(bundle.path / "b.yaml")
