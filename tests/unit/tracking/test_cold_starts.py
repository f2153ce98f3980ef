"""A location whose first answer takes long, such as a login: it has the time for that while the transfer runs."""

from __future__ import annotations

import json
import threading
import time

import pytest

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.tracking import delivery as delivery_module
from airflow_provider_pipetrack.tracking.breaker import Breaker
from tests.unit.tracking.site import RECORD, RECORD_ID, fork_seconds

DEADLINE = 2.4


class Cold(StorageAdapter):
    """Answers at once, but for its first answer."""

    time_limit = 10.0
    cold_start = 5.0
    login = 0.7
    logins: list = []
    taken: list = []
    away: threading.Event

    def apply(self, changes, *, owed=()):
        taken = self.taken  # what wakes up when its test is over must not be seen by the next
        if self not in self.logins:
            self.logins.append(self)
            self.away.wait(self.login)
        taken.append([change.record_id for change in changes])

    def read_tracking_records(self, pipeline_id):
        return []


@pytest.fixture(autouse=True)
def cold(monkeypatch):
    monkeypatch.setattr(delivery_module, "_LINGER", 0.0)
    Cold.logins, Cold.taken, Cold.away = [], [], threading.Event()
    yield Cold
    Cold.away.set()


@pytest.fixture
def chain(site):
    """A store whose first of four locations is cold: a quarter of the deadline is less than its login needs."""
    return site.store("cold||x", "b", "c", "d", adapters={"cold": Cold}, deadline=DEADLINE)


def change(name: str) -> Change:
    return change_from_record({**RECORD, "transfer_unique_id": name})


def settled(site) -> bool:
    end = time.monotonic() + 20.0
    while site.waiting() and time.monotonic() < end:
        time.sleep(0.02)
    return site.waiting() == 0


def test_a_slow_login_is_waited_for_while_the_transfer_runs_and_the_end_finds_it_open(site, chain):
    chain.submit([change("start")], durable=False)
    assert settled(site)
    chain.submit([change("end")], durable=True)
    assert chain.flush() is True
    assert Cold.taken == [["orders/none/start/-1/1"], ["orders/none/end/-1/1"]]
    assert len(Cold.logins) == 1, "the end logs in a second time"
    assert site.ids("b") == []


def test_an_end_waits_no_longer_for_a_start_that_hangs_than_for_itself(site, chain, monkeypatch):
    monkeypatch.setattr(Cold, "login", 60.0)
    chain.submit([change("start")], durable=False)
    chain.submit([change("t1")], durable=True)
    started = time.monotonic()
    assert chain.flush() is True
    assert time.monotonic() - started < DEADLINE + 0.5
    assert sorted(site.ids("b")) == ["orders/none/start/-1/1", RECORD_ID]
    assert [record["owed"] for record in site.alone("b").read_tracking_records("orders")] == [["cold||x"]] * 2


def test_a_login_that_was_cut_short_opens_no_breaker_but_silence_as_long_as_a_login_does(site, monkeypatch):
    monkeypatch.setattr(Cold, "login", 60.0)
    monkeypatch.setattr(Cold, "cold_start", 1.5)
    shut = []
    for number in range(3):
        with site.store("cold||x", "b", adapters={"cold": Cold}, deadline=1.4) as store:
            assert store.write_tracking_record({**RECORD, "transfer_unique_id": f"t{number}"})
            shut.append(store.legs[0].is_left_alone)
    assert shut == [False, False, True], "0.7 s each, and 1.5 s are silence enough"
    assert len(site.ids("b")) == 3


def test_a_background_delivery_holds_up_one_fork_and_no_second(site, chain, monkeypatch):
    monkeypatch.setattr(Cold, "login", 60.0)
    monkeypatch.setattr(delivery_module, "_BEFORE_FORK", 0.4)
    chain.submit([change("start")], durable=False)

    assert fork_seconds() >= 0.4
    assert fork_seconds() < 0.4


class Ready(Cold):
    """Takes its time to connect."""

    connected: threading.Event
    fails = False

    def make_ready(self):
        self.connected.set()
        self.away.wait(self.login)
        if self.fails:
            raise StorageError("cold", "refused")
        self.logins.append(self)


@pytest.fixture
def ready(monkeypatch):
    monkeypatch.setattr(Ready, "connected", threading.Event(), raising=False)
    monkeypatch.setattr(Ready, "taken", [])
    return Ready


def test_a_location_connects_before_there_is_anything_to_bring_and_only_once(site, ready):
    store = site.store("cold||x", "b", adapters={"cold": ready})
    store.make_ready()
    assert ready.connected.wait(10)
    ready.connected.clear()
    store.make_ready()
    assert store.flush() is True
    assert (ready.taken, ready.connected.is_set(), site.ids("b")) == ([], False, [])
    store.submit([change("t1")], durable=True)
    assert store.flush() is True
    assert ready.taken == [[RECORD_ID]]


def test_an_end_waits_no_longer_for_a_connection_that_hangs_than_for_itself(site, ready, monkeypatch, caplog):
    monkeypatch.setattr(Cold, "login", 60.0)
    store = site.store("cold||x", "b", adapters={"cold": ready}, deadline=DEADLINE)
    store.make_ready()
    assert ready.connected.wait(10)
    store.submit([change("t1")], durable=True)
    started = time.monotonic()
    assert store.flush() is True
    assert time.monotonic() - started < DEADLINE + 0.5
    assert site.ids("b") == [RECORD_ID]
    assert "LOST" not in caplog.text


