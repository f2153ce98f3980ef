"""Reading: what all locations of a chain, and the journal, together know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.handmade import event_of_change
from airflow_provider_pipetrack.records.merge import merge, record_of
from airflow_provider_pipetrack.records.openness import is_open
from airflow_provider_pipetrack.storage.base import ONE_PIPELINE_ONLY, Record, StorageAdapter
from airflow_provider_pipetrack.storage.complete import completed
from airflow_provider_pipetrack.tracking.journal import undelivered
from airflow_provider_pipetrack.tracking.leg import Leg
from airflow_provider_pipetrack.tracking.shared import EntryError, changes_of

#: How the reason begins why a file that this host does not have could not be asked.
NOT_HERE: Final = "not visible here"
#: Seconds that one location may take to answer a question.
READ_LIMIT = 10.0


@dataclass(frozen=True)
class Reading:
    """What all locations together know.

    :param records: the records, each merged from all locations that have it.
    :param unreachable: why a location could not be asked, by its name.
    """

    records: list[Record]
    unreachable: dict[str, str] = field(default_factory=dict)


def read_merged(
    legs: Sequence[Leg],
    folder: Path,
    ask: Callable[[StorageAdapter], list[Record]],
    wanted: Callable[[Record], bool],
    limit: float | None = None,
) -> Reading:
    """Ask every location, and add what waits in the journal.

    :param folder: the host's journal folder.
    :param wanted: whether a record of the journal belongs to the answer.
    :param limit: seconds that one location may take for a short answer; None for what a long one may take.
    """
    # First: what is delivered while a location is asked is then in its answer, or here.
    waiting = waiting_records(folder)
    records: dict[str, Record] = {}
    unreachable: dict[str, str] = {}
    for leg in legs:
        try:
            check_visible(leg)
            found = leg.call(
                lambda adapter: completed(ask(adapter), adapter.location), limit or READ_LIMIT, large=limit is None
            )
        except StorageError as error:
            unreachable[leg.name] = error.message
            continue
        for record in found:
            _add(records, record)
    for record in waiting:
        if record["record_id"] in records or wanted(record):
            _add(records, record)
    ordered = sorted(records.values(), key=lambda r: (r.get("transfer_order_number") or 0, r["record_id"]))
    return Reading(ordered, unreachable)


def read_history(legs: Iterable[Leg], record_id: str, folder: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the changes of a record, oldest first, from all locations that keep them, and those that still wait.

    With them comes why a location could not be asked, by its name; one that keeps no changes need not be asked.

    :param folder: the host's journal folder; what waits in it and nowhere else has ``waiting: True``.
    """
    events = {
        change.event_id: {**event_of_change(change), "waiting": True}
        for change in waiting_changes(folder)
        if change.record_id == record_id
    }
    unreachable: dict[str, str] = {}
    for leg in legs:
        try:
            if not leg.adapter.keeps_history:
                continue
            check_visible(leg)
            found = leg.call(lambda adapter: adapter.history(record_id), READ_LIMIT)
        except StorageError as error:
            unreachable[leg.name] = error.message
            continue
        events.update((event["event_id"], event) for event in found)
    return sorted(events.values(), key=lambda event: (event["changed_at"], event["event_id"])), unreachable


def read_one(legs: Sequence[Leg], folder: Path, record_id: str, pipeline_ids: Sequence[str], limit: float) -> Reading:
    """Return one record, or none.

    :param limit: seconds that one location may take.
    """

    def one(adapter: StorageAdapter) -> list[Record]:
        record = adapter.read_record(record_id, pipeline_ids)
        return [record] if record is not None else []

    return read_merged(legs, folder, one, lambda record: record.get("record_id") == record_id, limit)


