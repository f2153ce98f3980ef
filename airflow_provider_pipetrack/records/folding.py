"""The SQL of tracking tables that are only ever inserted into: a history, and a view that folds it into records.

For Snowflake, whose MERGEs and UPDATEs queue on one table and are aborted when twenty wait, and which enforces no key.
Whatever is inserted twice counts once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from airflow_provider_pipetrack.records.columns import COLUMNS, KEY_COLUMN, MERGED_GROUPS, Column, Group
from airflow_provider_pipetrack.records.statements import CONFIGS, HISTORY, Dialect, Statements, quoted

SNOWFLAKE = Dialect(
    name="snowflake",
    types={
        "text": "VARCHAR",
        "integer": "NUMBER(38, 0)",
        "float": "FLOAT",
        "boolean": "BOOLEAN",
        "timestamp": "TIMESTAMP_TZ",
        "json": "VARIANT",
    },
    least="LEAST",
    greatest="GREATEST",
    placeholder="%({})s",
    key_type="VARCHAR",
    bytewise="{}",
    among="{column} IN (SELECT f.value::VARCHAR FROM TABLE(FLATTEN(INPUT => PARSE_JSON({values}))) f)",
    table_columns="",  # the tables keep JSON, so that no version of pipetrack needs another column
)
#: JSON columns that are lists, which Snowflake has a type for.
_LISTS = ("transfer_process_email_alerts", "tracking_location")
#: What a record is found by; kept apart in the history, so that a search reads only what it needs.
_IDENTITY = tuple(column for column in COLUMNS if column.group == "identity")
_OWED = "record_id VARCHAR, event_id VARCHAR, owed ARRAY, settled NUMBER(38, 0)"
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
#: The rows that a statement is given, as one JSON list.
_ROWS = "TABLE(FLATTEN(INPUT => PARSE_JSON(%(rows)s))) f"
_MOMENT = """TO_VARCHAR(CONVERT_TIMEZONE('UTC', {0}), 'YYYY-MM-DD"T"HH24:MI:SS.FF6') AS {0}"""


def identifier(name: str) -> str:
    """Return the name that Snowflake means by one: in capitals when it is plain, as it stands in double quotes."""
    if len(name) > 2 and name[0] == name[-1] == '"':
        return name[1:-1].replace('""', '"')
    return name.upper() if _PLAIN.fullmatch(name) else name


@dataclass(frozen=True)
class FoldingStatements(Statements):
    """The SQL for one location in Snowflake.

    ``<table>`` is a view of ``<table>_history``, which has each change, and ``<table>_owed``, which has, for each
    change that another location lacked when it came, which do so. Rows are bound as one JSON list called ``rows``.

    :param database: the database of all three.
    """

    database: str = ""

    @classmethod
    def of(cls, database: str, schema: str, table: str) -> FoldingStatements:
        """Return the statements for a view that is named as in a location."""
        return cls(SNOWFLAKE, identifier(table), identifier(schema), identifier(database))

    @cached_property
    def history_name(self) -> str:
        """The history, quoted, with its database and schema."""
        return self._beside("_history")

    @cached_property
    def owed_name(self) -> str:
        """The notes of who lacks a change, quoted, with their database and schema."""
        return self._beside("_owed")

    @cached_property
    def schema_name(self) -> str:
        """The schema, quoted, with its database."""
        return f"{quoted(self.database)}.{quoted(self.schema or '')}"

    @cached_property
    def configs_name(self) -> str:
        """The configurations, quoted, with their database and schema."""
        return self._beside("_configs")

    def create_tables(self) -> list[str]:
        """Return the statements that make what is missing of schema, tables and view."""
        history = [f"{name} {self.dialect.types[kind]}" for name, kind in HISTORY.items()]
        history += [f"{column.name} {self.dialect.types[column.kind]}" for column in self._found_by]
        configs = [f"{name} {self.dialect.types[kind]}" for name, kind in CONFIGS.items()]
        return [
            f"CREATE SCHEMA IF NOT EXISTS {self.schema_name}",
            f"CREATE TABLE IF NOT EXISTS {self.history_name} ({', '.join(history)})",
            f"CREATE TABLE IF NOT EXISTS {self.owed_name} ({_OWED})",
            f"CREATE TABLE IF NOT EXISTS {self.configs_name} ({', '.join(configs)})",
            f"CREATE VIEW IF NOT EXISTS {self.name} AS {self.fold}",
        ]

    def create_indexes(self) -> list[str]:
        """Return nothing: Snowflake has no indexes."""
        return []

    @cached_property
    def replace_view(self) -> str:
        """The statement that makes the view as this version has it."""
        return f"CREATE OR REPLACE VIEW {self.name} AS {self.fold}"

    @cached_property
    def keep_config(self) -> str:
        """The statement that keeps configurations which are not there yet."""
        table, names = self.dialect.beside_bound(self.configs_name), ", ".join(CONFIGS)
        values = ", ".join(f"{self._cast(f'f.value:{name}', kind)} AS {name}" for name, kind in CONFIGS.items())
        known = f"SELECT config_hash FROM {table}"
        given = f"SELECT {values} FROM {_ROWS}"
        return f"INSERT INTO {table} ({names}) SELECT * FROM ({given}) r WHERE config_hash NOT IN ({known})"

    @cached_property
    def configs(self) -> str:
        """The query for the configurations of a pipeline or a Dag, in the order of their first use."""
        place = self._place("pipeline_id")
        return self._configs(f"pipeline_id = {place} OR dag_id = {place}")

    @cached_property
    def configs_among(self) -> str:
        """The query for the configurations whose hashes stand in a JSON list."""
        return self._configs(self._among("config_hash"))

    def _configs(self, where: str) -> str:
        names = ", ".join(_MOMENT.format(name) if kind == "timestamp" else name for name, kind in CONFIGS.items())
        once = "QUALIFY ROW_NUMBER() OVER (PARTITION BY config_hash ORDER BY first_used_at) = 1"
        found = f"SELECT * FROM {self.dialect.beside_bound(self.configs_name)} WHERE {where} {once}"
        return f"SELECT {names} FROM ({found}) c ORDER BY c.first_used_at, config_hash"

    @cached_property
    def fold(self) -> str:
        """The query that makes records of changes: each column group is taken whole from the greatest key."""
        return (
            f"SELECT {', '.join(self._folded(column) for column in COLUMNS)} "
            f"FROM ({self._groups}) h LEFT JOIN ({self._lacking}) o ON o.record_id = h.record_id"
        )

    @cached_property
    def remember(self) -> str:
        """The statement that appends to the history."""
        names = [*HISTORY, *(column.name for column in self._found_by)]
        values = [self._given(name, kind) for name, kind in HISTORY.items()]
        values += [f"r.columns:{column.name}::{self.dialect.types[column.kind]}" for column in self._found_by]
        rows = f"SELECT PARSE_JSON(f.value:columns::VARCHAR) AS columns, f.value AS given FROM {_ROWS}"
        return f"INSERT INTO {self._bound_history} ({', '.join(names)}) SELECT {', '.join(values)} FROM ({rows}) r"

    @cached_property
    def lack(self) -> str:
        """The statement that notes who lacks changes."""
        return (
            f"INSERT INTO {self._bound_owed} (record_id, event_id, owed, settled) SELECT f.value:record_id::VARCHAR, "
            f"f.value:event_id::VARCHAR, PARSE_JSON(f.value:owed::VARCHAR)::ARRAY, 0 FROM {_ROWS}"
        )

    @cached_property
    def settle(self) -> str:
        """The statement that notes what is still owed, unless the record has changed meanwhile."""
        given = (
            "SELECT f.value:record_id::VARCHAR AS record_id, f.value:owed::VARCHAR AS owed, "
            f"f.value:record_version::NUMBER(38, 0) AS version FROM {_ROWS}"
        )
        known = f"SELECT record_id, COUNT(DISTINCT event_id) AS version FROM {self._bound_history} GROUP BY record_id"
        return (
            f"INSERT INTO {self._bound_owed} (record_id, event_id, owed, settled) "
            "SELECT o.record_id, o.event_id, PARSE_JSON(g.owed)::ARRAY, o.settled + 1 "
            f"FROM ({given}) g JOIN ({known}) h ON h.record_id = g.record_id AND h.version = g.version "
            f"JOIN ({self._latest(self._bound_owed)}) o ON o.record_id = g.record_id WHERE ARRAY_SIZE(o.owed) > 0"
        )

    def select(self, *names: str) -> str:
        """Return the query for the records in which the columns ``names`` have given values."""
        where = " AND ".join(f"{name} = {self._place(name)}" for name in names)
        return f"{self._read} WHERE {where} ORDER BY transfer_order_number, record_id"

    @cached_property
    def owed(self) -> str:
        """The query for records that another location lacks, behind an id, so many at most."""
        where = f"WHERE ARRAY_SIZE(owed) > 0 AND record_id > {self._place('after')}"
        return f"{self._read} {where} ORDER BY record_id LIMIT {self._place('limit')}"

    @cached_property
    def count_owed(self) -> str:
        """The query for the number of records that another location lacks."""
        return f"SELECT COUNT(*) AS number FROM {self._bound_name} WHERE ARRAY_SIZE(owed) > 0"

    @cached_property
    def among(self) -> str:
        """The query for the records whose ids stand in a JSON list."""
        return f"{self._read} WHERE {self._among('record_id')}"

    @cached_property
    def inventory(self) -> str:
        """The query that lists records behind an id with their keys and what is known of their history."""
        keys = " || '|' || ".join(f"m.{KEY_COLUMN[group]}" for group in MERGED_GROUPS)
        events = (
            "SELECT record_id, COUNT(DISTINCT event_id)::VARCHAR || ':' || MIN(event_id) || ':' || MAX(event_id) "
            f"AS events FROM {self._bound_history} WHERE record_id > {self._place('after')} GROUP BY record_id"
        )
        return (
            f"SELECT m.record_id AS record_id, {keys} AS keys, h.events AS events FROM {self._bound_name} m "
            f"JOIN ({events}) h ON h.record_id = m.record_id ORDER BY m.record_id LIMIT {self._place('limit')}"
        )

    @cached_property
    def events(self) -> str:
        """The query for a record's history."""
        where = f"record_id = {self._place('record_id')}"
        return f"SELECT {self._event_columns} FROM ({self._once(where)}) e ORDER BY e.changed_at, e.event_id"

    @cached_property
    def events_among(self) -> str:
        """The query for the histories of the records whose ids stand in a JSON list."""
        return f"SELECT {self._event_columns} FROM ({self._once(self._among('record_id'))}) e"

    @property
    def _found_by(self) -> Iterator[Column]:
        return (column for column in _IDENTITY if column.name not in HISTORY)

    @property
    def _bound_owed(self) -> str:
        return self.dialect.beside_bound(self.owed_name)

    @property
    def _event_columns(self) -> str:
        return ", ".join(
            _MOMENT.format(f"e.{name}").replace(" AS e.", " AS ") if kind == "timestamp" else f"e.{name}"
            for name, kind in HISTORY.items()
        )

    @property
    def _read(self) -> str:
        # A driver's own idea of a moment depends on the session.
        names = (_MOMENT.format(c.name) if c.kind == "timestamp" else c.name for c in COLUMNS)
        return f"SELECT {', '.join(names)} FROM {self._bound_name}"

    @property
    def _groups(self) -> str:
        identity = ", ".join(column.name for column in _IDENTITY)
        groups = ", ".join(
            f"MAX_BY(columns, keys:{group}::VARCHAR) AS of_{group}, MAX(keys:{group}::VARCHAR) AS {KEY_COLUMN[group]}"
            for group in MERGED_GROUPS
        )
        first = f"MIN(COALESCE(columns:created_timestamp::{self.dialect.types['timestamp']}, changed_at))"
        return (
            f"SELECT {identity}, {groups}, MAX(columns:pipeline_id::VARCHAR) AS some_pipeline, "
            f"{first} AS created_timestamp, MAX(changed_at) AS updated_timestamp, MAX(stored_at) AS stored_at, "
            f"COUNT(DISTINCT event_id) AS record_version FROM {self.history_name} GROUP BY {identity}"
        )

    @property
    def _lacking(self) -> str:
        # A chain is tried in its order, so the longer list of locations contains the shorter one.
        return (
            "SELECT record_id, MAX_BY(owed, ARRAY_SIZE(owed)) AS owed "
            f"FROM ({self._latest(self.owed_name)}) l GROUP BY record_id"
        )

    @staticmethod
    def _latest(owed_name: str) -> str:
        return (
            "SELECT record_id, event_id, MAX_BY(owed, settled * 1000 + ARRAY_SIZE(owed)) AS owed, "
            f"MAX(settled) AS settled FROM {owed_name} GROUP BY record_id, event_id"
        )

    def _once(self, where: str) -> str:
        once = "QUALIFY ROW_NUMBER() OVER (PARTITION BY event_id ORDER BY stored_at) = 1"
        return f"SELECT {', '.join(HISTORY)} FROM {self._bound_history} WHERE {where} {once}"

    def _folded(self, column: Column) -> str:
        name = column.name
        if name in KEY_COLUMN.values():
            return f"COALESCE(h.{name}, '') AS {name}"
        if name == "pipeline_id":
            # A change without its start group does not know its pipeline; whatever knows better wins later.
            return "COALESCE(h.of_start:pipeline_id::VARCHAR, h.some_pipeline, h.dag_id) AS pipeline_id"
        if name == "owed":
            return "COALESCE(o.owed, ARRAY_CONSTRUCT()) AS owed"
        if column.group in MERGED_GROUPS:
            return f"{self._of_group(column.group, column)} AS {name}"
        return f"h.{name} AS {name}"

    def _of_group(self, group: Group, column: Column) -> str:
        value = f"h.of_{group}:{column.name}"
        if column.kind != "json":
            return f"{value}::{self.dialect.types[column.kind]}"
        # JSON has a null of its own, which a query for NULL would not find.
        present = f"IFF(IS_NULL_VALUE({value}), NULL, {value})"
        return f"{present}::ARRAY" if column.name in _LISTS else present

    def _given(self, name: str, kind: str) -> str:
        if name == "columns":
            return "r.columns"
        return self._cast(f"r.given:{name}", kind)

    def _cast(self, value: str, kind: str) -> str:
        return f"PARSE_JSON({value}::VARCHAR)" if kind == "json" else f"{value}::{self.dialect.types[kind]}"

    def _qualified(self, table: str) -> str:
        return f"{self.schema_name}.{quoted(table)}"

    def _beside(self, suffix: str) -> str:
        plain = _PLAIN.fullmatch(self.table) and self.table == self.table.upper()
        return self._qualified(self.table + (suffix.upper() if plain else suffix))
