"""PostgreSQL behind a pooler such as PgBouncer, which passes no options on and gives each transaction any session."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator

import pytest

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.registry import make_adapter
from tests.faulty_proxy import FaultyProxy, faulty_proxy
from tests.postgres_server import DATABASE


def refusal(state: str, text: str, encoding: str = "utf-8") -> bytes:
    """Return a refusal as PostgreSQL's protocol has it."""
    fields = f"SFATAL\0C{state}\0M{text}\0\0".encode(encoding)
    return b"E" + struct.pack(">I", len(fields) + 4) + fields


#: What poolers answer to options.
REFUSALS = {
    "PgBouncer": refusal("08P01", "unsupported startup parameter: options"),
    "RDS Proxy": refusal("0A000", "Feature not supported: RDS Proxy currently doesn’t support command-line options."),
}


@pytest.fixture
def pooler(postgres, monkeypatch) -> Iterator[FaultyProxy]:
    """What stands before the server, and is what the connection ``pooled`` leads to."""
    with faulty_proxy(f"{postgres.folder}/.s.PGSQL.5432") as proxy:
        for name, text in postgres.environment("pooled", host="127.0.0.1", port=proxy.port).items():
            monkeypatch.setenv(name, text)
        yield proxy


@pytest.fixture
def pooled(pooler) -> Iterator[StorageAdapter]:
    """A storage behind the pooler."""
    text = f"postgres@pooled||{DATABASE}||public||pooled_{uuid.uuid4().hex[:8]}"
    adapter = make_adapter(parse_location_string(text), connections={}, adapters={})
    yield adapter
    adapter.close()


def change(number: int):
    return change_from_record({"pipeline_id": "orders", "transfer_unique_id": f"t{number}"})


def setting(adapter: StorageAdapter, name: str) -> str:
    return adapter._ask(f"SELECT current_setting('{name}') AS value")[0]["value"]


def test_limits_are_options_of_the_connection_where_those_are_passed_on(pooled):
    pooled.apply([change(1)])
    assert setting(pooled, "statement_timeout") == "4s"
    assert not pooled._limits_each_transaction


@pytest.mark.parametrize("kind", REFUSALS)
def test_limits_are_set_in_each_transaction_where_options_are_refused(pooled, pooler, postgres, kind):
    pooler.refuses = (b"options\0", REFUSALS[kind])
    pooled.apply([change(1)])
    assert {name: setting(pooled, name) for name in ("statement_timeout", "lock_timeout", "timezone")} == {
        "statement_timeout": "4s",
        "lock_timeout": "4s",
        "timezone": "UTC",
    }
    with pytest.raises(StorageError, match="did not answer within 4 s"):
        pooled._ask("SELECT pg_sleep(6)")
    pooled.apply([change(number) for number in range(300)])
    assert len(pooled.read_tracking_records("orders")) == 300
    # Nothing is left behind for whoever gets the session next.
    with pooled._connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone()[0] == "0"


def test_another_refusal_is_none_of_the_options(pooled, pooler):
    pooler.refuses = (b"options\0", refusal("08P01", "no more connections allowed"))
    with pytest.raises(StorageError, match="cannot be reached: .*no more connections allowed"):
        pooled.apply([change(1)])


def test_a_server_that_is_starting_up_and_says_so_in_another_encoding_is_an_outage(pooled, pooler, monkeypatch):
    pytest.importorskip("psycopg2")  # psycopg 3 reads it, as far as it can
    from airflow.providers.postgres.hooks import postgres as hooks

    monkeypatch.setattr(hooks, "USE_PSYCOPG3", False, raising=False)
    pooler.refuses = (b"options\0", refusal("57P03", "система баз данных запускается", "cp1251"))
    with pytest.raises(StorageError, match="cannot be reached") as raised:
        pooled.apply([change(1)])
    assert raised.value.transient


def test_nothing_is_prepared_that_another_session_would_not_know(pooled):
    for number in range(12):
        pooled.apply([change(number)])
        pooled.read_tracking_records("orders")
    assert pooled._ask("SELECT count(*) AS number FROM pg_prepared_statements")[0]["number"] == 0
