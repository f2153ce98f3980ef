"""The example Dags load, and fit each other."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_provider_pipetrack import build_dag

EXAMPLES = Path(__file__).resolve().parents[3] / "dags_examples"


def load(file: Path):
    spec = importlib.util.spec_from_file_location(f"example_{file.stem}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda file: file.stem)
def test_every_python_file_loads(file):
    module = load(file)
    dags = [value for value in vars(module).values() if isinstance(value, DAG)]
    assert all(dag.tasks for dag in dags)


def test_a_follower_is_scheduled_on_an_asset_that_a_pipeline_declares():
    wanted = load(EXAMPLES / "on_ready_data.py").ORDERS
    dag = build_dag(EXAMPLES / "etl.yaml")
    assert [task.task_id for task in dag.tasks if wanted in task.outlets] == ["join_orders__audit"]
