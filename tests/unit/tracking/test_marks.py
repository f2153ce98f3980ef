"""The marks of attempts under way: found when their process died, never while it lives, and gone when all is said."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing import get_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking import marks
from airflow_provider_pipetrack.tracking.marks import (
    forget,
    forget_old,
    forget_run,
    left_of_run,
    left_on_host,
    set_mark,
)

OWN = RecordKey("d", "r", "own")
CHAIN = {"locations": ["sqlite||/t.db"], "mode": "fallback", "connections": {}, "adapters": {}}


def key(name="load", run_id="r", attempt=1):
    return RecordKey("d", run_id, name, -1, attempt)


def mark(folder, of):
    made = set_mark(folder, of, ("p", "d"), CHAIN)
    assert made is not None
    return made


def names(folder):
    return [left.key.name for left in left_of_run(folder, OWN)]


def files(folder):
    return [path for path in (folder / "open").rglob("*") if path.is_file()]


def die(folder, of, marked):
    mark(folder, of)
    marked.set()
    signal.pause()


@pytest.fixture
def killed(tmp_path):
    """Mark attempts in a process of their own, which is killed, and return them."""

    def kill(*keys):
        for of in keys:
            context = get_context("spawn")
            marked = context.Event()
            process = context.Process(target=die, args=(tmp_path, of, marked))
            process.start()
            try:
                assert marked.wait(60)
                assert names(tmp_path).count(of.name) == 0, "its process lives"
            finally:
                os.kill(process.pid, signal.SIGKILL)
                process.join(60)

    return kill


def test_what_a_killed_process_has_left_is_found_by_its_run_alone(tmp_path, killed):
    killed(key(), key("other", run_id="another run"))
    (left,) = left_of_run(tmp_path, OWN)
    assert (left.key, left.pipeline_ids, left.chain) == (key(), ("p", "d"), CHAIN)
    assert sorted(left.key.name for left in left_on_host(tmp_path)) == ["load", "other"]
    forget([left])
    assert names(tmp_path) == []
    assert [left.key.name for left in left_on_host(tmp_path)] == ["other"]


def test_one_that_lives_is_not_found_and_one_that_has_ended_leaves_nothing(tmp_path):
    running, ends = mark(tmp_path, key()), mark(tmp_path, key("ends"))
    assert names(tmp_path) == []
    ends.remove()
    ends.remove()
    assert len(files(tmp_path)) == 1
    running.let_go()
    assert names(tmp_path) == ["load"]
    running.remove()
    assert names(tmp_path) == ["load"], "it has no say any more"


def test_an_attempt_that_goes_on_takes_over_what_it_left_itself(tmp_path):
    mark(tmp_path, key()).let_go()
    again = mark(tmp_path, key())
    assert names(tmp_path) == []
    assert left_of_run(tmp_path, key()) == []
    again.remove()
    assert files(tmp_path) == []


def test_a_run_that_is_closed_leaves_only_what_still_lives(tmp_path):
    living = mark(tmp_path, key("lives"))
    for of in (key(), key("load", attempt=2), key("other", run_id="another run")):
        mark(tmp_path, of).let_go()
    forget_run(tmp_path, "d", "r")
    assert [left.key.run_id for left in left_on_host(tmp_path)] == ["another run"]
    living.let_go()
    assert names(tmp_path) == ["lives"]


def test_what_was_left_long_ago_is_forgotten_and_what_lives_is_not(tmp_path):
    living = mark(tmp_path, key("lives"))
    for name in ("old", "new"):
        mark(tmp_path, key(name)).let_go()
    long_ago = time.time() - marks.KEPT_FOR - 60
    (half_made,) = [path.with_name(".half.1") for path in files(tmp_path)[:1]]
    half_made.write_text("")
    for path in files(tmp_path):
        if b"new" not in path.read_bytes():
            os.utime(path, (long_ago, long_ago))
    forget_old(tmp_path)
    assert names(tmp_path) == ["new"]
    assert not half_made.exists()
    living.let_go()
    assert sorted(names(tmp_path)) == ["lives", "new"]


def said(**other):
    return json.dumps({"record_id": key().record_id, "pipeline_ids": ["p"], "chain": CHAIN, **other}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"record_id": "x"}',
        said(record_id="x"),
        said(pipeline_ids=[7]),
        said(chain=None),
        said(chain=[]),
        said(chain={name: part for name, part in CHAIN.items() if name != "adapters"}),
        *(said(chain={**CHAIN, name: part}) for name in CHAIN for part in (None, 7, [7], {"a": 7})),
    ],
)
def test_what_nobody_can_read_is_taken_away(tmp_path, content):
    mark(tmp_path, key()).let_go()
    (path,) = files(tmp_path)
    path.write_bytes(content)
    assert names(tmp_path) == []
    assert not path.exists()


def test_where_nothing_can_be_written_there_is_no_mark_and_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert set_mark(tmp_path / "file", OWN, (), CHAIN) is None
    assert left_of_run(tmp_path / "file", OWN) == left_on_host(tmp_path / "file") == []
    forget_run(tmp_path / "file", "d", "r")
    forget_old(tmp_path / "file")
    assert set_mark(tmp_path, OWN, (), {"adapters": {"x": object}}) is None


def test_a_full_disk_leaves_no_half_a_mark(tmp_path, mocker):
    mocker.patch.object(marks.os, "write", return_value=3)
    assert set_mark(tmp_path, OWN, ("p",), CHAIN) is None
    assert files(tmp_path) == []


@pytest.mark.parametrize("refusal", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_has_no_marks_and_keeps_nothing_half_made(tmp_path, monkeypatch, refusal):
    def no_locks(descriptor, operation):
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert set_mark(tmp_path, OWN, ("p",), CHAIN) is None
    assert files(tmp_path) == []
    young, old = (tmp_path / "open" / name for name in (".young.1", ".old.1"))
    for path in (young, old):
        path.write_text("")
    long_ago = time.time() - marks.KEPT_FOR - 60
    os.utime(old, (long_ago, long_ago))
    forget_old(tmp_path)
    assert files(tmp_path) == [young]


def test_a_program_that_the_task_has_started_does_not_keep_it_alive(tmp_path):
    made = mark(tmp_path, key())
    code = "print('runs', flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = subprocess.Popen([sys.executable, "-c", code], close_fds=False, **pipes)
    try:
        assert child.stdout.readline() == b"runs\n"
        made.let_go()
        assert names(tmp_path) == ["load"]
    finally:
        child.communicate(b"\n", timeout=60)


def fork_and_wait(folder, of, told):
    mark(folder, of)
    get_context("fork").Process(target=outlive, args=(told,)).start()
    signal.pause()


def outlive(told):
    told.send_bytes(b"lives")
    with suppress(EOFError):
        told.recv_bytes()


def test_a_process_that_the_task_has_forked_does_not_keep_it_alive(tmp_path):
    """Such as a worker of multiprocessing that outlives a task which ran out of memory."""
    context = get_context("spawn")
    here, there = context.Pipe()
    task = context.Process(target=fork_and_wait, args=(tmp_path, key(), there))
    task.start()
    there.close()
    with here:
        try:
            assert here.poll(60)
            here.recv_bytes()
            assert names(tmp_path) == [], "the task lives"
        finally:
            os.kill(task.pid, signal.SIGKILL)
            os.waitpid(task.pid, 0)  # join() would wait for the worker, too
        assert names(tmp_path) == ["load"]
        here.send_bytes(b"it is still there, or this fails")


def test_a_process_that_the_task_has_forked_does_not_take_its_mark_away(tmp_path):
    made = mark(tmp_path, key())
    worker = get_context("fork").Process(target=made.remove)
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0
    assert len(files(tmp_path)) == 1
    assert names(tmp_path) == []
    made.remove()
    assert files(tmp_path) == []


def test_marks_that_come_and_go_at_once_are_all_right(tmp_path):
    """Several processes of one run mark and remove at once."""
    context = get_context("fork")
    workers = [context.Process(target=_come_and_go, args=(tmp_path, n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert sorted(names(tmp_path)) == [f"t{n}" for n in range(4)]


def _come_and_go(folder, number):
    for _ in range(300):
        mark(folder, key(f"t{number}")).remove()
    mark(folder, key(f"t{number}"))
    os._exit(0)


texts = st.text(min_size=1, max_size=250)


@given(dag_id=texts, run_id=texts, name=texts, index=st.integers(-1, 9), attempt=st.integers(1, 9))
def test_any_attempt_is_found_again(tmp_path_factory, dag_id, run_id, name, index, attempt):
    folder = tmp_path_factory.mktemp("marks")
    of = RecordKey(dag_id, run_id, name, index, attempt)
    mark(folder, of).let_go()
    assert [left.key for left in left_on_host(folder)] == [of]
    assert [left.key for left in left_of_run(folder, RecordKey(dag_id, run_id, "\0"))] == [of]
    forget_run(folder, dag_id, run_id)
    assert not any((folder / "open").iterdir())
