"""Check pipeline files, with everything that only Airflow knows about their operators."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from airflow_provider_pipetrack.errors import Problem


def check_files(paths: Iterable[Path]) -> tuple[int, list[Problem]]:
    """Return how many files were checked, and all their problems.

    :param paths: pipeline files, or folders whose pipeline files are checked together.
    """
    from airflow_provider_pipetrack.dag.files import pipeline_files
    from airflow_provider_pipetrack.dag.loader import find_problems_in

    files: list[Path] = []
    for path in paths:
        files.extend([found for found, _ in pipeline_files(path)] if path.is_dir() else [path])
    unique = list(dict.fromkeys(files))
    return len(unique), find_problems_in(unique, build_all=True)
