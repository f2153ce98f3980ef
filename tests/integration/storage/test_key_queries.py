"""Plain SQL that people keep for such a table, on tables made by ``pipetrack init``: it runs as it is, and is right.

The statements are this test's own, of the same shape as those that the design of the table was made for.
"""

from __future__ import annotations

import re
import sqlite3
from datetime import datetime, timezone

import pytest
from click.testing import CliRunner

from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.records.folding import FoldingStatements
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.registry import make_adapter
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.integration.storage.worlds import world
from tests.postgres_server import CONN_ID, DATABASE
from tests.storage_servers import SNOWFLAKE_CONN_ID

NOW_RUNNING = """
SELECT stage_i_details, stage_i_plus_1_details, transfer_status, actual_duration, retry_attempt_number,
  transfer_process_owner_name
FROM pipeline_tracking WHERE pipeline_id = 'orders' ORDER BY transfer_order_number
"""
PROBLEMATIC = """
SELECT stage_i_details, stage_i_plus_1_details, COUNT(*) AS total_attempts, AVG(retry_attempt_number) AS avg_retries
FROM pipeline_tracking GROUP BY stage_i_details, stage_i_plus_1_details
HAVING AVG(retry_attempt_number) > {least}
"""
LATEST = """
SELECT * FROM pipeline_tracking p1
WHERE p1.retry_attempt_number = (
  SELECT MAX(p2.retry_attempt_number) FROM pipeline_tracking p2
  WHERE p1.pipeline_id = p2.pipeline_id AND p1.transfer_unique_id = p2.transfer_unique_id
)
"""


#: Of each kind of column, the type that each database has it in.
TYPES = {
    "sqlite": {"text": "TEXT", "float": "REAL", "boolean": "BOOLEAN", "timestamp": "TEXT", "integer": "INTEGER"},
    "postgres": {
        "text": "text",
        "float": "double precision",
        "boolean": "boolean",
        "timestamp": "timestamp with time zone",
        "integer": "bigint",
    },
    "snowflake": {
        "text": "TEXT",
        "float": "FLOAT",
        "boolean": "BOOLEAN",
        "timestamp": "TIMESTAMP_TZ",
        "integer": "NUMBER",
    },
}
#: Columns that people's own queries may rely on, with their kind; lists and mappings have a type of their own.
KINDS = {
    **dict.fromkeys(
        ("pipeline_id", "transfer_status", "actual_duration", "audit_result", "transfer_unique_id"), "text"
    ),
    **dict.fromkeys(
        ("transfer_start_timestamp", "transfer_end_timestamp", "created_timestamp", "logical_date"), "timestamp"
    ),
    **dict.fromkeys(("retry_attempt_number", "max_retry_attempts", "records_succeeded", "map_index"), "integer"),
    **dict.fromkeys(("transfer_enabled", "audit_enabled", "dependent_on_previous_transfer", "is_partial"), "boolean"),
    "transfer_order_number": "float",
}
NESTED = {
    "sqlite": dict.fromkeys(("audit_metadata", "transfer_process_email_alerts", "tracking_location"), "TEXT"),
    "postgres": dict.fromkeys(("audit_metadata", "transfer_process_email_alerts", "tracking_location"), "jsonb"),
    "snowflake": {"audit_metadata": "VARIANT", "transfer_process_email_alerts": "ARRAY", "tracking_location": "ARRAY"},
}


@pytest.fixture(params=["sqlite", "postgres", "snowflake"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def query(kind, request, tmp_path, monkeypatch):
    """A function that runs SQL on a table ``pipeline_tracking`` with three runs, retries and two map indexes."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    if kind == "postgres":
        server = request.getfixturevalue("postgres")
        location = f"postgres@{CONN_ID}||{DATABASE}||key_queries||pipeline_tracking"
        server.run("DROP SCHEMA IF EXISTS key_queries CASCADE")
        ask = lambda text: server.run(text.replace("pipeline_tracking", "key_queries.pipeline_tracking"))  # noqa: E731
    elif kind == "snowflake":
        database, _ = request.getfixturevalue("snowflake")
        location = f"snowflake@{SNOWFLAKE_CONN_ID}||{database}||key_queries||pipeline_tracking"
        ask = asked_of_snowflake(location, f"{database}.key_queries.pipeline_tracking")
    else:
        location = f"sqlite||{tmp_path}/tracking.db||pipeline_tracking"
        ask = lambda text: sqlite3.connect(tmp_path / "tracking.db").execute(text).fetchall()  # noqa: E731
    assert CliRunner().invoke(main, ["init", location]).exit_code == 0
    with TrackingStore([location]) as store:
        store.legs[0].call(lambda adapter: adapter.apply(world(datetime.now(timezone.utc))), 60)
    return ask


def asked_of_snowflake(location: str, table: str):
    """Return a function that runs SQL in Snowflake, with the full name of the table."""

    def ask(text: str) -> list[tuple]:
        adapter = make_adapter(parse_location_string(location), connections={}, adapters={})
        with adapter._transaction() as connection:
            rows = connection.cursor().execute(text.replace("pipeline_tracking", table)).fetchall()
        adapter.close()
        return rows

    return ask


def test_columns_have_the_types_that_people_expect(kind, query):
    types = {
        "sqlite": "SELECT name, type FROM pragma_table_info('pipeline_tracking')",
        "postgres": (
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute "
            "WHERE attrelid = 'pipeline_tracking'::regclass AND attnum > 0"
        ),
        "snowflake": "DESCRIBE VIEW pipeline_tracking",
    }
    found = {row[0].lower(): row[1].partition("(")[0] for row in query(types[kind])}
    named = {"VARCHAR": "TEXT"}
    expected = {**{name: TYPES[kind][kind_of] for name, kind_of in KINDS.items()}, **NESTED[kind]}
    if kind == "snowflake":
        # The stand-in describes a list as the VARIANT that it is made of; the view has it as an ARRAY.
        statement = " ".join(FoldingStatements.of("d", "s", "t").create_tables())
        lists = [name for name, written in NESTED[kind].items() if written == "ARRAY"]
        assert all(re.search(rf"::ARRAY AS {name}\b", statement) for name in lists)
        named["VARIANT"] = "ARRAY"
        expected["audit_metadata"] = "ARRAY"
    assert {name: named.get(found[name], found[name]) for name in expected} == expected


def test_what_runs_now(query):
    rows = query(NOW_RUNNING)
    assert len(rows) == 15
    assert rows.count(("shop", "stage of publish", "completed", None, 0, "publish_team")) == 3
    assert sorted({row[2] for row in rows}) == ["completed", "failed", "pending"]


def test_what_is_problematic_over_all_runs(query):
    assert query(PROBLEMATIC.format(least=1)) == []
    found = {row[1]: (row[2], float(row[3])) for row in query(PROBLEMATIC.format(least=0.4))}
    assert found == {"stage of load": (9, pytest.approx(4 / 9)), "stage of pay": (2, pytest.approx(0.5))}


def test_the_latest_status_is_one_row_per_run_transfer_and_map_index(query):
    rows = query(LATEST.replace("SELECT * FROM", "SELECT dag_id, run_id, task_id, map_index, transfer_status FROM"))
    assert len(rows) == len({row[:4] for row in rows}) == 3 * 4 + 5
    latest = {row[1:4]: row[4] for row in rows if row[0] == "orders"}
    assert latest["scheduled__2", "load", 1] == "completed"
    assert len(query(LATEST)) == 17
