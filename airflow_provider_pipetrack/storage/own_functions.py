"""Storages of the user's own that are two functions, and clients that he makes himself."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from airflow_provider_pipetrack.errors import PipetrackError, StorageError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.storage.base import Record, StorageAdapter
from airflow_provider_pipetrack.storage.complete import complete
from airflow_provider_pipetrack.storage.locations import Location, masked

log = logging.getLogger("airflow_provider_pipetrack.storage")

#: Beside the adapters of a chain, the name under which it says where the user's functions are.
FUNCTIONS = "user_functions"
#: The function that makes the client of a storage.
CONNECT = "connect_to_tracking_storage"
#: Returns a user's function by its name, or None.
Finder = Callable[[str], "Callable[..., Any] | None"]


class FunctionsAdapter(StorageAdapter):
    """A storage made of ``tracking_storage_write(record, location)`` and ``tracking_storage_read(query, location)``.

    ``query`` has one of the keys ``pipeline_id``, ``run_id`` and ``transfer_unique_id``. A record is written whole, and
    written again whole when it has changed: ``record_id`` says which one it is.
    """

    def __init__(self, location: Location, write: Callable[..., Any], read: Callable[..., Any]) -> None:
        super().__init__(location.name)
        self._text = location.text
        self._write = write
        self._read = read

    def write_tracking_record(self, record: Record) -> bool:
        """Hand a whole record to the user's function."""
        done: bool = self._write(dict(record), self._text)
        return done

    def update_tracking_record(self, transfer_id: str, updates: Record) -> bool:
        """Hand a stored record with its changes to the user's function; return False when there is no such record."""
        record = self.read_record(transfer_id)
        return record is not None and self.write_tracking_record({**record, **updates})

    def read_tracking_records(self, pipeline_id: str) -> list[Record]:
        """Return all records of a pipeline."""
        return [record for record in self._found({"pipeline_id": pipeline_id}) if record["pipeline_id"] == pipeline_id]

    def read_run(self, dag_id: str, run_id: str, pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records of a run."""
        del pipeline_ids
        found = self._found({"run_id": run_id})
        return [record for record in found if (record.get("dag_id"), record.get("run_id")) == (dag_id, run_id)]

    def read_record(self, record_id: str, pipeline_ids: Iterable[str] = ()) -> Record | None:
        """Return one record, or None."""
        del pipeline_ids
        try:
            run_id = RecordKey.parse(record_id).run_id
        except ValueError:
            return None
        return next((record for record in self._found({"run_id": run_id}) if record["record_id"] == record_id), None)

    def read_unique(self, transfer_unique_id: str, pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records with the user's own id."""
        del pipeline_ids
        found = self._found({"transfer_unique_id": transfer_unique_id})
        return [record for record in found if record.get("transfer_unique_id") == transfer_unique_id]

    def _known(self, record_id: str, changes: Sequence[Change]) -> Record | None:
        del changes
        return self.read_record(record_id)

    def _found(self, query: Mapping[str, str]) -> list[Record]:
        return [complete(dict(record)) for record in self._read(dict(query), self._text) or ()]


def functions_adapter(location: Location, find: Finder) -> StorageAdapter | None:
    """Return the storage that a user's two functions make, or None when he has none.

    :raises StorageError: when the functions cannot be imported, or one of them is missing.
    """
    try:
        write, read = find("tracking_storage_write"), find("tracking_storage_read")
    except PipetrackError as error:
        raise StorageError(location.name, str(error), transient=False) from error
    if write is None and read is None:
        return None
    if write is None or read is None:
        missing = "tracking_storage_write" if write is None else "tracking_storage_read"
        raise StorageError(location.name, f"user_functions has no {missing} beside the other one", transient=False)
    return FunctionsAdapter(location, write, read)


def own_client(location: Location, find: Finder) -> Callable[[], Any] | None:
    """Return what makes a user's own client for a location, or None when he has no function for that."""
    try:
        connect = find(CONNECT)
    except PipetrackError as error:
        # The location works without it where Airflow has the connection.
        log.warning("pipetrack: %s: %s", location.name, error)
        return None
    return functools.partial(_connected, location, connect) if connect else None


def _connected(location: Location, connect: Callable[[str], Any]) -> Any:
    try:
        return connect(location.text)
    except Exception as error:
        text = f"{CONNECT} failed: {type(error).__name__}: {error}"
        raise StorageError(location.name, masked(text)) from error
