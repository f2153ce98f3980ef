"""Records written by hand: from a dict to a change, and back from a stored record."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pipetrack.records.columns import KEY_COLUMN, MERGED_GROUPS, NAMES_BY_GROUP
from airflow_provider_pipetrack.records.handmade import (
    RecordError,
    change_from_record,
    change_from_updates,
    change_of_record,
)
from airflow_provider_pipetrack.records.merge import fold, is_newer, merge, record_of

RECORD = {"pipeline_id": "orders", "transfer_unique_id": "t1"}
SYSTEM = NAMES_BY_GROUP["system"]


@pytest.mark.parametrize(
    ("record", "record_id"),
    [
        (RECORD, "orders/none/t1/-1/1"),
        ({**RECORD, "dag_id": "d", "run_id": "r", "task_id": "t"}, "d/r/t/-1/1"),
        ({**RECORD, "map_index": "3", "retry_attempt_number": 2}, "orders/none/t1/3/3"),
        ({**RECORD, "retry_attempt_number": None}, "orders/none/t1/-1/1"),
        ({"record_id": "d/r/a%2Fb/0/2"}, "d/r/a%2Fb/0/2"),
        ({"pipeline_id": "a/b", "transfer_unique_id": "ü"}, "a%2Fb/none/%C3%BC/-1/1"),
    ],
)
def test_a_record_is_identified_by_what_it_has(record, record_id):
    change = change_from_record(record)
    assert change.record_id == change.columns["record_id"] == record_id
    assert change.columns["pipeline_id"] == (record.get("pipeline_id") or "d")
    assert change.columns["transfer_status"] == "pending"


def test_a_long_id_of_the_users_own_stands_in_for_the_task_without_becoming_another_records():
    ids = ["x" * 300 + end for end in "ab"]
    first, second = (change_from_record({**RECORD, "transfer_unique_id": text}) for text in ids)
    assert first.columns["transfer_unique_id"] == ids[0]
    assert len(first.columns["task_id"]) == 250
    assert first.record_id != second.record_id


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({}, "a record needs record_id, or dag_id or pipeline_id together with task_id or transfer_unique_id"),
        ({"pipeline_id": "p"}, "a record needs record_id"),
        ({"task_id": "t"}, "a record needs record_id"),
        ({"record_id": "p"}, "'p' is not a record id"),
        ({"record_id": "a/b/c/x/1"}, "'a/b/c/x/1' is not a record id"),
        ({"record_id": f"{'a' * 251}/b/c/-1/1"}, "dag_id 'a{40}'… has more than 250 characters"),
        ({"pipeline_id": "p" * 251, "dag_id": "d", "task_id": "t"}, "pipeline_id 'p{40}'… has more than 250"),
        ({**RECORD, "estimated_duration": "1" * 251}, "estimated_duration '1{40}'… has more than 250 characters"),
        ({**RECORD, "task_id": "t" * 251}, "task_id 't{40}'… has more than 250 characters"),
        ({**RECORD, "retry_attempt_number": float("inf")}, "map_index and retry_attempt_number must be whole numbers"),
        ({**RECORD, "retry_attempt_number": -1}, "map_index cannot be below -1, nor retry_attempt_number below 0"),
        ({**RECORD, "map_index": 2**31}, "and both have a limit"),
        ({**RECORD, "map_index": "x"}, "map_index and retry_attempt_number must be whole numbers"),
        ({**RECORD, "map_index": None}, "map_index and retry_attempt_number must be whole numbers"),
        ({**RECORD, "transfer_status": "done"}, "'done': expected pending, in_progress, completed, failed"),
        ({**RECORD, "audit_result": "fine"}, "'fine': expected matched, mismatched, pending"),
        ({**RECORD, "extra_columns": "text"}, "extra_columns must be a mapping"),
        ({**RECORD, "transfer_status": ["failed"]}, "transfer_status"),
    ],
)
def test_a_record_that_cannot_be_kept_is_refused_in_words(record, words):
    with pytest.raises(RecordError, match=words):
        change_from_record(record)


def test_keys_that_are_no_columns_are_kept_beside_the_others():
    change = change_from_record({**RECORD, "cost": 3, 7: "x", "extra_columns": {"cost": 1, "kept": True}})
    assert change.columns["extra_columns"] == {"cost": 3, "7": "x", "kept": True}


def test_columns_of_the_storage_are_not_taken_from_a_user():
    change = change_from_record({**RECORD, "record_version": 99, "owed": ["x"], "start_key": "9"})
    assert not set(change.columns) & set(SYSTEM)
    assert change.keys["start"] < "9"


def test_a_later_state_wins_over_an_earlier_one_whatever_came_first():
    states = ["pending", "in_progress", "completed", "failed"]
    changes = [change_from_record({**RECORD, "transfer_status": state}) for state in states]
    for first in range(4):
        for second in range(4):
            record = fold([changes[first], changes[second]])
            assert record["transfer_status"] == states[max(first, second)]


def test_an_update_wins_over_what_is_stored_and_touches_only_its_groups():
    stored = record_of(change_from_record({**RECORD, "records_succeeded": 5, "a": 1}))
    change = change_from_updates(stored, {"records_failed": 2})
    assert set(change.keys) == {"end"}
    assert change.columns["pipeline_id"] == "orders"
    updated = merge(stored, record_of(change))
    assert (updated["records_succeeded"], updated["records_failed"]) == (5, 2)
    assert (updated["extra_columns"], updated["start_key"]) == ({"a": 1}, stored["start_key"])


@given(st.lists(st.sampled_from(["pending", "in_progress", "completed", "failed"]), min_size=1, max_size=5))
def test_the_last_update_has_the_last_word_but_an_end_stays_an_end(states):
    stored = record_of(change_from_record(RECORD))
    for state in states:
        change = change_from_updates(stored, {"transfer_status": state})
        assert is_newer(change, stored)
        stored = merge(stored, record_of(change))
        assert stored["transfer_status"] == state


def test_an_update_adds_to_the_extra_columns():
    stored = record_of(change_from_record({**RECORD, "a": 1, "b": 1}))
    change = change_from_updates(stored, {"b": 2, "extra_columns": {"c": 3}})
    assert change.columns["extra_columns"] == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize("name", ["record_id", "dag_id", "retry_attempt_number", "owed", "end_key", "stored_at"])
def test_what_identifies_a_record_cannot_be_updated(name):
    stored = record_of(change_from_record(RECORD))
    with pytest.raises(RecordError, match=f"{name} cannot be updated: it identifies the record or is kept by"):
        change_from_updates(stored, {name: "x"})


def test_an_update_of_a_record_with_strange_keys_still_wins():
    stored = {**record_of(change_from_record(RECORD)), "end_key": "by somebody else"}
    change = change_from_updates(stored, {"transfer_status": "failed"})
    assert change.columns["transfer_status"] == "failed"
    assert change.keys["end"].startswith("2.")


def test_an_update_of_nothing_changes_nothing():
    stored = record_of(change_from_record(RECORD))
    change = change_from_updates(stored, {})
    assert not change.keys
    assert not is_newer(change, stored)


def test_a_stored_record_can_be_brought_elsewhere_as_one_change():
    first = change_from_record({**RECORD, "transfer_status": "in_progress", "a": 1})
    stored = record_of(first)
    stored = merge(stored, record_of(change_from_updates(stored, {"audit_result": "matched"})))
    copy = record_of(change_of_record(stored))
    left_out = {"record_version", "stored_at", "owed"}
    assert {k: v for k, v in copy.items() if k not in left_out} == {
        k: v for k, v in stored.items() if k not in left_out
    }
    assert {KEY_COLUMN[group] for group in MERGED_GROUPS} <= set(copy)
    assert change_of_record(stored).event_id == change_of_record(stored).event_id, "bringing it again is no new event"


def test_times_of_a_record_are_utc():
    change = change_from_record({**RECORD, "transfer_start_timestamp": "2026-01-01T02:00:00+02:00"})
    assert change.columns["transfer_start_timestamp"] == datetime(2026, 1, 1, tzinfo=timezone.utc)
