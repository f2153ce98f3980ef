"""The files that ``pipetrack new`` writes: a pipeline to begin with, and its functions."""

from __future__ import annotations

from pathlib import Path

from airflow_provider_pipetrack.config.defaults import slug
from airflow_provider_pipetrack.errors import PipetrackError

_PIPELINE = """\
# yaml-language-server: $schema=pipetrack.schema.json
# Check it:    pipetrack validate {name}.yaml
# See it:      pipetrack plan {name}.yaml
# Try it once: pipetrack test {name}.yaml
pipeline_metadata:
  pipeline_id: "{name}"
  pipeline_version: "1.0"

dag:
  schedule: null # such as "@daily"

user_functions: {name}_functions.py

defaults:
  transfer_process_owner_name: your_team
  max_retry_attempts: 3
  retry_delay: 5m

stage_transfers:
  - name: load
    stage_i_details: source
    stage_i_plus_1_details: staging
    transfer_order_number: 1
    estimated_duration: 10m
    python_callable: load
    can_partial_data_be_collected: false
    audit: {{ function: compare_counts }}

  - name: publish
    stage_i_details: staging
    stage_i_plus_1_details: production
    transfer_order_number: 2
    estimated_duration: 5m
    python_callable: publish
    upstream_completion_required: true # not on partial or unaudited data
    audit_enabled: false
"""
_FUNCTIONS = '''\
"""What the pipeline {name} does; each function is named in {name}.yaml."""


def load(ds=None):
    """Move data from the source to staging; say how many records arrived, and how many did not."""
    print(f"loading the data of {{ds}}")
    return {{"records_succeeded": 100, "records_failed": 0}}


def compare_counts(source_stage, target_stage, audit_config):
    """Compare the two stages: matched, mismatched, or pending to be asked again. What else is said is kept."""
    return {{"audit_result": "matched", "source_rows": 100, "target_rows": 100}}


def publish():
    """Move data from staging to production."""
'''


def write_starter(name: str, folder: Path) -> list[Path]:
    """Write a pipeline that validates and runs, and the file of its functions.

    :param name: the pipeline's id.
    :raises PipetrackError: when the name cannot be that of files, a file is there already, or the folder is not to be
        written.
    """
    wanted = slug(Path(name).stem if name.lower().endswith((".yaml", ".yml")) else name) or "orders"
    if wanted != name:
        raise PipetrackError(f"{name!r} cannot name files, a Dag and a module; take for example {wanted!r}")
    texts = {folder / f"{name}.yaml": _PIPELINE, folder / f"{name}_functions.py": _FUNCTIONS}
    for path in texts:
        if path.exists():
            raise PipetrackError(f"{path} is there already; take another name or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            path.write_text(text.format(name=name), encoding="utf-8")
    except OSError as error:
        raise PipetrackError(f"{folder} cannot be written: {error.strerror}") from None
    return list(texts)
