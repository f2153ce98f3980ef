"""dag-factory: one YAML file a Dag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.shapes import BASH, EMPTY, RETRIES, Shape

NAME = "dag-factory"
IMPORT = "from dagfactory import load_yaml_dags"


def write(folder: Path, shape: Shape) -> None:
    """Write its files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(shape.files):
        lines = [f"dag_{number}:", '  schedule: "none"', "  start_date: 2024-01-01", "  catchup: false", "  tasks:"]
        for index in range(shape.tasks):
            lines += [f"    - task_id: task_{index}", f"      operator: {BASH if shape.bash else EMPTY}"]
            lines += ["      bash_command: echo 1"] if shape.bash else []
            lines += [f"      retries: {RETRIES}", "      owner: team"]
            lines += [f"      dependencies: [task_{index - 1}]"] if index else []
        (folder / f"dag_{number}.yml").write_text("\n".join(lines) + "\n")


def build(folder: Path, shape: Shape) -> list[Any]:
    """Load them."""
    from dagfactory import load_yaml_dags

    found: dict[str, Any] = {}
    load_yaml_dags(found, dags_folder=str(folder), defaults_config_path=str(folder))
    return list(found.values())
