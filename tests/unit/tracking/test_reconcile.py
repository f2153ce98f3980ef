"""Reconcile: every location ends up with the same truth, from any host, whoever else is at it."""

from __future__ import annotations

import errno
import json
import os
import threading
import time

import pytest

from airflow_provider_pipetrack.errors import JournalError
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.tracking import journal as journal_module
from airflow_provider_pipetrack.tracking import reconcile as reconcile_module
from airflow_provider_pipetrack.tracking import shared
from airflow_provider_pipetrack.tracking.journal import Journal
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.unit.tracking.site import RECORD, RECORD_ID


def named(name: str, **more) -> dict:
    return {**RECORD, "transfer_unique_id": name, **more}


def facts(store: TrackingStore) -> dict:
    """The records of a store by their id, without what each storage adds on its own."""
    own = ("stored_at", "record_version", "owed")
    return {
        record["record_id"]: {name: value for name, value in record.items() if name not in own}
        for record in store.read_tracking_records("orders")
    }


def test_what_a_fallback_gives_back_brings_its_history_along(site):
    site.shut("a")
    store = site.store("a", "b")
    store.write_tracking_record(RECORD)
    store.update_tracking_record(RECORD_ID, {"transfer_status": "completed"})
    before = store.history(RECORD_ID)
    assert len(before) == 2
    site.open("a")
    assert store.reconcile().healed == 1
    after = site.alone("a").history(RECORD_ID)
    assert [event["event_id"] for event in after] == [event["event_id"] for event in before]
    assert [event["columns"] for event in after] == [event["columns"] for event in before]


def test_a_file_that_another_host_has_is_not_made_here(site):
    store = site.store("a", site.location("f", "local_file"))
    assert store.reconcile().unreachable == {}
    assert list(site.root.glob("[af]*")) == []
    assert all(reason.startswith("not visible here") for reason in store.read("orders").unreachable.values())


def test_a_full_pass_gives_every_location_what_it_lacks(site):
    for name, number in (("a", 1), ("b", 2), ("c", 3)):
        site.alone(name).write_tracking_record(named(f"t{number}"))
        site.alone(name).write_tracking_record(named("shared", transfer_status="pending"))
    site.alone("b").update_tracking_record("orders/none/shared/-1/1", {"audit_result": "matched"})
    file = site.location("f", "local_file")
    site.alone(file).write_tracking_record(named("t4"))
    store = site.store("a", "b", "c", file)
    summary = store.reconcile(full=True)
    assert summary.unreachable == {}
    assert summary.copied >= 3 * 4
    ids = [f"orders/none/{name}/-1/1" for name in ("shared", "t1", "t2", "t3", "t4")]
    assert [sorted(site.ids(name)) for name in ("a", "b", "c", file)] == [ids] * 4
    assert facts(site.alone("a")) == facts(site.alone("b")) == facts(site.alone("c")) == facts(site.alone(file))
    assert len(site.alone("a").history("orders/none/shared/-1/1")) == 4
    assert store.reconcile(full=True).copied == 0


def test_a_full_pass_brings_a_change_that_counts_for_nothing_to_the_histories_that_lack_it(site):
    pending = change_from_record({**RECORD, "transfer_status": "pending"})
    begun = change_from_record(RECORD)
    for name, changes in (("a", [begun]), ("b", [begun, pending])):
        one = site.alone(name)
        one.submit(changes, durable=True)
        assert one.flush() is True
    keys = {site.alone(name).legs[0].adapter.inventory("", 9)[0].keys for name in "ab"}
    assert len(keys) == 1, "only their histories differ"
    site.store("a", "b").reconcile(full=True)
    known = {begun.event_id, pending.event_id}
    assert {event["event_id"] for event in site.alone("a").history(RECORD_ID)} == known


def test_a_full_pass_says_what_it_cannot_compare(site):
    class Mute(StorageAdapter):
        def write_tracking_record(self, record):
            return True

        def read_tracking_records(self, pipeline_id):
            return []

    store = site.store("mute||x", "b", adapters={"mute": Mute})
    summary = store.reconcile(full=True)
    assert summary.unreachable == {"mute||x": "cannot list its records, so nothing is compared with it"}


