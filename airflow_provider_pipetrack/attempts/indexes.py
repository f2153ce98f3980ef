"""The indexes of mapped transfers without an audit: how many there are is known for good when their run has ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_provider_pipetrack.attempts.announce import announced_index
from airflow_provider_pipetrack.attempts.binding import Spec, binding_of
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.describe import indexes_change

States = Mapping[str, "str | None"]
Records = Sequence[Mapping[str, Any]]


def is_counted_at_the_end(spec: Spec, dag: Any, name: str) -> bool:
    """Return whether a transfer is mapped and has no audit that waits for all of its indexes."""
    return not spec.transfer.audit_enabled and dag.has_task(name) and announced_index(dag, name, spec) == 0


def unrecorded(dag: Any, run_id: str, name: str, records: Records, states: States) -> Iterator[RecordKey]:
    """Yield each index of a transfer without any record, at the end of a run; the one to be announced if there is none.

    :param records: all records of the run; ``states`` are Airflow's of its tasks.
    """
    known = {record["map_index"] for record in records if record["task_id"] == name}
    spec = binding_of(dag).specs[name]
    indexes = indexes_of(dag, name, states) if is_counted_at_the_end(spec, dag, name) else []
    announced = [] if known else [announced_index(dag, name, spec)]
    for index in sorted(set(indexes or announced) - known):
        yield RecordKey(dag.dag_id, run_id, name, index)


def index_count(dag: Any, name: str, records: Records, states: States) -> Iterator[Change]:
    """Yield the change that notes, in the record of a transfer's first index, how many indexes it has."""
    number = len(indexes_of(dag, name, states))
    # What somebody wrote by hand may be no mapping, and is left alone.
    own = [r for r in records if r["task_id"] == name and isinstance(r["audit_metadata"] or {}, Mapping)]
    own = [record for record in own if record["map_index"] >= 0]  # it may have been mapped since
    first = min(own, key=lambda record: (record["map_index"], -record["retry_attempt_number"]), default=None)
    if first is not None and number:
        yield indexes_change(first, number, by="dag callback")


def indexes_of(dag: Any, name: str, states: States) -> list[int]:
    """Return the indexes that a mapped task has, by Airflow's states; none when it was never expanded."""
    begin = f"{name}_"
    keys = [key for key, state in states.items() if key.startswith(begin) and state != "removed"]
    return [int(key[len(begin) :]) for key in keys if key[len(begin) :].isdigit() and not dag.has_task(key)]
