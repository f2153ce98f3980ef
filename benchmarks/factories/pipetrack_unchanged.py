"""pipetrack, files that an earlier process has read: what every parse and every task start pays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.factories import pipetrack
from benchmarks.shapes import Shape

NAME = "pipetrack, unchanged"
IMPORT = pipetrack.IMPORT


def write(folder: Path, shape: Shape) -> None:
    """Write the files, and have them read once."""
    pipetrack.write(folder, shape)
    build(folder, shape)


def build(folder: Path, shape: Shape) -> list[Any]:
    """Build every file as a fresh process would: with the models on disk, and none in memory."""
    from airflow_provider_pipetrack import load_pipelines
    from airflow_provider_pipetrack.dag import files, models

    files._VERDICTS.clear()

    models.forget()
    return list(load_pipelines({}, folder).values())
