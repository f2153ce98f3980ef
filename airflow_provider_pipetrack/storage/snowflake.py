"""Tracking records in Snowflake, through Airflow's SnowflakeHook."""

from __future__ import annotations

import atexit
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.folding import FoldingStatements
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.records.rows import history_row
from airflow_provider_pipetrack.storage.base import Event, Record, StorageAdapter
from airflow_provider_pipetrack.storage.clients import hook_of, import_client
from airflow_provider_pipetrack.storage.locations import Location
from airflow_provider_pipetrack.storage.snowflake_errors import explained, is_missing, is_over, lacks_schema
from airflow_provider_pipetrack.storage.sockets import shut_sockets_of
from airflow_provider_pipetrack.storage.sql import SqlAdapter

DEFAULT_CONN_ID = "snowflake_default"
#: Limits that the hook alone does not set, in seconds. A query's answer is waited for on the socket.
LIMITS: Mapping[str, Any] = {"login_timeout": 5, "network_timeout": 15, "socket_timeout": 10}
#: An account, or a user, may expect other texts for moments than those of ISO 8601.
_SESSION: Mapping[str, Any] = {"TIMESTAMP_INPUT_FORMAT": "AUTO"}
#: Most bytes of rows in one statement; Snowflake takes 16 MB for one value.
_AT_ONCE = 4_000_000
_LARGEST = 15_000_000
_PLACE = re.compile(r"%\((\w+)\)s|%%")


