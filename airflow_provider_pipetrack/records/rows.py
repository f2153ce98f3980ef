"""Records and events as the rows of a table: what is bound to a statement, and what a driver gives back."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final

from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.columns import BY_NAME, COLUMNS, KEY_COLUMN, Column
from airflow_provider_pipetrack.records.configs import ConfigVersion
from airflow_provider_pipetrack.records.json_text import text_of, value_of
from airflow_provider_pipetrack.records.statements import CONFIGS, HISTORY

_JSON = tuple(column.name for column in COLUMNS if column.kind == "json")
_TIMES = tuple(column.name for column in COLUMNS if column.kind == "timestamp")
_NOTHING: dict[str, Any] = dict.fromkeys(BY_NAME)


def record_row(record: Mapping[str, Any], owed: Iterable[str], *, native_times: bool) -> dict[str, Any]:
    """Return a record's values as they are bound."""
    row = {**_NOTHING, **record}
    for name in _JSON:
        if row[name] is not None:
            row[name] = text_of(row[name])
    if not native_times:
        for name in _TIMES:
            row[name] = _bound("timestamp", row[name], native_times)
    # A change without its start group must not fail on what it does not know; whatever knows better wins later.
    row["pipeline_id"] = row["pipeline_id"] or row["dag_id"]
    row["owed"] = owed_text(owed)
    row["stored_at"] = _bound("timestamp", datetime.now(timezone.utc), native_times)
    row["record_version"] = 1
    for key in KEY_COLUMN.values():
        row[key] = record.get(key) or ""
    return row


def owed_text(owed: Iterable[str]) -> str:
    """Return the names of locations as they are bound: unescaped, since not every database can read its own escapes."""
    return json.dumps(sorted(owed), ensure_ascii=False)


def history_row(change: Change, *, native_times: bool) -> dict[str, Any]:
    """Return a change's values as they are bound."""
    data = change.to_json()
    return {
        "event_id": change.event_id,
        "record_id": change.record_id,
        "changed_at": _bound("timestamp", change.at, native_times),
        "changed_by": change.by,
        "columns": text_of(data["columns"]),
        "keys": text_of(data["keys"]),
        "stored_at": _bound("timestamp", datetime.now(timezone.utc), native_times),
    }


def event_row(event: Mapping[str, Any], *, native_times: bool) -> dict[str, Any]:
    """Return the values of an event of another location's history as they are bound."""
    return {
        "event_id": event["event_id"],
        "record_id": event["record_id"],
        "changed_at": _bound("timestamp", event["changed_at"], native_times),
        "changed_by": event["changed_by"],
        "columns": _json_text(event["columns"]),
        "keys": _json_text(event["keys"]),
        "stored_at": _bound("timestamp", datetime.now(timezone.utc), native_times),
    }


def config_row(version: ConfigVersion, *, native_times: bool) -> dict[str, Any]:
    """Return a configuration's values as they are bound."""
    return {name: _bound(kind, getattr(version, name), native_times) for name, kind in CONFIGS.items()}


def config_from_row(row: Mapping[str, Any]) -> ConfigVersion:
    """Return a configuration from a row as a driver gives it."""
    return ConfigVersion(**{name: read_value(kind, row[name]) for name, kind in CONFIGS.items()})


def record_from_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record from a row as a driver gives it."""
    record = {name: row.get(name) for name in BY_NAME}
    for name, read in _readers():
        if record[name] is not None:
            record[name] = read(record[name])
    return record


def event_from_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of the history from a row as a driver gives it."""
    return {name: read_value(kind, row.get(name)) for name, kind in HISTORY.items()}


def lean_event_from_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of the history whose JSON stays text, for bringing it elsewhere."""
    return {**row, "changed_at": read_value("timestamp", row["changed_at"])}


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else text_of(value)


def read_value(kind: str, value: Any) -> Any:
    """Return a value of a column of this kind from what a driver gives for it."""
    return value if value is None or kind not in READERS else READERS[kind](value)


def _read_json(value: Any) -> Any:
    return value_of(value) if isinstance(value, (str, bytes)) else value


def _read_moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if moment.tzinfo is timezone.utc:
        return moment
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)


#: What reads the values of a kind that a driver may give in another form; none of them is given None.
READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "json": _read_json,
    "timestamp": _read_moment,
    "boolean": bool,
}


def column_reader(column: Column) -> Callable[[Any], Any]:
    """Return what makes a value of a record's column of one of the :data:`READERS` from what a driver gives for it."""
    return _read_evidence if column.name == "audit_metadata" else READERS[column.kind]


@functools.cache
def _readers() -> Sequence[tuple[str, Callable[[Any], Any]]]:
    return [(column.name, column_reader(column)) for column in COLUMNS if column.kind in READERS]


def _read_evidence(value: Any) -> Any:
    """Return what an audit left; what somebody wrote by hand and is no JSON stays the text that it is."""
    try:
        return _read_json(value)
    except ValueError:
        return value


def _bound(kind: str, value: Any, native_times: bool) -> Any:  # noqa: FBT001  private, one caller's choice
    if value is None:
        return None
    if kind == "json":
        return text_of(value)
    if kind == "timestamp" and not native_times:
        return value.astimezone(timezone.utc).isoformat(timespec="microseconds")
    return value
