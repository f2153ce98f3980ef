"""Every storage that comes with the package, and two that a user wrote, each real and empty."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.registry import make_adapter
from tests.postgres_server import CONN_ID, DATABASE, postgres  # noqa: F401  a fixture
from tests.storage_servers import (  # noqa: F401  fixtures
    MONGO_CONN_ID,
    S3_CONN_ID,
    SNOWFLAKE_CONN_ID,
    mongo,
    s3,
    snowflake,
)

USERS = {
    "custom_storage": "tests.integration.storage.users_adapter.JsonFileAdapter",
    "plain_storage": "tests.integration.storage.users_adapter.SharedDictAdapter",
}
#: The package's own.
BUILT_IN = ("sqlite", "postgres", "local_file", "mongodb", "aws_s3", "snowflake")
KINDS = (*BUILT_IN, "custom_storage", "plain_storage")


@dataclass(frozen=True)
class Place:
    """An empty place to keep records.

    :param kind: its type.
    :param text: its location string.
    """

    kind: str
    text: str

    def adapter(self) -> StorageAdapter:
        """Return a new adapter for it."""
        return make_adapter(parse_location_string(self.text, USERS), connections={}, adapters=USERS)


@pytest.fixture(scope="session")
def has_psycopg3() -> bool:
    """Whether Airflow's hook uses psycopg 3, as beside SQLAlchemy 2."""
    from airflow.providers.postgres.hooks import postgres as hooks

    return bool(getattr(hooks, "USE_PSYCOPG3", False))


@pytest.fixture
def psycopg3(has_psycopg3) -> None:
    """What only psycopg 3 can."""
    if not has_psycopg3:
        pytest.skip("Airflow's hook uses psycopg2 here")


@pytest.fixture
def place_of(tmp_path, request) -> Callable[..., Place]:
    """A function that gives a new place of a type; ``table`` names its table or file."""

    def place(kind: str, table: str | None = None) -> Place:
        name = table or f"tracking_{uuid.uuid4().hex}"
        if kind == "postgres":
            request.getfixturevalue("postgres")
            return Place(kind, f"postgres@{CONN_ID}||{DATABASE}||public||{name}")
        if kind == "mongodb":
            request.getfixturevalue("mongo")
            return Place(kind, f"mongodb@{MONGO_CONN_ID}||pipetrack_tests||{name}")
        if kind == "aws_s3":
            return Place(kind, f"aws_s3@{S3_CONN_ID}||s3://{request.getfixturevalue('s3')}/{name}/")
        if kind == "snowflake":
            database, _ = request.getfixturevalue("snowflake")
            return Place(kind, f"snowflake@{SNOWFLAKE_CONN_ID}||{database}||public||{name}")
        if kind == "sqlite":
            return Place(kind, f"sqlite||{tmp_path}/{uuid.uuid4().hex}.db||{name}")
        return Place(kind, f"{kind}||{tmp_path}/{name}.json")

    return place


@pytest.fixture
def black_hole() -> Iterator[int]:
    """The port of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]
