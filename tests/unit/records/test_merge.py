"""The merge of records: any order, any repetition, the same record."""

from __future__ import annotations

import itertools
import random
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pipetrack.records.change import Authority, Change, Rank, group_key
from airflow_provider_pipetrack.records.columns import COLUMNS, MERGED_GROUPS, NAMES_BY_GROUP
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.merge import fold, is_newer, merge, record_of

KEY = RecordKey("orders", "manual__1", "load", -1, 1)
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def change(number: int, rank: Rank, *, groups=("start", "end"), authority=Authority.TASK, failed=False, **columns):
    event_id = f"event{number:03d}"
    key = group_key(rank=rank, authority=authority, failed=failed, sequence=number, event_id=event_id)
    values = {name: None for group in groups for name in NAMES_BY_GROUP[group]}
    values.update(KEY.columns())
    values.update(columns)
    return Change(KEY.record_id, values, dict.fromkeys(groups, key), "task", event_id, NOON + timedelta(seconds=number))


def attempt() -> list[Change]:
    """The five events of an attempt: announced, started, ended by the task, audited, closed by Airflow."""
    return [
        change(
            1, Rank.PENDING, groups=MERGED_GROUPS, pipeline_id="p", transfer_status="pending", extra_columns={"a": 1}
        ),
        change(2, Rank.STARTED, pipeline_id="p", transfer_status="in_progress", transfer_start_timestamp=NOON),
        change(3, Rank.ENDED, groups=("end",), transfer_status="completed", records_succeeded=7),
        change(4, Rank.ENDED, groups=("audit",), audit_result="matched", audit_metadata={"rows": 7}),
        change(5, Rank.ENDED, groups=("end",), authority=Authority.AIRFLOW, failed=True, transfer_status="failed"),
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(range(5))))
def test_every_order_of_an_attempts_events_gives_the_same_record(order):
    events = attempt()
    expected = fold(events)
    repeated = [events[i] for i in order] + [events[i] for i in reversed(order)]
    assert fold(repeated) == expected
    assert expected["transfer_status"] == "failed"
    assert expected["transfer_start_timestamp"] == NOON
    assert expected["audit_result"] == "matched"
    assert expected["extra_columns"] == {"a": 1}
    # A group is taken whole: the task's count went with the end that lost.
    assert expected["records_succeeded"] is None
    assert (expected["created_timestamp"], expected["updated_timestamp"]) == (
        NOON + timedelta(seconds=1),
        NOON + timedelta(seconds=5),
    )


def test_an_end_that_arrives_before_its_start_keeps_both():
    _, start, end, _, _ = attempt()
    record = fold([end, start])
    assert record["transfer_status"] == "completed"
    assert record["transfer_start_timestamp"] == NOON


@pytest.mark.parametrize(
    ("weaker", "stronger"),
    [
        ({"rank": Rank.PENDING, "authority": Authority.AIRFLOW}, {"rank": Rank.STARTED, "authority": Authority.GUESS}),
        ({"rank": Rank.ENDED, "authority": Authority.GUESS, "failed": True}, {"rank": Rank.ENDED}),
        ({"rank": Rank.ENDED, "failed": True}, {"rank": Rank.ENDED, "authority": Authority.AIRFLOW}),
        ({"rank": Rank.ENDED, "sequence": 9}, {"rank": Rank.ENDED, "failed": True, "sequence": 1}),
        ({"rank": Rank.ENDED, "sequence": 9}, {"rank": Rank.ENDED, "sequence": 10}),
    ],
)
def test_keys_compare_rank_authority_failure_and_sequence_in_this_order(weaker, stronger):
    assert group_key(**weaker, event_id="zzz") < group_key(**stronger, event_id="aaa")


keys = st.builds(
    group_key,
    rank=st.sampled_from(Rank),
    authority=st.sampled_from(Authority),
    failed=st.booleans(),
    sequence=st.integers(0, 20),
    event_id=st.text("abc", min_size=1, max_size=3),
)


@given(
    st.lists(st.dictionaries(st.sampled_from(MERGED_GROUPS), keys, min_size=1), min_size=2, max_size=5), st.randoms()
)
def test_merge_is_commutative_associative_and_repeatable(all_keys: list[dict[str, str]], shuffle: random.Random):
    records = []
    for number, group_keys in enumerate(all_keys):
        # Equal keys mean equal events, so the values follow from the keys.
        values = {name: group_keys[group] for group in group_keys for name in NAMES_BY_GROUP[group]}
        event = Change(KEY.record_id, {**values, **KEY.columns()}, group_keys, "task", f"e{number}", NOON)
        records.append(record_of(event))
    merged = records[0]
    for record in records[1:]:
        merged = merge(merged, record)
    shuffle.shuffle(records)
    other = records[-1]
    for record in records[:-1]:
        other = merge(record, other)
    assert other == merged
    assert merge(merged, merged) == merged


def test_a_change_that_would_alter_nothing_is_not_newer():
    events = attempt()
    record = fold(events)
    assert not any(is_newer(event, record) for event in events)
    assert is_newer(events[2], fold(events[:2]))


def test_records_of_different_attempts_do_not_merge():
    other = dict(record_of(attempt()[0]), record_id="another")
    with pytest.raises(ValueError, match="cannot merge record"):
        merge(record_of(attempt()[0]), other)


def test_a_change_must_carry_its_groups_whole():
    with pytest.raises(ValueError, match="end lacks transfer_end_timestamp"):
        Change("id", {"transfer_status": "failed"}, {"end": "1"}, "task")


def test_a_change_survives_json_with_its_times():
    event = attempt()[1]
    assert Change.from_json(event.to_json()) == event


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1), st.integers(-1, 10**6), st.integers(1, 99))
def test_a_record_id_can_be_read_back(dag_id, run_id, name, map_index, number):
    key = RecordKey(dag_id, run_id, name, map_index, number)
    assert RecordKey.parse(key.record_id) == key


def test_a_record_id_is_readable():
    key = RecordKey("orders", "scheduled__2026-01-01T00:00:00+00:00", "group/load", 3, 2)
    assert key.record_id == "orders/scheduled__2026-01-01T00:00:00+00:00/group%2Fload/3/2"
    with pytest.raises(ValueError, match="is not a record id"):
        RecordKey.parse("orders")


def test_every_column_has_one_group_and_every_merged_group_a_key_column():
    names = [column.name for column in COLUMNS]
    assert len(names) == len(set(names))
    assert {f"{group}_key" for group in MERGED_GROUPS} <= set(names)
