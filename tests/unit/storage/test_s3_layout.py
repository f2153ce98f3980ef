"""Names of objects: short, told apart, and never a way into another folder; contents come back as they went in."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.storage import s3_layout as layout
from airflow_provider_pipetrack.testing.events import attempt

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
texts = st.text(st.characters(codec="utf-8"), max_size=300) | st.sampled_from([".", "..", "a/b", "!", "%", "~", ""])


@given(texts, texts)
def test_two_texts_have_two_parts(left, right):
    assert (layout.part(left) == layout.part(right)) == (left == right)


@given(texts)
def test_a_part_is_short_and_one_step_of_a_path(text):
    part = layout.part(text)
    assert 1 <= len(part) <= 150
    assert part.isascii()
    assert not set(part) & set("/!\\\0\n ?#*\"'<>|{}")
    assert part not in {".", ".."}


@given(texts, texts, texts, st.integers(-1, 10**6), st.integers(1, 10**4))
def test_a_key_fits_into_what_s3_takes(dag_id, run_id, name, map_index, number):
    record_id = RecordKey(dag_id, run_id, name, map_index, number).record_id
    event = f"runs/{layout.run_of_record(record_id)}/events/"
    rest = layout.SEPARATOR.join(
        (layout.part("e" * 300), layout.record_part(record_id), "a211.e211.f211.s211", "d" * 12)
    )
    assert len((event + rest + ".ndjson").encode()) < 700
    assert len((layout.owed_folder(record_id) + layout.part("e" * 300)).encode()) < 700


def test_names_list_in_the_order_of_events_and_say_how_far_a_record_is():
    names = [layout.event_name([event]) for event in attempt(3)]
    assert names == sorted(names)
    assert [name.split("!")[2] for name in names] == [
        "a010.e010.f010.s010",
        "e110.s110",
        "e210",
        "a210",
        "e221",
    ]
    assert layout.is_under_way(names[:2])
    assert not layout.is_under_way(names[:1])
    assert not layout.is_under_way(names)


def test_the_same_changes_have_the_same_name_and_others_another():
    events = attempt()
    assert layout.event_name(events) == layout.event_name(list(reversed(events)))
    assert layout.event_name(events) != layout.event_name(events[:4])
    assert layout.may_tell_of(layout.event_name(events), layout.record_part(events[0].record_id))
    assert not layout.may_tell_of(layout.event_name(events), layout.record_part(attempt(1)[0].record_id))
    assert layout.may_tell_of(layout.event_name([*events, *attempt(1)]), layout.record_part("any/other/a/-1/1"))


def test_contents_come_back_with_the_moment_they_were_first_stored():
    lines = layout.lines_of(layout.written(attempt()), NOON)
    assert [line.change.event_id for line in lines] == [event.event_id for event in attempt()]
    again = layout.lines_of(layout.rewritten(lines), datetime.now(timezone.utc))
    assert [line.stored_at for line in again] == [NOON] * 5
    assert layout.records_of(again) == layout.records_of(lines)


@pytest.mark.parametrize("body", [b"not json\n", b"[1]\n", b"{}\n", b'{"columns": 1}\n', b"\xff\xfe\n"])
def test_what_is_somebody_elses_is_refused(body):
    with pytest.raises(ValueError, match=r".+"):
        layout.lines_of(body, NOON)
