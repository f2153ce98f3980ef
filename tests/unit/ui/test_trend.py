"""Whether a transfer is flaky or drifting."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest

from airflow_provider_pipetrack.tracking.questions import Answer
from airflow_provider_pipetrack.ui.trend import Drift, Flakiness, drift, flakiness
from tests.tracking_history import NOW, Run
from tests.unit.ui.conftest import filled_store

NEWEST = datetime(2026, 1, 31, tzinfo=timezone.utc)


def attempts(*seconds, failed=(), retries=()):
    return [
        {
            "actual_seconds": taken,
            "transfer_status": "failed" if place in failed else "completed",
            "retry_attempt_number": 1 if place in retries else 0,
            "created_timestamp": NEWEST - timedelta(days=place),
        }
        for place, taken in enumerate(seconds)
    ]


def at_once(rows):
    """Return the attempts as those of a mapped transfer, which are made at the same moment."""
    return [{**row, "created_timestamp": NEWEST} for row in rows]


def asked_of(rows):
    """Return what answers as the storage does that has these attempts."""
    fits = {
        "ended": lambda row: True,
        "failed": lambda row: row["transfer_status"] == "failed",
        "retried": lambda row: row["retry_attempt_number"] > 0,
    }

    def ask(*, status, limit, since=None):
        found = [row for row in rows if fits[status](row) and (since is None or row["created_timestamp"] >= since)]
        return Answer(found[:limit], len(found))

    return ask


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (attempts(*[5.0] * 4, failed={0}), None),
        (attempts(*[5.0] * 5), Flakiness(5, 0, 0, NEWEST - timedelta(days=4))),
        (
            attempts(*[5.0] * 60, failed={1, 49, 50, 59}, retries={0, 48, 58}),
            Flakiness(50, 2, 2, NEWEST - timedelta(days=49)),
        ),
        (at_once(attempts(*[5.0] * 60, failed={1, 49, 50, 59})), Flakiness(60, 4, 0, NEWEST)),
        (at_once(attempts(*[5.0] * 50, failed={1, 49}, retries={3})), Flakiness(50, 2, 1, NEWEST)),
    ],
    ids=["too few", "none", "the last fifty", "all of a mapped one", "exactly fifty"],
)
def test_how_the_last_attempts_ended(rows, told):
    assert flakiness(asked_of(rows)) == told


@pytest.mark.parametrize(("rows", "times"), [(attempts(*[5.0] * 60), 1), (at_once(attempts(*[5.0] * 60)), 4)])
def test_attempts_are_counted_by_the_storage_only_where_not_all_of_a_moment_are_known(mocker, rows, times):
    ask = mocker.Mock(side_effect=asked_of(rows))
    flakiness(ask)
    assert ask.call_count == times


def drifted(recent, before, *days):
    return Drift(recent, before, 12.0, 5.0, *(NEWEST - timedelta(days=day) for day in days))


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (attempts(*[9.0] * 19), None),
        (attempts(*[9.0] * 10, *[0.0] * 10), None),
        (attempts(*[12.0] * 10, *[5.0] * 10), drifted(10, 10, 9, 19)),
        (attempts(*[12.0] * 10, *[5.0] * 40, *[100.0] * 90), drifted(10, 40, 9, 49)),
        (attempts(*[12.0] * 9, 1.0, 12.0, *[5.0] * 40, failed={9}), drifted(10, 40, 10, 50)),
        (at_once(attempts(*[12.0] * 15)) + attempts(*[0.0], *[5.0] * 12)[1:], drifted(15, 12, 0, 12)),
        (at_once(attempts(*[12.0] * 90)), None),
    ],
    ids=["too few", "nothing to compare", "as many", "more", "failed do not count", "mapped", "mapped, one run"],
)
def test_what_the_last_took_beside_those_before(rows, told):
    assert drift(rows, is_all=True) == told


def test_of_the_oldest_moment_some_attempts_may_be_missing():
    rows = attempts(*[12.0] * 10, *[5.0] * 11)
    assert drift(rows, is_all=False) == drifted(10, 10, 9, 19)
    assert drift(rows[:-1], is_all=False) is None


def listed(client, read, page, words):
    """Return the text of the page that some words lead to."""
    (href,) = re.findall(f'<a href="([^"]*)#attempts">{words}</a>', page.whole)
    return read(client, href.replace("../../../", "").replace("&amp;", "&")).text


@pytest.mark.parametrize(
    ("recent", "before", "words"),
    [
        (12.0, 5.0, "2.4 times as long"),
        (5.5, 5.0, "about as long"),
        (4.5, 5.0, "about as long"),
        (1, 5, "0.2 times as long"),
    ],
)
def test_a_drift_is_told_in_words(recent, before, words):
    assert Drift(10, 40, recent, before, NEWEST, NEWEST).times == words


def test_a_transfer_says_first_whether_it_is_flaky_or_drifting(visitor, tmp_path, read):
    runs = []
    for day in range(25, 0, -1):
        run = Run("orders", f"r{day:02}", NOW - timedelta(days=day))
        run.end("load", 0, 12 if day <= 10 else 5)
        if day % 5 == 0:
            run.end("clean", 0, 1, status="failed")
            run.end("clean", 5, 1, attempt=2)
        runs.append(run)
    runs[-1].end("publish")
    with filled_store(tmp_path, runs) as store:
        client = visitor(store, "orders")
        page = read(client, "p/orders/t/load?run_id=r01")
        assert "Of its last 25 attempts, none failed, none were retries." in page.text
        for words, number in (("last 25 attempts", 25), ("last 10 completed ones", 10), ("15 before them", 15)):
            assert f" {number} CSV" in listed(client, read, page, words)
        assert (
            "Its last 10 completed ones took 12 min in the median, the 15 before them 5 min: 2.4 times as long."
            in page.text
        )
        page = read(client, "p/orders/t/clean")
        assert "Of its last 10 attempts, 5 failed, 5 were retries." in page.text
        assert "in the median" not in page.text
        assert " 5 CSV" in listed(client, read, page, "5 failed")
        assert " 5 CSV" in listed(client, read, page, "5 were retries")
        assert "Of its last" not in read(client, "p/orders/t/publish").text


def test_attempts_that_failed_before_they_began_count(visitor, tmp_path, read):
    runs = [Run("orders", f"r{day:02}", NOW - timedelta(days=day)) for day in range(10)]
    for run in runs:
        run.end("load") if run.run_id > "r03" else run.fail_unbegun("load")
        run.fail_unbegun("clean")
    with filled_store(tmp_path, runs) as store:
        client = visitor(store, "orders")
        page = read(client, "p/orders/t/load")
        assert "Of its last 10 attempts, 4 failed, none were retries." in page.text
        assert " 4 CSV" in listed(client, read, page, "4 failed")
        assert "Of its last 10 attempts, 10 failed, none were retries." in read(client, "p/orders/t/clean").text
