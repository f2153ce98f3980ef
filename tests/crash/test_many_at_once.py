"""Many processes at once, outages and kills among them; at the end the stores are compared with what was acknowledged."""

from __future__ import annotations

import importlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.handmade import change_from_record, change_from_updates, change_of_event
from airflow_provider_pipetrack.records.merge import fold, record_of
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.crash.killing import check, record
from tests.faulty_proxy import FaultyProxy, faulty_proxy
from tests.postgres_server import DATABASE, postgres  # noqa: F401  a fixture
from tests.storage_servers import environment

WRITERS, RECORDS = 16, 10_000


def change_weather(proxy: FaultyProxy, mode: str) -> None:
    """Let a location fail in another way; ``lose`` commits and loses the answer."""
    proxy.lose_answer_to = b"COMMIT\0" if mode == "lose" else None
    proxy.mode = "pass" if mode == "lose" else mode
    proxy.drop_all()


def clear(proxy: FaultyProxy) -> None:
    """End the storm; what it still has in store for old connections comes within half a second."""
    change_weather(proxy, "pass")
    time.sleep(0.5)
    change_weather(proxy, "pass")


@pytest.fixture
def stormy(postgres, tmp_path):  # noqa: F811
    """A chain whose first location, a PostgreSQL behind a proxy, can be made to fail."""
    importlib.import_module("airflow.providers.postgres.hooks.postgres")

    table = f"t{os.getpid()}_{time.monotonic_ns()}"
    with faulty_proxy(f"{postgres.folder}/.s.PGSQL.5432") as proxy:
        fields = {"conn_type": "postgres", "host": "127.0.0.1", "port": proxy.port, "login": "postgres"}
        with environment("pipetrack_stormy", {**fields, "password": "unasked"}):
            first = f"postgres@pipetrack_stormy||{DATABASE}||public||{table}"
            with TrackingStore([first], journal_dir=tmp_path / "of-the-maker", deadline=20.0) as store:
                store.legs[0].adapter.load()
                store.legs[0].adapter.prepare()
            yield [first, f"sqlite||{tmp_path}/b.db||t"], proxy, table


