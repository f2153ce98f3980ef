"""The table of flags: what 16 combinations of flags mean for each way in which an upstream can end."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).parent / "unit" / "dag" / "flags.csv"
FLAGS = (
    "dependent_on_previous_transfer",
    "upstream_completion_required",
    "can_process_be_parallelized",
    "audit_enabled",
)


class Row(NamedTuple):
    """One row of the table.

    :param flags: the four flags of the transfer ``second``.
    :param upstream: how the transfer ``first`` and its audit ended.
    :param edges: what ``second`` and the tasks around it wait for.
    :param transfer: Airflow's state of ``second``; ``audit`` that of its audit, empty when there is none.
    :param run: the state of a run that has only this ``second``.
    :param status: ``transfer_status`` of its record; ``reason`` a part of its decision or error.
    """

    flags: dict[str, bool]
    upstream: str
    edges: dict[str, set[str]]
    transfer: str
    audit: str
    run: str
    status: str
    reason: str

    @property
    def name(self) -> str:
        """A name for this combination of flags."""
        return "second_" + "".join("ny"[value] for value in self.flags.values())


def rows() -> list[Row]:
    """Return the rows of the table."""
    with TABLE.open(newline="") as file:
        return [_row(fields) for fields in csv.DictReader(file)]


def _row(fields: dict[str, str]) -> Row:
    flags = {name: fields.pop(name) == "true" for name in FLAGS}
    edges = {}
    for edge in fields.pop("edges").split("; "):
        task, _, waits_for = edge.partition(" < ")
        edges[task] = set() if waits_for == "nothing" else set(waits_for.split(" + "))
    return Row(flags=flags, edges=edges, **fields)


FUNCTIONS = """
from airflow_provider_pipetrack.compat import AirflowSkipException

def moves_all():
    return {"records_succeeded": 10, "records_failed": 0}

def moves_half():
    return {"records_succeeded": 5, "records_failed": 5}

def fails():
    raise ValueError("the source is gone")

def skips():
    raise AirflowSkipException("nothing new")

def matched():
    return True

def mismatched():
    return False

def undecided():
    return {"audit_result": "pending"}
"""

_AUDITED = "audit: {function: %s, on_mismatch: %s, poke_interval: 0.1s, timeout: 0.3s}"
#: How the transfer ``first`` is made to end in each way.
_FIRST = {
    "completed": ("python_callable: moves_all", _AUDITED % ("matched", "fail")),
    "partial": ("python_callable: moves_half", _AUDITED % ("matched", "fail")),
    "pending": ("python_callable: moves_all", _AUDITED % ("undecided", "warn")),
    "unchecked": ("python_callable: moves_all", "audit_enabled: true"),
    "mismatched": ("python_callable: moves_all", _AUDITED % ("mismatched", "fail")),
    "warned": ("python_callable: moves_all", _AUDITED % ("mismatched", "warn")),
    "timed_out": ("python_callable: moves_all", _AUDITED % ("undecided", "fail")),
    "failed": ("python_callable: fails", _AUDITED % ("matched", "fail")),
    "skipped": ("python_callable: skips", _AUDITED % ("matched", "fail")),
    "disabled": ("transfer_enabled: false", _AUDITED % ("matched", "fail")),
}


def pipeline_yaml(upstream: str, seconds: list[Row]) -> str:
    """Return a pipeline whose ``first`` ends in one way, with a transfer behind it for each row."""
    work, audit = _FIRST[upstream]
    return f"""
dag: {{dag_id: flags_{upstream}}}
user_functions: flags_functions.py
defaults: {{max_retry_attempts: 0}}
stage_transfers:
  - {{name: source, stage_i_details: raw, stage_i_plus_1_details: landing, audit_enabled: false}}
  - name: first
    stage_i_details: landing
    stage_i_plus_1_details: staged
    transfer_order_number: 2
    {work}
    {audit}
  - {{name: peer, transfer_order_number: 3, depends_on: [], audit_enabled: false}}
""" + "".join(map(_second_yaml, seconds))


def _second_yaml(row: Row) -> str:
    flags = "\n".join(f"    {name}: {str(value).lower()}" for name, value in row.flags.items())
    return f"""
  - name: {row.name}
    stage_i_details: staged
    stage_i_plus_1_details: mart
    transfer_order_number: 3
    audit: {{function: matched}}
{flags}
"""


def write_pipeline(folder: Path, upstream: str, seconds: list[Row]) -> Path:
    """Write such a pipeline with its functions, and return its path."""
    (folder / "flags_functions.py").write_text(FUNCTIONS)
    path = folder / f"flags_{upstream}.yaml"
    path.write_text(pipeline_yaml(upstream, seconds))
    return path
