"""The SQL of the tracking tables, as text and as SQLite runs it."""

from __future__ import annotations

import sqlite3

import pytest

from airflow_provider_pipetrack.records.columns import COLUMNS, KEY_COLUMN
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.records.merge import record_of
from airflow_provider_pipetrack.records.rows import event_from_row, history_row, record_from_row, record_row
from airflow_provider_pipetrack.records.statements import POSTGRES, SQLITE, Statements, quoted

CHANGE = change_from_record({"pipeline_id": "orders", "transfer_unique_id": "t1", "cost": 3})


@pytest.mark.parametrize(("name", "written"), [("a", '"a"'), ('a"b', '"a""b"'), ('";--', '""";--"'), ("", '""')])
def test_a_name_cannot_leave_its_quotes(name, written):
    assert quoted(name) == written


def test_the_history_stands_beside_its_table():
    statements = Statements(POSTGRES, "t", "s")
    assert (statements.name, statements.history_name) == ('"s"."t"', '"s"."t_history"')
    assert Statements(SQLITE, "t").name == '"t"'


def test_a_percent_sign_in_a_name_is_no_placeholder_where_values_are_bound():
    statements = Statements(POSTGRES, "100%s", "a%b")
    for text in (statements.upsert, statements.remember, statements.owed, statements.settle, statements.events):
        assert '"a%%b"."100%%s' in text
    assert '"a%%b"."100%%s"' in statements.select("record_id")
    assert all("%%" not in text for text in statements.create()), "nothing is bound there"
    assert '"100%s"' in Statements(SQLITE, "100%s").upsert


def test_a_postgres_schema_is_made_first_and_sqlite_has_none():
    assert Statements(POSTGRES, "t", "s").create()[0] == 'CREATE SCHEMA IF NOT EXISTS "s"'
    assert all("SCHEMA" not in text for text in Statements(SQLITE, "t").create())


def test_every_column_is_defined_and_the_keys_compare_byte_by_byte():
    (table,) = [
        text
        for text in Statements(POSTGRES, "t", "s").create()
        if text.startswith('CREATE TABLE IF NOT EXISTS "s"."t" ')
    ]
    for column in COLUMNS:
        assert f"\n  {column.name} " in table
    for key in KEY_COLUMN.values():
        assert f"\n  {key} text COLLATE \"C\" NOT NULL DEFAULT ''" in table
    assert "record_id text NOT NULL PRIMARY KEY" in table


@pytest.fixture
def database():
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    for statement in Statements(SQLITE, "t").create():
        connection.execute(statement)
    yield connection
    connection.close()


def test_a_row_and_its_history_come_back_as_they_were_bound(database):
    statements = Statements(SQLITE, "t")
    database.execute(statements.remember, history_row(CHANGE, native_times=False))
    database.execute(statements.upsert, record_row(record_of(CHANGE), ["b", "a"], native_times=False))
    (row,) = database.execute(statements.select("pipeline_id"), {"pipeline_id": "orders"})
    record = record_from_row(dict(row))
    wanted = record_of(CHANGE)
    assert {name: record[name] for name in wanted if name not in {"owed", "stored_at"}} == {
        name: value for name, value in wanted.items() if name not in {"owed", "stored_at"}
    }
    assert record["owed"] == ["a", "b"]
    (row,) = database.execute(statements.events, {"record_id": CHANGE.record_id})
    event = event_from_row(dict(row))
    assert (event["event_id"], event["changed_by"], event["changed_at"]) == (CHANGE.event_id, "user", CHANGE.at)
    assert (event["columns"], event["keys"]) == (CHANGE.to_json()["columns"], CHANGE.to_json()["keys"])


def test_the_longer_list_of_debts_stays(database):
    statements = Statements(SQLITE, "t")
    owed = []
    for number, names in enumerate((["a"], ["a", "b"], ["a"], [])):
        change = change_from_record(
            {"pipeline_id": "orders", "transfer_unique_id": "t1", "transfer_status": "failed", "n": number}
        )
        database.execute(statements.upsert, record_row(record_of(change), names, native_times=False))
        (row,) = database.execute(statements.owed, {"after": "", "limit": 10})
        owed.append(record_from_row(dict(row))["owed"])
    assert owed[:2] == [["a"], ["a", "b"]]
    assert owed[2:] == [["a", "b"]] * 2


def test_creating_twice_changes_nothing(database):
    for statement in Statements(SQLITE, "t").create():
        database.execute(statement)
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    assert sorted(tables) == ["t", "t_configs", "t_history"]