@pytest.fixture
def loads(site, ready, monkeypatch):
    """Make a location ready whose client is loaded only so many seconds before a record is given up."""
    loading, may_end = threading.Event(), threading.Event()

    def load(adapter):
        if not loading.is_set():
            loading.set()
            may_end.wait(10)

    def until(seconds, deadline):
        monkeypatch.setattr(ready, "load", load)
        site.ids("b")  # has its tables
        store = site.store("cold||x", "b", adapters={"cold": ready}, deadline=deadline)
        store.make_ready()
        assert loading.wait(10)
        store.submit([change("t1")], durable=True)
        awaited = time.monotonic()
        while time.monotonic() < awaited + deadline - seconds:
            time.sleep(0.02)
        may_end.set()
        return store

    return until


def test_the_time_in_which_a_client_loads_is_not_taken_from_the_connecting(ready, loads, monkeypatch):
    told = []
    plain = ready.make_ready
    monkeypatch.setattr(ready, "make_ready", lambda adapter: (plain(adapter), told.append("connected")))
    monkeypatch.setattr(ready, "abandon", lambda adapter: told.append("given up"))
    loads(0.2, DEADLINE)
    end = time.monotonic() + 10.0
    while not told and time.monotonic() < end:
        time.sleep(0.02)
    assert told[0] == "connected"


def test_a_location_that_loads_long_and_then_hangs_leaves_the_next_some_of_the_deadline(site, loads, monkeypatch):
    monkeypatch.setattr(Cold, "login", 60.0)
    monkeypatch.setattr(Cold, "cold_start", 0.5)
    store = loads(2.5, 6.0)
    assert store._delivery.flush(2.4) is True
    assert site.ids("b") == [RECORD_ID]
    assert store.legs[0].is_left_alone


def test_an_end_that_meets_the_connecting_still_has_its_deadline(site, ready, monkeypatch):
    store = site.store("cold||x", adapters={"cold": ready})
    until = []
    plain = delivery_module.deliver
    monkeypatch.setattr(
        delivery_module,
        "deliver",
        lambda legs, mode, changes, end: until.append(end) or plain(legs, mode, changes, end),
    )
    with monkeypatch.context() as patched:  # so that both are there when the thread looks
        patched.setattr(delivery_module.threading.Thread, "start", lambda thread: None)
        store.make_ready()
    store.submit([change("t1")], durable=True)
    assert store.flush() is True
    assert len(until) == 1
    assert until[0] < time.monotonic() + store.deadline


def test_a_connection_that_is_refused_leaves_the_location_alone_and_is_no_loss(site, ready, monkeypatch, caplog):
    monkeypatch.setattr(Cold, "login", 0.0)
    monkeypatch.setattr(ready, "fails", True)
    store = site.store("cold||x", "b", adapters={"cold": ready})
    store.make_ready()
    assert store.flush() is True
    store.submit([change("t1")], durable=True)
    assert store.flush() is True
    assert store.legs[0].is_left_alone
    assert (ready.taken, site.ids("b")) == ([], [RECORD_ID])
    assert "refused" in caplog.text
    assert "LOST" not in caplog.text


def test_that_a_client_could_be_made_is_no_sign_of_life(site, ready, monkeypatch):
    monkeypatch.setattr(Cold, "login", 0.0)
    store = site.store("cold||x", adapters={"cold": ready})
    breaker = Breaker(store.journal_folder / "breakers", store.legs[0].name)
    breaker.silent(3.0, 5.0)
    state = json.loads(breaker.path.read_text())
    breaker.path.write_text(json.dumps({**state, "last": state["last"] - 3.0}))
    store.make_ready()
    assert store.flush() is True
    breaker.silent(3.0, 5.0)
    assert breaker.is_open(), "the silence before it was forgotten"
    breaker.path.write_text(json.dumps({**json.loads(breaker.path.read_text()), "until": 0.0}))
    ready.connected.clear()
    site.store("cold||x", adapters={"cold": ready}).make_ready()
    assert site.stores[-1].flush() is True
    assert not ready.connected.is_set(), "to try again is for who has something to bring"


@pytest.mark.parametrize(("pause", "opens"), [(0.0, True), (100.0, False)])
def test_silences_add_up_unless_they_lie_far_apart(tmp_path, pause, opens):
    one = Breaker(tmp_path, "a")
    one.silent(3.0, 5.0)
    state = json.loads(one.path.read_text())
    one.path.write_text(json.dumps({**state, "last": state["last"] - 3.0 - pause}))
    assert not one.is_open()
    one.silent(3.0, 5.0)
    assert one.is_open() is opens


def test_silences_at_the_same_time_count_once_and_an_answer_ends_them(tmp_path):
    one = Breaker(tmp_path, "a")
    for _ in range(10):
        one.silent(3.0, 5.0)
    assert not one.is_open()
    one.succeeded()
    assert json.loads(one.path.read_text())["silent"] == 0.0
