"""Who accepted what an audit did not find right: a rule of the pipeline file, or somebody in Airflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_pipetrack.compat import Task
from airflow_provider_pipetrack.config.checks import AUDIT_SUFFIX
from airflow_provider_pipetrack.records.openness import (
    SET_TO_SUCCESS,
    evidence_of,
    is_accepted_by_hand,
    is_accepted_by_rule,
)
from airflow_provider_pipetrack.ui.asking import Asker

#: Runs of a page about which Airflow is asked, each by a question.
_MOST_RUNS = 20
_RULE, _SOMEBODY = "the pipeline file (on_mismatch: warn)", "somebody in Airflow"


def acceptances(asker: Asker, rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return who accepted what in spite of its audit, by the ids of the records.

    A person is known to Airflow alone, and told to those who may read its audit log.
    """
    rows = [*rows]
    by_hand = {row["record_id"]: _task_of(row) for row in rows if is_accepted_by_hand(row)}
    people = asker.who_set_to_success(_of_first_runs(by_hand.values())) if by_hand else {}
    told = {record_id: _person(people.get(task)) for record_id, task in by_hand.items()}
    return {**{row["record_id"]: _rule(row) for row in rows if is_accepted_by_rule(row)}, **told}


def _of_first_runs(tasks: Iterable[Task]) -> list[Task]:
    runs: dict[tuple[str, str], list[Task]] = {}
    for task in tasks:
        runs.setdefault((task.dag_id, task.run_id), []).append(task)
    return [task for of_run in [*runs.values()][:_MOST_RUNS] for task in of_run]


def _person(name: str | None) -> str:
    return f"{name}, in Airflow" if name else _SOMEBODY


def _rule(row: Mapping[str, Any]) -> str:
    owner = row["transfer_process_owner_name"]
    return f"{_RULE} of {owner}" if owner else _RULE


def _task_of(row: Mapping[str, Any]) -> Task:
    """Return the task that was set to success: the transfer's, or that of its audit, which is one for all indexes."""
    name, index = row["task_id"], row["map_index"]
    if row["decision"] != SET_TO_SUCCESS:
        name, index = evidence_of(row).get("audit_task") or name + AUDIT_SUFFIX, None
    return Task(row["dag_id"], row["run_id"], str(name), index, row["updated_timestamp"])
