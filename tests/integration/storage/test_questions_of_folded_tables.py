"""Every question, asked of a view that folds its history: the answers are those of a table."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone

import pytest

from airflow_provider_pipetrack.records.queries import QUESTIONS
from airflow_provider_pipetrack.records.queries.asked import Asked
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.registry import make_adapter
from tests.integration.storage.worlds import stored, world
from tests.storage_servers import SNOWFLAKE_CONN_ID

NOW = datetime.now(timezone.utc)
#: Moments that are NULL: the stand-in gives the beginning of 1970 for them.
NULLS = datetime(1970, 1, 1, tzinfo=timezone.utc)

#: Runs whose state follows from how their audits ended.
AUDITED = [
    stored("orders", 20 + n, "load", "completed", audit_result=result, audit_metadata={"rows": 7, **ended})
    for n, (result, ended) in enumerate(
        [
            ("mismatched", {"audit_ended": "passed"}),
            ("mismatched", {"audit_ended": "failed"}),
            ("pending", {"audit_ended": "failed"}),
            ("pending", {"audit_ended": "not yet"}),
            ("pending", {}),
        ]
    )
]


def opened(text: str):
    return make_adapter(parse_location_string(text), connections={}, adapters={})


@pytest.fixture(scope="module")
def both(tmp_path_factory, snowflake):
    """A table and a view with the same records."""
    folder = tmp_path_factory.mktemp("table")
    adapters = (
        opened(f"sqlite||{folder}/t.db"),
        opened(f"snowflake@{SNOWFLAKE_CONN_ID}||{snowflake[0]}||public||t{uuid.uuid4().hex}"),
    )
    for adapter in adapters:
        adapter.apply([*world(NOW), *AUDITED])
    yield adapters
    for adapter in adapters:
        adapter.close()


def answered(adapter, asked: Asked, *, newer=()):
    rows, total = adapter.answer(asked, newer)
    ignored = ("stored_at", "record_version")
    return [{n: None if v == NULLS else v for n, v in row.items() if n not in ignored} for row in rows], total


def alike(left, right) -> bool:
    if isinstance(left, float) or isinstance(right, float):
        return left == pytest.approx(right, rel=1e-6, abs=1e-3)
    return left == right


def differences(found, expected) -> list:
    """Return where two answers differ: their totals, or the columns of each row."""
    rows = [
        {name: (value, wanted[name]) for name, value in got.items() if not alike(value, wanted[name])}
        for got, wanted in zip(found[0], expected[0], strict=True)
    ]
    totals = [(found[1], expected[1])] if found[1] != expected[1] else []
    return [*totals, *filter(None, rows)]


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_view_answers_as_a_table_does(both, question):
    table, view = both
    filters = {"dag_id": "orders", "task_id": "load"} if question == "durations" else {}
    asked = Asked(question, filters, dag_ids=["orders", "billing"], now=NOW)
    assert differences(answered(view, asked), answered(table, asked)) == []


def test_filters_and_what_waits_elsewhere_count(both):
    table, view = both
    newer = [
        {**record, "transfer_status": "failed", "end_key": "9"} for record in table.read_run("orders", "scheduled__2")
    ]
    for filters in ({"status": "failed"}, {"search": "LOAD"}, {"since": NOW, "run_id": "scheduled__9"}):
        asked = Asked("attempts", filters, now=NOW)
        assert differences(answered(view, asked, newer=newer), answered(table, asked, newer=newer)) == []
