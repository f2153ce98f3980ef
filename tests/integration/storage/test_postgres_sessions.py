"""Servers, databases and roles with settings of their own: encodings, time zones, sessions that end when idle."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pytest

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.registry import make_adapter
from tests.postgres_server import CONN_ID, DATABASE

UTC = timezone.utc


def adapter_at(database: str, conn_id: str = CONN_ID) -> StorageAdapter:
    text = f"postgres@{conn_id}||{database}||public||t{uuid.uuid4().hex[:8]}"
    return make_adapter(parse_location_string(text), connections={}, adapters={})


@pytest.fixture
def in_encoding(postgres) -> Iterator[Callable[[str], StorageAdapter]]:
    """A function that gives a storage in a new database of an encoding."""
    made: list[tuple[str, StorageAdapter]] = []

    def storage(encoding: str) -> StorageAdapter:
        name = f"in_{encoding.lower()}_{uuid.uuid4().hex[:8]}"
        postgres.run(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE_PROVIDER libc "
            "LC_COLLATE 'C' LC_CTYPE 'C'"
        )
        made.append((name, adapter_at(name)))
        return made[-1][1]

    yield storage
    for name, adapter in made:
        adapter.close()
        postgres.run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def of_role(postgres, monkeypatch) -> Iterator[Callable[[str], StorageAdapter]]:
    """A function that gives a storage whose role has a setting."""
    name = f"role_{uuid.uuid4().hex[:8]}"
    adapters: list[StorageAdapter] = []

    def storage(setting: str) -> StorageAdapter:
        postgres.run(f"CREATE ROLE {name} LOGIN SUPERUSER")
        postgres.run(f"ALTER ROLE {name} SET {setting}")
        for variable, text in postgres.environment("of_role", login=name).items():
            monkeypatch.setenv(variable, text)
        adapters.append(adapter_at(DATABASE, "of_role"))
        return adapters[-1]

    yield storage
    for adapter in adapters:
        adapter.close()
    postgres.run(f"REASSIGN OWNED BY {name} TO postgres")
    postgres.run(f"DROP ROLE {name}")


def record(name: str, **columns):
    return change_from_record({"pipeline_id": "orders", "transfer_unique_id": name, **columns})


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "UTF8"])
def test_texts_come_back_as_they_were_whatever_the_database_takes_them_for(in_encoding, encoding):
    adapter = in_encoding(encoding)
    change = record("Größe", error_message="Привет … ✓", extra_columns={"ключ": "日本"})
    adapter.apply([change], owed=["sqlite||/ä||t"])
    (stored,) = adapter.read_tracking_records("orders")
    assert stored["record_id"] == change.record_id
    assert (stored["transfer_unique_id"], stored["error_message"]) == ("Größe", "Привет … ✓")
    assert (stored["extra_columns"], stored["owed"]) == ({"ключ": "日本"}, ["sqlite||/ä||t"])
    assert [event["columns"]["error_message"] for event in adapter.history(change.record_id)] == ["Привет … ✓"]
    assert adapter.read_unique("Größe") == [stored]
    adapter.settle(stored, ["sqlite||/ö||t"])
    assert [one["owed"] for one in adapter.owed_records()] == [["sqlite||/ö||t"]]


def test_a_character_that_a_database_does_not_have_says_so_and_is_no_outage(in_encoding):
    adapter = in_encoding("LATIN1")
    adapter.apply([record("t1", error_message="Größe")])
    with pytest.raises(StorageError, match="another encoding than UTF8.*use one that is encoded in UTF8") as raised:
        adapter.apply([record("t2", error_message="Привет")])
    assert not raised.value.transient
    assert [stored["error_message"] for stored in adapter.read_tracking_records("orders")] == ["Größe"]


def test_the_first_and_the_last_moment_are_read_in_every_zone(of_role):
    ends = [datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
    adapter = of_role("timezone = 'Europe/Berlin'")
    adapter.apply([record("t", transfer_start_timestamp=ends[0], transfer_end_timestamp=ends[1])])
    (stored,) = adapter.read_tracking_records("orders")
    assert [stored["transfer_start_timestamp"], stored["transfer_end_timestamp"]] == ends


def test_a_moment_that_python_does_not_have_is_no_outage(postgres):
    adapter = adapter_at(DATABASE)
    adapter.apply([record("t")])
    postgres.run(f"UPDATE {adapter.statements.name} SET transfer_end_timestamp = 'infinity'")
    try:
        adapter.read_tracking_records("orders")
    except StorageError as error:
        assert "the driver refuses it" in error.message  # psycopg 3; the other takes it for the last moment
        assert not error.transient
    adapter.close()


def test_a_session_that_ended_since_it_was_idle_is_replaced_without_a_failure(of_role):
    adapter = of_role("idle_session_timeout = '300ms'")
    adapter.apply([record("a")])
    for _ in range(2):
        time.sleep(0.8)
        assert len(adapter.read_tracking_records("orders")) == 1
    time.sleep(0.8)
    adapter.apply([record("b")])
    assert len(adapter.read_tracking_records("orders")) == 2


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
def test_two_that_write_at_once_both_do_whatever_isolation_the_role_has(of_role, postgres, level):
    import psycopg

    adapter = of_role(f"default_transaction_isolation = '{level}'")
    adapter.apply([record("t", transfer_status="in_progress")])
    with psycopg.connect(host=postgres.folder, user="postgres", dbname=DATABASE) as other:
        other.execute(f"UPDATE {adapter.statements.name} SET stored_at = now()")
        with ThreadPoolExecutor(1) as pool:
            written = pool.submit(adapter.apply, [record("t", transfer_status="completed")])
            while not postgres.run("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                time.sleep(0.02)
            other.commit()
            written.result()
    assert [stored["transfer_status"] for stored in adapter.read_tracking_records("orders")] == ["completed"]


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_client_of_the_users_own_takes_what_is_written_at_once_whatever_isolation_its_role_has(
    of_role, postgres, driver
):
    of_role("default_transaction_isolation = 'repeatable read'")
    (role,) = (row[0] for row in postgres.run("SELECT rolname FROM pg_roles WHERE rolname LIKE 'role\\_%'"))
    module = pytest.importorskip(driver)
    functions = {
        "connect_to_tracking_storage": lambda _: module.connect(host=postgres.folder, user=role, dbname=DATABASE)
    }
    text = f"postgres||{DATABASE}||public||t{uuid.uuid4().hex[:8]}"
    adapter = make_adapter(parse_location_string(text), connections={}, adapters={}, functions=functions.get)
    adapter.apply([record("t")])
    assert adapter._ask("SELECT current_user AS role, current_setting('transaction_isolation') AS level") == [
        {"role": role, "level": "read committed"}
    ]
    adapter.close()