def at_once(works: list[Callable[[Callable[[str], None]], None]], folder: Path) -> list[int]:
    """Run each work in a process of its own; return the processes.

    They speak into files, since a full pipe would stop them.
    """
    folder.mkdir()
    children = []
    for number, work in enumerate(works):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                said = os.open(folder / f"{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                work(lambda line, said=said: os.write(said, f"{line}\n".encode()))
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    return children


def lines_of(folder: Path) -> list[str]:
    return [line for path in folder.iterdir() for line in path.read_text().splitlines()]


def end(children: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def test_sixteen_processes_write_ten_thousand_records_through_outages(stormy, tmp_path, report_count):
    locations, proxy, _ = stormy
    each = RECORDS // WRITERS

    def writer(number):
        def work(say):
            with TrackingStore(locations, journal_dir=tmp_path / "j", deadline=3.0) as store:
                for step in range(each):
                    name = f"w{number}-{step}"
                    durable = step % 10 == 0
                    if store.submit([change_from_record(record(name))], durable=durable):
                        say(name)
                    if durable:
                        store.flush()

        return work

    started = time.monotonic()
    children = at_once([writer(number) for number in range(WRITERS)], tmp_path / "said")
    over = threading.Event()

    def weather():
        for mode in ("hang", "pass", "reset", "pass", "lose", "pass"):
            if over.wait(0.7):
                return
            change_weather(proxy, mode)

    storm = threading.Thread(target=weather)
    storm.start()
    assert end(children) == [0] * WRITERS
    over.set()
    storm.join()
    clear(proxy)
    seconds = time.monotonic() - started
    safe = lines_of(tmp_path / "said")
    assert len(safe) == RECORDS
    check(locations, tmp_path / "j", safe)
    report_count(f"{WRITERS} processes, {RECORDS} records, outages of the first location: {seconds:.0f} s, 0 lost")


def test_reconcilers_at_once_never_wait_for_each_other_in_a_circle(stormy, postgres, tmp_path, report_count):  # noqa: F811
    locations, proxy, table = stormy
    names = [f"r{number}" for number in range(3000)]
    change_weather(proxy, "reset")
    with TrackingStore(locations, journal_dir=tmp_path / "j", deadline=3.0) as store:
        for start in range(0, len(names), 100):
            store.submit([change_from_record(record(name)) for name in names[start : start + 100]], durable=False)
        store.flush(60.0)
    clear(proxy)
    question = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = postgres.run(question)

    def reconciler(say):
        with TrackingStore(locations, journal_dir=tmp_path / "j", deadline=20.0) as store:
            say(str(store.reconcile(full=True).unreachable))

    assert end(at_once([reconciler] * 4, tmp_path / "said")) == [0] * 4
    assert lines_of(tmp_path / "said") == ["{}"] * 4
    assert postgres.run(question) == before
    check(locations, tmp_path / "j", names)
    assert postgres.run(f'SELECT count(*), count(DISTINCT record_id) FROM "{table}_history"') == [(3000, 3000)]
    report_count(f"4 reconcilers at once over {len(names)} records: 0 deadlocks, each record and event once")


def test_the_stores_have_what_was_acknowledged_and_each_record_is_what_its_changes_make(stormy, tmp_path, report_count):
    locations, proxy, _ = stormy
    chosen = random.Random(7)
    statuses = ("pending", "in_progress", "completed")

    def writer(number):
        order = random.Random(number)

        def work(say):
            store = TrackingStore(locations, journal_dir=tmp_path / "j", deadline=1.5)
            for step in range(60):
                shared = {**record(f"s{order.randrange(40)}"), "transfer_status": order.choice(statuses)}
                change = change_from_record(shared)
                if step % 3 == 0:
                    change = change_from_updates(
                        record_of(change), {"audit_result": order.choice(["matched", "pending"])}
                    )
                if store.submit([change], durable=step % 4 == 0):
                    say(change.event_id)
                if step % 20 == 19:
                    store.flush()

        return work

    children = at_once([writer(number) for number in range(12)], tmp_path / "said")
    for mode in ("reset", "pass", "lose", "hang", "pass"):
        time.sleep(0.25)  # a moment of the storm, not a condition
        change_weather(proxy, mode)
        os.kill(chosen.choice(children), signal.SIGKILL)
    end(children)
    clear(proxy)
    acknowledged = set(lines_of(tmp_path / "said"))
    with TrackingStore(locations, journal_dir=tmp_path / "j", deadline=20.0) as store:
        summary = store.reconcile(full=True)
        assert (summary.waiting, summary.still_owed, summary.dead, summary.unreachable) == (0, 0, 0, {})
        assert store.reconcile(full=True).copied == 0
    events = [checked_events(location, tmp_path / "of-the-reader") for location in locations]
    assert all(acknowledged <= found for found in events), "an acknowledged event is missing"
    assert events[0] == events[1]
    report_count(f"history: {len(acknowledged)} acknowledged, {len(events[0])} events in each of 2 stores, 0 lost")


def checked_events(location: str, folder: Path) -> set[str]:
    """The events that a location has, each once; its records must be what they make."""
    with TrackingStore([location], journal_dir=folder, deadline=20.0) as reader:
        adapter = reader.legs[0].adapter
        records = adapter.read_tracking_records("orders")
        told = adapter.histories([one["record_id"] for one in records])
    assert len(told) == len({event["event_id"] for event in told}), "an event is there twice"
    changes: dict[str, list[Change]] = {}
    for event in told:
        changes.setdefault(event["record_id"], []).append(change_of_event(event))
    for one in records:
        made = fold(changes[one["record_id"]])
        of_the_storage = ("stored_at", "record_version", "owed")
        assert {**one, **{name: value for name, value in made.items() if name not in of_the_storage}} == one
    return {event["event_id"] for event in told}


def test_a_clock_that_is_set_back_neither_reverts_a_record_nor_shuts_a_location(tmp_path, monkeypatch):
    from airflow_provider_pipetrack.records import change as change_module
    from airflow_provider_pipetrack.tracking.breaker import Breaker

    location = f"sqlite||{tmp_path}/a.db||t"
    with TrackingStore([location], journal_dir=tmp_path / "j") as store:
        started = {**record("t1"), "transfer_status": "in_progress"}
        store.write_tracking_record(started)
        hour = timedelta(hours=1)
        real_ns, real_now = time.time_ns, change_module.utc_now
        monkeypatch.setattr(change_module.time, "time_ns", lambda: real_ns() - int(hour.total_seconds() * 1e9))
        monkeypatch.setattr(change_module, "utc_now", lambda: real_now() - hour)
        monkeypatch.setattr(change_module, "_last_moment", 0)
        store.update_tracking_record("t1", {"transfer_status": "completed", "records_succeeded": 9})
        store.write_tracking_record(started)
        (found,) = store.read_tracking_records("orders")
        assert (found["transfer_status"], found["records_succeeded"]) == ("completed", 9)
    breaker = Breaker(tmp_path / "breakers", "a")
    now = time.time()
    breaker.failed()
    assert breaker.is_open()
    monkeypatch.setattr(time, "time", lambda: now - 86_400)
    assert not breaker.is_open()
    assert breaker.may_try()
