"""What a person reads when PostgreSQL refuses: what happened, what to do, and never a password."""

from __future__ import annotations

import uuid

import pytest

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.configs import ConfigVersion
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.registry import make_adapter
from tests.postgres_server import DATABASE, GUARDED_PASSWORD, GUARDED_ROLE

CHANGE = change_from_record({"pipeline_id": "orders", "transfer_unique_id": "t1"})
SECRET = "wrong-s3cret-Pa55"


@pytest.fixture
def failure(postgres, monkeypatch):
    """What a storage says when a record is written through a connection with given fields."""

    def of(database=DATABASE, schema="public", table="", **fields) -> StorageError:
        for name, text in postgres.environment("pipetrack_other", **fields).items():
            monkeypatch.setenv(name, text)
        text = f"postgres@pipetrack_other||{database}||{schema}||{table or 't' + uuid.uuid4().hex}"
        adapter = make_adapter(parse_location_string(text), connections={}, adapters={})
        try:
            with pytest.raises(StorageError) as raised:
                adapter.apply([CHANGE])
        finally:
            adapter.close()
        assert SECRET not in str(raised.value)
        assert GUARDED_PASSWORD not in str(raised.value)
        assert raised.value.location == text
        return raised.value

    return of


def test_a_right_password_is_all_the_guarded_role_needs(postgres, monkeypatch):
    for name, text in postgres.environment("pipetrack_other", login=GUARDED_ROLE, password=GUARDED_PASSWORD).items():
        monkeypatch.setenv(name, text)
    text = f"postgres@pipetrack_other||{DATABASE}||public||never_made"
    adapter = make_adapter(parse_location_string(text), connections={}, adapters={})
    with pytest.raises(StorageError, match="may not write"):
        adapter.check()
    adapter.close()


def test_a_wrong_password(failure):
    error = failure(login=GUARDED_ROLE, password=SECRET)
    assert error.message == "connection 'pipetrack_other': wrong user or password"
    assert not error.transient


def test_a_role_that_does_not_exist(failure):
    error = failure(login="nobody_here")
    assert "nobody_here" in error.message
    assert "does not exist" in error.message


def test_a_database_that_does_not_exist(failure):
    error = failure(database="no_such_db", password=SECRET)
    assert error.message == "connection 'pipetrack_other': there is no database 'no_such_db'"
    assert not error.transient


def test_a_role_that_may_make_no_tables(failure, postgres):
    postgres.role("pipetrack_powerless")
    error = failure(login="pipetrack_powerless", table="wanted")
    assert error.message == (
        "connection 'pipetrack_other': its user may not write public.wanted: GRANT SELECT, INSERT, UPDATE ON "
        "public.wanted, and SELECT, INSERT ON public.wanted_history, public.wanted_configs TO it, and USAGE, CREATE ON "
        "SCHEMA public if the tables are to be made"
    )
    assert not error.transient


def test_a_role_that_may_only_read_the_tables(failure, postgres, place_of):
    postgres.role("pipetrack_reader")
    place = place_of("postgres", "read_only_" + uuid.uuid4().hex[:8])
    table = place.text.rpartition("||")[2]
    owner = place.adapter()
    owner.apply([CHANGE])
    owner.close()
    postgres.run(f"GRANT SELECT ON {table}, {table}_history TO pipetrack_reader")
    error = failure(login="pipetrack_reader", table=table)
    assert f"its user may not write public.{table}: GRANT SELECT, INSERT, UPDATE" in error.message
    postgres.run(f"GRANT SELECT, INSERT, UPDATE ON {table} TO pipetrack_reader")
    postgres.run(f"GRANT SELECT, INSERT ON {table}_history, {table}_configs TO pipetrack_reader")
    allowed = make_adapter(
        parse_location_string(f"postgres@pipetrack_other||{DATABASE}||public||{table}"), connections={}, adapters={}
    )
    allowed.apply([CHANGE])
    assert len(allowed.read_tracking_records("orders")) == 1
    version = ConfigVersion("hash", "orders", "orders", "1", [], {}, CHANGE.at)
    allowed.keep_config(version)
    assert [kept.config_hash for kept in allowed.config_versions("orders")] == ["hash"]
    allowed.close()


def test_a_schema_that_the_role_may_not_make(failure, postgres):
    postgres.role("pipetrack_powerless")
    error = failure(login="pipetrack_powerless", schema="nowhere")
    assert "USAGE, CREATE ON SCHEMA nowhere" in error.message
    assert not error.transient


def test_a_schema_that_is_missing_is_made(postgres, place_of):
    name = "made_" + uuid.uuid4().hex[:8]
    adapter = make_adapter(
        parse_location_string(place_of("postgres").text.replace("||public||", f"||{name}||")),
        connections={},
        adapters={},
    )
    adapter.apply([CHANGE])
    assert len(adapter.read_tracking_records("orders")) == 1
    adapter.close()


