"""blueprint: templates in Python, one YAML file a Dag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.shapes import RETRIES, Shape

NAME = "blueprint"
IMPORT = "from blueprint import build_all_airflow_dags"

_TEMPLATES = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from blueprint import BaseModel, Blueprint

class NothingConfig(BaseModel):
    retries: int = 0

class Nothing(Blueprint[NothingConfig]):
    def render(self, config):
        return EmptyOperator(task_id=self.step_id, retries=config.retries, owner="team")

class ShellConfig(BaseModel):
    command: str
    retries: int = 0

class Shell(Blueprint[ShellConfig]):
    def render(self, config):
        return BashOperator(task_id=self.step_id, bash_command=config.command, retries=config.retries, owner="team")
"""


def write(folder: Path, shape: Shape) -> None:
    """Write the templates and the files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "templates.py").write_text(_TEMPLATES)
    for number in range(shape.files):
        lines = [f"dag_id: dag_{number}", "steps:"]
        for index in range(shape.tasks):
            lines += [f"  task_{index}:", f"    blueprint: {'shell' if shape.bash else 'nothing'}"]
            lines += ["    command: echo 1"] if shape.bash else []
            lines += [f"    retries: {RETRIES}"]
            lines += [f"    depends_on: [task_{index - 1}]"] if index else []
        (folder / f"dag_{number}.dag.yaml").write_text("\n".join(lines) + "\n")


def build(folder: Path, shape: Shape) -> list[Any]:
    """Load them."""
    from blueprint import build_all_airflow_dags

    return list(build_all_airflow_dags(search_path=folder, register_globals={}))
