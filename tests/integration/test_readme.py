"""Every block of code in the README does what it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from airflow_provider_pipetrack import PipelineConfig, build_dag

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path) -> Path:
    (pipeline,) = (text for text in blocks("yaml") if "stage_transfers" in text)
    (functions,) = (text for text in blocks("python") if text.startswith("# orders_functions.py"))
    (tmp_path / "orders.yaml").write_text(pipeline)
    (tmp_path / "orders_functions.py").write_text(functions)
    return tmp_path


def test_the_pipeline_builds(folder):
    dag = build_dag(folder / "orders.yaml")
    assert {task.task_id: task.upstream_task_ids for task in dag.tasks} == {
        "load_orders": set(),
        "load_orders__audit": {"load_orders"},
        "publish_orders": {"load_orders__audit"},
    }


def test_the_loader_files_load_and_report(folder, monkeypatch):
    loaders = [text for text in blocks("python") if text.startswith("# Airflow Dag loader")]
    for text in loaders:
        name = re.match(r"# Airflow Dag loader: (\S+)", text).group(1)
        assert "airflow" in text.lower()
        assert "dag" in text.lower()
        namespace = {"__file__": str(folder / name), "__name__": name}
        exec(compile(text, str(folder / name), "exec"), namespace)
        if name == "load_pipelines.py":
            assert namespace["pipetrack_orders"].dag_id == "orders"


def test_the_hand_written_dag_works():
    (text,) = (text for text in blocks("python") if "orders_by_hand" in text)
    namespace: dict = {}
    exec(text, namespace)
    task_ids = {task.task_id for task in namespace["extract"].dag.tasks}
    assert task_ids == {"extract", "clean", "per_country"}


def test_the_locations_are_understood():
    (text,) = (text for text in blocks("yaml") if text.startswith("defaults:"))
    config = PipelineConfig.from_text(text + "stage_transfers: [{name: a}]\n", "x.yaml")
    assert len(config.stage_transfers[0].tracking_location) == 2
    assert yaml.safe_load(text)


def test_the_store_can_be_used_without_airflow(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    (text,) = (text for text in blocks("python") if "reconcile" in text)
    exec(text, {})
    assert "Summary(drained=0" in capsys.readouterr().out


def test_the_mistake_is_said_as_shown(folder):
    (shown,) = (line for line in README.splitlines() if "retry_dellay" in line)
    path = folder / "orders.yaml"
    path.write_text(path.read_text().replace("retry_delay:", "retry_dellay:"))
    done = subprocess.run(
        [sys.executable, "-m", "airflow_provider_pipetrack.cli.main", "validate", "orders.yaml"],
        cwd=folder, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert shown in done.stdout.splitlines()
