"""Tracking records in an SQLite file: for one host, with nothing to set up."""

from __future__ import annotations

import fcntl
import functools
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.statements import SQLITE, statements_of
from airflow_provider_pipetrack.storage.clients import hook_of
from airflow_provider_pipetrack.storage.files import file_is_here
from airflow_provider_pipetrack.storage.locations import DEFAULT_TABLE, Location
from airflow_provider_pipetrack.storage.sql import OLDER_TABLE, SqlAdapter

if TYPE_CHECKING:
    from airflow_provider_pipetrack.records.queries import Asked
    from airflow_provider_pipetrack.storage.base import Record


@functools.cache
def _set_up() -> None:
    sqlite3.connect(":memory:").close()


class SqliteAdapter(SqlAdapter):
    """Keeps records in a table of an SQLite file, in WAL mode, every commit on disk before it counts.

    :param location: ``sqlite||/path||table``; the file and its folder are made when they are missing.
    :param conn_id: an Airflow connection of type ``sqlite`` whose path is used instead of the location's.
    """

    host_local = True
    _native_times = False
    _query_dialect = "sqlite"

    def __init__(self, location: Location, conn_id: str | None = None) -> None:
        table = location.parts[1] if len(location.parts) > 1 else DEFAULT_TABLE
        super().__init__(location.name, statements_of(SQLITE, table))
        self.path = Path(location.parts[0])
        self.conn_id = conn_id
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[Path, tuple[int, int] | None] = (self.path, None)
        self._flush = True

    def load(self) -> None:
        """Let SQLite set itself up; once in a process, or before it is forked."""
        super().load()
        _set_up()

    def apply(self, changes: Sequence[Change], *, owed: Sequence[str] = ()) -> None:
        """Merge changes in one transaction; it is flushed to the disk unless all of them only announce or begin."""
        self._flush = any(change.must_survive_power_loss for change in changes)
        try:
            super().apply(changes, owed=owed)
        finally:
            self._flush = True

    def prepare(self) -> None:
        """Make the file and its tables; only one process at a time switches a new file to WAL mode."""
        path = self._file()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(f"{path}.lock", "a") as lock:  # noqa: PTH123  a suffix, not another suffix
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._create(path)
        except (OSError, sqlite3.Error) as error:
            raise self._explained(error) from error

    def tidy(self) -> None:
        """Let SQLite look at how its table has grown; for want of that it reads every record for some questions."""
        with self._transaction() as connection:
            if self._columns(connection, self.statements.table):
                # Some milliseconds, whatever the size of the table; where it may not be written, all goes on without.
                with suppress(sqlite3.OperationalError):
                    connection.execute("PRAGMA analysis_limit = 1000")
                    connection.execute(f"ANALYZE {self.statements.name}")

    def is_here(self) -> bool:
        """Return whether the file is on this host."""
        return file_is_here(self._file())

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def abandon(self) -> None:
        """Break off a running statement."""
        if self._connection is not None:
            self._connection.interrupt()

    def _create(self, path: Path) -> None:
        connection = sqlite3.connect(path, timeout=self.time_limit)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            with connection:
                for statement in self.statements.create():
                    connection.execute(statement)
        finally:
            connection.close()

    def _answer(self, connection: Any, asked: Asked, newer: Sequence[Record]) -> tuple[list[dict[str, Any]], int]:
        if not asked.is_ascii:
            from airflow_provider_pipetrack.records.queries import know_all_letters

            know_all_letters(connection)
        return super()._answer(connection, asked, newer)

    def _execute(self, connection: Any, statement: str, rows: Sequence[Mapping[str, Any]]) -> None:
        connection.executemany(statement, rows)

    def _command(self, connection: Any, statement: str) -> None:
        connection.execute(statement)

    def _query(self, connection: Any, statement: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        cursor = connection.execute(statement, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._open()
            with connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise self._explained(error) from error

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and not self._is_opened():
            self.close()  # what is written into a file that was removed is lost
        if self._connection is None:
            path = self._file()
            if not path.exists() or path.stat().st_size == 0:
                self.prepare()
            # Statements come from the delivery thread and from reads on the main thread, one at a time.
            self._connection = sqlite3.connect(path, timeout=self.time_limit, check_same_thread=False)
            self._opened = path, _identity(path)
        self._connection.execute(f"PRAGMA synchronous={'FULL' if self._flush else 'NORMAL'}")
        return self._connection

    def _is_opened(self) -> bool:
        path, identity = self._opened
        return _identity(path) == identity

    def _file(self) -> Path:
        if self.conn_id is None:
            return self.path
        from airflow.providers.sqlite.hooks.sqlite import SqliteHook

        return Path(hook_of(self, SqliteHook).get_connection(self.conn_id).host or self.path)

    def _is_missing_table(self, error: BaseException) -> bool:
        return isinstance(error, sqlite3.OperationalError) and "no such table" in str(error)

    def _explained(self, error: BaseException) -> StorageError:
        text = str(error)
        for applies, message in self._lasting_reasons(error, text):
            if applies:
                return StorageError(self.location, message, transient=False)
        if "disk is full" in text or "No space left" in text:
            return StorageError(self.location, f"the disk is full ({text}); free some space")
        return StorageError(self.location, f"SQLite says: {text}")

    def _lasting_reasons(self, error: BaseException, text: str) -> Iterator[tuple[bool, str]]:
        """Yield what stays wrong until a person changes something: whether it is this, and what to do."""
        folder = self.path.parent
        in_the_way = isinstance(error, (NotADirectoryError, FileExistsError)) or folder.is_file()
        yield in_the_way, f"the folder {folder} cannot be a folder ({text})"
        reason = "cannot be opened" if os.access(folder, os.W_OK) else f"the folder {folder} is missing or not writable"
        shut = "unable to open" in text or isinstance(error, PermissionError)
        yield shut, f"{reason} ({text}); let Airflow's user write there"
        yield "readonly" in text or "read-only" in text.lower(), f"the file is read-only ({text})"
        damaged = "not a database" in text or "malformed" in text
        yield damaged, f"the file is damaged or no SQLite file ({text})"
        other = "no column named" in text or "has no column" in text or "no such column" in text
        yield other, f"the table has other columns than pipetrack's ({text}); {OLDER_TABLE}"
        refused = isinstance(error, (sqlite3.IntegrityError, sqlite3.DataError))
        yield refused, f"the table {self.statements.table} does not take it: {text}"


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of its name; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
