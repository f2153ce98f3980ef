"""The baseline: what a Dag author writes by hand, a loop over operators."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.shapes import RETRIES, Shape

NAME = "hand-written"
IMPORT = "from airflow.sdk import DAG"


def write(folder: Path, shape: Shape) -> None:
    """Nothing is on disk."""


def build(folder: Path, shape: Shape) -> list[Any]:
    """Build the Dags."""
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG

    operator, arguments = (BashOperator, {"bash_command": "echo 1"}) if shape.bash else (EmptyOperator, {})
    dags = []
    for number in range(shape.files):
        with DAG(
            f"dag_{number}", schedule=None, start_date=datetime(2024, 1, 1, tzinfo=timezone.utc), catchup=False
        ) as dag:
            previous = None
            for index in range(shape.tasks):
                task = operator(task_id=f"task_{index}", retries=RETRIES, owner="team", **arguments)
                if previous is not None:
                    previous >> task
                previous = task
        dags.append(dag)
    return dags
