"""gusty: one folder a Dag, one YAML file a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.shapes import BASH, EMPTY, RETRIES, Shape

NAME = "gusty"
IMPORT = "from gusty import create_dag"


def write(folder: Path, shape: Shape) -> None:
    """Write its folders."""
    for number in range(shape.files):
        here = folder / f"dag_{number}"
        here.mkdir(parents=True, exist_ok=True)
        (here / "METADATA.yml").write_text("start_date: !datetime [2024, 1, 1]\nschedule: null\ncatchup: false\n")
        for index in range(shape.tasks):
            lines = [f"operator: {BASH if shape.bash else EMPTY}", f"retries: {RETRIES}", "owner: team"]
            lines += ["bash_command: echo 1"] if shape.bash else []
            lines += ["dependencies:", f"  - task_{index - 1}"] if index else []
            (here / f"task_{index}.yml").write_text("\n".join(lines) + "\n")


def build(folder: Path, shape: Shape) -> list[Any]:
    """Load them."""
    from gusty import create_dag

    return [create_dag(str(folder / f"dag_{number}"), latest_only=False) for number in range(shape.files)]
