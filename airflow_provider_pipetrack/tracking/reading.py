"""Reading: what all locations of a chain, and the journal, together know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.merge import merge, record_of
from airflow_provider_pipetrack.storage.base import Record, StorageAdapter, complete
from airflow_provider_pipetrack.tracking.journal import undelivered
from airflow_provider_pipetrack.tracking.leg import Leg
from airflow_provider_pipetrack.tracking.shared import EntryError, changes_of

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
    limit: float = READ_LIMIT,
) -> Reading:
    """Ask every location, and add what waits in the journal.

    :param folder: the host's journal folder.
    :param wanted: whether a record of the journal belongs to the answer.
    :param limit: seconds that one location may take.
    """
    records: dict[str, Record] = {}
    unreachable: dict[str, str] = {}
    for leg in legs:
        try:
            check_visible(leg)
            found = leg.call(ask, limit)
        except StorageError as error:
            unreachable[leg.name] = error.message
            continue
        for record in found:
            _add(records, record)
    for record in waiting_records(folder):
        if record["record_id"] in records or wanted(record):
            _add(records, record)
    ordered = sorted(records.values(), key=lambda r: (r.get("transfer_order_number") or 0, r["record_id"]))
    return Reading(ordered, unreachable)


def check_visible(leg: Leg) -> None:
    """Make sure that a location which belongs to one host can be seen from here.

    :raises StorageError: when it cannot; what other hosts keep there is not nothing.
    """
    if not leg.adapter.is_here():
        reason = f"not visible here: this host ({settings.host_name()}) has no such file"
        raise StorageError(leg.name, f"{reason}; it is another host's, or nothing was recorded yet")


def waiting_changes(folder: Path) -> Iterable[Change]:
    """Yield the changes that wait in a host's journal."""
    for entry in undelivered(folder):
        try:
            _, changes = changes_of(entry.payload)
        except EntryError:
            continue
        yield from changes


def waiting_records(folder: Path) -> list[Record]:
    """Return what waits in a host's journal, one record per change."""
    return [record_of(change) for change in waiting_changes(folder)]


def _add(records: dict[str, Record], record: Record) -> None:
    known = records.get(record["record_id"])
    records[record["record_id"]] = complete(record) if known is None else merge(known, complete(record))