class SnowflakeAdapter(SqlAdapter):
    """Keeps each change as a row of ``<table>_history``; ``<table>`` is a view that folds them into records.

    Nothing is updated or merged: such statements of many tasks queue on one table, and keys are not enforced.

    :param location: ``snowflake||database||schema||table``; schema, tables and view are made when they are missing. A
        plain name means what it means in SQL, in capitals; write it in double quotes to mean small letters.
    :param conn_id: the Airflow connection; its own database and schema give way to the location's.
    """

    time_limit = 10.0
    cold_start = LIMITS["login_timeout"]
    _native_times = False
    _query_dialect = "snowflake"
    statements: FoldingStatements

    def __init__(self, location: Location, conn_id: str | None = None) -> None:
        super().__init__(location.name, FoldingStatements.of(*location.parts))
        self.conn_id: str = conn_id or DEFAULT_CONN_ID
        self._connection: Any = None
        self._thread = 0

    def load(self) -> None:
        """Import the hook and the driver."""
        import_client(
            self, "Snowflake", "snowflake", "snowflake.connector", "airflow.providers.snowflake.hooks.snowflake"
        )

    def take(self, records: Sequence[Record], events: Sequence[Event]) -> None:
        """Append the changes of records of another location; what they do not explain comes as the record itself."""
        StorageAdapter.take(self, records, events)

    def prepare(self) -> None:
        """Make schema, tables and view."""
        schema, *rest = self.statements.create_tables()
        with self._transaction() as connection:
            try:
                self._command(connection, rest[0])
            except Exception as error:
                # Making a schema needs a right that a user of an existing schema often lacks.
                if not lacks_schema(error):
                    raise
                self._command(connection, schema)
            for statement in rest:
                self._command(connection, statement)

    def upgrade(self) -> list[str]:
        """Make what is missing, and the view as this version has it."""
        self.prepare()
        with self._transaction() as connection:
            self._command(connection, self.statements.replace_view)
        return []

    def _with_tables(self, work: Any) -> Any:
        """Do ``work``, once more on a fresh connection when the session of the one that was kept is over."""
        kept = self._connection is not None
        try:
            return super()._with_tables(work)
        except StorageError as error:
            if not (kept and is_over(error.__cause__)):
                raise
        return super()._with_tables(work)

    def check_writing(self) -> None:
        """Write a change and take it back, in one transaction."""
        change = change_from_record({"dag_id": "pipetrack-check", "task_id": "trial"})

        def work(connection: Any) -> None:
            self._command(connection, "BEGIN")
            try:
                self._execute(connection, self.statements.remember, [history_row(change, native_times=False)])
            finally:
                self._command(connection, "ROLLBACK")

        self._with_tables(work)

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close(retry=False)

    def abandon(self) -> None:
        """Shut the socket of what is under way; the driver's own limits end its further attempts."""
        self._connection = None
        shut_sockets_of([self._thread])

    def _merge(
        self, connection: Any, records: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
    ) -> None:
        self._execute(connection, self.statements.remember, events)
        owed = {record["record_id"]: record["owed"] for record in records if record["owed"] != "[]"}
        # Behind the changes, so that who settles what it has read settles nothing that came later.
        lacking = [
            {"record_id": event["record_id"], "event_id": event["event_id"], "owed": owed[event["record_id"]]}
            for event in events
            if event["record_id"] in owed
        ]
        self._execute(connection, self.statements.lack, lacking)

    def _execute(self, connection: Any, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        for some in self._portions(rows):
            self._run(connection, statement, {"rows": some}).close()

    def _portions(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """Yield rows as JSON lists, none longer than a statement may be."""
        portion: list[str] = []
        length = 0
        for row in rows:
            text = json.dumps(row, ensure_ascii=False)
            if len(text.encode()) > _LARGEST:
                message = "a record is too large for Snowflake, which takes 16 MB for one value"
                raise StorageError(self.location, f"connection {self.conn_id!r}: {message}", transient=False)
            if portion and length + len(text) > _AT_ONCE:
                yield f"[{', '.join(portion)}]"
                portion, length = [], 0
            portion.append(text)
            length += len(text)
        if portion:
            yield f"[{', '.join(portion)}]"

    def _query(self, connection: Any, statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        cursor = self._run(connection, statement, values)
        names = [column[0].lower() for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _command(self, connection: Any, statement: str) -> None:
        self._run(connection, statement, {}).close()

    @staticmethod
    def _run(connection: Any, statement: str, values: Mapping[str, Any]) -> Any:
        """Run a statement; values go to the server apart from it, unless a connection of the user's own cannot."""
        cursor = connection.cursor()
        given = {n: v.isoformat() if isinstance(v, datetime) else v for n, v in values.items()}
        if not given:
            cursor.execute(statement)
        elif getattr(connection, "is_pyformat", False):
            cursor.execute(statement, given)
        else:
            names = [place[1] for place in _PLACE.finditer(statement) if place[1]]
            bare = _PLACE.sub(lambda place: "?" if place[1] else "%", statement)
            cursor.execute(bare, [given[name] for name in names])
        return cursor

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Give a connection that commits each statement; what is repeated counts once."""
        self._thread = threading.get_ident()
        try:
            yield self._open()
        except StorageError:
            raise
        except Exception as error:
            self._forget(error)
            raise explained(error, self.location, self.conn_id, self.statements) from error

    def _forget(self, error: Exception) -> None:
        """Let go of a connection that may be broken; what the server merely refuses breaks none."""
        if not is_missing(error):
            self._connection = None

    def _open(self) -> Any:
        if self._connection is None:
            self._connection = self._own_client() or self._connected()
        return self._connection

    def _connected(self) -> Any:
        from airflow.providers.snowflake.hooks.snowflake import SnowflakeHook
        from snowflake.connector import connect

        from airflow_provider_pipetrack.compat import snowflake_parameters

        hook = hook_of(self, SnowflakeHook)(snowflake_conn_id=self.conn_id, log_sql=False)
        parameters = snowflake_parameters(hook)
        others = (parameters.get("session_parameters") or {}).items()  # in capitals or not
        session = {**{name: value for name, value in others if name.upper() not in _SESSION}, **_SESSION}
        own = {"session_parameters": session, "paramstyle": "qmark", "autocommit": True}
        connection = connect(**{**parameters, **LIMITS, **own})
        # The driver would say goodbye when the process ends, and wait for a server that hangs.
        goodbye = getattr(connection, "_close_at_exit", None)
        if goodbye is not None:
            atexit.unregister(goodbye)
        return connection

    def _is_missing_table(self, error: BaseException) -> bool:
        return is_missing(error)
