"""Who accepted what an audit did not find right: a rule of the pipeline file, or somebody in Airflow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
from airflow_provider_pipetrack.ui.words import plural

#: Runs of a page, and of a whole export, about which Airflow is asked, each by a question.
_MOST_RUNS, _MOST_RUNS_EXPORTED = 20, 100
_RULE, _SOMEBODY = "the pipeline file (on_mismatch: warn)", "somebody in Airflow"
_NOT_ASKED = f"{_SOMEBODY} (not asked who)"


def acceptances(asker: Asker, rows: Iterable[Mapping[str, Any]], most_runs: int = _MOST_RUNS) -> dict[str, str]:
    """Return who accepted what in spite of its audit, by the ids of the records.

    A person is known to Airflow alone, and told to those who may read its audit log. Where Airflow was not asked, or
    did not answer in time, that is said.

    :param most_runs: runs about which Airflow is asked.
    """
    rows = [*rows]
    by_hand = {row["record_id"]: _task_of(row) for row in rows if is_accepted_by_hand(row)}
    asked = [task for of_run in _by_run(by_hand.values())[:most_runs] for task in of_run]
    people = asker.who_set_to_success(asked) if asked else {}
    told = {record_id: _person(people[task]) if task in people else _NOT_ASKED for record_id, task in by_hand.items()}
    return {**{row["record_id"]: _rule(row) for row in rows if is_accepted_by_rule(row)}, **told}


class AcceptedBy:
    """Who accepted what, as a column of an export, which may be long: Airflow is asked about its first runs.

    :param asker: asks for the whole export.
    """

    name = "accepted_by"

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._runs: set[tuple[str, str]] = set()
        self._not_asked = 0

    def values(self, rows: Sequence[Mapping[str, Any]]) -> list[str | None]:
        """Return who accepted each of some rows; None where nothing had to be accepted."""
        left = max(0, _MOST_RUNS_EXPORTED - len(self._runs))
        told = acceptances(self._asker.again(), rows, left)
        self._runs |= {(row["dag_id"], row["run_id"]) for row in rows if is_accepted_by_hand(row)}
        self._not_asked += sum(who == _NOT_ASKED for who in told.values())
        return [told.get(row["record_id"]) for row in rows]

    @property
    def remark(self) -> str:
        """What the column does not say, in words; empty when it says all."""
        if not self._not_asked:
            return ""
        return (
            f"{self.name}: who set {plural(self._not_asked, 'record')} to success was not asked, or not answered in "
            f"time; Airflow is asked about {_MOST_RUNS_EXPORTED} runs at most: export fewer, of a pipeline or a time"
        )


def _by_run(tasks: Iterable[Task]) -> list[list[Task]]:
    runs: dict[tuple[str, str], list[Task]] = {}
    for task in tasks:
        runs.setdefault((task.dag_id, task.run_id), []).append(task)
    return [*runs.values()]


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
