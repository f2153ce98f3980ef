"""The SQL of the tracking tables: their definition, and the statements that merge a record into them.

The texts are generated from the columns. A general SQL toolkit needs 40 ms of a fresh task process for the same
statement; a tracked transfer is allowed 10.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from typing import Any

from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.columns import BY_NAME, COLUMNS, KEY_COLUMN, MERGED_GROUPS, NAMES_BY_GROUP

_NAMES = tuple(column.name for column in COLUMNS)
_HISTORY = {
    "event_id": "text",
    "record_id": "text",
    "changed_at": "timestamp",
    "changed_by": "text",
    "columns": "json",
    "keys": "json",
    "stored_at": "timestamp",
}
_NOT_NULL = {
    "pipeline_id": "",
    "retry_attempt_number": " DEFAULT 0",
    "record_version": " DEFAULT 1",
    "owed": " DEFAULT '[]'",
    "created_timestamp": " DEFAULT CURRENT_TIMESTAMP",
    "updated_timestamp": " DEFAULT CURRENT_TIMESTAMP",
    **dict.fromkeys(KEY_COLUMN.values(), " DEFAULT ''"),
}


#: Records that may need a person; the questions about them use the index with this condition.
UNSETTLED = "(transfer_status IN ('failed', 'in_progress') OR audit_result = 'mismatched')"


@dataclass(frozen=True)
class Dialect:
    """How one database writes SQL.

    :param types: column type of each kind.
    :param least: function that returns the smaller of two values; ``greatest`` the greater.
    :param placeholder: how a bound value is written, with ``{}`` for its name.
    :param key_type: type of the merge keys, which must compare byte by byte.
    """

    types: Mapping[str, str]
    least: str
    greatest: str
    placeholder: str
    key_type: str

    def beside_bound(self, name: str) -> str:
        """Return an identifier for a statement that has placeholders, whose sign it must not contain."""
        return name.replace("%", "%%") if self.placeholder.startswith("%") else name

    def bound(self, name: str, kind: str) -> str:
        """Return the placeholder of a value."""
        written = self.placeholder.format(name)
        return (
            f"CAST({written} AS {self.types['json']})" if kind == "json" and self.types["json"] != "TEXT" else written
        )


SQLITE = Dialect(
    types={
        "text": "TEXT",
        "integer": "INTEGER",
        "float": "REAL",
        "boolean": "BOOLEAN",
        "timestamp": "TEXT",
        "json": "TEXT",
    },
    least="min",
    greatest="max",
    placeholder=":{}",
    key_type="TEXT",
)
POSTGRES = Dialect(
    types={
        "text": "text",
        "integer": "bigint",
        "float": "double precision",
        "boolean": "boolean",
        "timestamp": "timestamptz",
        "json": "jsonb",
    },
    least="least",
    greatest="greatest",
    placeholder="%({})s",
    key_type='text COLLATE "C"',
)


def quoted(name: str) -> str:
    """Return an identifier, quoted."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Statements:
    """The SQL for one location.

    :param table: name of the main table; the history is ``<table>_history``.
    :param schema: schema of both, or None.
    """

    dialect: Dialect
    table: str
    schema: str | None = None

    @cached_property
    def name(self) -> str:
        """The main table, quoted, with its schema."""
        return self._qualified(self.table)

    @cached_property
    def history_name(self) -> str:
        """The history, quoted, with its schema."""
        return self._qualified(f"{self.table}_history")

    def create(self) -> list[str]:
        """Return the statements that make what is missing of tables and indexes."""
        columns = ",\n  ".join(self._definition(column.name, column.kind) for column in COLUMNS)
        history = ",\n  ".join(f"{quoted(name)} {self.dialect.types[kind]}" for name, kind in _HISTORY.items())
        statements = [f"CREATE SCHEMA IF NOT EXISTS {quoted(self.schema)}"] if self.schema else []
        statements += [
            f"CREATE TABLE IF NOT EXISTS {self.name} (\n  {columns}\n)",
            f"CREATE TABLE IF NOT EXISTS {self.history_name} (\n  {history},\n  PRIMARY KEY (event_id)\n)",
        ]
        for label, table, names in (
            ("begun", self.name, "(pipeline_id, dag_id, created_timestamp, run_id, retry_attempt_number, map_index)"),
            ("attempt", self.name, "(dag_id, run_id, task_id, map_index, retry_attempt_number, created_timestamp)"),
            ("created", self.name, "(created_timestamp)"),
            ("took", self.name, "(dag_id, task_id, actual_seconds)"),
            ("unsettled", self.name, f"(updated_timestamp) WHERE {UNSETTLED}"),
            ("unique", self.name, "(transfer_unique_id)"),
            ("events", self.history_name, "(record_id)"),
        ):
            index = quoted(f"{self.table[:50]}_{label}")
            statements.append(f"CREATE INDEX IF NOT EXISTS {index} ON {table} {names}")
        return statements

    @cached_property
    def upsert(self) -> str:
        """The statement that merges one record: each column group is taken whole from the greater key."""
        places = ", ".join(self.dialect.bound(column.name, column.kind) for column in COLUMNS)
        newer = " OR ".join(self._wins(KEY_COLUMN[group]) for group in MERGED_GROUPS)
        return (
            f"INSERT INTO {self._bound_name} AS old ({', '.join(_NAMES)}) VALUES ({places}) "
            f"ON CONFLICT (record_id) DO UPDATE SET {', '.join(self._assignments())} WHERE {newer}"
        )

    @cached_property
    def remember(self) -> str:
        """The statement that appends to the history; an event that is there already stays as it is."""
        places = ", ".join(self.dialect.bound(name, kind) for name, kind in _HISTORY.items())
        names = ", ".join(quoted(name) for name in _HISTORY)
        return f"INSERT INTO {self._bound_history} ({names}) VALUES ({places}) ON CONFLICT (event_id) DO NOTHING"

    def select(self, *names: str) -> str:
        """Return the query for the records in which the columns ``names`` have given values."""
        where = " AND ".join(f"{name} = {self.dialect.placeholder.format(name)}" for name in names)
        names_read, order = ", ".join(_NAMES), "transfer_order_number, record_id"
        return f"SELECT {names_read} FROM {self._bound_name} WHERE {where} ORDER BY {order}"

    def select_among(self, count: int) -> tuple[str, list[str]]:
        """Return the query for ``count`` records by their ids, and the names of the values that it takes."""
        names = [f"record_{number}" for number in range(count)]
        places = ", ".join(self.dialect.placeholder.format(name) for name in names)
        return f"SELECT {', '.join(_NAMES)} FROM {self._bound_name} WHERE record_id IN ({places})", names

    @cached_property
    def owed(self) -> str:
        """The query for records that another location lacks."""
        return f"SELECT {', '.join(_NAMES)} FROM {self._bound_name} WHERE owed <> '[]' ORDER BY record_id"

    @cached_property
    def settle(self) -> str:
        """The statement that notes what is still owed, unless the record has changed meanwhile."""
        owed = self.dialect.bound("owed", "json")
        record, version = (self.dialect.placeholder.format(name) for name in ("record_id", "record_version"))
        return f"UPDATE {self._bound_name} SET owed = {owed} WHERE record_id = {record} AND record_version = {version}"

    @cached_property
    def events(self) -> str:
        """The query for a record's history."""
        names = ", ".join(quoted(name) for name in _HISTORY)
        place = self.dialect.placeholder.format("record_id")
        return f"SELECT {names} FROM {self._bound_history} WHERE record_id = {place} ORDER BY changed_at, event_id"

    @property
    def _bound_name(self) -> str:
        return self.dialect.beside_bound(self.name)

    @property
    def _bound_history(self) -> str:
        return self.dialect.beside_bound(self.history_name)

    def _qualified(self, table: str) -> str:
        return f"{quoted(self.schema)}.{quoted(table)}" if self.schema else quoted(table)

    def _definition(self, name: str, kind: str) -> str:
        written = self.dialect.key_type if name in KEY_COLUMN.values() else self.dialect.types[kind]
        if name == "record_id":
            return f"{name} {written} NOT NULL PRIMARY KEY"
        if name == "max_retry_attempts":
            return f"{name} {written} DEFAULT 3"
        return f"{name} {written} NOT NULL{_NOT_NULL[name]}" if name in _NOT_NULL else f"{name} {written}"

    def _wins(self, key: str) -> str:
        return f"excluded.{key} > old.{key}"

    def _assignments(self) -> Iterable[str]:
        for group in MERGED_GROUPS:
            key = KEY_COLUMN[group]
            for name in (*NAMES_BY_GROUP[group], key):
                yield f"{name} = CASE WHEN {self._wins(key)} THEN excluded.{name} ELSE old.{name} END"
        yield f"created_timestamp = {self.dialect.least}(excluded.created_timestamp, old.created_timestamp)"
        yield f"updated_timestamp = {self.dialect.greatest}(excluded.updated_timestamp, old.updated_timestamp)"
        yield "stored_at = excluded.stored_at"
        yield "record_version = old.record_version + 1"
        # A chain is tried in its order, so the longer list of locations contains the shorter one.
        longer = "length(CAST(excluded.owed AS TEXT)) > length(CAST(old.owed AS TEXT))"
        yield f"owed = CASE WHEN {longer} THEN excluded.owed ELSE old.owed END"