def test_many_records_are_brought_home_in_pages(site, monkeypatch):
    monkeypatch.setattr(reconcile_module, "AT_ONCE", 7)
    site.shut("a")
    store = site.store("a", "b")
    for number in range(30):
        store.submit([change_from_record(named(f"t{number}"))], durable=False)
    store.flush()
    site.open("a")
    seen: list[int] = []
    assert store.reconcile(progress=seen.append).healed == 30
    assert seen == sorted(seen)
    assert seen[-1] == 30
    assert len(site.ids("a")) == 30


def test_a_record_that_one_location_never_takes_keeps_no_other_from_it(site):
    class Picky(StorageAdapter):
        kept: dict = {}
        shut = True

        def check(self):
            if self.shut:
                raise OSError("shut")

        def apply(self, changes, *, owed=()):
            if self.shut or any(change.columns.get("transfer_unique_id") == "t3" for change in changes):
                raise ValueError("not that one")
            self.kept.update((change.record_id, change) for change in changes)

    store = site.store("picky||x", "b", adapters={"picky": Picky})
    for number in range(8):
        assert store.write_tracking_record(named(f"t{number}"))
    Picky.shut = False
    summary = store.reconcile()
    assert (summary.healed, summary.still_owed) == (7, 1)
    assert "ValueError: not that one" in summary.unreachable["picky||x"]
    assert len(Picky.kept) == 7


def test_two_chains_with_the_same_text_and_other_connections_keep_their_debts_apart(site, monkeypatch):
    for team in ("team_a", "team_b"):
        path = f"{site.root}/{team}/t.db"
        monkeypatch.setenv(f"AIRFLOW_CONN_{team.upper()}", json.dumps({"conn_type": "sqlite", "host": path}))
    monkeypatch.setenv("AIRFLOW_CONN_SHARED", json.dumps({"conn_type": "sqlite", "host": f"{site.root}/shared/t.db"}))
    texts = [site.location("same"), "sqlite@shared||/nowhere||t"]
    of_a, of_b = (site.store(*texts, connections={"sqlite": team}) for team in ("team_a", "team_b"))
    site.shut("team_b")
    assert of_b.write_tracking_record(RECORD)
    site.open("team_b")
    assert of_a.reconcile().healed == 0
    assert of_b.reconcile().healed == 1
    assert [store.legs[0].call(lambda leg: len(leg.read_all()), 5.0) for store in (of_a, of_b)] == [0, 1]
    of_a.legs[0]._breaker.failed()
    assert of_a.legs[0].is_left_alone
    assert not of_b.legs[0].is_left_alone


@pytest.fixture
def orphaned(site):
    """A store whose location keeps records for another that left the chain."""
    site.shut("a", "c")
    before = site.store("a", "c", "b")
    assert before.write_tracking_record(RECORD)
    site.open("a", "c")
    return site.store("b")


def test_what_is_owed_to_a_location_that_left_the_chain_is_told_by_its_name(site, orphaned):
    summary = orphaned.reconcile()
    assert (summary.still_owed, summary.healed, summary.retired) == (1, 0, 0)
    assert summary.owed_outside == {site.location("a"): 1, site.location("c"): 1}


def test_nothing_is_owed_to_a_retired_location_and_other_debts_stay(site, orphaned):
    a, c = site.location("a"), site.location("c")
    summary = orphaned.reconcile(retired=[a])
    assert (summary.retired, summary.still_owed, summary.owed_outside) == (1, 1, {c: 1})
    assert [record["owed"] for record in orphaned.read_tracking_records("orders")] == [[c]]
    last = orphaned.reconcile(retired=[c])
    assert (last.retired, last.still_owed, last.owed_outside) == (1, 0, {})
    assert (site.ids("a"), site.ids("b"), site.ids("c")) == ([], [RECORD_ID], [])


def test_a_retired_location_of_a_chain_is_neither_asked_nor_brought_anything(site):
    site.shut("a")
    store = site.store("a", "b")
    assert store.write_tracking_record(RECORD)
    summary = store.reconcile(retired=[site.location("a")])
    assert (summary.retired, summary.still_owed, summary.unreachable) == (1, 0, {})
    site.open("a")
    assert site.ids("a") == []


def test_an_entry_that_waits_for_a_retired_location_alone_is_let_go(site):
    site.shut("a")
    kept = site.location("files", "local_file")
    store = site.store("a", kept)
    assert store.write_tracking_record(RECORD)
    assert store.reconcile().waiting == 1
    summary = store.reconcile(retired=[site.location("a")])
    assert (summary.retired, summary.waiting, summary.drained) == (1, 0, 0)
    assert site.ids(kept) == [RECORD_ID]


