"""The questions' SQL against the same thing said in plain Python, over random records."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from contextlib import closing
from datetime import datetime, timezone

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.records.merge import record_of
from airflow_provider_pipetrack.records.queries import QUESTIONS, SQLITE_QUERIES, Asked, newer_rows
from airflow_provider_pipetrack.records.rows import record_row
from airflow_provider_pipetrack.records.statements import SQLITE, Statements
from airflow_provider_pipetrack.storage.memory import answer_from_records

NOW = datetime(2027, 1, 1, tzinfo=timezone.utc)

attempts = st.fixed_dictionaries(
    {
        "dag_id": st.sampled_from(["a", "b"]),
        "run_id": st.sampled_from(["r1", "r2", "r3"]),
        "task_id": st.sampled_from(["load", "publish"]),
        "map_index": st.sampled_from([-1, 0, 1]),
        "retry_attempt_number": st.integers(0, 3),
        "transfer_status": st.sampled_from(["pending", "in_progress", "completed", "failed"]),
        "decision": st.sampled_from([None, "disabled"]),
        "audit_result": st.sampled_from([None, "matched", "mismatched", "pending"]),
        "audit_metadata": st.sampled_from(
            [None, [7], {"rows": 7}, {"audit_ended": "passed"}, {"audit_ended": "failed"}, {"audit_ended": "not yet"}]
        ),
    }
)
records = st.lists(attempts, max_size=25).map(
    lambda rows: list({r["record_id"]: r for r in (record_of(change_from_record(row)) for row in rows)}.values())
)


def ask(question, rows, **filters):
    page, total = answer_from_records(Asked(question, filters, limit=None), rows)
    assert len(page) == total
    return page


def is_not_run(row) -> bool:
    return row["transfer_status"] == "pending" and row["decision"] is not None


def latest(rows) -> list[dict]:
    found = {}
    for row in sorted(rows, key=lambda row: row["retry_attempt_number"]):
        found[row["dag_id"], row["run_id"], row["task_id"], row["map_index"]] = row
    return list(found.values())


def audit_of(row) -> str:
    """What an audit says of its run, where it says how it ended."""
    metadata = row["audit_metadata"]
    ended = metadata.get("audit_ended") if isinstance(metadata, dict) else None
    if row["audit_result"] == "pending" and ended == "not yet":
        return "in_progress"
    return "failed" if row["audit_result"] in ("mismatched", "pending") and ended == "failed" else "passed"


def state_of(rows) -> str:
    statuses = [row["transfer_status"] for row in latest(rows) if not is_not_run(row)]
    words = {*statuses, *map(audit_of, latest(rows))}
    if "in_progress" in words or "failed" in words:
        return "in_progress" if "in_progress" in words else "failed"
    if "completed" not in statuses:
        return "pending"
    return "in_progress" if "pending" in statuses else "completed"


@given(records)
def test_transfers_are_the_latest_attempts(rows):
    ids = {row["record_id"] for row in latest(rows)}
    assert {row["record_id"] for row in ask("transfers", rows, include_not_run=True)} == ids
    wanted = {row["record_id"] for row in latest(rows) if not is_not_run(row)}
    assert {row["record_id"] for row in ask("transfers", rows)} == wanted


@given(records)
def test_runs_stand_as_their_transfers_do_and_are_found_by_it(rows):
    runs = defaultdict(list)
    for row in rows:
        runs[row["dag_id"], row["run_id"]].append(row)
    wanted = {run: state_of(of_run) for run, of_run in runs.items()}
    assert {(row["dag_id"], row["run_id"]): row["state"] for row in ask("runs", rows)} == wanted
    for state in ("pending", "in_progress", "completed", "failed"):
        found = {(row["dag_id"], row["run_id"]) for row in ask("runs", rows, status=state)}
        assert found == {run for run, stands in wanted.items() if stands == state}


@given(records)
def test_the_last_run_is_the_same_whether_it_is_leapt_to_or_searched(rows):
    everything = {"search": "R"}  # stands in the id of every run
    assert "RECURSIVE" in Asked("pipelines").statements(SQLITE_QUERIES, "t")[0]
    assert "RECURSIVE" not in Asked("pipelines", everything).statements(SQLITE_QUERIES, "t")[0]
    assert ask("pipelines", rows) == ask("pipelines", rows, **everything)
    for pipeline_id in ("a", "moon"):
        assert ask("pipelines", rows, pipeline_id=pipeline_id) == ask(
            "pipelines", rows, pipeline_id=pipeline_id, **everything
        )


@given(records, records)
@settings(max_examples=40)
def test_what_waits_counts_as_if_it_were_stored(stored, waiting):
    waiting = [row for row in waiting if row["record_id"] not in {other["record_id"] for other in stored}] + [
        {**row, "decision": "changed", "transfer_status": "failed"} for row in stored[:2]
    ]
    merged = list({row["record_id"]: row for row in (*stored, *waiting)}.values())
    table = Statements(SQLITE, "t")
    with closing(sqlite3.connect(":memory:")) as database:
        database.row_factory = sqlite3.Row
        for statement in table.create():
            database.execute(statement)
        database.executemany(table.upsert, [record_row(row, (), native_times=False) for row in stored])
        for question, filters in [*((name, {}) for name in QUESTIONS), ("runs", {"status": "completed"})]:
            asked = Asked(question, filters, limit=None, now=NOW)
            page, count = asked.statements(SQLITE_QUERIES, table.name, newer=True)
            values = {**asked.values(SQLITE_QUERIES), "newer": json.dumps(newer_rows(waiting, SQLITE_QUERIES))}
            rows = asked.rows(map(dict, database.execute(page, values)))
            wanted, total = answer_from_records(asked, merged)
            assert [facts(row) for row in rows] == [facts(row) for row in wanted], question
            assert database.execute(count, values).fetchone()["total"] == total


def facts(row):
    return {name: value for name, value in row.items() if name not in ("stored_at", "record_version")}


def has_recovered(row, rows) -> bool:
    """Whether a later run has completed what failed in this one, with a matching audit where that is what failed.

    What still runs has not failed, whatever is written about it; none of these has run for too long.
    """
    if row["transfer_status"] == "in_progress":
        return False
    begun = defaultdict(lambda: row["created_timestamp"])
    for other in rows:
        if other["retry_attempt_number"] == 0:
            begun[transfer_of(other)] = other["created_timestamp"]
    return any(
        transfer_of(other)[:3] == transfer_of(row)[:3]
        and other["transfer_status"] == "completed"
        and (row["transfer_status"] == "failed" or other["audit_result"] == "matched")
        and min(other["created_timestamp"], begun[transfer_of(other)]) > row["created_timestamp"]
        for other in rows
    )


def transfer_of(row) -> tuple:
    return row["dag_id"], row["task_id"], row["map_index"], row["run_id"]


@given(records)
def test_attention_is_what_failed_for_good_or_did_not_match_until_a_later_run_has_completed(rows):
    failed = [
        r for r in latest(rows) if "failed" in (r["transfer_status"], audit_of(r)) or r["audit_result"] == "mismatched"
    ]
    found = {row["record_id"] for row in ask("attention", rows, include_recovered="shown")}
    assert found == {row["record_id"] for row in failed}
    wanted = {row["record_id"] for row in failed if not has_recovered(row, rows)}
    assert {row["record_id"] for row in ask("attention", rows)} == wanted


@given(records, st.sampled_from(["a", "b", "none"]))
def test_a_dag_that_may_not_be_read_is_not_there(rows, dag_id):
    allowed = [row for row in rows if row["dag_id"] == dag_id]
    for question in ("pipelines", "runs", "attempts", "flaky"):
        seen, total = answer_from_records(Asked(question, dag_ids=[dag_id], limit=None), rows)
        assert (len(seen), total) == (len(ask(question, allowed)), len(seen))
        assert {row["dag_id"] for row in seen} <= {dag_id}
