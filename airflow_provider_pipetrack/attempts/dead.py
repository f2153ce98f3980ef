"""Attempts of this host whose process died, as their marks say: closed by Airflow's word, as soon as it has decided."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_provider_pipetrack.attempts.closing import AskStates, closed_by_airflow, keep_closed, states_in_parts
from airflow_provider_pipetrack.records.openness import is_open
from airflow_provider_pipetrack.tracking.marks import Left, forget, left_on_host
from airflow_provider_pipetrack.tracking.reading import silent_among
from airflow_provider_pipetrack.tracking.upkeep import store_of_chain

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.closing")


def close_dead_of_host(stores: Iterable[TrackingStore], states: AskStates) -> int:
    """Close what processes that died have left open on this host, in storages that can list nothing, too.

    :param stores: the stores of the host; their marks are asked whatever the chain.
    :param states: asks Airflow.
    :return: how many attempts were closed.
    """
    return sum(close_dead(left_on_host(folder), states) for folder in {store.journal_folder for store in stores})


def close_dead(left: Iterable[Left], states: AskStates, own: TrackingStore | None = None) -> int:
    """Close attempts whose process died, and forget the marks of those that are closed, by whomever.

    What Airflow has not decided about stays open and keeps its mark, for whoever looks next.

    :param states: asks Airflow.
    :param own: the store of who asks; those of other chains are made when they are needed.
    :return: how many were closed.
    """
    closed = 0
    for dag_id, runs in _by_run(left).items():
        for run_id, of_run in states_in_parts(states, dag_id, list(runs)).items():
            for marks in _by_chain(runs[run_id]):
                try:
                    store = own if own is not None and own.chain() == marks[0].chain else store_of_chain(marks[0].chain)
                    closed += _close(store, dag_id, run_id, marks, of_run)
                except Exception as error:  # noqa: BLE001  one chain that fails must not stop the others
                    log.warning("pipetrack leaves %s open: %s: %s", marks[0].key.record_id, type(error).__name__, error)
    return closed


def _close(
    store: TrackingStore, dag_id: str, run_id: str, marks: Sequence[Left], states: Mapping[str, str | None]
) -> int:
    reading = store.read_run(dag_id, run_id, dict.fromkeys(name for mark in marks for name in mark.pipeline_ids))
    dead = {mark.key.record_id: mark for mark in marks}
    changes = [change for change in closed_by_airflow(store, reading, states) if change.record_id in dead]
    closed = keep_closed(store, changes)
    store.flush()
    # A record that is not found may stand where could not be asked.
    silent = silent_among(store.legs, reading.unreachable)
    known = {record["record_id"] for record in reading.records} if silent else set(dead)
    left_open = {record["record_id"] for record in reading.records if is_open(record)}
    left_open -= {change.record_id for change in changes}
    forget(mark for record_id, mark in dead.items() if record_id in known - left_open)
    return closed


def _by_run(left: Iterable[Left]) -> dict[str, dict[str, list[Left]]]:
    found: dict[str, dict[str, list[Left]]] = {}
    for mark in left:
        found.setdefault(mark.key.dag_id, {}).setdefault(mark.key.run_id, []).append(mark)
    return found


def _by_chain(left: Iterable[Left]) -> list[list[Left]]:
    found: dict[str, list[Left]] = {}
    for mark in left:
        found.setdefault(json.dumps(mark.chain, sort_keys=True), []).append(mark)
    return list(found.values())