def test_a_table_of_somebody_else(failure, postgres):
    postgres.run("CREATE TABLE IF NOT EXISTS somebodys (record_id text PRIMARY KEY)")
    error = failure(table="somebodys")
    assert "public.somebodys has other columns than pipetrack's" in error.message
    assert error.message.endswith("; if an older version of pipetrack made it, `pipetrack init` brings it up to date")
    assert not error.transient


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("ADD CHECK (pipeline_id <> 'orders')", 'violates check constraint "{table}_pipeline_id_check"'),
        ("ALTER COLUMN pipeline_id TYPE varchar(3)", "value too long for type character varying(3)"),
        ("ADD COLUMN cost_center text NOT NULL", 'null value in column "cost_center" of relation "{table}" violates'),
        ("DROP CONSTRAINT {table}_pkey", "there is no unique or exclusion constraint matching the ON CONFLICT"),
    ],
)
def test_a_table_that_does_not_take_the_record_stays_reachable(failure, postgres, place_of, statement, reason):
    place = place_of("postgres", "guarded_" + uuid.uuid4().hex[:8])
    table = place.text.rpartition("||")[2]
    owner = place.adapter()
    owner.prepare()
    owner.close()
    postgres.run(f"ALTER TABLE {table} {statement.format(table=table)}")
    error = failure(table=table)
    assert error.message.startswith(f"connection 'pipetrack_other': public.{table} does not take it: ")
    assert reason.format(table=table) in error.message
    # Neither a whole row in the log, nor everybody on this host kept from a database that works.
    assert "Failing row" not in error.message
    assert not error.transient


def test_a_server_that_may_only_be_read(failure, postgres):
    postgres.role("pipetrack_standby")
    postgres.run("ALTER ROLE pipetrack_standby SET default_transaction_read_only = on")
    error = failure(login="pipetrack_standby", table="wanted")
    assert error.message == (
        "connection 'pipetrack_other': may only read here (cannot execute CREATE TABLE in a read-only transaction); "
        "connect to the server that takes writes"
    )
    assert not error.transient


def test_a_connection_that_is_not_defined():
    location = parse_location_string("postgres@never_defined||db||public||t")
    adapter = make_adapter(location, connections={}, adapters={})
    adapter.load()
    with pytest.raises(StorageError) as raised:
        adapter.check()
    assert raised.value.message == (
        "connection 'never_defined': there is no such Airflow connection; define it, or name another under "
        "tracking.connections"
    )
    assert not raised.value.transient


def test_a_server_that_is_not_there(failure):
    error = failure(host="127.0.0.1", port=1, password=SECRET)
    assert error.message.startswith("connection 'pipetrack_other' cannot be reached: ")
    assert "Connection refused" in error.message
    assert error.transient


def test_a_lock_held_by_somebody_else_ends_in_time_and_says_so(postgres, place_of, monkeypatch):
    import psycopg

    from airflow_provider_pipetrack.storage import postgres as module

    place = place_of("postgres")
    adapter = place.adapter()
    adapter.apply([CHANGE])
    adapter.close()
    monkeypatch.setattr(module, "_SESSION", "-c statement_timeout=200 -c lock_timeout=5000")
    table = place.text.rpartition("||")[2]
    with psycopg.connect(host=postgres.folder, user="postgres", dbname=DATABASE) as other:
        other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StorageError, match="did not answer within 4 s") as raised:
            adapter.read_tracking_records("orders")
    assert raised.value.transient
    assert len(adapter.read_tracking_records("orders")) == 1
    adapter.close()


def test_the_connection_may_come_from_the_type_instead_of_the_location(postgres):
    from tests.postgres_server import CONN_ID

    location = parse_location_string(f"postgres||{DATABASE}||public||t{uuid.uuid4().hex}")
    adapter = make_adapter(location, connections={"postgres": CONN_ID}, adapters={})
    adapter.apply([CHANGE])
    assert len(adapter.read_tracking_records("orders")) == 1
    adapter.close()
    with pytest.raises(StorageError, match="connection 'postgres_default'"):
        make_adapter(location, connections={}, adapters={}).check()


def test_a_connection_that_the_server_has_dropped_is_replaced_without_a_failure(postgres, place_of):
    adapter = place_of("postgres").adapter()
    adapter.write_tracking_record({"pipeline_id": "p", "transfer_unique_id": "a"})
    postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pipetrack'")
    adapter.write_tracking_record({"pipeline_id": "p", "transfer_unique_id": "b"})
    assert {record["transfer_unique_id"] for record in adapter.read_tracking_records("p")} == {"a", "b"}
    adapter.close()
