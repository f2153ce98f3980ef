"""One location of a chain: calls with a limit, and what becomes of those that are under way."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import suppress

import pytest

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.tracking import breaker, reading, sources
from airflow_provider_pipetrack.tracking.breaker import Breaker
from airflow_provider_pipetrack.tracking.questions import Questions
from tests.unit.tracking.site import RECORD


def test_a_location_that_is_closed_while_a_call_runs_does_not_end_the_process(site):
    store = site.store("a")
    store.write_tracking_record(RECORD)
    store.close()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _close_below_calls(store.legs[0], str(site.root / "a" / "tracking"))
            code = 42
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


def test_what_comes_while_a_location_is_left_alone_goes_to_the_next_or_waits(site):
    store, alone = site.store("a", "b"), site.store("a")
    alone.legs[0]._breaker.failed()
    assert store.write_tracking_record(RECORD) is True
    assert alone.write_tracking_record({**RECORD, "transfer_unique_id": "t2"}) is True
    assert [record["owed"] for record in site.alone("b").read_tracking_records("orders")] == [[site.location("a")]]
    assert site.waiting() == 1
    assert not (site.root / "a").exists(), "nobody tried"


class Slow(StorageAdapter):
    """A storage on another host whose long answers take longer than anybody waits, and whose signs of life may."""

    time_limit = 1.0
    cold_start = 0.2
    going_on = threading.Event()
    hangs = False

    def apply(self, changes, *, owed=()):
        self.wait(hanging=self.hangs)

    def read_tracking_records(self, pipeline_id):
        self.wait(hanging=self.hangs or pipeline_id == "orders")
        return []

    def wait(self, *, hanging):
        if hanging:
            self.going_on.wait(30.0)


@pytest.fixture
def slow(site, monkeypatch):
    """The only location of a store, and its class."""
    monkeypatch.setattr(Slow, "going_on", threading.Event())
    monkeypatch.setattr(sources, "READ_LIMIT", 0.6)
    monkeypatch.setattr(reading, "READ_LIMIT", 0.6)
    yield site.store("slow||x", adapters={"slow": Slow})
    Slow.going_on.set()


def test_a_long_answer_that_comes_too_late_keeps_nobody_from_writing(slow):
    late = {slow.legs[0].name: "did not answer within 0.6 s"}
    assert Questions(slow).ask("attempts", pipeline_id="orders").unreachable == late
    assert slow.read("orders").unreachable == late
    assert not slow.legs[0].is_left_alone
    slow.submit([change_from_record(RECORD)], durable=True)
    assert slow.flush() is True


def test_a_location_that_gives_no_sign_of_life_after_a_long_answer_is_left_alone(slow, monkeypatch):
    monkeypatch.setattr(Slow, "hangs", True)
    assert Questions(slow).ask("attempts", pipeline_id="orders").unreachable
    assert slow.legs[0].is_left_alone


def test_who_waits_for_what_another_has_asked_neither_ends_that_nor_holds_it_against_the_location(slow):
    leg, answers = slow.legs[0], []
    asked = threading.Thread(
        target=lambda: answers.append(leg.call(lambda adapter: adapter.read_tracking_records("orders"), 20.0))
    )
    asked.start()
    while not leg._lock.locked():
        time.sleep(0.001)
    with pytest.raises(StorageError, match=r"was busy for 0\.[67] s with what others had asked"):
        leg.call(lambda adapter: answers.append("too late"), 0.6)
    assert not leg.is_left_alone
    Slow.going_on.set()
    asked.join(20.0)
    leg.call(lambda adapter: adapter.check(), 5.0)
    assert answers == [[]]


@pytest.fixture
def after_pause(slow, monkeypatch):
    """The location, which has failed and has been left alone for long enough."""
    leg = slow.legs[0]
    leg._breaker.failed()
    later = time.time() + breaker.FIRST_PAUSE + 1.0
    monkeypatch.setattr(breaker.time, "time", lambda: later)
    return leg


def test_while_one_tries_a_location_after_a_pause_nobody_else_does(slow, after_pause):
    tried: list[int] = []
    first = Breaker(slow.journal_folder / "breakers", after_pause.name)
    assert first.may_try()
    with pytest.raises(StorageError, match="did not answer a moment ago and is left alone for a while"):
        after_pause.call(lambda adapter: tried.append(1), 1.0)
    assert tried == []
    first.undecided()
    after_pause.call(lambda adapter: tried.append(1), 1.0)
    assert (tried, after_pause.down_since) == ([1], None)


@pytest.mark.parametrize(
    ("asks", "waited"),
    [({}, r"0\.\d"), ({"patient": True}, r"[12]\.\d"), ({"until": lambda: time.monotonic() + 9.0}, r"[12]\.\d")],
)
def test_who_tries_a_location_after_a_pause_waits_for_a_part_of_its_time_only(after_pause, asks, waited):
    with pytest.raises(StorageError, match=f"did not answer within {waited} s"):
        after_pause.call(lambda adapter: adapter.wait(hanging=True), 1.2, **asks)


@pytest.mark.parametrize(
    ("error", "is_down"),
    [
        (StorageError("x", "no such table", transient=False), False),
        (StorageError("x", "connection refused", transient=True), True),
        (ValueError("a mistake of the storage's code"), False),
    ],
)
def test_only_what_may_pass_is_held_against_a_location(after_pause, error, is_down):
    def fails(adapter):
        raise error

    with pytest.raises(StorageError, match=str(error.args[-1])):
        after_pause.call(fails, 5.0)
    assert (after_pause.is_left_alone, after_pause.down_since is not None) == (is_down, is_down)


def test_who_learns_nothing_of_a_location_leaves_it_to_the_next(slow, after_pause):
    with pytest.raises(StorageError, match=r"did not answer within 0\.\d s"):
        after_pause.call(lambda adapter: adapter.wait(hanging=True), 0.1)
    assert Breaker(slow.journal_folder / "breakers", after_pause.name).may_try()


def test_a_location_whose_client_cannot_be_loaded_says_so(slow, monkeypatch):
    def fails(self):
        raise RuntimeError("its library is broken")

    monkeypatch.setattr(Slow, "load", fails)
    with pytest.raises(StorageError, match="Slow cannot be loaded: RuntimeError: its library is broken"):
        slow.legs[0].call(lambda adapter: None, 5.0)
    assert not slow.legs[0].is_left_alone


def test_a_location_is_closed_once_and_made_anew_when_it_is_needed_again(slow, monkeypatch):
    closed: list[StorageAdapter] = []
    monkeypatch.setattr(Slow, "close", lambda self: closed.append(self))
    leg = slow.legs[0]
    first = leg.call(lambda adapter: adapter, 5.0)
    leg.close()
    leg.close()
    second = leg.call(lambda adapter: adapter, 5.0)
    assert closed == [first]
    assert second is not first


def test_a_knock_tells_all_on_the_host_how_a_location_is(slow, monkeypatch):
    leg, asked = slow.legs[0], []
    leg._breaker.failed()
    monkeypatch.setattr(Slow, "check", lambda self: asked.append("check"))
    monkeypatch.setattr(Slow, "check_writing", lambda self: asked.append("check writing"))
    leg.knock()
    assert (asked, leg.is_left_alone, leg.down_since) == (["check"], False, None)
    leg.knock(writing=True)
    assert asked == ["check", "check", "check writing"]


class Dropped(Slow):
    """A storage whose connection is gone for good when it was given up, with all who wait for it."""

    given_up = False

    def abandon(self):
        self.given_up = True
        self.going_on.set()

    def read_tracking_records(self, pipeline_id):
        super().read_tracking_records(pipeline_id)
        if self.given_up:
            raise StorageError(self.location, "its connection was shut")
        return []


@pytest.fixture
def dropped(site, monkeypatch):
    """The only location of a store, of that class."""
    monkeypatch.setattr(Dropped, "going_on", threading.Event())
    yield site.store("dropped||x", adapters={"dropped": Dropped}).legs[0]
    Dropped.going_on.set()


def test_who_waits_behind_a_long_answer_that_is_broken_off_is_answered_afresh(dropped):
    asked = threading.Thread(target=_ask_in_vain, args=(dropped, 0.8))
    asked.start()
    while not dropped._lock.locked():
        time.sleep(0.001)
    assert dropped.call(lambda adapter: adapter.read_tracking_records("others"), 10.0) == []
    asked.join(20.0)
    assert not dropped.is_left_alone


def test_who_waits_behind_a_patient_question_does_not_break_it_off_when_others_find_the_location_away(dropped):
    answers: list[object] = []
    asked = threading.Thread(
        target=lambda: answers.append(
            dropped.call(lambda adapter: adapter.read_tracking_records("orders"), 20.0, patient=True)
        )
    )
    asked.start()
    while not dropped._lock.locked():
        time.sleep(0.001)
    waiting = threading.Thread(target=_ask_in_vain, args=(dropped, 10.0))
    waiting.start()
    time.sleep(0.1)
    dropped._breaker.failed()
    waiting.join(5.0)
    assert not waiting.is_alive()
    Dropped.going_on.set()
    asked.join(20.0)
    assert answers == [[]]


def _ask_in_vain(leg, limit: float) -> None:
    with pytest.raises(StorageError):
        leg.call(lambda adapter: adapter.read_tracking_records("orders"), limit, large=True)


def _close_below_calls(leg, path: str) -> None:
    """Close a location again and again while a write waits for somebody else's lock."""
    for _ in range(20):
        holder = sqlite3.connect(path)
        holder.execute("BEGIN IMMEDIATE")

        def write() -> None:
            with suppress(StorageError):
                leg.call(lambda adapter: adapter.apply([change_from_record(RECORD)]), 10.0)

        thread = threading.Thread(target=write)
        thread.start()
        while not leg._lock.locked():
            time.sleep(0.001)
        time.sleep(0.02)  # until the statement itself waits
        leg.close()
        holder.rollback()
        holder.close()
        thread.join(20.0)
        assert not thread.is_alive()
        leg.call(lambda adapter: adapter.check(), 10.0)
