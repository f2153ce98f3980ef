"""Storage adapters as a user would write them: three methods, and nothing known of pipetrack's merge."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from airflow_provider_pipetrack.storage.base import StorageAdapter


class JsonFileAdapter(StorageAdapter):
    """Keeps records in one JSON file; times come back as text, as ``json`` leaves them."""

    def __init__(self, location: str = "") -> None:
        super().__init__(location)
        self.path = Path(location.split("||", 1)[1])

    def write_tracking_record(self, record):
        with self._records() as records:
            records[record["record_id"]] = record
        return True

    def read_tracking_records(self, pipeline_id):
        with self._records() as records:
            return [record for record in records.values() if record["pipeline_id"] == pipeline_id]

    def update_tracking_record(self, transfer_id, updates):
        with self._records() as records:
            if transfer_id not in records:
                return False
            records[transfer_id].update(updates)
        return True

    @contextmanager
    def _records(self) -> Iterator[dict]:
        """Give all records, and write them back; nobody else has the file meanwhile."""
        with self.path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            before = file.read()
            records = json.loads(before or "{}")
            yield records
            after = json.dumps(records, default=str)
            if after != (before or "{}"):
                file.truncate(0)
                file.write(after)


class PlainDictAdapter:
    """Keeps records in memory, without the base class, and takes no location."""

    def __init__(self) -> None:
        self.records = {}

    def write_tracking_record(self, record):
        self.records[record["record_id"]] = dict(record)
        return True

    def read_tracking_records(self, pipeline_id):
        return [dict(record) for record in list(self.records.values()) if record["pipeline_id"] == pipeline_id]

    def update_tracking_record(self, transfer_id, updates):
        self.records[transfer_id].update(updates)
        return True


class SharedDictAdapter(PlainDictAdapter):
    """The same, one memory for each location."""

    def __init__(self, location: str) -> None:
        self.records = _SHARED.setdefault(location, {})


_SHARED: dict = {}


class RefusingAdapter(StorageAdapter):
    """Says no to every write, and has nothing."""

    def write_tracking_record(self, record):
        return False

    def read_tracking_records(self, pipeline_id):
        return []

    def update_tracking_record(self, transfer_id, updates):
        return False


class OnlyWrites:
    """Lacks two of the three methods."""

    def write_tracking_record(self, record):
        return True


class BreakingAdapter(StorageAdapter):
    """Cannot be made."""

    def __init__(self, location: str = "") -> None:
        raise RuntimeError("no licence")
