"""The text of a question: remembered for what is asked in the same form, and what its page says of the total."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing

import pytest

from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.records.merge import record_of
from airflow_provider_pipetrack.records.queries import DIALECTS, QUESTIONS, SQLITE_QUERIES, Asked, newer_rows
from airflow_provider_pipetrack.records.statements import SQLITE, Statements
from airflow_provider_pipetrack.storage.base import Record

FORMS = [
    Asked("runs"),
    Asked("runs", {"status": "failed"}),
    Asked("runs", {"status": "completed"}),
    Asked("runs", {"status": "pending"}),
    Asked("runs", {"pipeline_id": "orders"}),
    Asked("runs", {"pipeline_id": ""}),
    Asked("runs", {"dag_id": "orders"}),
    Asked("runs", limit=None),
    Asked("runs", order_by="dag_id"),
    Asked("runs", order_by="began_at"),
    Asked("runs", order_by="began_at", descending=True),
    Asked("runs", keys_only=True),
    Asked("runs", dag_ids=["a"]),
    Asked("runs", dag_ids=["a", "b"]),
    Asked("runs", dag_ids=[]),
    Asked("pipelines", {"status": "failed"}),
    Asked("pipelines", {"owner": "shop"}),
    Asked("transfers", {"include_not_run": True}),
    Asked("transfers", {"include_not_run": False}),
    Asked("last_runs", {"pipeline_ids": ["a"]}),
    Asked("last_runs", {"pipeline_ids": ["a", "b"]}),
    Asked("last_runs", {"pipeline_ids": ["a", "b"], "status": "failed"}),
    Asked("readiness", {"newest": 5}),
    Asked("readiness"),
    Asked("slow", {"newest_records": 7}),
    Asked("transfers", {"newest_records": 7}, order_by="task_id"),
    Asked("runs", {"newest": 7}, order_by="state"),
    Asked("slow", {"newest_records": 7, "status": "failed"}),
]


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_a_text_that_is_remembered_is_the_one_that_would_be_made(dialect):
    for newer in (False, True):
        for asked in (*FORMS, *map(Asked, QUESTIONS)):
            made = asked.compose(DIALECTS[dialect], "t", newer=newer)
            assert asked.statements(DIALECTS[dialect], "t", newer=newer) == made, asked


def test_the_same_form_with_other_values_has_the_same_text_and_its_own_values():
    dialect = DIALECTS["sqlite"]
    one, two = (Asked("runs", {"pipeline_id": name}, dag_ids=[name, "more"]) for name in ("orders", "customers"))
    assert one.statements(dialect, "t") is two.statements(dialect, "t")
    assert (one.values(dialect)["pipeline_id"], two.values(dialect)["pipeline_id"]) == ("orders", "customers")
    assert [one.values(dialect)[name] for name in ("dag_0", "dag_1")] == ["orders", "more"]


def test_dags_are_one_value_for_postgres_however_many_they_are():
    asked = Asked("attempts", dag_ids=[str(number) for number in range(5000)])
    assert "= ANY(CAST(%(dags)s AS text[]))" in asked.statements(DIALECTS["postgres"], "t")[0]
    assert asked.values(DIALECTS["postgres"])["dags"] == [*asked.dag_ids]


def test_dags_are_bound_one_by_one_for_sqlite():
    """With a list of unknown length it takes the wrong index for the newest transfers, and sorts all records."""
    asked = Asked("transfers", dag_ids=["a", "b"])
    assert "t.dag_id IN (:dag_0, :dag_1)" in asked.statements(DIALECTS["sqlite"], "t")[0]


@pytest.mark.parametrize(
    ("rows", "limit", "offset", "total"),
    [(3, 10, 0, 3), (3, 10, 20, 23), (10, 10, 0, None), (0, 10, 0, 0), (0, 10, 20, None), (3, None, 0, 3)],
)
def test_a_page_that_is_not_full_says_how_many_rows_there_are(rows, limit, offset, total):
    assert Asked("attempts", limit=limit, offset=offset).total([{"record_id": "x"}] * rows) == total


def test_a_page_with_the_total_in_its_rows_is_believed():
    assert Asked("slow", limit=1).total([{"task_id": "x", "total": 7}]) == 7


def test_what_a_location_keeps_for_others_is_found_in_an_index():
    table = Statements(SQLITE, "t")
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in table.create():
            connection.execute(statement)
        for statement in (table.count_owed, table.owed):
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", {"after": "", "limit": 9}).fetchall()
            assert "INDEX t_owed" in plan[0][3], plan


ROW = "INSERT INTO t (record_id, pipeline_id, dag_id, run_id, task_id, map_index, retry_attempt_number, transfer_status, decision, audit_result, created_timestamp, updated_timestamp, owed) VALUES (?, 'p', 'd', ?, 'a', -1, 0, ?, ?, ?, ?, ?, '[]')"  # fmt: skip


def steps_for(
    records: Sequence[tuple[str, str | None, str | None]], asked: Asked, waiting: Sequence[Record] = ()
) -> int:
    """Return how much SQLite does for a question about runs of a transfer, by status, decision and audit of each.

    :param waiting: records that the table does not have yet.
    """
    table, steps = Statements(SQLITE, "t"), 0

    def step() -> None:
        nonlocal steps
        steps += 1

    with closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        for statement in table.create():
            connection.execute(statement)
        connection.executemany(
            ROW, [(f"r{n}", f"run{n}", *record, *[f"2026-{n:06d}"] * 2) for n, record in enumerate(records)]
        )
        connection.set_progress_handler(step, 100)
        values = {**asked.values(SQLITE_QUERIES), "newer": json.dumps(newer_rows(waiting, SQLITE_QUERIES))}
        for statement in asked.statements(SQLITE_QUERIES, "t", newer=bool(waiting)):
            connection.execute(statement, values).fetchall()
    return steps


@pytest.mark.parametrize("status", ["completed", "failed", "in_progress", "pending"])
def test_runs_in_a_state_are_found_in_time_that_grows_with_their_number(status):
    asked = Asked("runs", {"status": status})
    runs = [("failed", None, None), ("completed", None, None)]
    assert steps_for(runs * 1000, asked) < 3 * steps_for(runs * 500, asked)


@pytest.mark.parametrize("later", [("completed", None, None), ("completed", "skipped: nothing new", "matched")])
@pytest.mark.parametrize("wrong", [("completed", None, "mismatched"), ("failed", None, None)])
def test_what_needs_attention_is_found_in_time_that_grows_with_the_number_of_runs(wrong, later):
    asked = Asked("attention")
    one, two = (steps_for([wrong] * number + [later] * 5 * number, asked) for number in (200, 400))
    assert two < 3 * one


@pytest.mark.parametrize("waiting", [0, 20])
@pytest.mark.parametrize("filters", [{}, {"status": "failed"}])
def test_the_last_runs_are_found_without_a_look_at_all_others(filters, waiting):
    asked = Asked("last_runs", {"pipeline_ids": ["p"], **filters}, limit=None)
    named = {"pipeline_id": "p", "dag_id": "d", "task_id": "a", "transfer_status": "failed"}
    newer = [record_of(change_from_record({**named, "run_id": f"waits{number}"})) for number in range(waiting)]
    few, many = (steps_for([("failed", None, None)] * number, asked, newer) for number in (200, 4000))
    assert many < 2 * few


@pytest.mark.parametrize("newer", [False, True])
def test_a_database_that_reads_all_records_anyway_is_not_asked_about_each_run(newer):
    asked = Asked("last_runs", {"pipeline_ids": ["p"], "status": "failed"}, limit=None)
    found = {name: "EXISTS" in asked.statements(DIALECTS[name], "t", newer=newer)[0] for name in DIALECTS}
    assert found == {"sqlite": True, "postgres": True, "snowflake": False}


@pytest.mark.parametrize("newer", [False, True])
def test_a_database_that_may_refuse_a_look_up_for_each_row_is_not_asked_for_one(newer):
    asked = Asked("readiness", {"stage": "s", "since": "2026-03-01", "until": "2026-03-02"}, limit=None)
    texts = {name: asked.statements(DIALECTS[name], "t", newer=newer)[0] for name in DIALECTS}
    found = {name: "begun.task_id = t.task_id" in text for name, text in texts.items()}
    assert found == {"sqlite": True, "postgres": True, "snowflake": False}


def test_whether_a_later_run_has_completed_is_found_in_an_index():
    table = Statements(SQLITE, "t")
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in table.create():
            connection.execute(statement)
        asked = Asked("attention")
        for statement in asked.statements(DIALECTS["sqlite"], "t"):
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", asked.values(DIALECTS["sqlite"])).fetchall()
            steps = [step[3] for step in plan if step[3].startswith(("SEARCH", "SCAN t", "SCAN good", "SCAN begun"))]
            for index in ("completed", "matched"):
                found = (
                    f"SEARCH good USING INDEX t_{index} (dag_id=? AND task_id=? AND map_index=? AND created_timestamp>?"
                )
                assert any(step.startswith(found) for step in steps), steps
            assert any("t_unsettled" in step for step in steps), steps
            assert not any(step.startswith(("SCAN good", "SCAN begun")) for step in steps), steps


@pytest.mark.parametrize(
    ("question", "filters", "bounds"),
    [
        ("slow", {}, {"newest_records": 50_000}),
        ("flaky", {"owner": "shop", "pipeline_id": ""}, {"newest_records": 50_000}),
        ("readiness", {"stage": "staging"}, {"newest": 100}),
        ("slow", {"pipeline_id": "orders"}, {}),
        ("flaky", {"since": "2026-03-01"}, {}),
        ("slow", {"newest_records": 7}, {}),
        ("readiness", {"pipeline_ids": ["orders"]}, {}),
        ("runs", {}, {}),
        ("runs", {"search": "shop"}, {"newest": 1000}),
        ("runs", {"search": "shop", "since": "2026-03-01"}, {}),
        ("transfers", {"owner": "shop", "include_not_run": True}, {}),
        ("transfers", {"search": "shop"}, {"newest_records": 50_000}),
        ("attempts", {"search": ""}, {}),
        ("attention", {"search": "shop"}, {}),
    ],
)
def test_what_nobody_narrows_is_bounded(question, filters, bounds):
    asked = Asked(question, filters)
    assert (asked.bounds, asked.bounded().filters) == (bounds, {**filters, **bounds})


@pytest.mark.parametrize(
    ("question", "order_by", "filters", "bounds"),
    [
        ("runs", "state", {}, {"newest": 1000}),
        ("runs", "began_at", {}, {}),
        ("runs", "state", {"dag_id": "orders"}, {}),
        ("transfers", "actual_seconds", {"owner": "shop"}, {"newest_records": 50_000}),
        ("attempts", "created_timestamp", {}, {}),
        ("durations", "run_id", {"task_id": "load"}, {}),
        ("transfers", "task_id", {"newest_records": 0}, {}),
    ],
)
def test_what_no_index_sorts_is_bounded(question, order_by, filters, bounds):
    assert Asked(question, filters, order_by=order_by).bounds == bounds
