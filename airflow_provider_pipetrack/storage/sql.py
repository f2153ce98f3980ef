"""What SQLite and PostgreSQL have in common."""

from __future__ import annotations

import json
import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.columns import KEY_COLUMN
from airflow_provider_pipetrack.records.configs import ConfigVersion
from airflow_provider_pipetrack.records.handmade import change_from_record, change_of_record
from airflow_provider_pipetrack.records.merge import fold, merge
from airflow_provider_pipetrack.records.rows import (
    config_from_row,
    config_row,
    event_from_row,
    event_row,
    history_row,
    lean_event_from_row,
    owed_text,
    record_from_row,
    record_row,
)
from airflow_provider_pipetrack.records.statements import Statements
from airflow_provider_pipetrack.storage.base import Event, Listed, MergingAdapter, Record, grouped

if TYPE_CHECKING:
    from airflow_provider_pipetrack.records.queries import Asked

log = logging.getLogger("airflow_provider_pipetrack.storage")

#: What to do where a table has other columns than are expected.
OLDER_TABLE = "if an older version of pipetrack made it, `pipetrack init` brings it up to date"
#: A limit that no table reaches.
_ALL = 2**62


class SqlAdapter(MergingAdapter):
    """A storage with tables. Subclasses bring the connection."""

    keeps_owed = True
    keeps_history = True
    keeps_configs = True
    can_list = True
    _native_times = True
    #: How questions are written, of :data:`~airflow_provider_pipetrack.records.queries.DIALECTS`.
    _query_dialect: ClassVar[str]

    def __init__(self, location: str, statements: Statements) -> None:
        super().__init__(location)
        self.statements = statements

    @abstractmethod
    def _execute(self, connection: Any, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement once for each row."""

    @abstractmethod
    def _query(self, connection: Any, statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the rows of a query as dicts."""

    @abstractmethod
    def _command(self, connection: Any, statement: str) -> None:
        """Run a statement that has neither values nor rows."""

    @abstractmethod
    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Give a connection in a transaction, with driver errors turned into StorageError."""

    @abstractmethod
    def _is_missing_table(self, error: BaseException) -> bool:
        """Return whether an error says that the tables are not there yet."""

    def load(self) -> None:
        """Make the texts of the statements; once in a process, or before it is forked."""
        _ = self.statements.upsert, self.statements.remember

    def make_ready(self) -> None:
        """Connect."""
        with self._transaction():
            pass

    def apply(self, changes: Sequence[Change], *, owed: Sequence[str] = ()) -> None:
        """Merge changes in one transaction, together with their history."""
        records = [record_row(fold(g), owed, native_times=self._native_times) for g in grouped(changes).values()]
        by_event = {change.event_id: change for change in changes}
        events = [history_row(by_event[name], native_times=self._native_times) for name in sorted(by_event)]
        self._with_tables(lambda connection: self._merge(connection, records, events))

    def take(self, records: Sequence[Record], events: Sequence[Event]) -> None:
        """Merge records of another location in one transaction, together with their history."""
        ordered = sorted(records, key=lambda record: str(record["record_id"]))
        rows = [record_row(record, (), native_times=self._native_times) for record in ordered]
        by_event = {event["event_id"]: event for event in events}
        told = {event["record_id"] for event in events}
        untold = [change_of_record(record) for record in ordered if record["record_id"] not in told]
        history = [event_row(by_event[name], native_times=self._native_times) for name in sorted(by_event)]
        history += [history_row(change, native_times=self._native_times) for change in untold]
        self._with_tables(lambda connection: self._merge(connection, rows, history))

    def read_tracking_records(self, pipeline_id: str) -> list[Record]:
        """Return all records of a pipeline."""
        return self._records(self.statements.select("pipeline_id"), pipeline_id=pipeline_id)

    def read_run(self, dag_id: str, run_id: str, pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records of a run."""
        del pipeline_ids
        return self._records(self.statements.select("dag_id", "run_id"), dag_id=dag_id, run_id=run_id)

    def read_record(self, record_id: str, pipeline_ids: Iterable[str] = ()) -> Record | None:
        """Return one record, or None."""
        del pipeline_ids
        found = self._records(self.statements.select("record_id"), record_id=record_id)
        return found[0] if found else None

    def read_unique(self, transfer_unique_id: str, pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records with the user's own id."""
        del pipeline_ids
        return self._records(self.statements.select("transfer_unique_id"), transfer_unique_id=transfer_unique_id)

    def read_records(self, record_ids: Sequence[str], pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records with these ids, as far as they are known."""
        del pipeline_ids
        return self._records(self.statements.among, among=json.dumps(list(record_ids)))

    def inventory(self, after: str, limit: int) -> list[Listed]:
        """Return the next records by their ids, in the order of their bytes."""
        rows = self._ask(self.statements.inventory, after=after, limit=limit)
        return [Listed(row["record_id"], row["keys"], row["events"]) for row in rows]

    def owed_records(self, *, after: str = "", limit: int | None = None) -> list[Record]:
        """Return the records that another location lacks."""
        return self._records(self.statements.owed, after=after, limit=_ALL if limit is None else limit)

    def count_owed(self) -> int:
        """Return how many records another location lacks."""
        return int(self._ask(self.statements.count_owed)[0]["number"])

    def settle(self, record: Record, owed: Sequence[str]) -> None:
        """Note which locations still lack a record, unless it has changed since it was read."""
        self.settle_all([(record, owed)])

    def settle_all(self, settled: Sequence[tuple[Record, Sequence[str]]]) -> None:
        """Note for several records which locations still lack them."""
        rows = [
            {
                "owed": owed_text(owed),
                "record_id": record["record_id"],
                "record_version": record["record_version"],
            }
            for record, owed in sorted(settled, key=lambda pair: str(pair[0]["record_id"]))
        ]
        self._with_tables(lambda connection: self._execute(connection, self.statements.settle, rows))

    def history(self, record_id: str) -> list[dict[str, Any]]:
        """Return the changes of a record, oldest first."""
        return [event_from_row(row) for row in self._ask(self.statements.events, record_id=record_id)]

    def histories(self, record_ids: Sequence[str]) -> list[Event]:
        """Return the changes of several records; ``columns`` and ``keys`` stay JSON text."""
        rows = self._ask(self.statements.events_among, among=json.dumps(list(record_ids)))
        return [lean_event_from_row(row) for row in rows]

    def keep_config(self, version: ConfigVersion) -> None:
        """Keep a configuration, unless it is there."""
        row = config_row(version, native_times=self._native_times)
        self._with_tables(lambda connection: self._execute(connection, self.statements.keep_config, [row]))

    def config_versions(self, pipeline_id: str) -> list[ConfigVersion]:
        """Return the configurations of a pipeline, in the order of their first use."""
        return [config_from_row(row) for row in self._ask(self.statements.configs, pipeline_id=pipeline_id)]

    def read_configs(self, wanted: Mapping[str, str]) -> list[ConfigVersion]:
        """Return configurations by their hashes, as far as they are known."""
        return [config_from_row(row) for row in self._ask(self.statements.configs_among, among=json.dumps([*wanted]))]

    def upgrade(self) -> list[str]:
        """Make the tables, or give tables of an older version the columns and indexes of this one."""
        with self._transaction() as connection:
            self._make_tables(connection)
            changed = []
            for table, columns in self.statements.tables().items():
                have = self._columns(connection, table)
                if next(iter(columns)) not in have:
                    text = f"the table {table!r} is there, but is none of pipetrack's: it has no {next(iter(columns))}"
                    raise StorageError(self.location, text, transient=False)
                for name in columns:
                    if name not in have:
                        self._command(connection, self.statements.add_column(table, name))
                        changed.append(f"column {name} of {table}")
            for statement in (*self.statements.create_indexes(), *self.statements.drop_indexes()):
                self._command(connection, statement)
        return changed

    def answer(self, asked: Asked, newer: Sequence[Record] = ()) -> tuple[list[dict[str, Any]], int]:
        """Answer a question by a query: the rows of one page, and how many there are in all."""
        answered: tuple[list[dict[str, Any]], int] = self._with_tables(lambda c: self._answer(c, asked, newer))
        return answered

    def check(self) -> None:
        """Ask the database for one record."""
        self.read_record("pipetrack-check")

    def check_writing(self) -> None:
        """Write a record and take it back, in one transaction."""
        change = change_from_record({"dag_id": "pipetrack-check", "task_id": "trial"})
        trial = record_row(fold([change]), (), native_times=self._native_times)

        def work(connection: Any) -> None:
            self._command(connection, "SAVEPOINT trial")
            self._execute(connection, self.statements.upsert, [trial])
            self._command(connection, "ROLLBACK TO SAVEPOINT trial")

        self._with_tables(work)

    def _merge(
        self, connection: Any, records: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
    ) -> None:
        self._execute(connection, self.statements.remember, events)
        self._execute(connection, self.statements.upsert, records)

    def _answer(self, connection: Any, asked: Asked, newer: Sequence[Record]) -> tuple[list[dict[str, Any]], int]:
        from airflow_provider_pipetrack.records.queries import DIALECTS, newer_rows

        dialect = DIALECTS[self._query_dialect]
        unknown = self._unknown_here(connection, newer)
        rows, count = asked.statements(dialect, self.statements.name, newer=bool(unknown))
        values = asked.values(dialect)
        if unknown:
            values["newer"] = json.dumps(newer_rows(unknown, dialect), ensure_ascii=False)
        found = self._query(connection, rows, values)
        total = asked.total(found)
        if total is None:
            total = int(self._query(connection, count, values)[0]["total"])
        return asked.rows(found), total

    def _make_tables(self, connection: Any) -> None:
        for statement in self.statements.create_tables():
            self._command(connection, statement)

    def _columns(self, connection: Any, table: str) -> set[str]:
        """Return the columns that a table has."""
        query, values = self.statements.columns_of(table)
        return {row["name"] for row in self._query(connection, query, values)}

    def _unknown_here(self, connection: Any, newer: Sequence[Record]) -> list[Record]:
        """Return those records that this location lacks or has in an older version, merged with that."""
        if not newer:
            return []
        ids = json.dumps([record["record_id"] for record in newer])
        found = self._query(connection, self.statements.among, {"among": ids})
        stored = {row["record_id"]: record_from_row(row) for row in found}
        merged = [merge(stored[r["record_id"]], r) if r["record_id"] in stored else r for r in newer]
        return [record for record in merged if _keys(record) != _keys(stored.get(record["record_id"], {}))]

    def _records(self, statement: str, **values: Any) -> list[Record]:
        return [record_from_row(row) for row in self._ask(statement, **values)]

    def _ask(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._with_tables(lambda connection: self._query(connection, statement, values))
        return rows

    def _with_tables(self, work: Any) -> Any:
        """Do ``work`` in a transaction; make the tables first when they turn out to be missing."""
        try:
            with self._transaction() as connection:
                return work(connection)
        except Exception as error:
            if not self._is_missing_table(error.__cause__ or error):
                raise
        log.info("Making the tracking tables %s in %s", self.statements.name, self.location)
        self.prepare()
        with self._transaction() as connection:
            return work(connection)


def _keys(record: Mapping[str, Any]) -> list[str]:
    return [record.get(key) or "" for key in KEY_COLUMN.values()]