def read_named(
    legs: Sequence[Leg], folder: Path, name: str, pipeline_ids: Sequence[str], limit: float
) -> Record | None:
    """Return the record with an id, or the latest attempt of a transfer that is named by the user's own id.

    :param pipeline_ids: its pipeline, for storages that find records only by that; where none is named, those that
        other locations know it by.
    :param limit: seconds that one location may take to find a record by its id.
    :raises StorageError: when there is none, or may be a later one, where could not be asked.
    """
    by_id = read_one(legs, folder, name, pipeline_ids, limit)
    if by_id.records:
        return by_id.records[0]
    by_own = read_merged(
        legs,
        folder,
        lambda adapter: adapter.read_unique(name, pipeline_ids),
        lambda record: record.get("transfer_unique_id") == name,
    )
    unreachable = {**by_id.unreachable, **by_own.unreachable}
    if by_own.records and not pipeline_ids and ONE_PIPELINE_ONLY in unreachable.values():
        known = {str(record["pipeline_id"] or record["dag_id"]) for record in by_own.records}
        return read_named(legs, folder, name, sorted(known), limit)
    return _latest_attempt(name, by_own.records, silent_among(legs, unreachable))


def _latest_attempt(own_id: str, records: Iterable[Record], silent: Mapping[str, str]) -> Record | None:
    """Return the latest attempt among records with one of the user's own ids: of the run that began last.

    Such an id may stand in every run; an attempt that was added to an old run does not make that the last one.

    :param silent: why a location could not be asked, by its name.
    :raises StorageError: when one of them may have a record of which nothing is known here: where none is found, or
        only one that has ended.
    """
    ordered = sorted(records, key=lambda record: record["created_timestamp"], reverse=True)
    began = {(record["dag_id"], record["run_id"]): record["created_timestamp"] for record in ordered}

    def order(record: Record) -> tuple[Any, ...]:
        run = record["dag_id"], record["run_id"]
        return began[run], record["retry_attempt_number"], record["updated_timestamp"]

    latest = max(ordered, key=order, default=None)
    if silent and (latest is None or not is_open(latest)):
        what = f"{own_id!r} has a later attempt" if latest else f"there is a record {own_id!r}"
        raise StorageError(", ".join(silent), f"whether {what} is not known: {'; '.join(silent.values())}")
    return latest


def check_visible(leg: Leg) -> None:
    """Make sure that a location which belongs to one host can be seen from here.

    :raises StorageError: when it cannot; what other hosts keep there is not nothing.
    """
    if not leg.is_here:
        reason = f"{NOT_HERE}: this host ({settings.host_name()}) has no such file"
        raise StorageError(leg.name, f"{reason}; it is another host's, or nothing was recorded yet")


def silent_among(legs: Iterable[Leg], unreachable: Mapping[str, str]) -> dict[str, str]:
    """Return why locations could not be asked, without files that are not on this host.

    Such a file is mostly one to which nothing was written yet, and so no reason to doubt what the others say.
    """
    absent = {leg.name for leg in legs if leg.name in unreachable and _is_absent(leg)}
    return {name: reason for name, reason in unreachable.items() if name not in absent}


def _is_absent(leg: Leg) -> bool:
    try:
        return not leg.is_here
    except StorageError:
        return False


def waiting_changes(folder: Path) -> Iterable[Change]:
    """Yield the changes that wait in a host's journal."""
    for _, changes in _waiting_entries(folder):
        yield from changes


def waiting_records(folder: Path) -> list[Record]:
    """Return what waits in a host's journal, one record per change."""
    return [record_of(change) for change in waiting_changes(folder)]


def waiting_by_chain(folder: Path) -> Iterator[tuple[dict[str, Any], list[Record]]]:
    """Yield what waits in a host's journal, one record per change, with the chain that each entry is for."""
    for chain, changes in _waiting_entries(folder):
        yield chain, [record_of(change) for change in changes]


def _waiting_entries(folder: Path) -> Iterator[tuple[dict[str, Any], list[Change]]]:
    for entry in undelivered(folder):
        try:
            yield changes_of(entry.payload)
        except EntryError:
            continue


def _add(records: dict[str, Record], record: Record) -> None:
    known = records.get(record["record_id"])
    records[record["record_id"]] = record if known is None else merge(known, record)
