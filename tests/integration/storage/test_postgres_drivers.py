"""PostgreSQL through psycopg2, which Airflow's hook uses beside SQLAlchemy 1.4 and where psycopg 3 is not installed."""

from __future__ import annotations

import uuid

import pytest
from click.testing import CliRunner

from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.queries import Asked
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.registry import make_adapter
from airflow_provider_pipetrack.testing import StorageContract
from airflow_provider_pipetrack.testing.events import attempt, facts
from tests.postgres_server import CONN_ID, DATABASE


@pytest.fixture
def place(postgres, monkeypatch) -> str:
    """An empty place, which the hook reaches through psycopg2."""
    pytest.importorskip("psycopg2")
    from airflow.providers.postgres.hooks import postgres as hooks

    monkeypatch.setattr(hooks, "USE_PSYCOPG3", False, raising=False)
    return f"postgres@{CONN_ID}||{DATABASE}||public||psycopg2_{uuid.uuid4().hex[:8]}"


def adapter_of(text: str):
    return make_adapter(parse_location_string(text), connections={}, adapters={})


class TestPsycopg2(StorageContract):
    @pytest.fixture
    def open_storage(self, place):
        return lambda: adapter_of(place)


def test_tables_are_made_through_psycopg2_and_upgraded_by_init(place, postgres):
    adapter = adapter_of(place)
    adapter.apply(attempt())
    assert type(adapter._connection).__module__.startswith("psycopg2")
    assert adapter._ask("SELECT current_setting('transaction_isolation') AS level") == [{"level": "read committed"}]
    adapter.close()
    table = place.rpartition("||")[2]
    postgres.run(f"ALTER TABLE {table} DROP COLUMN decision")
    shown = CliRunner().invoke(main, ["init", place])
    assert shown.output == f"{place}: ready; added column decision of {table}\n"


def test_a_question_that_takes_too_long_is_no_sign_that_the_database_is_away(place, monkeypatch):
    adapter = adapter_of(place)
    adapter.apply(attempt())
    monkeypatch.setattr("airflow_provider_pipetrack.storage.postgres.QUESTION_TIMEOUT", 1)
    monkeypatch.setattr(Asked, "statements", lambda *_, **__: ("SELECT pg_sleep(4)", ""))
    with pytest.raises(StorageError, match="the question took longer") as raised:
        adapter.answer(Asked("attempts", {}))
    assert not raised.value.transient
    adapter.close()


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_kind_of_cursor_that_the_connection_names_for_others_does_not_count(
    postgres, monkeypatch, driver, place, has_psycopg3
):
    if driver == "psycopg":
        if not has_psycopg3:
            pytest.skip("Airflow's hook uses psycopg2 here")
        from airflow.providers.postgres.hooks import postgres as hooks

        monkeypatch.setattr(hooks, "USE_PSYCOPG3", True, raising=False)
    for name, text in postgres.environment("pipetrack_other", extra={"cursor": "dictcursor"}).items():
        monkeypatch.setenv(name, text)
    adapter = adapter_of(place.replace(CONN_ID, "pipetrack_other"))
    adapter.apply(attempt())
    (record,) = adapter.read_tracking_records("orders")
    assert facts(record)["pipeline_id"] == "orders"
    adapter.close()
