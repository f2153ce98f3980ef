"""The interface of a storage, and what it does by default with the three methods that a user has to write."""

from __future__ import annotations

import inspect
import logging
import reprlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.columns import KEY_COLUMN, MERGED_GROUPS
from airflow_provider_pipetrack.records.handmade import (
    change_from_record,
    change_from_updates,
    change_of_event,
    change_of_record,
)
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.merge import fold, merge, record_of
from airflow_provider_pipetrack.storage.complete import complete

if TYPE_CHECKING:
    from airflow_provider_pipetrack.records.configs import ConfigVersion
    from airflow_provider_pipetrack.records.queries import Asked

log = logging.getLogger("airflow_provider_pipetrack.storage")

Record = dict[str, Any]
#: One change as a history keeps it: ``event_id, record_id, changed_at, changed_by, columns, keys``.
Event = dict[str, Any]


class Listed(NamedTuple):
    """A record as an inventory lists it.

    :param record_id: the record.
    :param keys: its merge keys, in one text: two locations agree on a record whose texts are equal.
    :param events: a text that is equal where the same changes of it are kept; empty where no history is.
    """

    record_id: str
    keys: str
    events: str


#: What a storage says that cannot answer for all pipelines together.
ONE_PIPELINE_ONLY = "can only be asked about one pipeline at a time; name it"
#: Records that are read in one go.
_AT_ONCE = 1000


