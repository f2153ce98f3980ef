"""Storage adapters as a user would write them: three methods, and nothing known of pipetrack's merge."""

from __future__ import annotations

import json
from pathlib import Path

from airflow_provider_pipetrack.storage.base import StorageAdapter


class JsonFileAdapter(StorageAdapter):
    """Keeps records in one JSON file; times come back as text, as ``json`` leaves them."""

    def __init__(self, location: str = "") -> None:
        super().__init__(location)
        self.path = Path(location.split("||", 1)[1])

    def write_tracking_record(self, record):
        records = self._load()
        records[record["record_id"]] = record
        self._save(records)
        return True

    def read_tracking_records(self, pipeline_id):
        return [record for record in self._load().values() if record["pipeline_id"] == pipeline_id]

    def update_tracking_record(self, transfer_id, updates):
        records = self._load()
        if transfer_id not in records:
            return False
        records[transfer_id].update(updates)
        self._save(records)
        return True

    def _load(self):
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def _save(self, records):
        self.path.write_text(json.dumps(records, default=str))


class PlainDictAdapter:
    """Keeps records in memory, without the base class, and takes no location."""

    def __init__(self) -> None:
        self.records = {}

    def write_tracking_record(self, record):
        self.records[record["record_id"]] = dict(record)
        return True

    def read_tracking_records(self, pipeline_id):
        return [dict(record) for record in self.records.values() if record["pipeline_id"] == pipeline_id]

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
