"""pipetrack, each file read for the first time."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from benchmarks.shapes import BASH, RETRIES, Shape

NAME = "pipetrack, first"
IMPORT = "from airflow_provider_pipetrack import load_pipelines, build_dag"


def write(folder: Path, shape: Shape) -> None:
    """Write pipeline files with rows of nine keys."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(shape.files):
        lines = ["stage_transfers:"]
        for index in range(shape.tasks):
            lines += [
                f"  - name: task_{index}",
                f"    stage_i_details: stage_{index}",
                f"    stage_i_plus_1_details: stage_{index + 1}",
                f"    transfer_order_number: {index + 1}",
                f"    max_retry_attempts: {RETRIES}",
                "    estimated_duration: 30m",
                "    transfer_process_owner_name: team",
                "    audit_enabled: false",
            ]
            if shape.bash:
                lines += [f"    operator: {BASH}", "    operator_args: {bash_command: echo 1}"]
            else:
                lines.append("    can_partial_data_be_collected: true")
        (folder / f"dag_{number}.yaml").write_text("\n".join(lines) + "\n")


def forget() -> None:
    """Be a fresh process that finds the files for the first time: nothing is known in memory nor on disk."""
    from airflow_provider_pipetrack import settings

    forget_memory()
    shutil.rmtree(settings.state_dir() / "cache", ignore_errors=True)


def forget_memory() -> None:
    """Be a fresh process: nothing is known in memory."""
    from airflow_provider_pipetrack.config import durations, reader
    from airflow_provider_pipetrack.dag import files, models

    files._VERDICTS.clear()
    models.forget()
    reader._short_scalar.cache_clear()
    durations.parse_duration.cache_clear()


def build(folder: Path, shape: Shape) -> list[Any]:
    """Read, validate and build every file; what is learned is kept on disk."""
    from airflow_provider_pipetrack import load_pipelines

    return list(load_pipelines({}, folder).values())
