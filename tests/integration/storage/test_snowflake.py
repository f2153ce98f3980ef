"""What is special about Snowflake: names, the view over the history, and what a person reads when it refuses."""

from __future__ import annotations

import json
import uuid

import pytest

from airflow_provider_pipetrack import compat
from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.registry import make_adapter
from airflow_provider_pipetrack.testing.events import attempt
from tests.storage_servers import SNOWFLAKE_CONN_ID, free_port, snowflake_connection

CHANGE = change_from_record({"pipeline_id": "orders", "transfer_unique_id": "t1"})
SECRET = "s3cret-Pa55word"


@pytest.fixture
def adapter(place_of):
    made = place_of("snowflake").adapter()
    yield made
    made.close()


def ask(adapter, statement: str) -> list[dict]:
    with adapter._transaction() as connection:
        return adapter._query(connection, statement, {})


def test_a_plain_name_is_found_by_plain_sql(adapter):
    adapter.apply(attempt())
    name = adapter.location.rpartition("||")[2]
    (row,) = ask(adapter, f"SELECT transfer_status, audit_metadata, tracking_location FROM track.public.{name}")
    assert row == {"transfer_status": "failed", "audit_metadata": '{"rows":{"left":7}}', "tracking_location": None}


@pytest.mark.parametrize(
    "table", ['"small_{}"', 'tr"ack"ing {}', 'tracking"; DROP TABLE x; -- {}', "100 % of %s {}", "Größe {}"]
)
def test_any_name_is_only_a_name(snowflake, table):
    name = table.format(uuid.uuid4().hex)
    text = f"snowflake@{SNOWFLAKE_CONN_ID}||{snowflake[0]}||public||{name}"
    adapter = make_adapter(parse_location_string(text), connections={}, adapters={})
    adapter.apply(attempt(), owed=["a"])
    (record,) = adapter.owed_records()
    adapter.settle(record, [])
    assert adapter.owed_records() == []
    assert len(adapter.history(record["record_id"])) == 5
    adapter.close()


def test_a_schema_that_is_missing_is_made(snowflake):
    text = f"snowflake@{SNOWFLAKE_CONN_ID}||{snowflake[0]}||made_{uuid.uuid4().hex[:8]}||tracking"
    adapter = make_adapter(parse_location_string(text), connections={}, adapters={})
    adapter.apply([CHANGE])
    assert len(adapter.read_tracking_records("orders")) == 1
    adapter.close()


def test_a_change_that_is_inserted_twice_counts_once(adapter):
    adapter.apply(attempt())
    (before,) = adapter.read_tracking_records("orders")
    listed = adapter.inventory("", 10)
    adapter.apply(attempt())
    assert adapter.inventory("", 10) == listed, "a full pass compares it"
    (after,) = adapter.read_tracking_records("orders")
    assert before["record_version"] == after["record_version"] == 5
    assert len(adapter.history(before["record_id"])) == 5
    (row,) = ask(adapter, f"SELECT COUNT(*) AS n FROM {adapter.statements.history_name}")
    assert row["n"] == 10


def test_what_is_owed_is_settled_though_a_change_was_inserted_twice(adapter):
    for _ in range(2):
        adapter.apply(attempt(), owed=["a"])
    (owed,) = adapter.owed_records()
    adapter.settle(owed, [])
    assert (adapter.owed_records(), adapter.count_owed()) == ([], 0)


def test_a_change_without_its_start_stands_under_its_pipeline(adapter):
    audited = attempt()[3]
    adapter.apply([audited])
    (record,) = adapter.read_tracking_records("orders")
    assert (record["dag_id"], record["audit_result"], record["transfer_status"]) == ("orders_dag", "matched", None)


def test_the_key_queries_of_operations_run_on_the_view(adapter):
    adapter.apply([*attempt(0), *attempt(1)])
    view = adapter.statements.name
    latest = (
        f"SELECT * FROM {view} p1 WHERE p1.retry_attempt_number = (SELECT MAX(p2.retry_attempt_number) FROM {view} p2 "
        "WHERE p1.pipeline_id = p2.pipeline_id AND p1.transfer_unique_id = p2.transfer_unique_id)"
    )
    assert len(ask(adapter, latest)) == 2


def failure(text: str) -> StorageError:
    adapter = make_adapter(parse_location_string(text), connections={}, adapters={})
    with pytest.raises(StorageError) as raised:
        adapter.apply([CHANGE])
    adapter.close()
    assert SECRET not in str(raised.value)
    return raised.value


def test_a_connection_that_is_not_defined():
    error = failure("snowflake@never_defined||db||public||t")
    assert error.message == (
        "connection 'never_defined': there is no such Airflow connection; define it, or name another under "
        "tracking.connections"
    )
    assert not error.transient


def test_a_table_of_somebody_else(adapter):
    name = adapter.statements.history_name
    ask(adapter, f"CREATE TABLE {name} (record_id VARCHAR, note VARCHAR)")
    error = failure(adapter.location)
    assert f"{adapter.statements.name} has other columns than pipetrack's (" in error.message
    assert not error.transient


def test_a_database_that_does_not_exist(snowflake):
    error = failure(f"snowflake@{SNOWFLAKE_CONN_ID}||no_such_db||public||t")
    assert error.message.startswith(
        f'connection \'{SNOWFLAKE_CONN_ID}\': "NO_SUCH_DB"."PUBLIC" is missing, or its role may not see it ('
    )
    assert "GRANT SELECT, INSERT ON " in error.message
    assert not error.transient


def test_a_server_that_is_not_there(monkeypatch):
    connection = snowflake_connection(free_port(), password=SECRET)
    monkeypatch.setenv("AIRFLOW_CONN_PIPETRACK_GONE", json.dumps(connection))
    error = failure("snowflake@pipetrack_gone||db||public||t")
    assert error.message.startswith("connection 'pipetrack_gone' cannot be reached: ")
    assert error.transient


def test_every_limit_is_set(adapter):
    adapter.check()
    connection = adapter._connection
    assert (connection.login_timeout, connection.network_timeout, connection.socket_timeout) == (5, 15, 10)


def test_moments_are_read_as_they_are_written_whatever_the_account_expects(adapter, monkeypatch):
    from snowflake import connector

    given: dict = {}
    connect, parameters_of = connector.connect, compat.snowflake_parameters

    def parameters_of_others(hook):
        of_connection = parameters_of(hook)
        session = {**of_connection["session_parameters"], "timestamp_input_format": "DD.MM.YYYY"}
        return {**of_connection, "session_parameters": session}

    monkeypatch.setattr(compat, "snowflake_parameters", parameters_of_others)
    monkeypatch.setattr(connector, "connect", lambda **parameters: given.update(parameters) or connect(**parameters))
    adapter.check()
    session = given["session_parameters"]
    assert [(name, value) for name, value in session.items() if "INPUT_FORMAT" in name.upper()] == [
        ("TIMESTAMP_INPUT_FORMAT", "AUTO")
    ]
    assert session["CLIENT_OUT_OF_BAND_TELEMETRY_ENABLED"] is False  # as the connection says


@pytest.mark.parametrize("number", [390111, 390114])
def test_a_session_that_is_over_is_begun_anew(adapter, monkeypatch, number):
    from snowflake.connector.errors import ProgrammingError

    adapter.apply([CHANGE])
    old = adapter._connection

    def refuse():
        raise ProgrammingError("Authentication token has expired.", errno=number)

    monkeypatch.setattr(old, "cursor", refuse)
    assert len(adapter.read_tracking_records("orders")) == 1
    assert adapter._connection is not old
