"""The interface of a storage, and what it does by default with the three methods that a user has to write."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.clean import clean_value
from airflow_provider_pipetrack.records.columns import COLUMNS, KEY_COLUMN, MERGED_GROUPS
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.merge import fold, merge, record_of

if TYPE_CHECKING:
    from airflow_provider_pipetrack.records.queries import Asked

log = logging.getLogger("airflow_provider_pipetrack.storage")

Record = dict[str, Any]

_TIMES = tuple(column.name for column in COLUMNS if column.kind == "timestamp")


class StorageAdapter:
    """A place that keeps tracking records.

    Write the three methods ``write_tracking_record``, ``read_tracking_records`` and ``update_tracking_record``, name
    the class under ``storage_adapters`` of a pipeline file, and use its type in ``tracking_location``. A record is a
    dict of plain values with aware datetimes; ``record_id`` identifies it, and the ``*_key`` columns must be stored
    and returned as they are, since they decide which of two versions is newer.

    The other methods have defaults that use those three; override them where the storage can do better. Methods may
    be called from a thread of pipetrack's own, one at a time.

    :param location: the location string, as it stands in ``tracking_location``.
    """

    #: Whether the storage can note, with a record, which other locations lack it.
    keeps_owed: ClassVar[bool] = False
    #: Whether the storage keeps every change apart.
    keeps_history: ClassVar[bool] = False
    #: Whether only this host can see what is stored.
    host_local: ClassVar[bool] = False
    #: Longest time for one delivery, in seconds; the chain's deadline may leave less.
    time_limit: ClassVar[float] = 5.0

    def __init__(self, location: str = "") -> None:
        self.location = location

    def write_tracking_record(self, record: Record) -> bool:
        """Store a new record; return whether that worked."""
        raise NotImplementedError(f"{type(self).__name__} must define write_tracking_record")

    def read_tracking_records(self, pipeline_id: str) -> list[Record]:
        """Return all records of a pipeline."""
        raise NotImplementedError(f"{type(self).__name__} must define read_tracking_records")

    def update_tracking_record(self, transfer_id: str, updates: Record) -> bool:
        """Change columns of the record whose ``record_id`` is ``transfer_id``; return whether that worked."""
        raise NotImplementedError(f"{type(self).__name__} must define update_tracking_record")

    def load(self) -> None:
        """Import what the storage needs. Its time is not counted as a failure to answer."""

    def apply(self, changes: Sequence[Change], *, owed: Sequence[str] = ()) -> None:
        """Merge changes into the stored records; applying them again, or in another order, gives the same.

        :param owed: names of locations that lack these changes.
        :raises StorageError: when they could not be stored.
        """
        del owed  # noted only by storages that keep it
        for record_id, group in grouped(changes).items():
            known = self._known(record_id, group)
            merged = fold(group) if known is None else _merged(known, group)
            # A change without its start group does not know its pipeline; whatever knows better wins later.
            merged["pipeline_id"] = merged["pipeline_id"] or merged["dag_id"]
            if known is None:
                done = self.write_tracking_record(merged)
            else:
                updates = {name: value for name, value in merged.items() if known.get(name) != value}
                done = self.update_tracking_record(record_id, updates) if updates else True
            if not done:
                raise StorageError(self.location, f"{type(self).__name__} did not store record {record_id}")

    def read_run(self, dag_id: str, run_id: str, pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records of a run.

        :param pipeline_ids: the pipelines that the run may belong to, for storages that find records only by them.
        """
        found = [record for pipeline_id in pipeline_ids for record in self.read_tracking_records(pipeline_id)]
        return [record for record in found if record.get("dag_id") == dag_id and record.get("run_id") == run_id]

    def read_record(self, record_id: str, pipeline_ids: Iterable[str] = ()) -> Record | None:
        """Return one record, or None.

        :param pipeline_ids: the pipelines that it may belong to, for storages that find records only by them; when
            there is none, the record's Dag id is taken for its pipeline's.
        """
        for pipeline_id in tuple(pipeline_ids) or _dag_of(record_id):
            found = self._find(record_id, pipeline_id)
            if found is not None:
                return found
        return None

    def read_unique(self, transfer_unique_id: str) -> list[Record]:
        """Return the records with the user's own id; storages that cannot search for it return none."""
        del transfer_unique_id
        return []

    def is_here(self) -> bool:
        """Return whether this host can see what is stored; only a file of another host, or none yet, is not here."""
        return True

    def read_all(self) -> list[Record]:
        """Return every record.

        :raises StorageError: when the storage can only be asked about one pipeline.
        """
        text = "can only be asked about one pipeline at a time; name it"
        raise StorageError(self.location, text, transient=False)

    def answer(self, asked: Asked, newer: Sequence[Record] = ()) -> tuple[list[dict[str, Any]], int]:
        """Answer a question: the rows of one page, and how many there are in all.

        :param asked: the question, its filters and the page.
        :param newer: records that wait elsewhere for this location; they count more than what it has.
        :raises StorageError: when the storage cannot be asked.
        """
        from airflow_provider_pipetrack.storage.memory import answer_from_records

        return answer_from_records(asked, [*self._asked_about(asked.filters), *newer])

    def owed_records(self) -> list[Record]:
        """Return the records that another location lacks."""
        return []

    def settle(self, record: Record, owed: Sequence[str]) -> None:
        """Note which locations still lack a record, unless it has changed since it was read."""

    def history(self, record_id: str) -> list[dict[str, Any]]:
        """Return the changes of a record, oldest first; storages that keep none return an empty list."""
        del record_id
        return []

    def prepare(self) -> None:
        """Make the tables, folders or buckets that the storage needs."""

    def check(self) -> None:
        """Ask the storage for a sign of life.

        :raises StorageError: when there is none.
        """
        self.read_tracking_records("pipetrack-check")

    def close(self) -> None:
        """Give back connections and files."""

    def abandon(self) -> None:
        """Break off what another thread is doing with this storage, without waiting."""

    def _asked_about(self, filters: Mapping[str, Any]) -> list[Record]:
        """Return no fewer records than those that a question with these filters is about."""
        pipeline_id, dag_id, run_id = (filters.get(name) for name in ("pipeline_id", "dag_id", "run_id"))
        if dag_id and run_id:
            return self.read_run(dag_id, run_id, [pipeline_id or dag_id])
        return self.read_tracking_records(pipeline_id) if pipeline_id else self.read_all()

    def _known(self, record_id: str, changes: Sequence[Change]) -> Record | None:
        named = [change.columns.get(name) for name in ("pipeline_id", "dag_id") for change in changes]
        return self.read_record(record_id, dict.fromkeys(str(name) for name in named if name))

    def _find(self, record_id: str, pipeline_id: str) -> Record | None:
        versions = [r for r in self.read_tracking_records(pipeline_id) if r.get("record_id") == record_id]
        if not versions:
            return None
        found = complete(versions[0])
        for version in versions[1:]:
            found = merge(found, complete(version))
        return found


def grouped(changes: Iterable[Change]) -> dict[str, list[Change]]:
    """Return changes by record, sorted by its id, so that two writers never wait for each other in a circle."""
    groups: dict[str, list[Change]] = {}
    for change in changes:
        groups.setdefault(change.record_id, []).append(change)
    return dict(sorted(groups.items()))


def complete(record: Record) -> Record:
    """Return a user's stored record as the merge wants it: with its keys, and with times that JSON made texts of."""
    keys = {KEY_COLUMN[group]: record.get(KEY_COLUMN[group]) or "" for group in MERGED_GROUPS}
    times = {name: clean_value(name, record[name]) for name in _TIMES if isinstance(record.get(name), str)}
    return {**record, **keys, **times}


def _dag_of(record_id: str) -> tuple[str, ...]:
    try:
        return (RecordKey.parse(record_id).dag_id,)
    except ValueError:
        return ()


def _merged(known: Record, changes: Iterable[Change]) -> Record:
    merged = known
    for change in changes:
        merged = merge(merged, record_of(change))
    return merged
