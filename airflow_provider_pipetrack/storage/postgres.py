"""Tracking records in PostgreSQL, through Airflow's PostgresHook."""

from __future__ import annotations

import json
import operator
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.statements import POSTGRES, quoted, statements_of
from airflow_provider_pipetrack.storage.base import Record
from airflow_provider_pipetrack.storage.clients import hook_of, import_client
from airflow_provider_pipetrack.storage.locations import Location
from airflow_provider_pipetrack.storage.sql import OLDER_TABLE, SqlAdapter

if TYPE_CHECKING:
    from airflow_provider_pipetrack.records.queries import Asked

DEFAULT_CONN_ID = "postgres_default"
#: Limits that the hook alone does not set, in seconds.
CONNECT_TIMEOUT = 3
STATEMENT_TIMEOUT = 4
#: Rows from which on they are copied into a temporary table first, and the seconds that this may take.
COPY_FROM = 200
COPY_TIMEOUT = 50
#: A question about all records may take longer; nobody's task waits for it.
QUESTION_TIMEOUT = 8
_LONGEST_REASON = 500
_SETUP_LOCK = 7_015_284_930
#: What PostgreSQL says of a row whose key is there.
_KNOWN_ALREADY = "23505"
#: Seconds after which the server ends what a client has begun and left, as one does that the network has cut off.
IDLE_TIMEOUT = 5
_LIMITS = {
    "statement_timeout": f"{STATEMENT_TIMEOUT}s",
    "lock_timeout": f"{STATEMENT_TIMEOUT}s",
    "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT}s",
    "tcp_keepalives_idle": "10s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "3",
}
#: Times are read in it: in a zone east of it, the last day of the year 9999 is one that Python does not have.
_ZONE = {"timezone": "UTC"}
_SESSION = " ".join(f"-c {name}={value}" for name, value in {**_LIMITS, **_ZONE}.items())
#: The same for one transaction, where a pooler such as PgBouncer or RDS Proxy refuses to pass options on.
_LIMIT_TRANSACTION = "SELECT " + ", ".join(
    f"set_config('{name}', '{value}', true)" for name, value in {**_LIMITS, **_ZONE}.items() if "keepalives" not in name
)
#: How the driver writes texts, whatever the database's own encoding is: it gives bytes for those of SQL_ASCII.
_ENCODING = "UTF8"
#: Classes of states that come again with the same record or the same statement: data, constraints, names and types,
#: limits of the server, what a trigger of the user's refuses.
_LASTING = ("22", "23", "42", "54", "P0")
_READ_ONLY = "25006"
#: A session of a pooler that has, or lacks, what another client prepared.
_OF_THE_SESSION = ("42P05",)
#: What PgBouncer and those like it, and RDS Proxy, say to options of a connection.
_NO_OPTIONS = ("unsupported startup parameter", "support command-line options")
#: What PostgreSQL says of a character that a database's encoding does not have.
_UNTRANSLATABLE = "22P05"
#: How a session ends that was not used: the server has gone, was stopped, or wants no idle ones.
_ENDED = ("57P01", "57P02", "57P05", "25P03")


