"""Writers that are killed: a record for which True was returned is there afterwards, once and whole."""

from __future__ import annotations

import importlib
import os
import random
import select
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.crash.killing import check, record
from tests.postgres_server import CONN_ID, DATABASE, postgres  # noqa: F401  a fixture

KILLS = 60


@contextmanager
def writer(work):
    """A child process that runs ``work(say)``; gives its id and a function that returns the lines it has said."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            work(lambda line: os.write(writing, f"{line}\n".encode()))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    data = bytearray()

    def said(wait: float) -> list[str]:
        """What it has said so far, after at least one line, its end, or ``wait`` seconds."""
        while select.select([reading], [], [], wait)[0]:
            chunk = os.read(reading, 65_536)
            data.extend(chunk)
            wait = 0.0
            if not chunk:
                break
        return data.decode().splitlines()

    try:
        yield child, said
    finally:
        os.close(reading)


def kill_many(locations: list[str], folder: Path, kills: int, seed: int) -> list[str]:
    """Kill that many writers, each at a random moment of its work; return what they had been promised is safe."""
    moments = random.Random(seed)
    safe = []
    for number in range(kills):

        def work(say, number=number):
            store = TrackingStore(locations, journal_dir=folder, deadline=5.0)
            say("ready")
            for step in range(10_000):
                if store.write_tracking_record(record(f"w{number}-{step}")):
                    say(f"w{number}-{step}")

        with writer(work) as (child, said):
            assert said(20.0)
            # Every second one has kept a promise before, however slow the machine is.
            while number % 2 and len(said(20.0)) < 2:
                pass
            # The moment of the kill is the point here, so it is a time and not a condition.
            time.sleep(moments.uniform(0.0, 0.03))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            safe += [line for line in said(5.0) if line != "ready"]
    return safe


def test_no_promised_record_is_lost_when_writers_are_killed(tmp_path):
    locations = [f"sqlite||{tmp_path}/a.db||t", f"local_file||{tmp_path}/b.json"]
    safe = kill_many(locations, tmp_path / "journal", KILLS, seed=1)
    assert len(safe) > KILLS / 4
    assert len(list((tmp_path / "journal").glob("*/slot-*.seg"))) <= 3, "slots of the dead are taken over"
    check(locations, tmp_path / "journal", safe)


@pytest.mark.parametrize("kind", ["sqlite", "local_file"])
def test_no_promised_record_is_lost_when_writers_are_killed_during_an_outage(tmp_path, kind):
    (tmp_path / "shut").write_text("in the way")
    fallback = f"sqlite||{tmp_path}/b.db||t" if kind == "sqlite" else f"local_file||{tmp_path}/b.json"
    locations = [f"sqlite||{tmp_path}/shut/a.db||t", fallback]
    safe = kill_many(locations, tmp_path / "journal", KILLS // 2, seed=2)
    assert safe
    (tmp_path / "shut").unlink()
    check(locations, tmp_path / "journal", safe)


def test_a_reconcile_that_is_killed_loses_nothing_and_repeats_nothing(tmp_path):
    (tmp_path / "shut").write_text("in the way")
    locations = [f"sqlite||{tmp_path}/shut/a.db||t", f"sqlite||{tmp_path}/b.db||t"]
    folder = tmp_path / "journal"
    names = [f"r{number}" for number in range(200)]
    with TrackingStore(locations[:1], journal_dir=folder) as store:
        changes = [change_from_record(record(name)) for name in names]
        assert all(store.submit([change], durable=False) for change in changes[:100])
        store.flush()
    with TrackingStore(locations, journal_dir=folder) as store:
        assert all(store.submit([change], durable=False) for change in changes[100:])
        store.flush()
    (tmp_path / "shut").unlink()
    moments = random.Random(3)

    def work(say):
        say("ready")
        TrackingStore(locations, journal_dir=folder).reconcile()

    for _ in range(20):
        with writer(work) as (child, said):
            assert said(20.0)
            time.sleep(moments.uniform(0.0, 0.04))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    check(locations, folder, names)


@pytest.mark.parametrize("kind", ["sqlite", "local_file", "postgres"])
def test_eight_processes_at_once_keep_all_their_records(tmp_path, kind, request):
    if kind == "postgres":
        # The client is loaded before the processes part, not by each of them.
        request.getfixturevalue("postgres")
        importlib.import_module("airflow.providers.postgres.hooks.postgres")
    first = {
        "sqlite": f"sqlite||{tmp_path}/a.db||t",
        "local_file": f"local_file||{tmp_path}/a.json",
        "postgres": f"postgres@{CONN_ID}||{DATABASE}||public||eight_processes",
    }[kind]
    locations = [first, f"sqlite||{tmp_path}/b.db||t"]

    def work_of(worker):
        def work(say):
            with TrackingStore(locations, journal_dir=tmp_path / "journal", deadline=20.0) as store:
                for step in range(50):
                    if store.write_tracking_record(record(f"p{worker}-{step}")):
                        say(f"p{worker}-{step}")

        return work

    names = [f"p{worker}-{step}" for worker in range(8) for step in range(50)]
    safe = []

    def collect(workers):
        if not workers:
            return
        with writer(work_of(workers[0])) as (child, said):
            collect(workers[1:])
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            safe.extend(said(5.0))

    collect(list(range(8)))
    assert sorted(safe) == sorted(names)
    check(locations, tmp_path / "journal", safe)
