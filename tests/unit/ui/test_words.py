"""Values as people write them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pipetrack.records.openness import has_failed_audit
from airflow_provider_pipetrack.ui.filters import read_moment
from airflow_provider_pipetrack.ui.paths import from_segment, link, segment
from airflow_provider_pipetrack.ui.words import (
    NOT_RUN,
    OVERDUE,
    PARTIAL,
    RUNNING,
    SKIPPED,
    ago,
    attempt_words,
    audit_reason,
    duration,
    evidence_words,
    first_line,
    location_words,
    natural,
    number,
    plural,
    state_of,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (-1, "0 s"),
        (0, "0 s"),
        (0.25, "0.25 s"),
        (4.2, "4.2 s"),
        (9.999, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3599.9, "1 h"),
        (4320, "1 h 12 min"),
        (3601, "1 h"),
        (90_000, "1 d 1 h"),
        (86_400 * 400, "400 d"),
    ],
)
def test_durations_have_two_units_at_most(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("back", "text"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (3600 * 5, "5 h ago"),
        (86400 * 40, "40 d ago"),
        (-120, "in 2 min"),
    ],
)
def test_moments_are_told_by_their_distance(back, text):
    assert ago(NOW - timedelta(seconds=back), NOW) == text


@pytest.mark.parametrize(
    ("word", "seconds", "text"),
    [
        ("up", None, "up"),
        ("down", None, "down"),
        ("down", 0.4, "down 0 s"),
        ("down", 252, "down 4 min"),
        ("left alone", 7300, "left alone, down 2 h"),
        ("down", -3, "down 0 s"),
    ],
)
def test_a_location_that_is_down_is_so_for_a_time(word, seconds, text):
    assert location_words(word, None if seconds is None else NOW - timedelta(seconds=seconds), NOW) == text


def test_numbers_have_their_thousands_apart():
    assert [number(value) for value in (None, 0, 1234, 1234567.0, 0.5)] == ["", "0", "1,234", "1,234,567", "0.50"]
    assert [number(value) for value in (0.002, -0.0004, 0.01)] == ["0.002", "-0.0004", "0.01"]
    assert [plural(count, "run") for count in (0, 1, 2000)] == ["0 runs", "1 run", "2,000 runs"]


def test_only_the_first_line_of_a_text_is_shown():
    assert first_line("\n one \ntwo") == "one"
    assert first_line(None) == ""
    assert first_line("x" * 200, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("row", "state"),
    [
        ({"transfer_status": "pending", "decision": "upstream failed: load"}, NOT_RUN),
        ({"transfer_status": "completed", "decision": "skipped"}, SKIPPED),
        ({"transfer_status": "completed", "is_partial": True}, PARTIAL),
        (
            {"transfer_status": "in_progress", "transfer_start_timestamp": NOW - timedelta(60), "estimated_seconds": 9},
            OVERDUE,
        ),
        ({"transfer_status": "in_progress", "transfer_start_timestamp": NOW, "estimated_seconds": 9}, RUNNING),
        ({"transfer_status": "in_progress", "transfer_start_timestamp": NOW, "estimated_seconds": None}, RUNNING),
        ({"transfer_status": "in_progress", "transfer_start_timestamp": None, "estimated_seconds": 9}, RUNNING),
    ],
)
def test_a_state_says_what_the_status_cannot(row, state):
    assert state_of(row, NOW) is state


@pytest.mark.parametrize(
    ("result", "metadata", "words"),
    [
        (
            "mismatched",
            {"audit_ended": "failed", "rows": 7, "audit_task": "a", "audited_at": "now"},
            "mismatched, rows: 7",
        ),
        ("mismatched", {"audit_ended": "failed"}, "mismatched"),
        ("mismatched", {"rows": 7}, None),
        ("mismatched", [7], None),
        ("mismatched", {"audit_ended": "passed"}, None),
        ("pending", {"audit_ended": "failed", "error": "E: gone"}, "no answer: E: gone"),
        ("pending", {"audit_ended": "not yet"}, None),
        ("pending", {}, None),
        ("matched", {"audit_ended": "failed"}, None),
    ],
)
def test_an_audit_that_failed_has_a_reason(result, metadata, words):
    row = {"audit_result": result, "audit_metadata": metadata}
    assert has_failed_audit(row) == (words is not None)
    if words:
        assert audit_reason(row) == words


@pytest.mark.parametrize(
    ("tried", "allowed", "text"), [(0, 0, "1 of 1"), (2, 3, "3 of 4"), (7, 3, "8"), (1, None, "2")]
)
def test_an_attempt_after_a_clear_is_of_no_number(tried, allowed, text):
    assert attempt_words({"retry_attempt_number": tried, "max_retry_attempts": allowed}) == text


@given(st.text(max_size=60))
def test_any_text_is_one_part_of_a_path_and_comes_back(text):
    from urllib.parse import unquote

    part = segment(text)
    assert "/" not in part
    assert "?" not in part
    assert part not in {"", ".", ".."}
    encodable = text.encode("utf-8", "replace").decode()
    assert from_segment(unquote(part)) == encodable
    # Decoded twice, as behind some proxies, it is the same.
    assert from_segment(unquote(unquote(part))) == encodable


def test_links_are_relative_and_leave_out_what_is_not_asked():
    assert link("../", "p", "a/b", "r", "x y", dag_id=None, status="failed") == "../p/a~2fb/r/x%20y?status=failed"
    assert link("./", owner="é&=") == "./?owner=%C3%A9%26%3D"


@pytest.mark.parametrize(
    ("text", "end", "moment"),
    [
        ("2025-01-31", False, datetime(2025, 1, 31, tzinfo=timezone.utc)),
        ("2025-01-31", True, datetime(2025, 2, 1, tzinfo=timezone.utc)),
        ("2025-01-31T06:00", True, datetime(2025, 1, 31, 6, tzinfo=timezone.utc)),
        ("2025-01-31T06:00:00 02:00", False, datetime(2025, 1, 31, 4, tzinfo=timezone.utc)),
        ("2025-01-31T06:00:00Z", False, datetime(2025, 1, 31, 6, tzinfo=timezone.utc)),
        ("24h", False, NOW - timedelta(days=1)),
        ("2w", False, NOW - timedelta(days=14)),
    ],
)
def test_moments_are_read_as_people_write_them(text, end, moment):
    assert read_moment(text, NOW, end=end) == moment


@pytest.mark.parametrize(
    "text", ["", "x", "2025-13-01", "2025-02-30T00:00", "9" * 5000, "999999w", "9999-12-31T23:59-23:59"]
)
def test_what_is_no_moment_is_refused_in_words(text):
    with pytest.raises(ValueError, match="expected a date"):
        read_moment(text, NOW)


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        ({"rows": 1700, "difference": 0.5}, "rows: 1,700, difference: 0.50"),
        ({"check": "row_count", "ok": True, "queries": ["SELECT 1"], "why": ""}, "check: row_count, ok: yes"),
        ({"queries": ["SELECT 1"]}, '{"queries": ["SELECT 1"]}'),
        ({"share": float("inf")}, "share: inf"),
        ({"source": 2**60 + 1, "target": 2**60}, f"source: {2**60 + 1:,}, target: {2**60:,}"),
        ([1, 2], "[1, 2]"),
        ({"audit_task": "load__audit", "rows": 3, "audit_ended": "passed"}, "rows: 3"),
        ({"audit_result": "matched", "audit_task": "load__audit", "audited_at": "2026-01-31"}, ""),
    ],
)
def test_evidence_is_told_in_a_line(evidence, words):
    assert evidence_words(evidence) == words


def test_names_with_numbers_are_sorted_as_people_count():
    names = ["step_10", "step_9a", "step_9", "9" * 30, "", "a10b2", "a10b10"]
    assert sorted(names, key=natural) == ["", "a10b2", "a10b10", "step_9", "step_9a", "step_10", "9" * 30]
