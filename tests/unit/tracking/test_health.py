"""Health: what doctor and the health page say is how it is."""

from __future__ import annotations

import socket
import sqlite3
import time

import pytest

from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.tracking import health as health_module
from airflow_provider_pipetrack.tracking.health import LocationState, file_system, guarantees, health
from tests.unit.tracking.site import RECORD


class Remote(StorageAdapter):
    """A location outside this host."""

    def write_tracking_record(self, record):
        return True

    def read_tracking_records(self, pipeline_id):
        return []


def test_a_store_in_order_is_well(site):
    store = site.store("a")
    store.write_tracking_record(RECORD)
    found = health(store)
    assert found.is_well
    assert (found.host, found.journal_folder) == (socket.gethostname(), store.journal_folder)
    assert (found.undelivered, found.oldest_seconds, found.dead_letters, found.lost) == (0, None, [], 0)
    (location,) = found.locations
    assert (location.name, location.state, location.reason) == (site.location("a"), LocationState.UP, "")
    assert (location.host_local, location.owed) == (True, 0)


def test_a_fallback_that_was_never_needed_here_is_no_trouble_but_nothing_at_all_is(site):
    store = site.store("a", site.location("b", "local_file"))
    assert not health(store).is_well
    store.write_tracking_record(RECORD)
    found = health(store)
    assert [one.state for one in found.locations] == [LocationState.UP, LocationState.NOT_VISIBLE]
    assert found.is_well


def test_what_waits_is_counted_with_its_age_and_each_location_says_how_it_is(site):
    site.shut("a", "b")
    store = site.store("a", "b")
    store.write_tracking_record(RECORD)
    site.open("b")
    store.write_tracking_record({**RECORD, "transfer_unique_id": "t2"})
    found = health(store)
    assert not found.is_well
    assert found.undelivered == 1
    assert 0 <= found.oldest_seconds < 60
    first, second = found.locations
    assert (first.state, second.state) == (LocationState.DOWN, LocationState.UP)
    assert "cannot be a folder" in first.reason
    assert (first.owed, second.owed) == (None, 1)


def test_a_location_that_is_left_alone_and_one_of_another_host_are_said_to_be_so(site):
    class Away(Remote):
        def check(self):
            raise OSError("away")

        def apply(self, changes, *, owed=()):
            from airflow_provider_pipetrack.errors import StorageError

            raise StorageError("away||x", "does not answer")

    store = site.store("away||x", "b", adapters={"away": Away})
    found = health(store)
    assert [one.state for one in found.locations] == [LocationState.DOWN, LocationState.NOT_VISIBLE]
    assert [one.since for one in found.locations] == [None, None], "it answers that it cannot"
    begun = utc_now()
    store.write_tracking_record(RECORD)
    first, second = health(store).locations
    assert (first.state, second.state) == (LocationState.LEFT_ALONE, LocationState.UP)
    assert first.reason == "did not answer a moment ago and is left alone for a while"
    assert begun <= first.since <= utc_now()
    assert second.since is None


def test_a_location_that_can_be_read_and_not_written_is_up_only_for_who_does_not_write(site):
    store = site.store("a")
    store.write_tracking_record(RECORD)
    with sqlite3.connect(site.location("a").split("||")[1]) as connection:
        refuse = "CREATE TRIGGER shut BEFORE INSERT ON {} BEGIN SELECT RAISE(ABORT, 'closed for the month'); END"
        connection.execute(refuse.format(site.location("a").split("||")[2]))
    assert health(store).is_well
    (location,) = health(store, writing=True).locations
    assert location.state == LocationState.DOWN
    assert location.reason.endswith("does not take it: closed for the month")


def test_the_journals_of_other_hosts_on_a_shared_disk_are_counted(site, monkeypatch):
    site.shut("a")
    monkeypatch.setattr("socket.gethostname", lambda: "other-host")
    site.store("a").write_tracking_record(RECORD)
    monkeypatch.undo()
    assert health(site.store("a")).other_hosts == {"other-host": 1}


def test_losses_are_counted_for_the_whole_host(site):
    site.shut("a")
    store = site.store("a")
    store.journal_folder.mkdir(parents=True)
    for number in range(70):
        (store.journal_folder / f"slot-{number:03d}.seg").mkdir()
    assert store.write_tracking_record(RECORD) is False
    assert health(store).lost == 1


def test_the_guarantees_say_what_holds_and_what_to_do(site, monkeypatch):
    folder = site.root / "journal" / "host"
    store = site.store("remote||x", "a", adapters={"remote": Remote})
    assert [(one.against, one.holds) for one in guarantees(folder, store.legs)] == [
        ("process kill", True),
        ("power loss", file_system(folder) not in {"tmpfs", "overlay"}),
        ("host loss", True),
    ]
    assert guarantees(folder, store.legs)[2].sentence == "what remote||x has confirmed is kept; what waits here is lost"
    alone = guarantees(folder, site.store("a").legs)[2]
    assert not alone.holds
    assert alone.sentence.startswith("every location is on this host: its records go with it")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("tmpfs", "is in memory (tmpfs): a restart loses what waits; set journal_dir to a disk"),
        ("overlay", "is in a container's own layer (overlay) and goes with the container"),
        ("nfs4", "is on a network file system (nfs4), whose locks and flushes cannot be relied on"),
    ],
)
def test_a_journal_on_a_file_system_that_forgets_is_named(site, monkeypatch, kind, words):
    monkeypatch.setattr(health_module, "file_system", lambda folder: kind)
    power = guarantees(site.root / "journal", site.store("a").legs)[1]
    assert (power.against, power.holds) == ("power loss", False)
    assert words in power.sentence


def test_a_journal_that_cannot_be_used_guarantees_nothing(site):
    site.shut("journal")
    kill, power, _ = guarantees(site.root / "journal" / "host", site.store("a").legs)
    assert not kill.holds
    assert not power.holds
    assert "journal/host cannot be used (Not a directory)" in kill.sentence


def test_the_file_system_of_a_folder_is_that_of_its_mount():
    from pathlib import Path

    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(Path("/dev/shm")) == "tmpfs"


def test_a_location_that_takes_long_to_count_what_it_keeps_for_others_is_not_left_alone(site, monkeypatch):
    class Counting(Remote):
        keeps_owed = True

        def count_owed(self):
            time.sleep(2.0)
            return 7

    monkeypatch.setattr(health_module, "ASK_LIMIT", 0.8)
    store = site.store("counting||x", adapters={"counting": Counting})
    assert health(store).locations[0].reason == "did not answer within 0.8 s"
    assert not store.legs[0].is_left_alone
