"""Failures of a run whose tasks its Dag no longer has: what was renamed or left out before the run was cleared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_pipetrack.attempts.binding import is_mapped
from airflow_provider_pipetrack.attempts.indexes import indexes_of
from airflow_provider_pipetrack.attempts.verdicts import state_of
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.openness import DISABLED, REMOVED, has_failed_audit
from airflow_provider_pipetrack.tracking.describe import FAILED, never_change

Record = Mapping[str, Any]
States = Mapping[str, "str | None"]

#: How a decision says that a rollback is owed; names and errors of the user's stand in it, too.
_OWES = re.compile("rollback owed|is owed|owed a rollback")


def may_be_removed(dag: Any, records: Iterable[Record]) -> list[Record]:
    """Return the failures that a run would end with though its Dag may have no such task or map index any more.

    What is owed a rollback stays a failure: a part of its data may still be there.
    """
    latest: dict[tuple[str, int], Record] = {}
    for record in records:
        place = (record["task_id"], record["map_index"])
        known = latest.get(place)
        if known is None or record["retry_attempt_number"] > known["retry_attempt_number"]:
            latest[place] = record
    return [record for record in latest.values() if _has_failed(record) and _may_be_gone(dag, record)]


def never_again(
    dag: Any, records: Sequence[Record], states: States, disabled: Iterable[str], *, reason: str | None
) -> Iterator[Change]:
    """Yield for each of these failures that is removed in Airflow what says that no attempt follows, and why.

    It takes the place of the failure in what is said of the run, and gives way to an attempt that begins after all.

    :param records: what :func:`may_be_removed` has found.
    :param disabled: names of the transfers that the pipeline's file leaves out.
    :param reason: why the run ended, as Airflow says it.
    """
    for record in records:
        if _is_gone(dag, record, states) and (reason == "success" or not _may_come_back(dag, record, states)):
            key = RecordKey.parse(record["record_id"])
            decision = DISABLED if record["task_id"] in disabled else REMOVED
            yield never_change(record, replace(key, attempt=key.attempt + 1), decision, by="dag callback")


def _has_failed(record: Record) -> bool:
    owes = _OWES.search(str(record["decision"] or ""))
    return (record["transfer_status"] == FAILED and not owes) or has_failed_audit(record)


def _may_be_gone(dag: Any, record: Record) -> bool:
    # An index may be gone, too, and a task that has indexes now leaves what it was before behind.
    name = record["task_id"]
    return record["map_index"] >= 0 or not dag.has_task(name) or is_mapped(dag, name)


def _is_gone(dag: Any, record: Record, states: States) -> bool:
    name, index = record["task_id"], record["map_index"]
    if index < 0 and name not in states and dag.has_task(name) and is_mapped(dag, name):
        return f"{name}_0" in states
    return state_of(name, index, states) == "removed"


def _may_come_back(dag: Any, record: Record, states: States) -> bool:
    # In a run that is cleared Airflow removes all indexes until what they are made of has succeeded again.
    name = record["task_id"]
    return dag.has_task(name) and is_mapped(dag, name) and not indexes_of(dag, name, states)
