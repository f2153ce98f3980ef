"""Threads that do what a page cannot wait for without end."""

from __future__ import annotations

import threading
import time
import weakref

import pytest

from airflow_provider_pipetrack.ui.helpers import Helpers


@pytest.fixture
def helpers():
    return Helpers(2)


@pytest.fixture
def gate():
    """What something hangs at, until the test is over at the latest."""
    gate = threading.Event()
    yield gate
    gate.set()


def helper_of(helpers, work=lambda: None):
    """Return the thread that does something."""
    found = []
    assert helpers.do(lambda: found.append(threading.current_thread()) or work(), 30)
    return found[0]


def test_one_thing_after_another_is_done_by_the_same_thread(helpers):
    first = helper_of(helpers)
    assert first is not threading.current_thread()
    assert first.daemon
    assert {helper_of(helpers) for _ in range(5)} == {first}


def test_what_hangs_is_left_to_itself(helpers, gate):
    hung = []
    assert not helpers.do(lambda: hung.append(threading.current_thread()) or gate.wait(30), 0.05)
    assert helper_of(helpers) not in hung


def test_what_hung_helps_again_but_no_more_threads_stay_than_are_wanted(helpers, gate):
    hung = set()
    for _ in range(5):
        assert not helpers.do(lambda: hung.add(threading.current_thread()) or gate.wait(30), 0.05)
    gate.set()

    until = time.monotonic() + 30
    while len(staying := {thread for thread in hung if thread.is_alive()}) > 2:
        assert time.monotonic() < until
    assert len(staying) == 2
    assert helper_of(helpers) in staying


def test_nothing_is_kept_of_what_was_done(helpers):
    class Page:
        pass

    page = Page()
    known = weakref.ref(page)
    helper_of(helpers, lambda page=page: None)
    del page
    helper_of(helpers)
    assert known() is None
