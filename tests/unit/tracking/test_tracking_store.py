"""TrackingStore: what it says is safe is safe, and every location ends up with the same truth."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from airflow_provider_pipetrack.errors import LocationError, PipetrackError, StorageError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.handmade import RecordError, change_from_record, change_from_updates
from airflow_provider_pipetrack.records.merge import record_of
from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.storage.sqlite import SqliteAdapter
from airflow_provider_pipetrack.tracking import delivery as delivery_module
from airflow_provider_pipetrack.tracking import shared as shared_module
from airflow_provider_pipetrack.tracking.breaker import Breaker
from airflow_provider_pipetrack.tracking.drain import Drain
from airflow_provider_pipetrack.tracking.health import health
from airflow_provider_pipetrack.tracking.journal import Journal, Slot, undelivered
from airflow_provider_pipetrack.tracking.leg import Leg
from airflow_provider_pipetrack.tracking.losses import LOSSES
from airflow_provider_pipetrack.tracking.shared import chain_bytes, entry_payload
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.unit.tracking.site import RECORD, RECORD_ID, fork_seconds, largest_file


def test_a_written_record_is_read_back_and_leaves_the_journal(site):
    store = site.store("a")
    assert store.write_tracking_record({**RECORD, "cost": 3}) is True
    (record,) = store.read_tracking_records("orders")
    assert record["record_id"] == RECORD_ID
    assert (record["transfer_status"], record["extra_columns"]) == ("in_progress", {"cost": 3})
    assert site.waiting() == 0


def test_what_waits_for_a_location_is_of_its_own_run_only(site):
    store = site.store("a")
    site.shut("a")
    runs = [("d", "r"), ("another", "r"), ("d", "another")]
    for dag_id, run_id in runs:
        store.write_tracking_record({**RECORD, "dag_id": dag_id, "run_id": run_id, "task_id": "load"})
    for dag_id, run_id in runs:
        found = store.read_run(dag_id, run_id, ["orders"]).records
        assert [(record["dag_id"], record["run_id"]) for record in found] == [(dag_id, run_id)]


def test_what_leaves_the_journal_while_a_location_is_asked_is_found(site, monkeypatch):
    store = site.store("a")
    store.write_tracking_record({**RECORD, "transfer_unique_id": "t0"})
    site.shut("a")
    store.write_tracking_record(RECORD)
    site.open("a")
    call = Leg.call

    def called(leg, *asked, **limits):
        found = call(leg, *asked, **limits)
        for entry in (path for path in store.journal_folder.rglob("*") if path.is_file()):
            entry.unlink()  # as whoever delivers it does
        return found

    monkeypatch.setattr(Leg, "call", called)
    found = store.read_run("orders", "none", ["orders"]).records
    assert site.waiting() == 0
    assert RECORD_ID in [record["record_id"] for record in found]


def test_an_unknown_pipeline_has_no_records(site):
    store = site.store("a")
    store.write_tracking_record(RECORD)
    assert store.read_tracking_records("nobody") == []
    assert store.read("nobody").unreachable == {}
    assert store.read_run("nobody", "never").records == []
    assert store.read_record("nobody/never/x/-1/1") is None
    assert store.history("nobody/never/x/-1/1") == []


def test_a_file_that_this_host_does_not_have_is_not_visible_here_and_never_empty(site):
    store = site.store("a", site.location("b", "local_file"))
    unreachable = store.read("orders").unreachable
    reason = f"not visible here: this host ({socket.gethostname()}) has no such file; it is another host's, or nothing was recorded yet"
    assert unreachable == {site.location("a"): reason, site.location("b", "local_file"): reason}
    assert not (site.root / "a").exists(), "reading makes nothing"
    store.write_tracking_record(RECORD)
    assert list(store.read("orders").unreachable) == [site.location("b", "local_file")]


def test_a_file_whose_connection_is_unknown_is_said_to_be_out_of_reach(site):
    place = site.location("a").replace("sqlite||", "sqlite@unknown_db||")
    store = site.store(place, "b")
    assert store.write_tracking_record(RECORD) is True
    reading = store.read("orders")
    assert [record["record_id"] for record in reading.records] == [RECORD_ID]
    reason = "SqliteAdapter failed: AirflowNotFoundException: The conn_id `unknown_db` isn't defined"
    assert reading.unreachable == {place: reason}
    assert store.reconcile().unreachable == {place: reason}


def test_the_first_location_that_takes_a_record_has_it_alone(site):
    site.shut("a")
    store = site.store("a", "b", "c")
    assert store.write_tracking_record(RECORD) is True
    assert (site.ids("b"), site.ids("c")) == ([RECORD_ID], [])
    (record,) = store.read_tracking_records("orders")
    assert record["owed"] == [f"sqlite||{site.root}/a/tracking||t"]
    assert site.waiting() == 0


def test_what_a_fallback_took_is_brought_home_exactly_once(site):
    site.shut("a")
    store = site.store("a", "b")
    for number in range(3):
        store.write_tracking_record({**RECORD, "transfer_unique_id": f"t{number}"})
    still = store.reconcile()
    assert (still.healed, still.still_owed) == (0, 3)
    assert list(still.unreachable) == [site.location("a")]
    site.open("a")
    assert store.reconcile().healed == 3
    again = store.reconcile()
    assert (again.healed, again.drained, again.still_owed, again.unreachable) == (0, 0, 0, {})
    assert len(site.ids("a")) == 3
    assert len(store.read_tracking_records("orders")) == 3


def test_a_record_is_brought_home_to_every_location_that_lacks_it(site):
    site.shut("a", "b")
    store = site.store("a", "b", "c")
    store.write_tracking_record(RECORD)
    site.open("b")
    first = store.reconcile()
    assert (first.healed, first.still_owed) == (1, 1)
    site.open("a")
    assert store.reconcile().healed == 1
    assert [site.ids(name) for name in "abc"] == [[RECORD_ID]] * 3


def test_a_change_after_the_record_was_brought_home_is_brought_home_too(site):
    site.shut("a")
    store = site.store("a", "b")
    store.write_tracking_record(RECORD)
    site.open("a")
    store.reconcile()
    (site.root / "a").rename(site.root / "away")
    site.shut("a")
    assert site.store("a", "b").update_tracking_record(RECORD_ID, {"transfer_status": "completed"})
    site.open("a")
    (site.root / "away").rename(site.root / "a")
    assert store.reconcile().healed == 1
    alone = site.store("a", journal_dir=site.root / "another-journal")
    assert [record["transfer_status"] for record in alone.read_tracking_records("orders")] == ["completed"]


def test_a_fallback_that_cannot_note_debts_leaves_the_record_in_the_journal(site):
    site.shut("a")
    fallback = site.location("b", "local_file")
    store = site.store("a", fallback)
    assert store.write_tracking_record(RECORD) is True
    assert site.ids(fallback) == [RECORD_ID]
    assert site.waiting() == 1
    assert store.reconcile().waiting == 1
    site.open("a")
    assert store.reconcile().drained == 1
    assert (store.reconcile().drained, site.waiting()) == (0, 0)
    assert site.ids("a") == [RECORD_ID]
    assert len(store.read_tracking_records("orders")) == 1


def test_what_only_a_fallback_has_and_nobody_notes_is_said_until_a_full_pass_brings_it_home(site, caplog):
    site.shut("a")
    store = site.store("a", site.location("b", "local_file"))
    blocked = store.journal_folder / "slot-000.seg"
    blocked.mkdir(parents=True)
    assert store.write_tracking_record(RECORD) is True
    (line,) = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.ERROR]
    assert line.startswith("pipetrack: 1 changes stand in local_file||")
    assert line.endswith("lacks them: run pipetrack reconcile --full when all is well")
    blocked.rmdir()
    store.reconcile(full=True)
    assert health(store).unnoted == 1
    site.open("a")
    store.reconcile()
    assert (health(store).unnoted, health(store).is_well) == (1, False)
    assert store.reconcile(full=True).copied == 1
    assert site.ids("a") == [RECORD_ID]
    assert (health(store).unnoted, health(store).is_well) == (0, True)


def test_what_a_storage_that_cannot_list_has_alone_is_said_without_advice_that_does_not_help(site, caplog):
    class Three(StorageAdapter):
        def apply(self, changes, *, owed=()):
            pass

    site.shut("no-journal", "a")
    store = site.store("a", "three||x", adapters={"three": Three}, journal_dir=site.root / "no-journal")
    assert store.write_tracking_record(RECORD) is True
    assert "lacks them: only there they can be read" in caplog.text


def test_a_full_pass_is_advised_only_for_the_locations_that_it_can_compare(site, caplog):
    class Away(in_memory()):
        def apply(self, changes, *, owed=()):
            raise OSError("away")

    adapters, fallback = {"away": Away}, site.location("b", "local_file")
    site.shut("a")
    for number, chain in enumerate((("away||x", fallback), ("a", "away||x", fallback))):
        store = site.store(*chain, adapters=adapters, journal_dir=site.root / f"journal-{number}")
        (store.journal_folder / "slot-000.seg").mkdir(parents=True)
        assert store.write_tracking_record({**RECORD, "transfer_unique_id": f"t{number}"}) is True
        assert health(store).unnoted == number
    lines = [entry.getMessage().partition("cannot note that ")[2] for entry in caplog.records if entry.levelno == 40]
    advised = f"{site.location('a')} lacks them: run pipetrack reconcile --full when all is well"
    alone = "away||x lacks them: only there they can be read"
    assert lines == [alone, advised, alone]


@pytest.mark.parametrize("mode", ["fallback", "mirror"])
def test_a_fallback_that_cannot_note_debts_is_not_given_the_same_with_each_pass(site, mode):
    site.shut("a", "c")
    fallback = site.location("b", "local_file")
    store = site.store("a", fallback, site.location("c", "local_file"), mode=mode)
    ids = [f"orders/none/t{number}/-1/1" for number in range(5)]
    assert all(store.write_tracking_record({**RECORD, "transfer_unique_id": f"t{number}"}) for number in range(5))
    sizes = []
    for _ in range(3):
        assert store.reconcile().waiting == 5
        sizes.append((site.root / "b" / "tracking").stat().st_size)
    assert sizes[0] == sizes[1] == sizes[2]
    store.close()
    site.open("a")
    assert store.reconcile().waiting == site.waiting() == 0
    assert site.ids("a") == ids
    site.open("c")
    assert store.reconcile().still_owed == 0
    assert site.ids(site.location("c", "local_file")) == (ids if mode == "mirror" else [])


def test_a_pass_whose_time_is_up_leaves_no_entry_twice_in_the_journal(site, monkeypatch):
    site.shut("a")
    store = site.store("a", site.location("b", "local_file"))
    journal = Journal(store.journal_folder)
    for number in range(250):
        change = change_from_record({**RECORD, "transfer_unique_id": f"t{number}"})
        journal.append(entry_payload(store.chain(), [change]), durable=False)
    journal.close()
    synced: list[int] = []
    monkeypatch.setattr(Slot, "sync", lambda slot: synced.append(len(list(undelivered(store.journal_folder)))))
    monkeypatch.setattr(Drain, "time_is_up", property(lambda drain: len(synced) == 2))
    assert store.reconcile().waiting == 250
    assert synced == [350, 350], "so many entries at once are brought to the disk, and forgotten where they were"
    narrowed = [b'"lacking"' in chain_bytes(entry.payload) for entry in undelivered(store.journal_folder)]
    assert (len(narrowed), sum(narrowed)) == (250, 200)


def test_a_record_that_no_location_took_is_safe_in_the_journal_and_readable(site):
    site.shut("a", "b")
    store = site.store("a", "b")
    assert store.write_tracking_record(RECORD) is True
    reading = store.read("orders")
    assert [record["record_id"] for record in reading.records] == [RECORD_ID]
    assert set(reading.unreachable) == {site.location("a"), site.location("b")}
    assert all("not writable" in reason or "cannot be" in reason for reason in reading.unreachable.values())
    site.open("a", "b")
    assert store.reconcile().drained == 1
    assert (site.ids("a"), site.ids("b"), site.waiting()) == ([RECORD_ID], [], 0)


def test_without_a_journal_records_are_delivered_directly(site, caplog):
    site.shut("no-journal", "a")
    store = site.store("a", "b", journal_dir=site.root / "no-journal")
    with caplog.at_level(logging.WARNING):
        assert store.write_tracking_record(RECORD) is True
    assert "cannot be used: Not a directory; the record is delivered directly" in caplog.text
    assert site.ids("b") == [RECORD_ID]
    site.open("a")
    assert store.reconcile().healed == 1
    assert site.ids("a") == [RECORD_ID]


def test_a_record_that_can_be_kept_nowhere_stands_whole_in_the_log(site, caplog):
    site.shut("no-journal", "a", "b")
    store = site.store("a", "b", journal_dir=site.root / "no-journal")
    before = LOSSES.lost
    with caplog.at_level(logging.ERROR):
        assert store.write_tracking_record({**RECORD, "stage_i_details": "only here"}) is False
    assert LOSSES.lost == before + 1
    (line,) = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.ERROR]
    assert line.startswith("pipetrack could not keep this record anywhere")
    lost = Change.from_json(json.loads(line.split("Keep this line: ", 1)[1]))
    assert (lost.record_id, lost.columns["stage_i_details"]) == (RECORD_ID, "only here")
    assert store.keeps() is False


@pytest.mark.parametrize("waits", ["write", "flush"])
def test_a_record_whose_locations_hang_stands_in_the_log_as_soon_as_nobody_waits_for_it(site, caplog, waits):
    goes_on = threading.Event()

    class Hung(StorageAdapter):
        def apply(self, changes, *, owed=()):
            goes_on.wait(60)
            raise OSError("shut")

    site.shut("no-journal")
    adapters = {"hung": Hung}
    store = site.store("hung||a", "hung||b", adapters=adapters, journal_dir=site.root / "no-journal", deadline=0.3)
    before = LOSSES.lost
    if waits == "write":
        assert store.write_tracking_record(RECORD) is False
    else:
        store.submit([change_from_record(RECORD)], durable=True)
        assert store.flush() is False
    assert LOSSES.lost == before + 1
    assert "the delivery: did not end in time). Keep this line: {" in caplog.text
    goes_on.set()
    store.flush(10)
    assert LOSSES.lost == before + 1, "the thread does not say it again"


def test_a_delivery_that_cannot_even_begin_loses_nothing_in_silence(site, caplog):
    class Nonsense(StorageAdapter):
        time_limit = "soon"

    site.shut("no-journal")
    options = {"adapters": {"nonsense": Nonsense}}
    store = site.store("nonsense||x", journal_dir=site.root / "no-journal", **options)
    assert store.write_tracking_record(RECORD) is False
    assert "could not keep this record anywhere" in caplog.text
    assert "the delivery: TypeError" in caplog.text
    assert site.store("nonsense||x", **options).write_tracking_record(RECORD) is True, "the journal has it"


def test_a_store_says_beforehand_whether_it_could_keep_a_record(site):
    site.shut("no-journal", "a")
    assert site.store("a").keeps() is True
    assert site.store("a", "b", journal_dir=site.root / "no-journal").keeps() is True
    assert site.store("a", journal_dir=site.root / "no-journal").keeps() is False


def test_a_slot_on_a_full_disk_is_no_place_to_keep_a_record(site):
    site.shut("a")
    store = site.store("a")
    assert store.keeps() is True
    assert site.waiting() == 0
    with largest_file(1):
        assert store.keeps() is False
        assert site.store("a", "b").keeps() is False
        assert store.write_tracking_record(RECORD) is False
    assert store.keeps() is True


def test_who_only_tried_the_journal_when_it_was_killed_leaves_nothing_to_deliver(site):
    store = site.store("a")
    journal = Journal(store.journal_folder)
    journal.append(entry_payload(store.chain(), ()), durable=True)
    journal.close()
    summary = store.reconcile()
    assert (summary.drained, summary.waiting, summary.dead) == (0, 0, 0)
    assert site.waiting() == 0
    assert not (site.root / "a").exists()


def test_mirror_writes_every_location_and_reconcile_catches_up_the_ones_that_were_away(site):
    site.shut("b")
    store = site.store("a", "b", "c", mode="mirror")
    assert store.write_tracking_record(RECORD) is True
    assert [site.ids(name) for name in "ac"] == [[RECORD_ID]] * 2
    assert site.waiting() == 0, "a knows that b lacks it"
    site.open("b")
    assert store.reconcile().healed == 1
    assert [site.ids(name) for name in "abc"] == [[RECORD_ID]] * 3
    again = store.reconcile()
    assert (again.drained, again.healed, again.still_owed) == (0, 0, 0)
    assert len(store.read_tracking_records("orders")) == 1


def test_in_a_mirror_each_change_may_miss_another_location(site, monkeypatch):
    # As locations that all hosts share; no process leaves one alone for having failed.
    monkeypatch.setattr(SqliteAdapter, "host_local", False)
    monkeypatch.setattr(Breaker, "may_try", lambda self: True)
    store = site.store("a", "b", "c", mode="mirror")
    site.shut("a")
    assert store.write_tracking_record(RECORD) is True
    site.open("a")
    site.shut("b")
    later = site.store("a", "b", "c", mode="mirror")
    assert later.write_tracking_record({**RECORD, "transfer_status": "completed"}) is True
    site.open("b")
    site.store("a", "b", "c", mode="mirror").reconcile()
    found = [site.alone(name).read_tracking_records("orders") for name in "abc"]
    assert [[record["transfer_status"] for record in records] for records in found] == [["completed"]] * 3


def test_secrets_do_not_reach_a_record(site, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__MASK_FIELDS", "Pin, badge")
    given = {"api_token": "t0k", "pin": 12, "rows": 3, "of": [{"db_password": "p", "badge": "", "host": "h"}]}
    store = site.store("a")
    assert store.write_tracking_record({**RECORD, "audit_metadata": given, "my_secret": "s"}) is True
    (record,) = store.read_tracking_records("orders")
    masked = {"api_token": "***", "pin": "***", "rows": 3, "of": [{"db_password": "***", "badge": "", "host": "h"}]}
    assert (record["audit_metadata"], record["extra_columns"]) == (masked, {"my_secret": "***"})
    assert "t0k" not in str(store.history(record["record_id"]))


def test_masking_leaves_columns_counts_and_lists_of_texts_as_they_are(site, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__MASK_FIELDS", "metadata, alerts")
    given = [{"tokens_used": 5123, "token": "t0k", "pass": [1]}]
    store = site.store("a")
    more = {"audit_metadata": given, "transfer_process_email_alerts": ["a@b.c"]}
    assert store.write_tracking_record({**RECORD, **more}) is True
    (record,) = store.read_tracking_records("orders")
    assert record["audit_metadata"] == [{"tokens_used": 5123, "token": "***", "pass": [1]}]
    assert record["transfer_process_email_alerts"] == ["a@b.c"]


def test_mirror_keeps_in_the_journal_what_no_location_can_note(site):
    site.shut("b")
    first, second = site.location("a", "local_file"), site.location("b", "local_file")
    store = site.store(first, second, mode="mirror")
    assert store.write_tracking_record(RECORD) is True
    assert site.waiting() == 1
    site.open("b")
    assert store.reconcile().drained == 1
    assert (site.ids(first), site.ids(second), site.waiting()) == ([RECORD_ID], [RECORD_ID], 0)


def test_mirror_keeps_in_the_journal_what_a_location_failed_to_note(site):
    class Forgetful(StorageAdapter):
        keeps_owed = True

        def apply(self, changes, *, owed=()):
            if owed:
                raise OSError("no note today")

        def read_tracking_records(self, pipeline_id):
            return []

    site.shut("b")
    store = site.store("forgetful||x", "b", mode="mirror", adapters={"forgetful": Forgetful})
    assert store.write_tracking_record(RECORD) is True
    assert site.waiting() == 1, "nobody knows that b lacks it"


def test_reading_merges_what_the_locations_know_of_a_record(site):
    site.store("a").write_tracking_record(RECORD)
    second = site.store("b")
    second.write_tracking_record({**RECORD, "transfer_status": "pending"})
    second.update_tracking_record(RECORD_ID, {"audit_result": "matched"})
    (record,) = site.store("a", "b").read_tracking_records("orders")
    assert (record["transfer_status"], record["audit_result"]) == ("in_progress", "matched")
    history = site.store("a", "b").history(RECORD_ID)
    assert len(history) == 3
    assert history == sorted(history, key=lambda event: event["changed_at"])


def test_entries_of_another_chain_go_to_that_chain(site):
    site.shut("a", "b")
    assert site.store("a", site.location("b", "local_file")).write_tracking_record(RECORD)
    assert site.store("a", mode="mirror").write_tracking_record({**RECORD, "transfer_unique_id": "t2"})
    site.open("a", "b")
    other = site.store("z")
    summary = other.reconcile()
    assert (summary.drained, summary.waiting) == (2, 0)
    assert (site.ids("a"), site.ids("z"), site.waiting()) == ([RECORD_ID, "orders/none/t2/-1/1"], [], 0)


def test_entries_of_a_chain_that_cannot_be_made_here_wait(site, tmp_path):
    class InMemory(StorageAdapter):
        def write_tracking_record(self, record):
            return False

        def read_tracking_records(self, pipeline_id):
            return []

    owner = site.store("memory||x", adapters={"memory": InMemory})
    assert owner.write_tracking_record(RECORD) is True
    summary = site.store("z").reconcile()
    assert (summary.drained, summary.waiting, site.waiting()) == (0, 1, 1)
    assert owner.reconcile().waiting == 1


def test_a_user_adapter_that_raises_or_refuses_is_only_a_location_that_failed(site):
    class Raising(StorageAdapter):
        def write_tracking_record(self, record):
            raise ZeroDivisionError("a user's mistake")

        def read_tracking_records(self, pipeline_id):
            return []

    store = site.store("own||x", "b", adapters={"own": Raising})
    assert store.write_tracking_record(RECORD) is True
    assert site.ids("b") == [RECORD_ID]
    (record,) = store.read_tracking_records("orders")
    assert record["owed"] == ["own||x"]
    assert "Raising failed: ZeroDivisionError: a user's mistake" in store.reconcile().unreachable["own||x"]


def test_a_record_without_anything_to_identify_it_is_refused(site):
    store = site.store("a")
    with pytest.raises(RecordError, match="a record needs record_id, or dag_id or pipeline_id together with"):
        store.write_tracking_record({"transfer_status": "pending"})
    with pytest.raises(RecordError, match="transfer_status 'done': expected pending, in_progress, completed, failed"):
        store.write_tracking_record({**RECORD, "transfer_status": "done"})
    assert store.read_tracking_records("orders") == []


def test_an_update_names_a_record_by_its_id_or_the_users_and_means_the_latest_attempt(site):
    store = site.store("a")
    store.write_tracking_record({**RECORD, "transfer_status": "failed"})
    store.write_tracking_record({**RECORD, "retry_attempt_number": 1})
    assert store.update_tracking_record("t1", {"transfer_status": "completed", "note": "by hand"}) is True
    assert store.update_tracking_record(RECORD_ID, {"error_message": "disk"}) is True
    first, second = store.read_tracking_records("orders")
    assert (first["transfer_status"], first["error_message"]) == ("failed", "disk")
    assert (second["transfer_status"], second["extra_columns"]) == ("completed", {"note": "by hand"})
    assert store.update_tracking_record("nobody", {"transfer_status": "failed"}) is False
    with pytest.raises(RecordError, match="dag_id, owed cannot be updated"):
        store.update_tracking_record("t1", {"owed": [], "dag_id": "x"})


def test_an_update_does_not_say_that_there_is_no_record_where_a_location_could_not_be_asked(site):
    store = site.store("a", "b")
    assert store.update_tracking_record("t1", {"note": "new"}) is False, "nothing was written yet"
    store.write_tracking_record(RECORD)
    assert store.update_tracking_record("nobody", {"note": "new"}) is False, "nothing was written to b yet"
    (site.root / "b").mkdir()
    (site.root / "b" / "tracking").write_text("no database, but as long as one might be")
    assert store.update_tracking_record("t1", {"note": "new"}) is True
    with pytest.raises(StorageError, match="whether there is a record 'nobody' is not known: ") as caught:
        store.update_tracking_record("nobody", {"note": "new"})
    assert caught.value.location == site.location("b")


def test_an_update_by_an_id_that_stands_in_every_run_means_the_run_that_began_last(site):
    store = site.store("a")
    record = {**RECORD, "dag_id": "orders", "task_id": "load"}
    for run_id, attempt in (("r1", 0), ("r1", 1), ("r2", 0), ("r1", 2)):  # the first run is cleared at last
        store.write_tracking_record({**record, "run_id": run_id, "retry_attempt_number": attempt})
    assert store.update_tracking_record("t1", {"note": "mine"}) is True
    noted = [record["record_id"] for record in store.read_tracking_records("orders") if record["extra_columns"]]
    assert noted == ["orders/r2/load/-1/1"]


def test_an_update_does_not_change_an_ended_attempt_where_a_later_one_may_stand_in_a_location_that_is_down(site):
    store = site.store("a", "b")
    site.alone("b").write_tracking_record({**RECORD, "transfer_status": "completed"})
    (site.root / "a").mkdir()
    (site.root / "a" / "tracking").write_text("no database")
    with pytest.raises(StorageError, match="whether 't1' has a later attempt is not known: ") as caught:
        store.update_tracking_record("t1", {"note": "new"})
    assert caught.value.location == site.location("a")
    assert store.update_tracking_record(RECORD_ID, {"note": "new"}) is True, "no other is meant"
    (site.root / "a" / "tracking").unlink()
    assert store.update_tracking_record("t1", {"note": "newer"}) is True


def in_memory() -> type[StorageAdapter]:
    class InMemory(StorageAdapter):
        kept: dict = {}

        def write_tracking_record(self, record):
            self.kept[record["record_id"]] = record
            return True

        def read_tracking_records(self, pipeline_id):
            return [record for record in self.kept.values() if record["pipeline_id"] == pipeline_id]

        def update_tracking_record(self, transfer_id, updates):
            self.kept[transfer_id].update(updates)
            return True

    return InMemory


def test_a_user_adapter_with_three_methods_can_be_updated_through_the_store(site):
    memory = in_memory()
    store = site.store("memory||x", adapters={"memory": memory})
    store.write_tracking_record({**RECORD, "records_succeeded": 4})
    assert store.update_tracking_record(RECORD_ID, {"transfer_status": "completed"}) is True
    (record,) = store.read_tracking_records("orders")
    assert (record["transfer_status"], record["records_succeeded"]) == ("completed", 4)
    assert len(memory.kept) == 1


@pytest.mark.parametrize("named", ["orders_dag/r/load/-1/1", "t1"])
def test_a_record_in_a_user_adapter_is_updated_once_its_pipeline_is_named(site, named):
    store = site.store("memory||x", adapters={"memory": in_memory()})
    store.write_tracking_record({**RECORD, "dag_id": "orders_dag", "run_id": "r", "task_id": "load"})
    with pytest.raises(StorageError, match="is not known: can only be asked about one pipeline at a time; name it"):
        store.update_tracking_record(named, {"note": "new"})
    assert store.update_tracking_record(named, {"note": "new"}, pipeline_id="orders") is True
    assert store.update_tracking_record("nobody", {"note": "new"}, pipeline_id="orders") is False
    (record,) = store.read_tracking_records("orders")
    assert record["extra_columns"] == {"note": "new"}


def test_a_user_adapter_is_asked_about_the_pipeline_that_another_location_knows_a_record_by(site):
    store = site.store("a", "memory||x", adapters={"memory": in_memory()})
    store.write_tracking_record({**RECORD, "transfer_status": "completed"})
    assert store.update_tracking_record("t1", {"note": "new"}) is True
    store.legs[1].adapter.apply([change_from_record({**RECORD, "retry_attempt_number": 1})])
    assert store.update_tracking_record("t1", {"note": "newer"}) is True
    first, second = store.read_tracking_records("orders")
    assert (first["extra_columns"], second["extra_columns"]) == ({"note": "new"}, {"note": "newer"})


def test_what_is_handed_over_without_waiting_arrives(site):
    store = site.store("a")
    changes = [change_from_record({**RECORD, "transfer_unique_id": f"t{number}"}) for number in range(50)]
    assert all(store.submit([change], durable=False) for change in changes)
    assert store.flush() is True
    assert len(site.ids("a")) == 50
    assert site.waiting() == 0


def test_an_end_that_overtakes_its_start_is_written_with_it(site):
    store = site.store("a")
    start = change_from_record(RECORD)
    record = record_of(start)
    end = change_from_updates(record, {"transfer_status": "completed"})
    store.submit([end], durable=True)
    store.submit([start], durable=False)
    assert store.flush() is True
    (found,) = store.read_tracking_records("orders")
    assert (found["transfer_status"], found["transfer_unique_id"]) == ("completed", "t1")


class Counting(StorageAdapter):
    """Counts how often it is written to."""

    writes: list = []

    def apply(self, changes, *, owed=()):
        self.writes.append([change.columns["transfer_unique_id"] for change in changes])

    def read_tracking_records(self, pipeline_id):
        return []


@pytest.fixture
def counting():
    Counting.writes = []
    return {"counting": f"{__name__}.Counting"}


def named(name: str) -> Change:
    return change_from_record({**RECORD, "transfer_unique_id": name})


def test_a_start_waits_a_moment_so_that_the_end_of_a_short_transfer_goes_with_it(site, counting, monkeypatch):
    monkeypatch.setattr(delivery_module, "_LINGER", 20.0)
    store = site.store("counting||x", adapters=counting)
    store.submit([named("pending")], durable=False)
    store.submit([named("start")], durable=False)
    store.submit([named("end")], durable=True)
    began = time.monotonic()
    assert store.flush() is True
    assert Counting.writes == [["pending", "start", "end"]]
    store.submit([named("deferred")], durable=False)
    assert store.flush() is True, "whoever asks for it need not wait"
    assert Counting.writes[1:] == [["deferred"]]
    assert time.monotonic() - began < 10.0


def test_a_start_is_delivered_while_its_transfer_runs(site, counting, monkeypatch):
    monkeypatch.setattr(delivery_module, "_LINGER", 0.05)
    written = threading.Event()
    monkeypatch.setattr(Counting, "apply", lambda self, changes, *, owed=(): written.set())
    site.store("counting||x", adapters=counting).submit([named("start")], durable=False)
    assert written.wait(10)


def test_batch_delivery_brings_a_start_together_with_the_end(site, counting):
    store = site.store("counting||x", adapters=counting, delivery="batch")
    assert store.submit([named("pending1"), named("pending2")], durable=False)
    assert store.submit([named("start")], durable=False)
    assert (Counting.writes, site.waiting()) == ([], 2), "they are in the journal alone"
    store.submit([named("end")], durable=True)
    assert store.flush() is True
    assert [name for write in Counting.writes for name in write] == ["pending1", "pending2", "start", "end"]
    assert site.waiting() == 0


def test_batch_delivery_ends_with_a_flush_and_survives_a_kill(site, counting):
    store = site.store("counting||x", adapters=counting, delivery="batch")
    store.submit([named("start")], durable=False)
    assert store.flush() is True
    assert Counting.writes == [["start"]]
    child = os.fork()
    if child == 0:
        store.submit([named("killed")], durable=False)
        os._exit(0)
    os.waitpid(child, 0)
    assert site.waiting() == 1
    assert site.store("counting||x", adapters=counting).reconcile().drained == 1
    assert Counting.writes[1:] == [["killed"]]


def test_batch_delivery_without_a_journal_delivers_at_once(site, counting):
    site.shut("no-journal")
    store = site.store("counting||x", adapters=counting, delivery="batch", journal_dir=site.root / "no-journal")
    store.submit([named("start")], durable=False)
    assert store.flush() is True
    assert Counting.writes == [["start"]]


def test_what_a_killed_owner_left_in_the_slot_is_brought_home_by_the_next(site, counting, monkeypatch):
    monkeypatch.setattr(shared_module, "_BETWEEN_TRIES", 0.0)
    child = os.fork()
    if child == 0:
        site.store("counting||x", adapters=counting, delivery="batch").submit([named("killed")], durable=False)
        os._exit(0)
    os.waitpid(child, 0)
    store = site.store("counting||x", adapters=counting)
    store.submit([named("mine")], durable=True)
    assert store.flush() is True
    assert store.bring_home().drained == 1
    assert [name for write in Counting.writes for name in write] == ["mine", "killed"]


def test_true_means_safe_for_every_thread_even_without_a_journal(site):
    site.shut("no-journal")
    kept = set()

    class Fussy(StorageAdapter):
        """Keeps one record of two."""

        def apply(self, changes, *, owed=()):
            if any(int(change.columns["transfer_unique_id"]) % 2 for change in changes):
                raise ValueError("odd")
            kept.update(change.columns["transfer_unique_id"] for change in changes)

    store = site.store("fussy||x", adapters={"fussy": Fussy}, journal_dir=site.root / "no-journal")
    answers = {}

    def write(worker: int) -> None:
        for step in range(20):
            number = str(worker * 20 + step)
            answers[number] = store.write_tracking_record({**RECORD, "transfer_unique_id": number})

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 160
    assert {number for number, safe in answers.items() if safe} == kept


def test_a_forked_child_writes_with_a_connection_and_a_slot_of_its_own(site):
    store = site.store("a")
    store.write_tracking_record(RECORD)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            seen = len(store.read_tracking_records("orders"))
            safe = store.write_tracking_record({**RECORD, "transfer_unique_id": "child"})
            code = 42 if seen >= 1 and safe is True else 2
        finally:
            os._exit(code)
    assert store.write_tracking_record({**RECORD, "transfer_unique_id": "parent"})
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert len(store.read_tracking_records("orders")) == 3
    assert store.reconcile().waiting == 0


def test_a_forked_child_reads_and_reconciles_while_the_parent_is_delivering(site):
    store = site.store("a", deadline=20.0)  # it is not about how fast this machine is
    store.submit([change_from_record(RECORD)], durable=False)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            store.reconcile()
            reading = store.read("orders")
            code = 42 if not reading.unreachable and store.legs else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert store.flush() is True
    assert site.ids("a") == [RECORD_ID]


def test_a_fork_waits_until_no_delivery_is_under_way_but_not_for_ever(site, monkeypatch):
    entered, let_go = threading.Event(), threading.Event()

    class Slow(StorageAdapter):
        time_limit = 30.0

        def apply(self, changes, *, owed=()):
            entered.set()
            let_go.wait(20.0)

    store = site.store("slow||x", adapters={"slow": Slow}, deadline=20.0)
    store.submit([change_from_record(RECORD)], durable=False)
    assert entered.wait(10.0)
    timer = threading.Timer(0.3, let_go.set)
    timer.start()
    assert fork_seconds() >= 0.2
    assert site.waiting() == 0, "the delivery went on while the fork waited"
    let_go.clear()
    entered.clear()
    monkeypatch.setattr(delivery_module, "_BEFORE_FORK", 0.2)
    store.submit([change_from_record({**RECORD, "transfer_unique_id": "t2"})], durable=False)
    assert entered.wait(10.0)
    assert 0.2 <= fork_seconds() < 5.0
    let_go.set()
    assert store.flush(10.0)


def test_a_closed_store_leaves_an_empty_journal_and_can_be_used_again(site):
    with site.store("a") as store:
        store.write_tracking_record(RECORD)
    assert [path.stat().st_size for path in store.journal_folder.glob("slot-*.seg")] == [0]
    assert store.write_tracking_record({**RECORD, "transfer_unique_id": "t2"}) is True
    assert len(site.ids("a")) == 2


def test_a_store_that_was_killed_is_reconciled_by_the_next_process(site):
    site.shut("a")
    script = (
        "import os, signal, sys; from airflow_provider_pipetrack.tracking.store import TrackingStore;"
        "store = TrackingStore([sys.argv[1]], journal_dir=sys.argv[2]);"
        f"print(store.write_tracking_record({RECORD!r}), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, site.location("a"), str(site.root / "journal")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-9, "True\n")
    site.open("a")
    assert site.store("a").reconcile().drained == 1
    assert site.ids("a") == [RECORD_ID]


@pytest.mark.parametrize(
    ("locations", "options", "message"),
    [
        ([], {}, "needs a list with at least one location"),
        ("sqlite||/tmp/x||t", {}, "needs a list with at least one location"),
        (["sqlite||/tmp/x"], {"delivery": "later"}, "delivery 'later': expected now or batch"),
        (["sqlite||/tmp/x"], {"mode": "both"}, "mode 'both': expected fallback or mirror"),
        (["sqlite||/tmp/x"], {"deadline": 0}, "deadline 0: expected seconds above 0"),
    ],
)
def test_a_store_that_makes_no_sense_is_refused_at_once(locations, options, message):
    with pytest.raises(PipetrackError, match=message):
        TrackingStore(locations, **options)


def test_a_location_that_makes_no_sense_is_refused_at_once():
    with pytest.raises(LocationError, match="did you mean 'postgres'"):
        TrackingStore(["postgre||a||b||c"])


def test_using_sqlite_imports_no_database_client_and_nothing_of_airflow(tmp_path):
    script = f"""
