"""How each database writes what the templates leave open, and how values go in and come out."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.records.columns import BY_NAME, COLUMNS
from airflow_provider_pipetrack.records.indexes import AUDIT_ENDS
from airflow_provider_pipetrack.records.rows import READERS, column_reader, read_value

if TYPE_CHECKING:
    import sqlite3

#: Kinds of what the templates compute; what is not named is a number or a text.
_KINDS = {
    "began_at": "timestamp",
    "started_at": "timestamp",
    "ended_at": "timestamp",
    "last_failed_at": "timestamp",
    "data_date": "timestamp",
    "owners": "json",
    "failed_transfers": "json",
}


_LISTS = ("owners", "failed_transfers")


@dataclass(frozen=True)
class QueryDialect:
    """How one database writes what the templates leave open.

    :param placeholder: how a bound value is written, with ``{}`` for its name.
    :param between: seconds from ``{0}`` to ``{1}``.
    :param listed: a list of the distinct texts ``{}`` that are not NULL, as JSON or an array.
    :param among: whether ``{}`` is one of the texts in ``:dags``; empty where a database plans better with each text
        bound by itself.
    :param newer: rows of ``:newer``, a JSON list of records, with ``{columns}`` of the table ``{table}``.
    :param once: what makes a common table expression be computed once, where a database does so on request only.
    :param first: what makes a database do what stands in a subquery before it filters, where it would rather filter all
        there is.
    :param joined: the rows ``{1}`` of ``{0}`` with the condition ``{2}``, looked up for each row before them, where a
        database would rather read all there is.
    :param none_of: how a row ``{row}`` is none of those that ``{query}`` has.
    :param leaps: whether a recursive query may leap through an index from one value to the next.
    :param looks_up: whether a subquery may look something up for each row, also inside of an expression.
    :param audit_ended: how the audit of an attempt ended, where its result alone does not say so.
    :param lower: the function that writes a text of any language in small letters.
    :param native_times: whether moments are bound as they are; else as ISO 8601 text.
    """

    placeholder: str
    between: str
    listed: str
    newer: str
    audit_ended: str
    native_times: bool
    among: str = ""
    once: str = "MATERIALIZED "
    first: str = ""
    joined: str = "JOIN {0} {1} ON {2}"
    none_of: str = "{row} NOT IN ({query})"
    leaps: bool = True
    looks_up: bool = True
    lower: str = "LOWER"


def _json_extracts() -> str:
    return ", ".join(f"json_extract(value, '$.{column.name}') AS {column.name}" for column in COLUMNS)


SQLITE_QUERIES = QueryDialect(
    placeholder=":{}",
    between="((julianday({1}) - julianday({0})) * 86400.0)",
    listed="json_group_array(DISTINCT {0}) FILTER (WHERE {0} IS NOT NULL)",
    newer=f"SELECT {_json_extracts()} FROM json_each(:newer)",
    audit_ended=AUDIT_ENDS["sqlite"],
    native_times=False,
    # NOT IN looks through all rows for one that is NULL, again for each row.
    none_of="({row} IN ({query})) IS NOT TRUE",
    lower="PIPETRACK_LOWER",
)
POSTGRES_QUERIES = QueryDialect(
    placeholder="%({})s",
    between="CAST(EXTRACT(EPOCH FROM ({1} - {0})) AS double precision)",
    listed="json_agg(DISTINCT {0}) FILTER (WHERE {0} IS NOT NULL)",
    among="{} = ANY(CAST(:dags AS text[]))",
    newer="SELECT {columns} FROM jsonb_populate_recordset(CAST(NULL AS {table}), CAST(:newer AS jsonb))",
    audit_ended=AUDIT_ENDS["postgres"],
    native_times=True,
    first="OFFSET 0",
    joined="JOIN LATERAL (SELECT {1}.* FROM {0} {1} WHERE {2} OFFSET 0) {1} ON TRUE",
)
_SNOWFLAKE_TYPES = {"integer": "NUMBER(38, 0)", "float": "FLOAT", "boolean": "BOOLEAN", "timestamp": "TIMESTAMP_TZ"}


def _snowflake_casts() -> str:
    values = ((column, f"f.value['{column.name}']") for column in COLUMNS)
    return ", ".join(
        f"PARSE_JSON(CAST({value} AS VARCHAR)) AS {column.name}"
        if column.kind == "json"
        else f"CAST({value} AS {_SNOWFLAKE_TYPES.get(column.kind, 'VARCHAR')}) AS {column.name}"
        for column, value in values
    )


SNOWFLAKE_QUERIES = QueryDialect(
    placeholder="%({})s",
    between="(DATEDIFF(microsecond, {0}, CAST({1} AS TIMESTAMP_TZ)) / 1000000.0)",
    listed="ARRAY_AGG(DISTINCT {0})",
    newer=f"SELECT {_snowflake_casts()} FROM TABLE(FLATTEN(INPUT => PARSE_JSON(:newer))) f",
    audit_ended=AUDIT_ENDS["snowflake"],
    native_times=False,
    once="",
    leaps=False,
    looks_up=False,
)
DIALECTS: Mapping[str, QueryDialect] = {
    "sqlite": SQLITE_QUERIES,
    "postgres": POSTGRES_QUERIES,
    "snowflake": SNOWFLAKE_QUERIES,
}


def know_all_letters(connection: sqlite3.Connection) -> None:
    """Let a connection to SQLite write the letters of any language small; SQLite itself knows those of ASCII alone."""
    connection.create_function(SQLITE_QUERIES.lower, 1, _lower, deterministic=True)


def _lower(text: Any) -> Any:
    return text.lower() if isinstance(text, str) else text


def newer_rows(records: Iterable[Mapping[str, Any]], dialect: QueryDialect) -> list[dict[str, Any]]:
    """Return records as the JSON that ``:newer`` holds."""
    rows = [{c.name: _as_json(c.kind, record.get(c.name), dialect) for c in COLUMNS} for record in records]
    # A change without its start group does not know its pipeline.
    return [{**row, "pipeline_id": row["pipeline_id"] or row["dag_id"]} for row in rows]


def bound_value(value: Any, dialect: QueryDialect) -> Any:
    """Return a value as it is bound: moments in UTC, as the database keeps them."""
    if isinstance(value, datetime):
        moment = (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
        return moment if dialect.native_times else moment.isoformat(timespec="microseconds")
    return value


@functools.cache
def reader_of(columns: tuple[str, ...]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return what makes a row of an answer from one that a driver gave.

    :param columns: the columns of the answer.
    """
    readers = [(name, reader) for name in columns if (reader := _reader(name)) is not None]

    def read(row: Mapping[str, Any]) -> dict[str, Any]:
        made = {name: row[name] for name in columns}
        for name, reader in readers:
            # Most columns of most records are NULL, or as they should be.
            if (value := made[name]) is not None or name in _LISTS:
                made[name] = reader(value)
        return made

    return read


def _reader(name: str) -> Callable[[Any], Any] | None:
    """Return what reads the values of a column; None where a driver gives them as they are."""
    if name == "took_seconds":
        return lambda value: round(float(value), 3)  # a database knows moments less exactly than it tells
    kind = _KINDS.get(name) or (BY_NAME[name].kind if name in BY_NAME else None)
    if name in _LISTS:
        return lambda value: sorted(read_value("json", value) or ())
    if kind == "text":
        return None
    if kind is not None and kind in READERS:
        return column_reader(BY_NAME[name]) if name in BY_NAME else READERS[kind]
    return _number


def _number(value: Any) -> Any:
    """Return a computed value; some databases give every sum as a decimal."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def _as_json(kind: str, value: Any, dialect: QueryDialect) -> Any:
    if value is None:
        return None
    if kind == "timestamp":
        return value.astimezone(timezone.utc).isoformat(timespec="microseconds")
    return json.dumps(value) if kind == "json" and not dialect.native_times else value
