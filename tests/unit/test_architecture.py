"""The rules of docs/architecture.md that the import contracts cannot express."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "airflow_provider_pipetrack"
MODULES = sorted(PACKAGE.rglob("*.py"))
CLIENTS = {"boto3", "botocore", "pymongo", "psycopg", "psycopg2", "snowflake", "sqlalchemy"}
SQL = re.compile(r"\b(SELECT .* FROM|INSERT INTO|UPDATE .* SET|DELETE FROM|CREATE TABLE)\b")


def imports(tree: ast.AST) -> list[tuple[str, bool]]:
    """Return each imported module, and whether it is imported at the top."""
    top = {id(node) for node in getattr(tree, "body", [])}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.append((node.module, id(node) in top))
        elif isinstance(node, ast.Import):
            found.extend((alias.name, id(node) in top) for alias in node.names)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
class TestModule:
    def test_opens_with_a_sentence(self, path):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        assert docstring.splitlines()[0].rstrip().endswith((".", ":")) or ". " in docstring

    def test_takes_from_airflow_only_the_sdk_and_providers(self, path):
        if path.relative_to(PACKAGE).parts[0] == "compat":
            return
        for module, _ in imports(ast.parse(path.read_text())):
            if module.split(".")[0] == "airflow":
                allowed = module.startswith(("airflow.sdk", "airflow.providers")) or module == "airflow.cli"
                assert allowed, module
                assert not module.startswith("airflow.sdk.execution_time"), module

    def test_asks_for_what_differs_between_versions_at_one_door(self, path):
        if path.relative_to(PACKAGE).parts[0] != "compat":
            modules = [module for module, _ in imports(ast.parse(path.read_text()))]
            assert not [module for module in modules if module.startswith("airflow_provider_pipetrack.compat.")]

    def test_imports_no_storage_client_and_no_provider_at_the_top(self, path):
        for module, at_top in imports(ast.parse(path.read_text())):
            if at_top:
                assert module.split(".")[0] not in CLIENTS, module
                assert not module.startswith("airflow.providers"), module

    def test_reads_the_environment_only_in_settings(self, path):
        if path.name != "settings.py":
            assert not re.search(r"os\.(environ|getenv)", path.read_text())

    def test_writes_sql_only_in_records_and_storage(self, path):
        if path.relative_to(PACKAGE).parts[0] in {"records", "storage"}:
            return
        strings = (n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant))
        assert not [text for text in strings if isinstance(text, str) and SQL.search(text)]

    def test_is_no_god_file(self, path):
        assert len(path.read_text().splitlines()) <= 400


def test_nothing_is_a_listener():
    assert not [path for path in MODULES if "hookimpl" in path.read_text()]


def loaded_after(statement: str) -> set[str]:
    # What the interpreter brings by itself, such as a namespace of site-packages, is not the statement's.
    code = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_the_package_root_brings_neither_airflow_nor_a_client():
    loaded = {name.split(".")[0] for name in loaded_after("import airflow_provider_pipetrack")}
    assert not loaded & (CLIENTS | {"airflow", "pydantic", "yaml", "jinja2"})


def test_configuration_and_records_bring_no_airflow():
    loaded = loaded_after(
        "from airflow_provider_pipetrack import PipelineConfig, parse_location_string; "
        "import airflow_provider_pipetrack.tracking.journal, airflow_provider_pipetrack.records.merge"
    )
    assert "airflow" not in loaded


def test_loading_pipelines_brings_no_storage_client():
    ours = "from airflow_provider_pipetrack import load_pipelines, build_dag, TrackedOperator"
    loaded = loaded_after(ours) - loaded_after("from airflow.sdk import DAG, BaseOperator, BaseSensorOperator")
    assert not {name for name in loaded if name.split(".")[0] in CLIENTS - {"sqlalchemy"}}
    assert not {name for name in loaded if ".hooks" in name and name.startswith("airflow.providers")}


@pytest.mark.parametrize("name", __import__("airflow_provider_pipetrack").__all__)
def test_every_public_name_can_be_imported_from_the_root(name):
    import airflow_provider_pipetrack

    assert getattr(airflow_provider_pipetrack, name) is not None