class StorageAdapter:
    """A place that keeps tracking records.

    Write the three methods ``write_tracking_record``, ``read_tracking_records`` and ``update_tracking_record``, name
    the class under ``storage_adapters`` of a pipeline file, and use its type in ``tracking_location``. A record is a
    dict of plain values with aware datetimes; ``record_id`` identifies it, and the ``*_key`` columns must be stored
    and returned as they are, since they decide which of two versions is newer.

    The other methods have defaults that use those three; override them where the storage can do better. In one process
    methods are called one at a time, from a thread of pipetrack's own; but each task is a process, and many write at
    once.

    :param location: the location string, as it stands in ``tracking_location``.
    """

    #: Whether the storage can note, with a record, which other locations lack it.
    keeps_owed: ClassVar[bool] = False
    #: Whether the storage keeps every change apart.
    keeps_history: ClassVar[bool] = False
    #: Whether the storage keeps the configurations that records were made by.
    keeps_configs: ClassVar[bool] = False
    #: Whether only this host can see what is stored.
    host_local: ClassVar[bool] = False
    #: Whether :meth:`inventory` can list everything that is stored.
    can_list: ClassVar[bool] = False
    #: Longest time for one delivery, in seconds; the chain's deadline may leave less.
    time_limit: ClassVar[float] = 5.0
    #: Seconds that the first answer may take where all is well, the login included; less is no sign of an outage.
    cold_start: ClassVar[float] = 0.5
    #: The Airflow connection that it asks for.
    conn_id: str | None = None
    #: Gives that connection where Airflow was asked for it beforehand, or raises what it said.
    held: Callable[[], Any] | None = None
    #: Makes a client of the user's own, which replaces the hook's where it returns one.
    connect: Callable[[], Any] | None = None

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

    def make_ready(self) -> None:
        """Connect, so that the first call need not; no record is read or written.

        :raises StorageError: when that fails; the next call tries again.
        """

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
                done, method = self.write_tracking_record(merged), "write_tracking_record"
            else:
                updates = {name: value for name, value in merged.items() if known.get(name) != value}
                done = self.update_tracking_record(record_id, updates) if updates else True
                method = "update_tracking_record"
            if not done or inspect.iscoroutine(done):  # nobody awaits it
                answer = f"{method} returned {reprlib.repr(done)} for record {record_id}"
                raise StorageError(self.location, f"{answer}; it returns True once that is stored")

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
        :raises StorageError: when none is named, and the record is not in the one that is called as its Dag.
        """
        named = tuple(pipeline_ids)
        for pipeline_id in named or _dag_of(record_id):
            found = self._in_pipelines([pipeline_id], {record_id}).get(record_id)
            if found is not None:
                return found
        if not named and _dag_of(record_id):
            raise self._asks_for_a_pipeline()
        return None

    def read_unique(self, transfer_unique_id: str, pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records with the user's own id.

        :param pipeline_ids: the pipelines that they may belong to, for storages that find records only by them.
        :raises StorageError: when the storage is one of those, and none is named.
        """
        named = tuple(pipeline_ids)
        if not named:
            raise self._asks_for_a_pipeline()
        found = (record for pipeline_id in named for record in self.read_tracking_records(pipeline_id))
        return [record for record in found if record.get("transfer_unique_id") == transfer_unique_id]

    def is_here(self) -> bool:
        """Return whether this host can see what is stored; only a file of another host, or none yet, is not here."""
        return True

    def read_all(self) -> list[Record]:
        """Return every record.

        :raises StorageError: when the storage can only be asked about one pipeline.
        """
        if not self.can_list:
            raise self._asks_for_a_pipeline()
        found: list[Record] = []
        after = ""
        while page := self.inventory(after, _AT_ONCE):
            found += self.read_records([listed.record_id for listed in page])
            after = page[-1].record_id
        return found

    def read_open_runs(self) -> list[Record]:
        """Return no fewer records than those of all runs in which an attempt is open; asked for every minute.

        :raises StorageError: when the storage can only be asked about one pipeline.
        """
        return self.read_all()

    def answer(self, asked: Asked, newer: Sequence[Record] = ()) -> tuple[list[dict[str, Any]], int]:
        """Answer a question: the rows of one page, and how many there are in all.

        :param asked: the question, its filters and the page.
        :param newer: records that wait elsewhere for this location; they count more than what it has.
        :raises StorageError: when the storage cannot be asked.
        """
        from airflow_provider_pipetrack.storage.memory import answer_from_records

        return answer_from_records(asked, [*self._asked_about(asked), *newer])

    def read_records(self, record_ids: Sequence[str], pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records with these ids, as far as they are known.

        :param pipeline_ids: the pipelines that they may belong to, for storages that find records only by them.
        """
        named = tuple(pipeline_ids)
        if named:
            return [*self._in_pipelines(named, set(record_ids)).values()]
        found = (self.read_record(record_id) for record_id in record_ids)
        return [record for record in found if record is not None]

    def inventory(self, after: str, limit: int) -> list[Listed]:
        """Return the next records by their ids, in the order of their bytes; only where ``can_list`` is set.

        :param after: the id behind which to begin; empty for the first.
        :param limit: how many at least, if there are so many.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot list its records")

    def owed_records(self, *, after: str = "", limit: int | None = None) -> list[Record]:
        """Return the records that another location lacks, in an order that the storage keeps to.

        :param after: the id of the record behind which to begin.
        :param limit: how many at most; None for all.
        """
        del after, limit
        return []

    def count_owed(self) -> int:
        """Return how many records another location lacks."""
        return len(self.owed_records())

    def settle(self, record: Record, owed: Sequence[str]) -> None:
        """Note which locations still lack a record, unless it has changed since it was read."""

    def settle_all(self, settled: Sequence[tuple[Record, Sequence[str]]]) -> None:
        """Note for several records which locations still lack them."""
        for record, owed in settled:
            self.settle(record, owed)

    def take(self, records: Sequence[Record], events: Sequence[Event]) -> None:
        """Merge records that stand in another location, with what is known of their history.

        :raises StorageError: when they could not be stored.
        """
        changes = [change_of_event(event) for event in events]
        by_record = grouped(changes)
        # What the history does not explain comes as the record itself.
        whole = [
            change_of_record(record)
            for record in records
            if record["record_id"] not in by_record or _differs(fold(by_record[record["record_id"]]), record)
        ]
        self.apply([*changes, *whole])

    def history(self, record_id: str) -> list[dict[str, Any]]:
        """Return the changes of a record, oldest first; storages that keep none return an empty list."""
        del record_id
        return []

    def histories(self, record_ids: Sequence[str]) -> list[Event]:
        """Return the changes of several records; ``columns`` and ``keys`` may stay JSON text."""
        return [event for record_id in record_ids for event in self.history(record_id)] if self.keeps_history else []

    def prepare(self) -> None:
        """Make the tables, folders or buckets that the storage needs."""

    def tidy(self) -> None:
        """Do what makes reading faster and can wait; a pass that no task waits for calls it."""

    def keep_config(self, version: ConfigVersion) -> None:
        """Keep a configuration, unless it is there; only where ``keeps_configs`` is set."""

    def config_versions(self, pipeline_id: str) -> list[ConfigVersion]:
        """Return the configurations of a pipeline, named by its id or its Dag's, in the order of their first use."""
        del pipeline_id
        return []

    def read_configs(self, wanted: Mapping[str, str]) -> list[ConfigVersion]:
        """Return configurations by their hashes, as far as they are known.

        :param wanted: the hash of each, with its Dag, for storages that find configurations only by that.
        """
        found = (version for dag_id in sorted(set(wanted.values())) for version in self.config_versions(dag_id))
        return [version for version in found if version.config_hash in wanted]

    def upgrade(self) -> list[str]:
        """Make what is missing, and bring what an older version has made up to date; return what was changed."""
        self.prepare()
        return []

    def check(self) -> None:
        """Ask the storage for a sign of life.

        :raises StorageError: when there is none.
        """
        self.read_tracking_records("pipetrack-check")

    def check_writing(self) -> None:
        """Prove that an ordinary record would be taken, and leave nothing behind.

        A storage that cannot prove it gives a sign of life instead.

        :raises StorageError: when it would not be taken.
        """
        self.check()

    def close(self) -> None:
        """Give back connections and files."""

    def abandon(self) -> None:
        """Break off what another thread is doing with this storage, without waiting."""

    def _own_client(self) -> Any:
        """Return the user's own client, or None when the hook's is to be used."""
        return self.connect() if self.connect else None

    def _asked_about(self, asked: Asked) -> list[Record]:
        """Return no fewer records than those that a question is about."""
        pipeline_id, dag_id, run_id = (asked.filters.get(name) for name in ("pipeline_id", "dag_id", "run_id"))
        if dag_id and run_id:
            return self.read_run(dag_id, run_id, [pipeline_id or dag_id])
        if pipeline_id:
            return self.read_tracking_records(pipeline_id)
        return self.read_open_runs() if asked.is_about_open else self.read_all()

    def _known(self, record_id: str, changes: Sequence[Change]) -> Record | None:
        named = [change.columns.get(name) for name in ("pipeline_id", "dag_id") for change in changes]
        return self.read_record(record_id, dict.fromkeys(str(name) for name in named if name))

    def _in_pipelines(self, pipeline_ids: Iterable[str], record_ids: Collection[str]) -> dict[str, Record]:
        """Return the records with certain ids that pipelines have, each merged from its versions, by the id."""
        found: dict[str, Record] = {}
        for record in (record for pipeline_id in pipeline_ids for record in self.read_tracking_records(pipeline_id)):
            record_id = str(record.get("record_id"))
            if record_id in record_ids:
                version = complete(record)
                found[record_id] = merge(found[record_id], version) if record_id in found else version
        return found

    def _asks_for_a_pipeline(self) -> StorageError:
        return StorageError(self.location, ONE_PIPELINE_ONLY, transient=False)


class MergingAdapter(StorageAdapter):
    """An adapter that merges changes itself: its ``apply`` does not use the three methods, they use it."""

    def write_tracking_record(self, record: Record) -> bool:
        """Merge a record given as a dict."""
        self.apply([change_from_record(record)])
        return True

    def update_tracking_record(self, transfer_id: str, updates: Record) -> bool:
        """Change columns of a stored record; return False when there is no such record."""
        record = self.read_record(transfer_id)
        if record is None:
            return False
        self.apply([change_from_updates(record, updates)])
        return True


def grouped(changes: Iterable[Change]) -> dict[str, list[Change]]:
    """Return changes by record, sorted by its id, so that two writers never wait for each other in a circle."""
    groups: dict[str, list[Change]] = {}
    for change in changes:
        groups.setdefault(change.record_id, []).append(change)
    return dict(sorted(groups.items()))


def listed(record: Record) -> Listed:
    """Return a whole record as an inventory lists it where no history is kept."""
    return Listed(str(record["record_id"]), "|".join(str(record.get(KEY_COLUMN[g]) or "") for g in MERGED_GROUPS), "")


def _differs(folded: Record, record: Record) -> bool:
    # A change that came twice is once in the history, and its second time in the record alone.
    times = ("created_timestamp", "updated_timestamp")
    return listed(folded) != listed(record) or any(folded[name] != record.get(name) for name in times)


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