def record_row(record: Mapping[str, Any], owed: Iterable[str], *, native_times: bool) -> dict[str, Any]:
    """Return a record's values as they are bound."""
    row = {name: _bound(column.kind, record.get(name), native_times) for name, column in BY_NAME.items()}
    # A change without its start group must not fail on what it does not know; whatever knows better wins later.
    row["pipeline_id"] = row["pipeline_id"] or row["dag_id"]
    row["owed"] = json.dumps(sorted(owed))
    row["stored_at"] = _bound("timestamp", datetime.now(timezone.utc), native_times)
    row["record_version"] = 1
    for key in KEY_COLUMN.values():
        row[key] = record.get(key) or ""
    return row


def history_row(change: Change, *, native_times: bool) -> dict[str, Any]:
    """Return a change's values as they are bound."""
    data = change.to_json()
    return {
        "event_id": change.event_id,
        "record_id": change.record_id,
        "changed_at": _bound("timestamp", change.at, native_times),
        "changed_by": change.by,
        "columns": json.dumps(data["columns"]),
        "keys": json.dumps(data["keys"]),
        "stored_at": _bound("timestamp", datetime.now(timezone.utc), native_times),
    }


def record_from_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record from a row as a driver gives it."""
    return {name: read_value(column.kind, row.get(name)) for name, column in BY_NAME.items()}


def event_from_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of the history from a row as a driver gives it."""
    return {name: read_value(kind, row.get(name)) for name, kind in _HISTORY.items()}


def read_value(kind: str, value: Any) -> Any:
    """Return a value of a column of this kind from what a driver gives for it."""
    if value is None:
        return None
    if kind == "json":
        return json.loads(value) if isinstance(value, (str, bytes)) else value
    if kind == "boolean":
        return bool(value)
    if kind == "timestamp":
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    return value


def _bound(kind: str, value: Any, native_times: bool) -> Any:  # noqa: FBT001  private, one caller's choice
    if value is None:
        return None
    if kind == "json":
        return json.dumps(value)
    if kind == "timestamp" and not native_times:
        return value.astimezone(timezone.utc).isoformat(timespec="microseconds")
    return value
