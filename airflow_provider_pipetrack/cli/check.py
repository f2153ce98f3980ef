"""Check pipeline files, with everything that only Airflow knows about their operators."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from airflow_provider_pipetrack.compat import airflow_option
from airflow_provider_pipetrack.errors import PipetrackError, Problem


def check_files(paths: Iterable[Path]) -> tuple[int, list[Problem]]:
    """Return how many files were checked, and all their problems.

    :param paths: pipeline files, or folders whose pipeline files are checked together.
    :raises PipetrackError: for a folder that has none.
    """
    from airflow_provider_pipetrack.dag.files import pipeline_files
    from airflow_provider_pipetrack.dag.loader import find_problems_in

    files: list[Path] = []
    paths = list(paths)
    make_importable(paths)
    for path in paths:
        found = [file for file, _ in pipeline_files(path)] if path.is_dir() else [path]
        if not found:
            raise PipetrackError(f"{path}: no file there is a pipeline: none has stage_transfers")
        files += found
    unique = list(dict.fromkeys(files))
    return len(unique), find_problems_in(unique, build_all=True)


def make_importable(paths: Iterable[Path]) -> None:
    """Let pipeline files name modules that stand beside them, in the dags folder or here, as they may in Airflow."""
    beside = [str((path if path.is_dir() else path.parent).absolute()) for path in paths]
    dags = airflow_option("core", "dags_folder")
    for folder in (*beside, str(Path.cwd()), *([dags] if dags else [])):
        if folder not in sys.path:
            sys.path.append(folder)