def test_what_stands_nowhere_but_in_the_journal_for_a_retired_location_goes_along_the_chain_in_use(site):
    site.shut("a")
    assert site.store("a").write_tracking_record(RECORD)
    store = site.store("b")
    assert store.reconcile().waiting == 1
    summary = store.reconcile(retired=[site.location("a")])
    assert (summary.drained, summary.waiting, summary.retired) == (1, 0, 0)
    assert site.ids("b") == [RECORD_ID]


def test_what_another_host_left_behind_is_drained_only_when_it_is_adopted(site, monkeypatch):
    site.shut("a")
    monkeypatch.setattr("socket.gethostname", lambda: "lost-host")
    site.store("a").write_tracking_record(RECORD)
    site.stores[0].close()
    site.open("a")
    monkeypatch.setattr("socket.gethostname", lambda: "this-host")
    store = site.store("a")
    summary = store.reconcile()
    assert (summary.drained, site.ids("a")) == (0, [])
    assert store.reconcile(adopt_host="lost-host").drained == 1
    assert site.ids("a") == [RECORD_ID]
    with pytest.raises(
        JournalError, match=r"no journal of host 'nobody' in .*/journal; there are: lost-host, this-host"
    ):
        store.reconcile(adopt_host="nobody")


def test_what_many_dead_processes_left_behind_is_delivered_and_forgotten(site):
    store = site.store("a")
    journals = [Journal(store.journal_folder) for _ in range(70)]
    chain = {"locations": [site.location("a")], "mode": "fallback", "connections": {}, "adapters": {}}
    for number, journal in enumerate(journals):
        journal.append(shared.entry_payload(chain, [change_from_record(named(f"t{number}"))]), durable=False)
    for journal in journals:
        journal.close()
    assert site.waiting() == 70
    assert store.reconcile().drained == 70
    assert (site.waiting(), len(site.ids("a"))) == (0, 70)
    assert store.reconcile().drained == 0
    store.close()
    assert {path.stat().st_size for path in store.journal_folder.glob("slot-*.seg")} == {0}


def test_a_pass_ends_when_its_time_is_up_and_the_next_goes_on(site):
    site.shut("a")
    store = site.store("a")
    for number in range(5):
        store.write_tracking_record(named(f"t{number}"))
    site.open("a")
    assert (store.reconcile(limit=0.0).drained, site.waiting()) == (0, 5)
    assert (store.reconcile(limit=30.0).drained, site.waiting()) == (5, 0)


