"""Records and changes as documents of MongoDB: what is written for them, and what is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.clean import clean_value
from airflow_provider_pipetrack.records.columns import BY_NAME, KEY_COLUMN, MERGED_GROUPS, NAMES_BY_GROUP
from airflow_provider_pipetrack.storage.base import Record


def updates_of(record: Record, owed: Sequence[str], now: str) -> Iterator[tuple[dict[str, Any], dict[str, Any], bool]]:
    """Yield filter, update and upsert of each step that merges a record."""
    values = {name: _kept(name, value) for name, value in record.items()}
    values["pipeline_id"] = values["pipeline_id"] or values["dag_id"]
    values.update(record_version=1, stored_at=now, owed=list(owed), owed_count=len(owed))
    itself = {"_id": record["record_id"]}
    first, last = (values.pop(name) for name in ("created_timestamp", "updated_timestamp"))
    seen = {"$min": {"created_timestamp": first}, "$max": {"updated_timestamp": last}}
    yield itself, {"$setOnInsert": values, **seen}, True
    for group in MERGED_GROUPS:
        key = KEY_COLUMN[group]
        if values[key]:
            winner = {name: values[name] for name in (*NAMES_BY_GROUP[group], key)}
            newer = {**itself, key: {"$lt": values[key]}}
            yield newer, {"$set": {**winner, "stored_at": now}, "$inc": {"record_version": 1}}, False
    if owed:
        # Last, so that a reconcile that has read the record before this change cannot settle it.
        # A chain is tried in its order, so the longer list of locations contains the shorter one.
        shorter = {**itself, "owed_count": {"$lt": len(owed)}}
        lacking = {"owed": list(owed), "owed_count": len(owed)}
        yield shorter, {"$set": lacking, "$inc": {"record_version": 1}}, False


def event_of(change: Change, now: str) -> dict[str, Any]:
    """Return a change as a document.

    :param now: when it is stored.
    """
    data = change.to_json()
    return {
        "_id": change.event_id,
        "record_id": change.record_id,
        "changed_at": time_text(change.at),
        "changed_by": change.by,
        "columns": _escaped(data["columns"]),
        "keys": data["keys"],
        "stored_at": now,
    }


def event_from(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the change that a document holds."""
    event = {name: _unescaped(value) for name, value in document.items() if name != "_id"}
    times = {name: datetime.fromisoformat(event[name]) for name in ("changed_at", "stored_at")}
    return {**event, "event_id": document["_id"], **times}


def record_from(document: Mapping[str, Any]) -> Record:
    """Return the record that a document holds."""
    record = {name: _unescaped(document.get(name)) for name in BY_NAME}
    times = {name: clean_value(name, record[name]) for name, column in BY_NAME.items() if column.kind == "timestamp"}
    return {**record, **times}


def _kept(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return time_text(value)
    return _escaped(value) if BY_NAME[name].kind == "json" else value


def time_text(moment: datetime) -> str:
    """Return a moment as it is kept."""
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")


def _escaped(value: Any) -> Any:
    """Return a JSON value whose names older servers take as well: without ``$`` and ``.``."""
    if isinstance(value, Mapping):
        return {_escaped_name(name): _escaped(item) for name, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, (list, tuple)) else value


def _escaped_name(name: str) -> str:
    return name.replace("%", "%25").replace("$", "%24").replace(".", "%2E")


def _unescaped(value: Any) -> Any:
    if isinstance(value, Mapping):
        names = {name: name.replace("%2E", ".").replace("%24", "$").replace("%25", "%") for name in value}
        return {names[name]: _unescaped(item) for name, item in value.items()}
    return [_unescaped(item) for item in value] if isinstance(value, list) else value
