"""A first location that refuses or never answers costs one deadline at most, and no record."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from airflow_provider_pipetrack.tracking import breaker as breaker_module
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.postgres_server import DATABASE

RECORD = {"pipeline_id": "orders", "transfer_unique_id": "t1"}
DEADLINE = 3.0
WRITER = """
import sys, time
from airflow_provider_pipetrack.tracking.store import TrackingStore
first, second, journal, number, early = sys.argv[1:]
if number == "0":
    import airflow.sdk  # a task's process has it; those that find the location left alone load no client
with TrackingStore([first, second], journal_dir=journal, deadline=3.0) as store:
    started = time.monotonic()
    if early == "True":
        store.make_ready()
    safe = store.write_tracking_record({"pipeline_id": "orders", "transfer_unique_id": number})
    print("wrote", safe, time.monotonic() - started)
"""


@pytest.fixture
def hung(black_hole, monkeypatch) -> str:
    """A location whose connection leads to the black hole."""
    fields = {"conn_type": "postgres", "host": "127.0.0.1", "port": black_hole, "login": "u", "password": "unasked"}
    monkeypatch.setenv("AIRFLOW_CONN_PIPETRACK_HUNG", json.dumps(fields))
    return f"postgres@pipetrack_hung||{DATABASE}||public||t{os.getpid()}_{time.monotonic_ns()}"


@pytest.fixture
def loaded():
    """The client, loaded before time is taken."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    return PostgresHook


def test_a_hung_location_gives_way_to_the_next_within_the_deadline(hung, tmp_path, loaded):
    with TrackingStore([hung, f"sqlite||{tmp_path}/b.db"], journal_dir=tmp_path / "j", deadline=DEADLINE) as store:
        started = time.monotonic()
        assert store.write_tracking_record(RECORD) is True
        assert time.monotonic() - started < DEADLINE
        started = time.monotonic()
        assert store.write_tracking_record({**RECORD, "transfer_unique_id": "t2"}) is True
        reading = store.read("orders")
        assert time.monotonic() - started < 1.0
        assert [record["owed"] for record in reading.records] == [[hung]] * 2
        assert "left alone for a while" in reading.unreachable[hung]


def test_a_refused_location_gives_way_at_once(black_hole, tmp_path, monkeypatch, loaded):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    fields = {"conn_type": "postgres", "host": "127.0.0.1", "port": port, "login": "u", "password": "unasked"}
    monkeypatch.setenv("AIRFLOW_CONN_PIPETRACK_REFUSED", json.dumps(fields))
    refused = f"postgres@pipetrack_refused||{DATABASE}||public||t"
    with TrackingStore([refused, f"sqlite||{tmp_path}/b.db"], journal_dir=tmp_path / "j", deadline=DEADLINE) as store:
        started = time.monotonic()
        assert store.write_tracking_record(RECORD) is True
        assert time.monotonic() - started < 1.5
        assert len(store.read_tracking_records("orders")) == 1


@pytest.mark.parametrize("early", [False, True])
def test_twenty_processes_one_after_another_lose_one_deadline_in_all(hung, tmp_path, early):
    second = f"sqlite||{tmp_path}/b.db"
    waited = []
    for number in range(20):
        command = [sys.executable, "-c", WRITER, hung, second, str(tmp_path / "j"), str(number), str(early)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        # Airflow's own logging may speak before and after.
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("wrote ")]
        _, safe, seconds = line.split()
        assert safe == "True"
        waited.append(float(seconds))
        if sum(waited) > 2 * DEADLINE + 2:
            break
    # The first waits for the client to load and then for the location; on a slow machine a pause may end meanwhile, and
    # one of the others tries again for a second. The rest hardly notice.
    assert sum(waited) < DEADLINE + 2.0, waited
    assert sum(seconds > 0.5 for seconds in waited[1:]) <= 2, waited
    store = TrackingStore([second], journal_dir=tmp_path / "another")
    assert len(store.read_tracking_records("orders")) == 20
    assert {tuple(record["owed"]) for record in store.read_tracking_records("orders")} == {(hung,)}
    store.close()


def test_a_hung_location_that_comes_back_gets_what_it_lacks_exactly_once(hung, postgres, tmp_path, monkeypatch, loaded):
    monkeypatch.setattr(breaker_module, "FIRST_PAUSE", 0.0)
    with TrackingStore([hung, f"sqlite||{tmp_path}/b.db"], journal_dir=tmp_path / "j", deadline=1.0) as store:
        for number in range(3):
            assert store.write_tracking_record({**RECORD, "transfer_unique_id": str(number)}) is True
        monkeypatch.setenv("AIRFLOW_CONN_PIPETRACK_HUNG", postgres.connection())
        first = store.reconcile()
        assert (first.healed + first.drained, first.still_owed, first.unreachable) == (3, 0, {})
        again = store.reconcile()
        assert (again.healed, again.drained, again.waiting) == (0, 0, 0)
        assert len(store.read_tracking_records("orders")) == 3
    table = hung.rpartition("||")[2]
    assert postgres.run(f"SELECT count(*), count(DISTINCT record_id) FROM {table}") == [(3, 3)]


def test_a_postgres_fallback_gives_back_what_a_shut_first_location_lacks(place_of, tmp_path):
    (tmp_path / "a").write_text("in the way")
    first = f"sqlite||{tmp_path}/a/t.db||t"
    with TrackingStore([first, place_of("postgres").text], journal_dir=tmp_path / "j", deadline=DEADLINE) as store:
        assert store.write_tracking_record(RECORD) is True
        assert [record["owed"] for record in store.read_tracking_records("orders")] == [[first]]
        (tmp_path / "a").unlink()
        assert (store.reconcile().healed, store.reconcile().healed) == (1, 0)
    with TrackingStore([first], journal_dir=tmp_path / "another") as store:
        assert len(store.read_tracking_records("orders")) == 1
