"""The SQL of the tracking tables: their definition, and the statements that merge a record into them.

The texts are generated from the columns. A general SQL toolkit needs 40 ms of a fresh task process for the same
statement; a tracked transfer is allowed 10.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from airflow_provider_pipetrack.records.columns import COLUMNS, KEY_COLUMN, MERGED_GROUPS, NAMES_BY_GROUP
from airflow_provider_pipetrack.records.indexes import AUDIT_ENDS, INDEXES, REPLACED

_NAMES = tuple(column.name for column in COLUMNS)
#: Columns of the history, with their types.
HISTORY = {
    "event_id": "text",
    "record_id": "text",
    "changed_at": "timestamp",
    "changed_by": "text",
    "columns": "json",
    "keys": "json",
    "stored_at": "timestamp",
}
#: Columns of the configurations, with their types.
CONFIGS = {
    "config_hash": "text",
    "pipeline_id": "text",
    "dag_id": "text",
    "pipeline_version": "text",
    "stages": "json",
    "config": "json",
    "first_used_at": "timestamp",
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
#: A chain is tried in its order, so the longer list of locations contains the shorter one.
_LONGER = "length(CAST(excluded.owed AS TEXT)) > length(CAST(old.owed AS TEXT))"
#: A change that wins no group may still be the first or the last of its record.
_WIDER = "excluded.created_timestamp < old.created_timestamp OR excluded.updated_timestamp > old.updated_timestamp"


@dataclass(frozen=True, eq=False)
class Dialect:
    """How one database writes SQL.

    :param name: what the database is called, as in :data:`~.indexes.AUDIT_ENDS`.
    :param types: column type of each kind.
    :param least: function that returns the smaller of two values; ``greatest`` the greater.
    :param placeholder: how a bound value is written, with ``{}`` for its name.
    :param key_type: type of the merge keys and ids, which must compare byte by byte.
    :param bytewise: how a text is made to compare byte by byte, with ``{}`` for its name.
    :param table_columns: query for the ``name`` of each column of the bound ``table``, also given as ``qualified``.
    :param by_value: what an index is made of that finds equal texts, however long they are, with ``{}`` for the column.
    :param among: condition that a column is one of the texts in a bound list, with ``{column}`` and ``{values}``.
    """

    name: str
    types: Mapping[str, str]
    least: str
    greatest: str
    placeholder: str
    key_type: str
    bytewise: str
    among: str
    table_columns: str
    by_value: str = "({})"

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
    name="sqlite",
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
    bytewise="{}",
    among="{column} IN (SELECT value FROM json_each({values}))",
    table_columns="SELECT name FROM pragma_table_info(:table)",
)
POSTGRES = Dialect(
    name="postgres",
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
    bytewise='{} COLLATE "C"',
    among="{column} IN (SELECT jsonb_array_elements_text(CAST({values} AS jsonb)))",
    # Its ordinary index refuses what is longer than 2,704 bytes.
    by_value="USING hash ({})",
    table_columns=(
        "SELECT attname AS name FROM pg_attribute "
        "WHERE attrelid = to_regclass(%(qualified)s) AND attnum > 0 AND NOT attisdropped"
    ),
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

    @cached_property
    def configs_name(self) -> str:
        """The configurations, quoted, with their schema."""
        return self._qualified(f"{self.table}_configs")

    def create(self) -> list[str]:
        """Return the statements that make what is missing of tables and indexes."""
        return [*self.create_tables(), *self.create_indexes()]

    def create_tables(self) -> list[str]:
        """Return the statements that make the missing tables, the schema first."""
        columns = ",\n  ".join(self._definition(column.name, column.kind) for column in COLUMNS)
        history = ",\n  ".join(
            f"{quoted(name)} {self.dialect.key_type if name.endswith('_id') else self.dialect.types[kind]}"
            for name, kind in HISTORY.items()
        )
        configs = ",\n  ".join(f"{quoted(name)} {self.dialect.types[kind]}" for name, kind in CONFIGS.items())
        return [
            *([f"CREATE SCHEMA IF NOT EXISTS {quoted(self.schema)}"] if self.schema else []),
            f"CREATE TABLE IF NOT EXISTS {self.name} (\n  {columns}\n)",
            f"CREATE TABLE IF NOT EXISTS {self.history_name} (\n  {history},\n  PRIMARY KEY (event_id)\n)",
            f"CREATE TABLE IF NOT EXISTS {self.configs_name} (\n  {configs},\n  PRIMARY KEY (config_hash)\n)",
        ]

    def create_indexes(self) -> list[str]:
        """Return the statements that make the missing indexes."""
        statements, ended = [], AUDIT_ENDS[self.dialect.name]
        for label, table, names in (
            *((label, self.name, names.replace("{audit_ended}", ended)) for label, names in INDEXES.items()),
            ("unique", self.name, self.dialect.by_value.format("transfer_unique_id")),
            ("events", self.history_name, "(record_id)"),
        ):
            index = quoted(f"{self.table[:50]}_{label}")
            statements.append(f"CREATE INDEX IF NOT EXISTS {index} ON {table} {names}")
        return statements

    def drop_indexes(self) -> list[str]:
        """Return the statements that drop the indexes that others have replaced."""
        return [f"DROP INDEX IF EXISTS {self._qualified(f'{self.table[:50]}_{label}')}" for label in REPLACED]

    def tables(self) -> dict[str, dict[str, str]]:
        """Return the definition of each column, by its name, of each table, by its name without the schema."""
        return {
            self.table: {column.name: self._definition(column.name, column.kind) for column in COLUMNS},
            f"{self.table}_history": {name: self._plain(name, kind) for name, kind in HISTORY.items()},
            f"{self.table}_configs": {name: self._plain(name, kind) for name, kind in CONFIGS.items()},
        }

    def columns_of(self, table: str) -> tuple[str, dict[str, str]]:
        """Return the query for the ``name`` of each column that a table has, and the values that it takes."""
        return self.dialect.table_columns, {"table": table, "qualified": self._qualified(table)}

    def add_column(self, table: str, name: str) -> str:
        """Return the statement that adds a column to a table."""
        return f"ALTER TABLE {self._qualified(table)} ADD COLUMN {self.tables()[table][name]}"

    @cached_property
    def keep_config(self) -> str:
        """The statement that keeps a configuration, unless it is there."""
        names = ", ".join(CONFIGS)
        places = ", ".join(self.dialect.bound(name, kind) for name, kind in CONFIGS.items())
        table = self.dialect.beside_bound(self.configs_name)
        return f"INSERT INTO {table} ({names}) VALUES ({places}) ON CONFLICT (config_hash) DO NOTHING"

    @cached_property
    def configs(self) -> str:
        """The query for the configurations of a pipeline or a Dag, in the order of their first use."""
        table, pipeline_id = self.dialect.beside_bound(self.configs_name), self._place("pipeline_id")
        return (
            f"SELECT {', '.join(CONFIGS)} FROM {table} WHERE pipeline_id = {pipeline_id} OR dag_id = {pipeline_id} "
            "ORDER BY first_used_at, config_hash"
        )

    @cached_property
    def configs_among(self) -> str:
        """The query for the configurations whose hashes stand in a JSON list."""
        table = self.dialect.beside_bound(self.configs_name)
        return f"SELECT {', '.join(CONFIGS)} FROM {table} WHERE {self._among('config_hash')}"

    @cached_property
    def upsert(self) -> str:
        """The statement that merges one record: each column group is taken whole from the greater key."""
        places = ", ".join(self.dialect.bound(column.name, column.kind) for column in COLUMNS)
        return self._upsert(self._bound_name, f"VALUES ({places})")

    @cached_property
    def remember(self) -> str:
        """The statement that appends to the history; an event that is there already stays as it is."""
        places = ", ".join(self.dialect.bound(name, kind) for name, kind in HISTORY.items())
        return self._remember(self._bound_history, f"VALUES ({places})")

    def upsert_from(self, source: str) -> str:
        """Return the statement that merges all records of a table with the same columns; it has no placeholders.

        Rows are taken in the order of their ids, so that two writers never wait for each other in a circle.
        """
        order = self._by_bytes("record_id")
        return self._upsert(self.name, f"SELECT {', '.join(_NAMES)} FROM {source} ORDER BY {order}")

    def remember_from(self, source: str) -> str:
        """Return the statement that appends all events of a table with the same columns; it has no placeholders."""
        names = ", ".join(quoted(name) for name in HISTORY)
        return self._remember(self.history_name, f"SELECT {names} FROM {source} ORDER BY {self._by_bytes('event_id')}")

    def select(self, *names: str) -> str:
        """Return the query for the records in which the columns ``names`` have given values."""
        where = " AND ".join(f"{name} = {self.dialect.placeholder.format(name)}" for name in names)
        names_read, order = ", ".join(_NAMES), "transfer_order_number, record_id"
        return f"SELECT {names_read} FROM {self._bound_name} WHERE {where} ORDER BY {order}"

    @cached_property
    def owed(self) -> str:
        """The query for records that another location lacks, behind an id, so many at most."""
        after, limit = self._place("after"), self._place("limit")
        record_id = self._by_bytes("record_id")
        return (
            f"SELECT {', '.join(_NAMES)} FROM {self._bound_name} WHERE owed <> '[]' AND {record_id} > {after} "
            f"ORDER BY {record_id} LIMIT {limit}"
        )

    @cached_property
    def count_owed(self) -> str:
        """The query for the number of records that another location lacks."""
        return f"SELECT count(*) AS number FROM {self._bound_name} WHERE owed <> '[]'"

    @cached_property
    def among(self) -> str:
        """The query for the records whose ids stand in a JSON list."""
        return f"SELECT {', '.join(_NAMES)} FROM {self._bound_name} WHERE {self._among('record_id')}"

    @cached_property
    def inventory(self) -> str:
        """The query that lists records behind an id with their keys and what is known of their history."""
        keys = " || '|' || ".join(f"m.{KEY_COLUMN[group]}" for group in MERGED_GROUPS)
        record_id, event_id = self._by_bytes("record_id"), self._by_bytes("h.event_id")
        events = f"CAST(count(h.event_id) AS {self.dialect.types['text']})"
        return (
            f"SELECT m.record_id AS record_id, {keys} AS keys, "
            f"{events} || ':' || coalesce(min({event_id}), '') || ':' || coalesce(max({event_id}), '') AS events "
            f"FROM (SELECT * FROM {self._bound_name} WHERE {record_id} > {self._place('after')} "
            f"ORDER BY {record_id} LIMIT {self._place('limit')}) AS m "
            f"LEFT JOIN {self._bound_history} AS h ON h.record_id = m.record_id "
            f"GROUP BY m.record_id, {', '.join(f'm.{KEY_COLUMN[group]}' for group in MERGED_GROUPS)} "
            f"ORDER BY {self._by_bytes('m.record_id')}"
        )

    @cached_property
    def settle(self) -> str:
        """The statement that notes what is still owed, unless the record has changed meanwhile."""
        owed = self.dialect.bound("owed", "json")
        record, version = (self.dialect.placeholder.format(name) for name in ("record_id", "record_version"))
        return f"UPDATE {self._bound_name} SET owed = {owed} WHERE record_id = {record} AND record_version = {version}"

    @cached_property
    def events(self) -> str:
        """The query for a record's history."""
        names = ", ".join(quoted(name) for name in HISTORY)
        place = self.dialect.placeholder.format("record_id")
        return f"SELECT {names} FROM {self._bound_history} WHERE record_id = {place} ORDER BY changed_at, event_id"

    @cached_property
    def events_among(self) -> str:
        """The query for the histories of the records whose ids stand in a JSON list; JSON columns stay text."""
        text = self.dialect.types["text"]
        names = ", ".join(
            f"CAST({quoted(name)} AS {text}) AS {quoted(name)}" if kind == "json" else quoted(name)
            for name, kind in HISTORY.items()
        )
        return f"SELECT {names} FROM {self._bound_history} WHERE {self._among('record_id')}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the main table's columns, in their order."""
        return _NAMES

    @property
    def history_columns(self) -> tuple[str, ...]:
        """The names of the history's columns, in their order."""
        return tuple(HISTORY)

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

    def _plain(self, name: str, kind: str) -> str:
        return f"{quoted(name)} {self.dialect.types[kind]}"

    def _place(self, name: str) -> str:
        return self.dialect.placeholder.format(name)

    def _by_bytes(self, name: str) -> str:
        return self.dialect.bytewise.format(name)

    def _among(self, name: str) -> str:
        return self.dialect.among.format(column=name, values=self._place("among"))

    def _upsert(self, table: str, source: str) -> str:
        newer = " OR ".join((*(self._wins(KEY_COLUMN[group]) for group in MERGED_GROUPS), _LONGER, _WIDER))
        return (
            f"INSERT INTO {table} AS old ({', '.join(_NAMES)}) {source} "
            f"ON CONFLICT (record_id) DO UPDATE SET {', '.join(self._assignments())} WHERE {newer}"
        )

    def _remember(self, table: str, source: str) -> str:
        names = ", ".join(quoted(name) for name in HISTORY)
        return f"INSERT INTO {table} ({names}) {source} ON CONFLICT (event_id) DO NOTHING"

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
        yield f"owed = CASE WHEN {_LONGER} THEN excluded.owed ELSE old.owed END"


@lru_cache(maxsize=64)
def statements_of(dialect: Dialect, table: str, schema: str | None = None) -> Statements:
    """Return the SQL for a location; its texts are made once in a process, or before a process is forked."""
    return Statements(dialect, table, schema)
