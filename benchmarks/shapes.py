"""What is built: files, tasks a file, operator; and how it is timed."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

RETRIES = 2
EMPTY = "airflow.providers.standard.operators.empty.EmptyOperator"
BASH = "airflow.providers.standard.operators.bash.BashOperator"


@dataclass(frozen=True)
class Shape:
    """``files`` Dags, each a chain of ``tasks`` tasks with two retries and an owner."""

    files: int
    tasks: int
    bash: bool = False

    def __str__(self) -> str:
        return f"{self.files}x{self.tasks}{' bash' if self.bash else ''}"

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Read ``1x500`` or ``1x500:bash``."""
        size, _, kind = text.partition(":")
        files, tasks = size.split("x")
        return cls(int(files), int(tasks), kind == "bash")


def cpu_seconds(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of a call, without what it takes to free its result; garbage is collected before."""
    gc.collect()
    begin = time.process_time()
    result = work()
    seconds = time.process_time() - begin
    del result
    return seconds


def check(dags: list[Any], shape: Shape, name: str) -> None:
    """Refuse to compare Dags that are not the same."""
    assert len(dags) == shape.files, f"{name} built {len(dags)} Dags instead of {shape.files}"
    for dag in dags:
        assert len(dag.tasks) == shape.tasks, f"{name} built {len(dag.tasks)} tasks instead of {shape.tasks}"
        edges = sum(len(task.downstream_task_ids) for task in dag.tasks)
        assert edges == shape.tasks - 1, f"{name} built {edges} edges instead of {shape.tasks - 1}"
        assert all(task.retries == RETRIES for task in dag.tasks), f"{name} lost the retries"