import sys
at_start = set(sys.modules)  # site-packages may put namespaces such as snowflake there
from airflow_provider_pipetrack.tracking.store import TrackingStore
with TrackingStore(["sqlite||{tmp_path}/t.db"], journal_dir="{tmp_path}/journal") as store:
    assert store.write_tracking_record({RECORD!r})
    assert len(store.read_tracking_records("orders")) == 1
heavy = ("airflow", "psycopg", "psycopg2", "sqlalchemy", "pydantic", "boto3", "pymongo", "snowflake")
print(sorted(name for name in set(sys.modules) - at_start if name.split(".")[0] in heavy))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_store_of_the_settings_is_sqlite_under_airflows_home(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    for option in ("TRACKING_LOCATION", "MODE", "JOURNAL_DIR", "DELIVERY_DEADLINE"):
        monkeypatch.delenv(f"AIRFLOW__PIPETRACK__{option}", raising=False)
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", "")
    monkeypatch.setenv("AIRFLOW__PIPETRACK__DELIVERY_DEADLINE", "2.5")
    monkeypatch.setenv("AIRFLOW__PIPETRACK__MODE", "mirror")
    with TrackingStore.from_settings() as store:
        assert (store.mode, store.deadline) == ("mirror", 2.5)
        assert store.write_tracking_record(RECORD) is True
    assert (tmp_path / "pipetrack" / "tracking.db").exists()
