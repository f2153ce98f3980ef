"""Tracking records in MongoDB, through Airflow's MongoHook."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.change import Change, utc_now
from airflow_provider_pipetrack.records.columns import KEY_COLUMN
from airflow_provider_pipetrack.records.configs import ConfigVersion
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.records.merge import fold
from airflow_provider_pipetrack.records.rows import config_from_row, config_row
from airflow_provider_pipetrack.storage.base import Event, Listed, MergingAdapter, Record, grouped, listed
from airflow_provider_pipetrack.storage.clients import hook_of, import_client
from airflow_provider_pipetrack.storage.locations import Location
from airflow_provider_pipetrack.storage.mongodb_documents import (
    event_from,
    event_of,
    record_from,
    time_text,
    updates_of,
)
from airflow_provider_pipetrack.storage.mongodb_errors import (
    UNAUTHORIZED,
    explained,
    is_wrong_password,
    only_duplicates,
)

if TYPE_CHECKING:
    from airflow_provider_pipetrack.records.queries import Asked

T = TypeVar("T")

DEFAULT_CONN_ID = "mongo_default"
#: Limits that the hook alone does not set, in milliseconds; and writes count when they are on disk in most members.
OPTIONS: Mapping[str, Any] = {
    "timeoutMS": 4000,
    "connectTimeoutMS": 2000,
    "appname": "pipetrack",
    "w": "majority",
    "journal": True,
}
_INDEXES = (
    ["pipeline_id"],
    ["dag_id", "run_id"],
    ["transfer_unique_id"],
    ["owed_count"],
    ["transfer_status", "decision"],
)
#: Documents of somebody else in the same collection have no record_id.
_OURS: Mapping[str, Any] = {"record_id": {"$exists": True}}
#: What an open attempt looks like, one way or the other.
_OPEN: Sequence[Mapping[str, Any]] = (
    {"transfer_status": "in_progress"},
    {"transfer_status": "pending", "decision": None},
)
_IN_A_RUN = (("transfer_order_number", 1), ("_id", 1))
#: What a question may ask for that a find can answer.
_ASKED = ("pipeline_id", "dag_id", "run_id")
#: Most documents of one write, since the driver's limit holds for all of it, and much may have waited for its delivery.
_AT_ONCE = 1000
#: How often a write is repeated that met another writer's insert of the same record.
_TRIES = 5


class MongoAdapter(MergingAdapter):
    """Keeps each record as a document, and each change as another one in ``<collection>_history``.

    Every column group has a guarded update of its own, so that no transaction and no replica set is needed. Times are
    kept as ISO 8601 texts in UTC, since a date of MongoDB ends at milliseconds; they sort as times do.

    :param location: ``mongodb||database||collection``; the collections are made when they are missing.
    :param conn_id: the Airflow connection; its own database gives way to the location's.
    """

    keeps_owed = True
    keeps_history = True
    keeps_configs = True
    can_list = True

    def __init__(self, location: Location, conn_id: str | None = None) -> None:
        super().__init__(location.name)
        self.database, self.collection = location.parts
        self.conn_id: str = conn_id or DEFAULT_CONN_ID
        self._client: Any = None
        self._has_indexes = False
        self._given_up = False

    def load(self) -> None:
        """Import the hook and the driver."""
        import_client(self, "MongoDB", "mongo", "pymongo", "airflow.providers.mongo.hooks.mongo")

    def make_ready(self) -> None:
        """Connect."""
        with self._explaining():
            self._make_indexes()

    def apply(self, changes: Sequence[Change], *, owed: Sequence[str] = ()) -> None:
        """Merge changes: each column group by one guarded update."""
        from pymongo import UpdateOne

        groups = grouped(changes)
        now = time_text(utc_now())
        events = [event_of(change, now) for group in groups.values() for change in group]
        updates = [
            UpdateOne(where, update, upsert=upsert)
            for group in groups.values()
            for where, update, upsert in updates_of(fold(group), sorted(owed), now)
        ]
        with self._explaining():
            self._make_indexes()
            for some in _portions(events):
                self._remember(some)
            for step in _portions(updates):
                self._merge(step)

    def read_tracking_records(self, pipeline_id: str) -> list[Record]:
        """Return all records of a pipeline."""
        return self._find_all({"pipeline_id": pipeline_id})

    def read_run(self, dag_id: str, run_id: str, pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records of a run."""
        del pipeline_ids
        return self._find_all({"dag_id": dag_id, "run_id": run_id})

    def read_record(self, record_id: str, pipeline_ids: Iterable[str] = ()) -> Record | None:
        """Return one record, or None."""
        del pipeline_ids
        return next(iter(self._find_all({"_id": record_id})), None)

    def read_unique(self, transfer_unique_id: str, pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records with the user's own id."""
        del pipeline_ids
        return self._find_all({"transfer_unique_id": transfer_unique_id})

    def read_all(self) -> list[Record]:
        """Return every record."""
        return self._find_all({})

    def read_open_runs(self) -> list[Record]:
        """Return the records of all runs in which an attempt is open."""
        runs: dict[str, set[str]] = {}
        with self._explaining():
            for where in _OPEN:
                for document in self._records().find({**_OURS, **where}, {"dag_id": 1, "run_id": 1}):
                    runs.setdefault(document["dag_id"], set()).add(document["run_id"])
        found = (self._find_all({"dag_id": dag_id, "run_id": {"$in": sorted(ids)}}) for dag_id, ids in runs.items())
        return [record for records in found for record in records]

    def read_records(self, record_ids: Sequence[str], pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records with these ids, as far as they are known."""
        del pipeline_ids
        return self._find_all({"_id": {"$in": list(record_ids)}})

    def inventory(self, after: str, limit: int) -> list[Listed]:
        """Return the next records by their ids, in the order of their bytes."""
        keys = dict.fromkeys(("record_id", *KEY_COLUMN.values()), 1)
        with self._explaining():
            found = self._records().find({"record_id": {"$gt": after}}, keys).sort([("_id", 1)]).limit(limit)
            # To compare histories would cost a query for each record; what differs in its keys brings its history.
            return [listed(document) for document in found]

    def owed_records(self, *, after: str = "", limit: int | None = None) -> list[Record]:
        """Return the records that another location lacks."""
        where = {"owed_count": {"$gt": 0}, "_id": {"$gt": after}}
        return self._find_all(where, [("_id", 1)], limit or 0)

    def count_owed(self) -> int:
        """Return how many records another location lacks."""
        with self._explaining():
            return int(self._records().count_documents({"owed_count": {"$gt": 0}}))

    def settle(self, record: Record, owed: Sequence[str]) -> None:
        """Note which locations still lack a record, unless it has changed since it was read."""
        self.settle_all([(record, owed)])

    def settle_all(self, settled: Sequence[tuple[Record, Sequence[str]]]) -> None:
        """Note for several records which locations still lack them."""
        from pymongo import UpdateOne

        updates = [
            UpdateOne(
                {"_id": record["record_id"], "record_version": record["record_version"]},
                {"$set": {"owed": sorted(owed), "owed_count": len(owed)}},
            )
            for record, owed in settled
        ]
        with self._explaining():
            self._records().bulk_write(updates, ordered=False)

    def history(self, record_id: str) -> list[dict[str, Any]]:
        """Return the changes of a record, oldest first."""
        with self._explaining():
            found = self._history().find({"record_id": record_id}).sort([("changed_at", 1), ("_id", 1)])
            return [event_from(document) for document in found]

    def histories(self, record_ids: Sequence[str]) -> list[Event]:
        """Return the changes of several records."""
        with self._explaining():
            return [event_from(document) for document in self._history().find({"record_id": {"$in": list(record_ids)}})]

    def keep_config(self, version: ConfigVersion) -> None:
        """Keep a configuration, unless it is there."""
        row = config_row(version, native_times=False)
        with self._explaining():
            self._configs().update_one({"_id": version.config_hash}, {"$setOnInsert": row}, upsert=True)

    def config_versions(self, pipeline_id: str) -> list[ConfigVersion]:
        """Return the configurations of a pipeline, in the order of their first use."""
        where = {"$or": [{"pipeline_id": pipeline_id}, {"dag_id": pipeline_id}]}
        with self._explaining():
            found = self._configs().find(where).sort([("first_used_at", 1), ("_id", 1)])
            return [config_from_row(document) for document in found]

    def prepare(self) -> None:
        """Make the collections' indexes, and the collections with them."""
        with self._explaining():
            self._make_indexes()

    def check(self) -> None:
        """Ask the database for one record."""
        self.read_record("pipetrack-check")

    def check_writing(self) -> None:
        """Write a record with its change and remove them."""
        change, now = change_from_record({"dag_id": "pipetrack-check", "task_id": "trial"}), time_text(utc_now())
        where, update, _ = next(updates_of(fold([change]), [], now))
        event = event_of(change, now)
        with self._explaining():
            self._records().update_one(where, update, upsert=True)
            self._history().insert_one(event)
            self._records().delete_one(where)
            self._history().delete_one({"_id": event["_id"]})

    def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                client.close()

    def abandon(self) -> None:
        """Cancel what is under way; a thread that waits on a socket goes on within half a second."""
        self._given_up = True
        client, self._client = self._client, None
        if client is None:
            return
        with suppress(Exception):
            for server in client._topology._servers.values():  # noqa: SLF001  the driver has no public way
                for context in server.pool.active_contexts:
                    context.cancel()
        # Closing says goodbye to the server, which may be what hangs.
        threading.Thread(target=client.close, name="pipetrack: closing mongodb", daemon=True).start()

    def _asked_about(self, asked: Asked) -> list[Record]:
        """Return no fewer records than those that a question is about."""
        where = {name: asked.filters[name] for name in _ASKED if asked.filters.get(name)}
        return self.read_open_runs() if asked.is_about_open and not where else self._find_all(where)

    def _make_indexes(self) -> None:
        from pymongo import IndexModel
        from pymongo.errors import OperationFailure

        if self._has_indexes:
            return
        try:
            self._records().create_indexes([IndexModel(names) for names in _INDEXES])
            self._history().create_indexes([IndexModel(["record_id"])])
        except OperationFailure as error:
            # A user who may write but make no index: what is read is right all the same, only slower.
            if error.code != UNAUTHORIZED:
                raise
        self._has_indexes = True

    def _remember(self, events: Sequence[Mapping[str, Any]]) -> None:
        from pymongo.errors import BulkWriteError

        try:
            self._history().insert_many(events, ordered=False)
        except BulkWriteError as error:
            if not only_duplicates(error):
                raise

    def _merge(self, updates: Sequence[Any]) -> None:
        from pymongo.errors import BulkWriteError

        for tries_left in reversed(range(_TRIES)):
            try:
                self._records().bulk_write(updates)
            except BulkWriteError as error:
                # Another writer has inserted the record meanwhile; the guards decide what still is to be written.
                if not tries_left or not only_duplicates(error):
                    raise
            else:
                return

    def _find_all(
        self, where: Mapping[str, Any], order: Sequence[tuple[str, int]] = _IN_A_RUN, limit: int = 0
    ) -> list[Record]:
        with self._explaining():
            found = self._records().find({**_OURS, **where}).sort(order).limit(limit)
            return [record_from(document) for document in found]

    def _records(self) -> Any:
        return self._open()[self.database][self.collection]

    def _history(self) -> Any:
        return self._open()[self.database][f"{self.collection}_history"]

    def _configs(self) -> Any:
        return self._open()[self.database][f"{self.collection}_configs"]

    def _open(self) -> Any:
        if self._given_up:  # between two portions, whose next one would connect anew and never close that
            raise StorageError(self.location, "given up")
        if self._client is None:
            own = self._own_client()
            self._client = self._connected() if own is None else own
        return self._client

    def _connected(self) -> Any:
        from airflow.providers.mongo.hooks.mongo import MongoHook

        hook = hook_of(self, MongoHook)(mongo_conn_id=self.conn_id)
        hook.extras = {**OPTIONS, **hook.extras}
        return hook.get_conn()

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            if is_wrong_password(error):
                self.close()  # Airflow is asked anew: its connection may have another by now
            raise explained(error, self.location, self.conn_id, self.database, self.collection) from error


def _portions(all_of_them: Sequence[T]) -> Iterator[Sequence[T]]:
    return (all_of_them[at : at + _AT_ONCE] for at in range(0, len(all_of_them), _AT_ONCE))