class PostgresAdapter(SqlAdapter):
    """Keeps records in a PostgreSQL table.

    :param location: ``postgres||database||schema||table``; the tables are made when they are missing.
    :param conn_id: the Airflow connection; its own database gives way to the location's.
    """

    _query_dialect = "postgres"

    def __init__(self, location: Location, conn_id: str | None = None) -> None:
        self.database, schema, table = location.parts
        super().__init__(location.name, statements_of(POSTGRES, table, schema))
        self.conn_id: str = conn_id or DEFAULT_CONN_ID
        self._connection: Any = None
        self._given_up = False
        self._limits_each_transaction = False

    def load(self) -> None:
        """Import the hook and the driver."""
        super().load()
        import_client(self, "PostgreSQL", "postgres", "airflow.providers.postgres.hooks.postgres")

    def prepare(self) -> None:
        """Make schema and tables; several processes may try at once."""
        with self._transaction() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_SETUP_LOCK,))
            if self._has_tables(cursor):
                return
            self._make_tables(connection)
            for statement in self.statements.create_indexes():
                cursor.execute(statement)

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def abandon(self) -> None:
        """Shut the connection's socket, so that a thread that waits on it goes on at once."""
        self._given_up = True
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with suppress(Exception):
            copy = socket.socket(fileno=os.dup(connection.fileno()))
            try:
                copy.shutdown(socket.SHUT_RDWR)
            finally:
                copy.close()

    def _with_tables(self, work: Any) -> Any:
        """Do ``work``, once more on a fresh connection when the server has dropped the one that was kept."""
        kept = self._connection is not None
        try:
            return super()._with_tables(work)
        except StorageError as error:
            state = _state_of(error.__cause__)
            broken = not state and type(error.__cause__).__name__ in {"OperationalError", "InterfaceError"}
            dropped = broken or state in _ENDED or state.startswith("08")
            if not (kept and dropped and not self._given_up):
                raise
        return super()._with_tables(work)

    def _answer(self, connection: Any, asked: Asked, newer: Sequence[Record]) -> tuple[list[dict[str, Any]], int]:
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {QUESTION_TIMEOUT * 1000}")
        try:
            return super()._answer(connection, asked, newer)
        except Exception as error:
            if _state_of(error) != "57014":
                raise
            # No sign that the database is away: deliveries go on.
            self.close()
            text = f"the question took longer than {QUESTION_TIMEOUT} s; name a pipeline, or a time with since"
            raise StorageError(self.location, text, transient=False) from error

    def _make_tables(self, connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_SETUP_LOCK,))
            # An index on many records takes longer than a task may wait.
            cursor.execute("SET LOCAL statement_timeout = 0")
            make = self.statements.create_tables()
            for statement in make[1:] if self._has_schema(cursor) else make:
                cursor.execute(statement)

    def _has_tables(self, cursor: Any) -> bool:
        # Asking for an index that is there already locks out writers, and stops one of two that wait for each other.
        names = [self.statements.name, self.statements.history_name, self.statements.configs_name]
        cursor.execute(
            "SELECT count(*) = 3 FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NOT NULL", [names]
        )
        return bool(cursor.fetchone()[0])

    def _has_schema(self, cursor: Any) -> bool:
        # Making a schema needs a right that a user of an existing schema often lacks.
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self.statements.schema,))
        return cursor.fetchone() is not None

    def _merge(
        self, connection: Any, records: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
    ) -> None:
        with connection.cursor() as cursor:
            if len(records) + len(events) < COPY_FROM or not _may_copy(cursor):
                with _one_round_trip(connection):
                    super()._merge(connection, records, events)
                return
            cursor.execute(f"SET LOCAL statement_timeout = {COPY_TIMEOUT * 1000}")
            made = self.statements
            # What waited is seldom there already: only a lost answer, or two passes at once, make it come again.
            if not _copy_new(cursor, made.history_name, made.history_columns, events):
                _copy(cursor, made.history_name, made.history_columns, events, made.remember_from)
            _copy(cursor, made.name, made.columns, records, made.upsert_from)

    def _command(self, connection: Any, statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    def _execute(self, connection: Any, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        with connection.cursor() as cursor:
            cursor.executemany(statement, rows)

    def _query(self, connection: Any, statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        try:
            connection = self._open()
            if self._limits_each_transaction:
                self._command(connection, _LIMIT_TRANSACTION)
            yield connection
            connection.commit()
        except StorageError:
            raise
        except Exception as error:
            connected = self._connection is not None
            self.close()
            raise self._explained(error, connected=connected) from error

    def _open(self) -> Any:
        if self._connection is None:
            self._connection = self._made_by_user() or self._connected()
        return self._connection

    def _made_by_user(self) -> Any:
        connection = self._own_client()
        if connection is not None:
            with suppress(Exception):  # another driver, or a transaction that he has begun
                connection.isolation_level = _read_committed(connection)
        return connection

    def _connected(self) -> Any:
        try:
            connection = self._hook(_SESSION).get_conn()
        except Exception as error:
            if not any(refusal in str(error) for refusal in _NO_OPTIONS):
                raise
            self._limits_each_transaction = True
            connection = self._hook("").get_conn()
        if hasattr(connection, "prepare_threshold"):
            # A pooler may give each transaction another session, which knows nothing that the last one has prepared.
            connection.prepare_threshold = None
        # Whatever the role's default is: above it, one of two that write at once is refused, as if the server did not
        # answer. It goes with each transaction, through poolers too.
        connection.isolation_level = _read_committed(connection)
        return connection

    def _hook(self, session: str) -> Any:
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        connection = hook_of(self, PostgresHook).get_connection(self.conn_id)
        extra = {"connect_timeout": CONNECT_TIMEOUT, "application_name": "pipetrack", **connection.extra_dejson}
        extra.pop("cursor", None)  # how others want their rows
        extra["client_encoding"] = _ENCODING
        extra["options"] = f"{extra.get('options', '')} {session}".strip()
        if not extra["options"]:
            del extra["options"]
        limited = type(connection)(
            conn_id=connection.conn_id,
            conn_type=connection.conn_type,
            host=connection.host,
            login=connection.login,
            password=connection.password,
            port=connection.port,
            schema=self.database,
            extra=json.dumps(extra),
        )
        return PostgresHook(postgres_conn_id=self.conn_id, connection=limited, database=self.database, log_sql=False)

    def _is_missing_table(self, error: BaseException) -> bool:
        return _state_of(error) in {"42P01", "3F000"}

    def _explained(self, error: BaseException, *, connected: bool) -> StorageError:
        """Say what happened and what to do, without repeating the connection's secrets.

        :param connected: whether the server had been reached before.
        """
        state = _state_of(error)
        # Its details would repeat the values of the whole row.
        said = getattr(getattr(error, "diag", None), "message_primary", None) or error
        text = " ".join(str(said).split())[:_LONGEST_REASON] or type(error).__name__
        name = f"connection {self.conn_id!r}"
        table = f"{self.statements.schema}.{self.statements.table}"
        for applies, message in self._lasting_reasons(state, text, table):
            if applies:
                return StorageError(self.location, f"{name}: {message}", transient=False)
        if not state and _is_of_the_driver(error, connected=connected):
            return StorageError(self.location, f"{name}: the driver refuses it: {text}", transient=False)
        if state == "57014":
            return StorageError(self.location, f"{name} did not answer within {STATEMENT_TIMEOUT} s")
        if not state or state.startswith(("08", "57")):
            return StorageError(self.location, f"{name} cannot be reached: {text}")
        return StorageError(self.location, f"{name}: {text}")

    def _lasting_reasons(self, state: str, text: str, table: str) -> Iterator[tuple[bool, str]]:
        """Yield what stays wrong until a person changes something: whether it is this, and what to do."""
        yield (
            "isn't defined" in text,
            "there is no such Airflow connection; define it, or name another under tracking.connections",
        )
        yield state == "28P01" or "password authentication failed" in text, "wrong user or password"
        missing = "database" in text and "does not exist" in text
        yield state == "3D000" or missing, f"there is no database {self.database!r}"
        yield (
            state == "42501",
            (
                f"its user may not write {table}: GRANT SELECT, INSERT, UPDATE ON {table}, and SELECT, INSERT ON "
                f"{table}_history, {table}_configs TO it, and USAGE, CREATE ON SCHEMA {self.statements.schema} if the "
                "tables are to be made"
            ),
        )
        yield state == "42703", f"{table} has other columns than pipetrack's ({text}); {OLDER_TABLE}"
        yield (
            state == _UNTRANSLATABLE,
            (
                f"{table} is in a database of another encoding than UTF8, which does not have every character "
                f"({text}); use one that is encoded in UTF8"
            ),
        )
        yield state == _READ_ONLY, f"may only read here ({text}); connect to the server that takes writes"
        yield state[:2] in _LASTING and state not in _OF_THE_SESSION, f"{table} does not take it: {text}"


def _state_of(error: BaseException | None) -> str:
    """Return the state that PostgreSQL gave an error, or an empty text; psycopg2 has it under another name."""
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""


def _read_committed(connection: Any) -> Any:
    """Return the isolation level as the driver of a connection calls it."""
    if hasattr(connection, "pipeline"):
        from psycopg import IsolationLevel

        return IsolationLevel.READ_COMMITTED
    from psycopg2.extensions import ISOLATION_LEVEL_READ_COMMITTED  # type: ignore[import-untyped]

    return ISOLATION_LEVEL_READ_COMMITTED


def _is_of_the_driver(error: BaseException, *, connected: bool) -> bool:
    """Return whether an error without a state is about a value, a setting or a statement, and not about the server.

    :param connected: False where there is no value or statement yet. A ValueError may then be all that psycopg2 makes
        of a server that is starting up and says so in another encoding than UTF-8, or that a secrets backend is ill.
    """
    named = type(error).__name__ in {"DataError", "ProgrammingError", "NotSupportedError"}
    return named or (connected and isinstance(error, (ValueError, TypeError)))


def _copy(
    cursor: Any,
    table: str,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    merge_from: Callable[[str], str],
) -> None:
    """Copy rows into a temporary table of the same form, and merge that into ``table``."""
    cursor.execute("DROP TABLE IF EXISTS pipetrack_arrived")
    shape = f"SELECT {_listed(columns)} FROM {table} WITH NO DATA"  # noqa: S608  identifiers are quoted
    cursor.execute(f"CREATE TEMPORARY TABLE pipetrack_arrived ON COMMIT DROP AS {shape}")
    _copy_into(cursor, "pipetrack_arrived", columns, rows)
    cursor.execute(merge_from("pipetrack_arrived"))


def _copy_new(cursor: Any, table: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Copy rows straight into ``table``; return whether all of them were new, else nothing was done."""
    cursor.execute("SAVEPOINT copied")
    try:
        _copy_into(cursor, table, columns, rows)
    except Exception as error:
        if _state_of(error) != _KNOWN_ALREADY:
            raise
        cursor.execute("ROLLBACK TO SAVEPOINT copied")
        return False
    return True


def _copy_into(cursor: Any, table: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    values = operator.itemgetter(*columns)
    with cursor.copy(f"COPY {table} ({_listed(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(values(row))


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(map(quoted, columns))


def _one_round_trip(connection: Any) -> AbstractContextManager[Any]:
    """Let what follows be sent at once and answered at once, where the driver and its library can."""
    if not hasattr(connection, "pipeline"):  # psycopg2
        return nullcontext()
    from psycopg import Pipeline

    return connection.pipeline() if Pipeline.is_supported() else nullcontext()


def _may_copy(cursor: Any) -> bool:
    """Return whether the driver can copy and the user may make temporary tables."""
    if not hasattr(cursor, "copy"):
        return False
    cursor.execute("SELECT has_database_privilege(current_database(), 'TEMPORARY')")
    return bool(cursor.fetchone()[0])
