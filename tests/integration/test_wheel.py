"""The built wheel in a clean environment: what Airflow sees of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.airflow_versions import needs_provider_commands

REPO = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(300)


def run(command: list[str], **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    # Built from a copy of what belongs to the package, so that nothing of this checkout leaks in.
    for name in ("airflow_provider_pipetrack", "pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        run(["cp", "-r", str(REPO / name), str(source)])
    run([sys.executable, "-m", "build", "--wheel", "--outdir", str(target), str(source)])
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """A new environment that shares this one's dependencies, but has the package from its wheel only."""
    folder = tmp_path_factory.mktemp("clean")
    run([sys.executable, "-m", "venv", str(folder)])
    found = folder / "bin" / "python"
    home = Path(run([str(found), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    run([str(found), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)])
    (home / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return found


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    kept.pop("PYTHONPATH", None)
    return {**kept, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}


def airflow(python: Path, environment: dict[str, str], *arguments: str) -> str:
    return run([str(python), "-m", "airflow", *arguments], env=environment, cwd=environment["AIRFLOW_HOME"])


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "airflow_provider_pipetrack/py.typed" in names
    for asset in ("templates/overview.html", "static/pipetrack.css", "static/pipetrack.js", "static/icon.svg"):
        assert f"airflow_provider_pipetrack/ui/{asset}" in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"airflow_provider_pipetrack"}
    metadata = zipfile.ZipFile(wheel).read(next(n for n in names if n.endswith("METADATA"))).decode()
    for extra in ("postgres", "sqlite", "sql", "mail", "all"):
        assert f"Provides-Extra: {extra}" in metadata
    assert "License-Expression: Apache-2.0" in metadata


def test_the_package_comes_from_the_wheel(python, environment):
    where = run(
        [str(python), "-c", "import airflow_provider_pipetrack as p; print(p.__file__)"], env=environment, cwd="/"
    )
    assert where.startswith(str(python.parent.parent))


def test_airflow_lists_the_provider(python, environment):
    providers = json.loads(airflow(python, environment, "providers", "list", "-o", "json"))
    found = next(row for row in providers if row["package_name"] == "airflow-provider-pipetrack")
    assert found["version"] == "0.1.0"
    assert "tracking record" in found["description"]


@pytest.mark.parametrize(
    ("option", "default"),
    [("delivery_deadline", "5.0"), ("mode", "fallback"), ("tracking_location", ""), ("strict", "False")],
)
def test_airflow_knows_the_options_and_their_defaults(python, environment, option, default):
    assert airflow(python, environment, "config", "get-value", "pipetrack", option).strip() == default


@needs_provider_commands
def test_airflow_has_the_commands(python, environment, tmp_path):
    (tmp_path / "p.yaml").write_text("stage_transfers:\n  - {stage_i_details: a, stage_i_plus_1_details: b}\n")
    shown = airflow(python, environment, "pipetrack", "plan", str(tmp_path / "p.yaml"))
    assert "a__to__b: a → b" in shown


def test_airflow_has_the_decorator(python, environment):
    assert run([str(python), "-c", "from airflow.sdk import task; print(task.tracked)"], env=environment, cwd="/")


def test_the_command_finds_mistakes_and_says_so_by_its_exit_code(python, environment, tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("stage_transfers:\n  - {nme: x}\n")
    command = [str(python.parent / "pipetrack"), "validate", str(broken)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 1
    assert f"{broken}:2:6: stage_transfers[0].nme: there is no such key (did you mean 'name'?)" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    as_json = subprocess.run(
        [*command, "--output", "json"], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert json.loads(as_json.stdout)[0]["line"] == 2
