"""The breaker: a location that does not answer is left alone, by all processes of the host, for a while."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from datetime import datetime, timezone

import pytest

from airflow_provider_pipetrack.tracking.breaker import Breaker

PROBER = """
import sys
from pathlib import Path
from airflow_provider_pipetrack.tracking.breaker import Breaker
breaker = Breaker(Path(sys.argv[1]), "a")
print(breaker.may_try(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "breakers"


def state(one: Breaker) -> dict:
    return json.loads(one.path.read_text())


def over(one: Breaker) -> None:
    """Let the pause be over."""
    one.path.write_text(json.dumps({**state(one), "until": time.time() - 1}))


def test_everybody_may_try_a_location_that_never_failed(folder):
    assert all(Breaker(folder, "a").may_try() for _ in range(3))


def test_a_failure_keeps_all_processes_from_that_location_and_from_no_other(folder):
    Breaker(folder, "a").failed()
    assert not Breaker(folder, "a").may_try()
    assert Breaker(folder, "b").may_try()


def test_the_pause_doubles_with_each_failure_up_to_the_longest(folder):
    one = Breaker(folder, "a")
    pauses = []
    for _ in range(6):
        one.failed()
        pauses.append(round(state(one)["until"] - time.time()))
        over(one)
    assert pauses == [15, 30, 60, 60, 60, 60]


def test_many_that_fail_together_are_one_failure(folder):
    for _ in range(20):
        Breaker(folder, "a").failed()
    assert state(Breaker(folder, "a"))["failures"] == 1


def test_after_the_pause_one_tries_alone_and_success_lets_everybody_in(folder):
    prober, other = Breaker(folder, "a"), Breaker(folder, "a")
    prober.failed()
    over(prober)
    assert prober.may_try()
    assert not other.may_try()
    prober.succeeded()
    assert other.may_try()
    assert state(other)["failures"] == 0


def test_a_probe_that_fails_lengthens_the_pause_and_frees_the_probe(folder):
    prober, other = Breaker(folder, "a"), Breaker(folder, "a")
    prober.failed()
    over(prober)
    assert prober.may_try()
    prober.failed()
    assert not other.may_try()
    over(prober)
    assert other.may_try()


def test_a_killed_prober_does_not_keep_others_away(folder):
    one = Breaker(folder, "a")
    one.failed()
    over(one)
    command = [sys.executable, "-c", PROBER, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "True\n"
    assert not one.may_try()
    process.kill()
    process.communicate()
    assert one.may_try()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"until": "x", "failures": 1}',
        b'{"until": 1}',
        b'{"until": 1, "failures": NaN}',
    ],
)
def test_a_damaged_state_counts_as_none(folder, content):
    one = Breaker(folder, "a")
    one.failed()
    one.path.write_bytes(content)
    assert one.may_try()


def test_a_clock_that_was_set_back_does_not_shut_a_location_for_ever(folder):
    one = Breaker(folder, "a")
    one.failed()
    one.path.write_text(json.dumps({"until": time.time() + 10**6, "failures": 1}))
    assert not one.is_open()
    assert one.may_try()
    assert not Breaker(folder, "a").may_try(), "one at a time"


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def test_since_when_a_location_is_down_is_known_to_all_processes_until_it_answers(folder):
    one, other = Breaker(folder, "a"), Breaker(folder, "a")
    assert one.down_since is None
    begun = moment(time.time())
    one.failed()
    first = other.down_since
    assert begun <= first <= moment(time.time())
    over(one)
    assert other.may_try()
    other.silent(0.1, 5.0)
    over(one)
    assert other.may_try()
    other.failed()
    assert state(one)["failures"] == 2
    assert Breaker(folder, "a").down_since == first
    other.succeeded()
    assert one.down_since is None
    one.failed()
    assert other.down_since > first


def test_silence_alone_is_no_failure(folder):
    one = Breaker(folder, "a")
    one.silent(0.1, 5.0)
    assert one.down_since is None


def test_a_state_of_an_earlier_version_knows_the_last_failure_and_keeps_it(folder):
    one = Breaker(folder, "a")
    one.failed()
    earlier = {"until": time.time() - 1, "failures": 3, "silent": 0.0, "last": time.time() - 30}
    one.path.write_text(json.dumps(earlier))
    assert one.down_since == moment(earlier["last"])
    assert one.may_try()
    one.failed()
    assert one.down_since == moment(earlier["last"])
    one.path.write_text(json.dumps({"until": time.time() + 10, "failures": 1}))
    assert one.is_open()
    assert one.down_since is None


def test_a_location_is_never_down_since_the_future(folder):
    one = Breaker(folder, "a")
    one.failed()
    one.path.write_text(json.dumps({**state(one), "since": time.time() + 10**6}))
    assert one.down_since <= moment(time.time())


def test_on_a_disk_without_locks_a_location_is_tried_again_all_the_same(folder, monkeypatch):
    def no_locks(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    one = Breaker(folder, "a")
    one.failed()
    over(one)
    assert one.may_try()
    one.succeeded()
    assert state(one)["failures"] == 0


def test_without_a_folder_to_write_the_breaker_never_opens(tmp_path):
    (tmp_path / "file").write_text("in the way")
    one = Breaker(tmp_path / "file" / "breakers", "a")
    one.failed()
    assert one.may_try()
    one.succeeded()


def test_the_right_to_try_is_given_back_once_though_two_threads_report_at_once(folder, monkeypatch):
    one = Breaker(folder, "a")
    one.failed()
    over(one)
    assert one.may_try()
    closed, close = [], os.close

    def close_slowly(descriptor):
        closed.append(descriptor)
        one.undecided()  # as another thread may, while this one waits for the system
        close(descriptor)

    monkeypatch.setattr(os, "close", close_slowly)
    one.undecided()
    assert len(closed) == 1
