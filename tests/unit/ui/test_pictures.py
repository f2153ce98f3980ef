"""Timeline, graph and chart are laid out inside their frame, whatever the records say."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pipetrack.ui import duration_chart as charts
from airflow_provider_pipetrack.ui import stage_graph as graphs
from airflow_provider_pipetrack.ui.timeline import WIDTH, Segment, axis_of, line_of, round_steps
from airflow_provider_pipetrack.ui.timeline_rows import _bar
from airflow_provider_pipetrack.ui.words import COMPLETED, FAILED

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)


def attempt(start=None, end=None, status="completed", estimate=None, **more):
    return {
        "transfer_start_timestamp": None if start is None else NOW + timedelta(minutes=start),
        "transfer_end_timestamp": None if end is None else NOW + timedelta(minutes=end),
        "transfer_status": status,
        "estimated_seconds": estimate,
        "retry_attempt_number": 0,
        "max_retry_attempts": 3,
        "decision": None,
        "is_partial": False,
        **more,
    }


def transfer(name, source, target, order=1.0, status="completed", **more):
    row = attempt(status=status, **more)
    return {
        **row,
        "task_id": name,
        "stage_i_details": source,
        "stage_i_plus_1_details": target,
        "transfer_order_number": order,
        "transfer_process_owner_name": "ada",
    }


def test_bars_stand_where_the_attempts_were():
    first, second = attempt(0, 10, "failed"), attempt(20, 40, estimate=600)
    axis = axis_of([first, second], NOW)
    line = line_of([first, second], axis, NOW)
    bars = [(round(part.left / WIDTH, 2), round(part.width / WIDTH, 2)) for part in line.segments]
    assert bars == [pytest.approx((0.0, 0.25), abs=0.011), pytest.approx((0.5, 0.5), abs=0.011)]
    assert (line.estimate_left / WIDTH, line.estimate_width / WIDTH) == pytest.approx((0.5, 0.25), abs=0.011)


@given(st.floats(0, WIDTH), st.floats(0.1, WIDTH), st.sampled_from([FAILED, COMPLETED]))
def test_every_failed_bar_has_a_cross_within_the_frame_and_no_other_has(left, width, state):
    width = min(width, WIDTH - left) or 0.1
    drawn = _bar(Segment(left, width, state, False, ""))
    assert ("cross" in drawn) == (state is FAILED)
    places = [float(place) for place in re.findall(r"M([0-9.e+-]+) ", drawn)]
    assert bool(places) == (state is FAILED)
    assert all(0 <= place <= WIDTH - 12 for place in places)


def test_a_run_that_has_not_begun_has_no_axis():
    assert axis_of([attempt()], NOW) is None


def test_a_huge_estimate_does_not_press_the_bars_flat():
    row = attempt(0, 10, estimate=1e12)
    axis = axis_of([row], NOW)
    line = line_of([row], axis, NOW)
    assert line.segments[0].width > 900
    assert line.estimate_left + line.estimate_width <= WIDTH


moments = st.one_of(st.none(), st.integers(-5000, 5000))


@given(st.lists(st.tuples(moments, moments, st.one_of(st.none(), st.floats(0, 1e9))), min_size=1, max_size=8))
def test_every_bar_is_inside_the_frame(rows):
    attempts = [attempt(start, end, "completed" if end else "in_progress", estimate) for start, end, estimate in rows]
    axis = axis_of(attempts, NOW)
    if axis is None:
        return
    line = line_of(attempts, axis, NOW)
    for part in line.segments:
        assert part.left >= 0
        assert part.width > 0
        assert part.left + part.width <= WIDTH + 0.2
    assert all(0 <= tick.left <= WIDTH for tick in axis.ticks())


@given(st.floats(0.001, 1e10))
def test_marks_are_few_round_and_inside(seconds):
    steps = round_steps(seconds, 8)
    assert 1 <= len(steps) <= 10
    assert steps[-1] <= seconds


def boxes(graph):
    return [(box.x, box.y, box.x + box.width, box.y + box.height) for box in graph.boxes]


def test_stages_stand_from_left_to_right():
    rows = [transfer("a", "shop", "staging", 1), transfer("b", "staging", "production", 2)]
    graph = graphs.stage_graph(rows, NOW)
    ordered = sorted(graph.boxes, key=lambda box: box.x)
    assert [box.text for box in ordered] == ["shop", "a", "staging", "b", "production"]
    assert len(graph.lines) == 4


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef"), st.integers(0, 4)), min_size=1, max_size=30
    )
)
def test_no_box_covers_another_and_all_are_inside_even_in_circles(edges):
    rows = [transfer(f"t{n}", source, target, order) for n, (source, target, order) in enumerate(edges)]
    graph = graphs.stage_graph(rows, NOW)
    placed = boxes(graph)
    assert len([box for box in graph.boxes if box.row]) == len(rows)
    for n, one in enumerate(placed):
        assert 0 <= one[0] < one[2] <= graph.width
        assert 0 <= one[1] < one[3] <= graph.height
        for other in placed[n + 1 :]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_of_a_mapped_transfer_the_worst_is_drawn():
    rows = [
        transfer("a", "x", "y", status=status, map_index=n)
        for n, status in enumerate(["completed", "failed", "pending"])
    ]
    drawn = [box for box in graphs.stage_graph(rows, NOW).boxes if box.row]
    assert [box.state.word for box in drawn] == ["failed"]


@pytest.mark.parametrize(("others", "word"), [([], "not run"), (["completed", "completed"], "completed")])
def test_an_index_that_was_removed_does_not_stand_for_a_mapped_transfer(others, word):
    rows = [transfer("a", "x", "y", status="pending", map_index=0, decision="removed from the Dag")]
    rows += [transfer("a", "x", "y", status=status, map_index=n) for n, status in enumerate(others, 1)]
    drawn = [box for box in graphs.stage_graph(rows, NOW).boxes if box.row]
    assert [box.state.word for box in drawn] == [word]


@pytest.mark.parametrize(
    ("result", "ended", "word"),
    [
        ("mismatched", "failed", "mismatched"),
        ("mismatched", None, "completed"),
        ("mismatched", "passed", "completed"),
        ("pending", "failed", "audit failed"),
        ("pending", None, "completed"),
        ("matched", None, "completed"),
    ],
)
def test_a_transfer_whose_audit_stopped_the_run_is_not_drawn_as_completed(result, ended, word):
    evidence = {} if ended is None else {"audit_ended": ended}
    rows = [transfer("a", "x", "y", audit_result=result, audit_metadata=evidence)]
    drawn = [box for box in graphs.stage_graph(rows, NOW).boxes if box.row]
    assert [box.state.word for box in drawn] == [word]


def test_a_picture_of_very_many_transfers_says_how_many_it_leaves_out():
    rows = [transfer(f"t{n:04}", f"s{n}", f"s{n + 1}", n) for n in range(500)]
    graph = graphs.stage_graph(rows, NOW)
    assert graph.left_out == 500 - graphs.MOST_TRANSFERS


def test_a_stage_that_is_not_resolved_yet_is_said():
    graph = graphs.stage_graph([transfer("a", None, None)], NOW)
    assert "(not known yet)" in [box.text for box in graph.boxes]


@given(st.lists(st.floats(0, 1e7), min_size=1, max_size=250), st.floats(0, 1e9), st.floats(0, 1e7))
def test_every_point_and_line_of_a_chart_is_inside(seconds, estimate, p95):
    rows = [
        {
            "actual_seconds": value,
            "transfer_status": "completed",
            "is_partial": False,
            "transfer_start_timestamp": NOW,
            "created_timestamp": NOW,
            "retry_attempt_number": 0,
        }
        for value in seconds
    ]
    chart = charts.duration_chart(rows, {"p50": None, "p95": p95, "estimate": estimate})
    assert len(chart.points) == min(len(rows), charts.MOST_POINTS)
    for point in chart.points:
        assert chart.left <= point.x <= chart.right
        assert 0 <= point.y <= chart.bottom
    for level in chart.levels:
        assert 0 <= level.y <= chart.bottom
        assert 10 <= level.text_y <= charts.HEIGHT + 12
    texts = sorted(level.text_y for level in chart.levels)
    assert all(b - a >= 12 for a, b in zip(texts, texts[1:], strict=False))


def test_without_attempts_there_is_no_chart():
    assert charts.duration_chart([], {}) is None