def test_two_passes_at_once_bring_everything_home_exactly_once(site):
    site.shut("a")
    store = site.store("a", "b")
    for number in range(40):
        store.submit([change_from_record(named(f"t{number}"))], durable=False)
    store.flush()
    site.open("a")
    others = [site.store("a", "b") for _ in range(4)]
    summaries = []
    threads = [threading.Thread(target=lambda other=other: summaries.append(other.reconcile())) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((summary.unreachable, summary.still_owed) == ({}, 0) for summary in summaries)
    assert len(site.ids("a")) == 40
    assert site.alone("a").history("orders/none/t7/-1/1").__len__() == 1
    again = store.reconcile()
    assert (again.healed, again.drained) == (0, 0)


@pytest.fixture
def at_once(monkeypatch):
    """Tries to bring something home need not be apart."""
    monkeypatch.setattr(shared, "_BETWEEN_TRIES", 0.0)


def test_a_process_brings_home_what_waits_here_when_the_location_is_back(site, at_once):
    site.shut("a")
    first = site.store("a", "b")
    first.write_tracking_record(RECORD)
    left_behind = site.store("a")
    left_behind.write_tracking_record(named("t2"))
    first.close()
    site.open("a")
    later = site.store("a", "b")
    summary = later.bring_home()
    assert (summary.drained, summary.healed, summary.still_owed) == (1, 1, 0)
    assert sorted(site.ids("a")) == [RECORD_ID, "orders/none/t2/-1/1"]
    assert later.bring_home() is None, "nothing waits any more"


def test_nothing_is_looked_for_where_nothing_waits_or_somebody_has_just_tried(site):
    store = site.store("a", "b")
    store.write_tracking_record(RECORD)
    assert store.bring_home() is None
    site.shut("a")
    store.write_tracking_record(named("t2"))
    assert store.bring_home() is None, "the location failed a moment ago"


@pytest.mark.parametrize("chain", [("a",), ("a", "b")], ids=["waits in the journal", "owed by a fallback"])
def test_what_could_not_be_brought_home_is_left_to_the_next_process(site, at_once, chain):
    site.shut("a")
    store = site.store(*chain)
    store.write_tracking_record(RECORD)
    for _ in range(2):
        summary = store.bring_home()
        assert (summary.waiting, summary.still_owed) == ((1, 0) if len(chain) == 1 else (0, 1))
        assert (store.journal_folder / "waiting").exists()
    site.open("a")
    store.legs[0].knock()
    store.bring_home()
    assert site.ids("a") == [RECORD_ID]
    assert not (store.journal_folder / "waiting").exists()


def test_a_clock_that_was_set_back_does_not_put_off_bringing_home(site):
    site.shut("a")
    store = site.store("a", "b")
    store.write_tracking_record(RECORD)
    site.open("a")
    later = time.time() + 3600
    os.utime(store.journal_folder / "waiting", (later, later))
    assert store.bring_home().healed == 1


def test_bringing_home_takes_no_longer_than_it_may(site, at_once):
    class Slow(StorageAdapter):
        slow = False
        time_limit = 20.0

        def apply(self, changes, *, owed=()):
            if not self.slow:
                raise OSError("shut")
            time.sleep(3.0)

        def check(self):
            pass

    store = site.store("slow||x", "b", adapters={"slow": Slow})
    store.write_tracking_record(RECORD)
    Slow.slow = True
    started = time.monotonic()
    summary = store.bring_home(0.3)
    assert time.monotonic() - started < 2.0
    assert summary is None or (summary.healed, summary.still_owed) == (0, 1)
    assert [record["owed"] for record in site.alone("b").read_tracking_records("orders")] == [["slow||x"]]


class Steady(StorageAdapter):
    """A storage that is well, and needs some time for each record."""

    shut = True
    cold_start = 0.1
    time_limit = 20.0

    def apply(self, changes, *, owed=()):
        if self.shut:
            raise OSError("shut")
        time.sleep(0.003 * len({change.record_id for change in changes}))

    def check(self):
        pass


@pytest.fixture
def steady(monkeypatch):
    """Its class, shut."""
    monkeypatch.setattr(Steady, "shut", True)
    return Steady


def submit_many(store: TrackingStore, number: int) -> None:
    for _ in range(2):
        store.submit([change_from_record(named(f"t{one}")) for one in range(number)], durable=True)
    store.flush()


def test_a_task_brings_home_what_it_can_of_much_and_thinks_no_worse_of_who_takes_it(site, at_once, steady):
    store = site.store("steady||x", "b", adapters={"steady": steady})
    submit_many(store, 1000)
    steady.shut = False
    store.write_tracking_record(RECORD)
    store.bring_home(1.5)
    assert not store.legs[0].is_left_alone
    assert store.legs[1].adapter.count_owed() < 1000


def test_a_task_delivers_what_it_can_of_much_that_waits(site, at_once, steady):
    store = site.store("steady||x", adapters={"steady": steady})
    for one in range(1000):
        store.submit([change_from_record(named(f"t{one}"))], durable=False)
    store.flush()
    before = site.waiting()
    steady.shut = False
    store.write_tracking_record(RECORD)
    store.bring_home(1.5)
    assert not store.legs[0].is_left_alone
    assert site.waiting() < before


@pytest.mark.parametrize("code", [errno.EROFS, errno.EIO])
def test_what_is_owed_comes_home_though_the_disk_of_the_journal_has_failed(site, monkeypatch, code):
    site.shut("a")
    first = site.store("a", "b")
    first.write_tracking_record(RECORD)
    left_behind = site.store("a")
    left_behind.write_tracking_record(named("t2"))
    first.close()
    site.open("a")

    def fail(*args, **more):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(journal_module, "take_lock", fail)
    summary = site.store("a", "b").reconcile()
    assert summary.healed == 1
    assert "cannot be drained" in summary.unreachable["journal"], "who reads that nothing is to do believes it"
    assert site.ids("a") == [RECORD_ID]
    assert (left_behind.journal_folder / "waiting").exists(), "tasks look after it when the disk is well again"
