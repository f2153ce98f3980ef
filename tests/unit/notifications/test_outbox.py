"""Alerts on disk: once each, under a lock, until everybody was told."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
import time

import pytest

from airflow_provider_pipetrack.notifications import outbox as module
from airflow_provider_pipetrack.notifications.outbox import Alert, Outbox, Standing, alert_id


def an_alert(subject: str = "a", **more) -> Alert:
    kept = {"kind": "failed", "record": {"record_id": subject}, "deliveries": [{"to": ["a@example.com"]}]}
    return Alert(**{"alert_id": alert_id(subject, "failed"), "raised": time.time(), **kept, **more})


@pytest.fixture
def box(tmp_path) -> Outbox:
    return Outbox(tmp_path / "alerts")


def test_the_same_attempt_and_kind_have_the_same_id():
    assert alert_id("a", "failed") == alert_id("a", "failed")
    assert len({alert_id("a", "failed"), alert_id("a", "overdue"), alert_id("b", "failed")}) == 3


def test_an_alert_is_kept_once(box):
    assert box.keep(an_alert())
    assert not box.keep(an_alert())
    assert box.waiting() == [an_alert().alert_id]


def test_what_was_sent_is_not_kept_again(box):
    box.keep(an_alert())
    with box.taken(an_alert().alert_id) as alert:
        assert box.settle(alert, []) == "sent"
    assert not box.keep(an_alert())
    assert box.waiting() == []


def test_of_many_at_once_one_keeps_it(box):
    start, kept = threading.Barrier(8), []

    def keep() -> None:
        start.wait()
        kept.append(box.keep(an_alert()))

    threads = [threading.Thread(target=keep) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(kept) == [False] * 7 + [True]


def test_only_one_process_sends_it(box):
    box.keep(an_alert())
    with box.taken(an_alert().alert_id) as first, box.taken(an_alert().alert_id) as second:
        assert first == an_alert(raised=first.raised)
        assert second is None
    with box.taken(an_alert().alert_id) as again:
        assert again is not None


def test_what_is_left_waits_longer_with_each_try(box):
    box.keep(an_alert())
    pauses = []
    for _ in range(9):
        with box.taken(an_alert().alert_id) as alert:
            before = time.time()
            assert box.settle(alert, alert.deliveries) == "waiting"
        with box.taken(an_alert().alert_id) as alert:
            pauses.append(round(alert.due - before))
    assert pauses == [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]
    assert alert.tries == 9


def test_only_who_was_not_told_is_told_again(box):
    box.keep(an_alert(deliveries=[{"to": ["a@example.com"]}, {"to": ["b@example.com"]}]))
    with box.taken(an_alert().alert_id) as alert:
        box.settle(alert, alert.deliveries[1:])
    with box.taken(an_alert().alert_id) as alert:
        assert alert.deliveries == [{"to": ["b@example.com"]}]


def test_who_was_told_is_noted_while_nobody_else_may_send_it(box, tmp_path):
    box.keep(an_alert(deliveries=[{"to": [f"{who}@example.com"]} for who in "abc"]))
    with box.taken(an_alert().alert_id) as alert:
        for left in (alert.deliveries[1:], alert.deliveries[2:]):
            box.note(alert, left)
            with Outbox(tmp_path / "alerts").taken(alert.alert_id) as other:
                assert other is None
    with Outbox(tmp_path / "alerts").taken(an_alert().alert_id) as other:
        assert (other.deliveries, other.tries) == ([{"to": ["c@example.com"]}], 0)
    assert len(list((tmp_path / "alerts" / "waiting").iterdir())) == 1


def test_after_days_it_is_given_up_and_kept(box, tmp_path):
    box.keep(an_alert(raised=time.time() - module.KEPT_FOR - 1))
    with box.taken(an_alert().alert_id) as alert:
        assert box.settle(alert, alert.deliveries) == "given_up"
    assert box.waiting() == []
    assert not box.keep(an_alert())
    assert [path.stem for path in (tmp_path / "alerts" / "given_up").iterdir()] == [an_alert().alert_id]


def test_a_damaged_alert_is_put_aside(box, tmp_path):
    box.keep(an_alert())
    (tmp_path / "alerts" / "waiting" / f"{an_alert().alert_id}.json").write_text("{")
    with box.taken(an_alert().alert_id) as alert:
        assert alert is None
    assert box.waiting() == []
    assert (tmp_path / "alerts" / "given_up" / f"{an_alert().alert_id}.json").exists()


def test_an_alert_of_a_newer_version_is_sent_as_far_as_it_is_understood(box, tmp_path):
    kept = an_alert()
    box.keep(kept)
    path = tmp_path / "alerts" / "waiting" / f"{kept.alert_id}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "urgency": "high"}))
    with box.taken(kept.alert_id) as alert:
        assert alert == kept


@pytest.mark.parametrize(("seconds", "is_due"), [(-1, True), (60, False), (1_700, False), (30 * 86_400, True)])
def test_a_clock_that_was_set_back_puts_no_alert_off_for_long(seconds, is_due):
    assert an_alert(due=time.time() + seconds).is_due is is_due


def test_others_may_not_read_it(box, tmp_path):
    box.keep(an_alert())
    path = next((tmp_path / "alerts" / "waiting").iterdir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_is_not_remembered_for_ever_what_was_sent(box, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SWEEP_ABOVE", 1)
    for subject in "abc":
        box.keep(an_alert(subject))
        if subject == "b":
            long_ago = time.time() - module._REMEMBERED - 1
            os.utime(tmp_path / "alerts" / "sent" / alert_id("a", "failed"), (long_ago, long_ago))
        with box.taken(alert_id(subject, "failed")) as alert:
            box.settle(alert, [])
    assert {path.name for path in (tmp_path / "alerts" / "sent").iterdir()} == {alert_id(s, "failed") for s in "bc"}


def test_nothing_waits_where_nothing_was_kept(box):
    assert box.waiting() == []
    with box.taken("no") as alert:
        assert alert is None


def test_it_says_how_many_wait_since_when_and_why(box):
    assert box.standing() == Standing(box._folder, 0, None, 0, "")
    assert box.standing().is_well
    box.keep(an_alert("a", raised=time.time() - 90))
    box.keep(an_alert("b"))
    found = box.standing()
    assert (found.waiting, round(found.oldest_seconds), found.is_well) == (2, 90, True)
    with box.taken(an_alert("b").alert_id) as alert:
        assert box.settle(alert, alert.deliveries, "could not be sent: gone") == "waiting"
    assert (box.standing().last_error, box.standing().is_well) == ("could not be sent: gone", False)


def test_one_that_was_given_up_still_says_why(box):
    box.keep(an_alert(raised=time.time() - 4 * 86_400))
    with box.taken(an_alert().alert_id) as alert:
        assert box.settle(alert, alert.deliveries, "could not be sent: gone") == "given_up"
    assert box.standing() == Standing(box._folder, 0, None, 1, "could not be sent: gone")
    assert not box.standing().is_well


@pytest.mark.parametrize("step", ["fsync", "flock"])
def test_a_disk_that_takes_nothing_is_left_no_fuller_and_no_file_is_left_open(box, monkeypatch, step):
    box.keep(an_alert())

    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with box.taken(an_alert().alert_id) as alert:
        opened = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr({"fsync": module.os, "flock": module.fcntl}[step], step, fail)
        with pytest.raises(OSError, match="No space left"):
            box.note(alert, alert.deliveries)
        monkeypatch.undo()
        assert len(os.listdir("/proc/self/fd")) == opened
    assert [path.name for path in (box._folder / "waiting").iterdir()] == [f"{an_alert().alert_id}.json"]
    with box.taken(an_alert().alert_id) as alert:
        assert alert is not None
