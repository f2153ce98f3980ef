"""Every block of YAML and Python in README and documentation does what it shows, and the pages are built of the code."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import airflow_provider_pipetrack
from airflow_provider_pipetrack import build_dag, settings
from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.config.schema import pipeline_schema
from airflow_provider_pipetrack.get_provider_info import get_provider_info
from airflow_provider_pipetrack.records.columns import BY_NAME
from airflow_provider_pipetrack.records.queries import QUESTIONS

REPO = Path(__file__).resolve().parents[2]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(yaml|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"# (?:Airflow Dag loader: )?(\S+\.(?:yaml|py))$", re.MULTILINE)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the blocks of a page under the name of the file that each stands for."""
    found = []
    for number, (language, text) in enumerate(_BLOCK.findall(page.read_text())):
        named = _NAME.match(text)
        found.append((named[1] if named else f"block_{number}.{ {'yaml': 'yaml', 'python': 'py'}[language] }", text))
    return found


def blocks_of_kind(suffix: str) -> list:
    return [
        pytest.param(page, name, id=f"{page.relative_to(REPO)}:{name}")
        for page in PAGES
        for name, _ in blocks(page)
        if name.endswith(suffix)
    ]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder like the one of a reader who has saved every block of a page, and an AIRFLOW_HOME of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def saved(folder: Path, page: Path) -> None:
    names = [name for name, _ in blocks(page)]
    assert len(names) == len(set(names)), f"two blocks of {page.name} have the same name"
    for name, text in blocks(page):
        if name.endswith(".yaml") and "stage_transfers:" not in text:
            text += "stage_transfers: [{name: a, audit_enabled: false}]\n"
        (folder / name).write_text(text)


@pytest.mark.parametrize(("page", "name"), blocks_of_kind(".yaml"))
def test_the_pipeline_builds(folder, page, name):
    saved(folder, page)
    assert build_dag(folder / name).tasks


@pytest.mark.parametrize(("page", "name"), blocks_of_kind(".py"))
def test_the_code_runs(folder, page, name):
    saved(folder, page)
    path = folder / name
    module = {"__file__": str(path), "__name__": name.removesuffix(".py")}
    exec(compile(path.read_text(), str(path), "exec"), module)
    assert set(module) - {"__file__", "__name__", "__builtins__"}, "a block that defines nothing shows nothing"


def test_the_maintenance_dag_of_the_page_is_that_of_the_examples():
    shown = dict(blocks(REPO / "docs" / "tracking.md"))["pipetrack_maintenance.py"]
    example = (REPO / "dags_examples" / "pipetrack_maintenance.py").read_text()
    assert called_with(shown, "DAG") == called_with(example, "DAG", but=("doc_md",))
    assert called_with(shown, "task") == called_with(example, "task")


def called_with(code: str, name: str, but: tuple[str, ...] = ()) -> dict[str | None, str]:
    """Return the arguments of the one call of ``name``, as they are written."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    (call,) = (call for call in calls if isinstance(call.func, ast.Name) and call.func.id == name)
    named = {word.arg: ast.unparse(word.value) for word in call.keywords if word.arg not in but}
    return {**named, None: ", ".join(map(ast.unparse, call.args))}


def test_the_pages_have_blocks_to_run():
    assert len(blocks_of_kind(".yaml")) > 5
    assert len(blocks_of_kind(".py")) > 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPO).as_posix())
def test_every_link_to_a_file_leads_to_one(page):
    links = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text())
    generated = {f"reference/{name}.md" for name in ("yaml", "configuration", "commands")}
    assert [link for link in links if link not in generated and not (page.parent / link).exists()] == []


@pytest.fixture(scope="module")
def reference():
    sys.path.insert(0, str(REPO / ".ci"))
    try:
        import reference

        yield reference
    finally:
        sys.path.remove(str(REPO / ".ci"))


def test_the_reference_has_every_key(reference):
    page = reference.yaml_reference()
    schema = pipeline_schema()
    for definition in (schema, *schema["$defs"].values()):
        for key, field in definition["properties"].items():
            assert f"| `{key}` |" in page or f"`{{{key}: …}}`" in page
            assert " ".join(field["description"].split()).replace("|", "\\|") in page or key == "literal"


def test_the_reference_has_every_command(reference):
    page = reference.commands_reference()
    for name, command in main.commands.items():
        assert f"## `{name}`\n" in page
        for parameter in command.params:
            assert all(option in page for option in parameter.opts if option.startswith("--"))


def test_every_page_is_in_the_navigation():
    config = (REPO / "mkdocs.yml").read_text()
    pages = {page.relative_to(REPO / "docs").as_posix() for page in PAGES[1:]}
    assert [page for page in sorted(pages) if config.count(f" {page}\n") != 1] == []


def test_every_column_of_a_record_is_explained():
    page = (REPO / "docs" / "tracking.md").read_text().partition("## The chain")[0]
    explained = {name for row in re.findall(r"^\| `([a-z_0-9, ]+)` \|", page, re.MULTILINE) for name in row.split(", ")}
    assert explained == set(BY_NAME)


@pytest.mark.parametrize("name", airflow_provider_pipetrack.__all__)
def test_the_reference_has_every_public_name(name):
    page = (REPO / "docs" / "reference" / "python.md").read_text()
    assert re.search(rf"^::: airflow_provider_pipetrack\.[\w.]+\.{name}$", page, re.MULTILINE)


def test_what_the_reference_says_to_import_from_the_package_can_be():
    page = (REPO / "docs" / "reference" / "python.md").read_text()
    shown = {path.rpartition(".")[2] for path in re.findall(r"^::: (\S+)$", page, re.MULTILINE)}
    elsewhere = set(re.findall(r"but for `(\w+)`", page))
    assert shown - elsewhere == set(airflow_provider_pipetrack.__all__)


def test_every_filter_of_a_question_is_explained():
    page = (REPO / "docs" / "queries.md").read_text()
    filters = {name for question in QUESTIONS.values() for name in question.filters}
    assert sorted(name for name in filters if not re.search(rf"`{name}\b", page)) == []


def test_the_reference_has_every_option(reference):
    page = reference.configuration_reference()
    for name in get_provider_info()["config"]["pipetrack"]["options"]:
        assert f"## `{name}`\n" in page
        assert hasattr(settings, name)
