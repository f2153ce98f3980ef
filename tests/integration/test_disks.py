"""Disks that are full, read-only or write only a part: nothing that was promised is lost, and the loss is loud."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from airflow_provider_pipetrack.errors import JournalError
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.tracking.health import health
from airflow_provider_pipetrack.tracking.journal import Journal, idle_slots, undelivered
from airflow_provider_pipetrack.tracking.losses import LOSSES, losses_of, lost_on_host
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.crash.killing import check, record

NO_MOUNT = "this user may not mount a tmpfs"


@contextmanager
def mounted(folder: Path, options: str):
    """A small disk of its own."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip(NO_MOUNT)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path):
    with mounted(tmp_path / "disk", "size=64k") as folder:
        yield folder


def fill(folder: Path) -> Path:
    """Use up a disk to the last byte."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (4096, 512, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return filler


def test_a_journal_on_a_full_disk_takes_nothing_torn_and_forgets_nothing(small_disk):
    journal = Journal(small_disk / "host")
    kept = []

    def append_many() -> None:
        for number in range(1000):
            payload = b"%d" % number * 300
            journal.append(payload, durable=True)
            kept.append(payload)

    with pytest.raises(JournalError, match=r"the disk of the journal in .* is full|cannot be written: No space left"):
        append_many()
    assert len(kept) > 10
    with pytest.raises(JournalError):
        journal.append(b"x" * 5000, durable=True)
    assert [entry.payload for entry in undelivered(small_disk / "host")] == kept
    assert [entry.payload for entry in journal.pending()] == kept
    journal.close()
    assert [entry.payload for entry in Journal(small_disk / "host").pending()] == kept


def filled(folder: Path) -> tuple[Journal, list[int]]:
    """Return a journal on a full disk, in whose last block there is no room either, and the numbers of its entries."""
    journal = Journal(folder / "host")
    numbers = [journal.append(b"%d" % number * 300, durable=True) for number in range(5)]
    fill(folder)
    with suppress(JournalError):
        while True:
            numbers.append(journal.append(b"x" * 50, durable=True))
    return journal, numbers


def test_a_full_disk_is_no_reason_to_deliver_everything_again(small_disk):
    journal, numbers = filled(small_disk)
    with pytest.raises(JournalError, match=r"is full|No space left"):
        journal.acknowledge(numbers[:2])
    journal.acknowledge(numbers[2:])
    assert (journal.is_done, [*undelivered(small_disk / "host")]) == (True, [])
    number = journal.append(b"new" * 300, durable=True)
    assert [entry.number for entry in undelivered(small_disk / "host")] == [number]


def test_what_a_process_left_on_a_full_disk_is_delivered_once(small_disk):
    filled(small_disk)[0].close()
    for slots in idle_slots(small_disk / "host"):
        for slot in slots:
            with pytest.raises(JournalError, match=r"is full|No space left"):
                slot.acknowledge([entry.number for entry in slot.entries()])
    assert [*undelivered(small_disk / "host")] == []


def test_records_written_while_the_journals_disk_fills_up_are_all_where_they_were_promised(small_disk, tmp_path):
    locations = [f"sqlite||{tmp_path}/a/a.db||t", f"local_file||{tmp_path}/b.json"]
    (tmp_path / "a").write_text("in the way")
    safe = []
    with TrackingStore(locations, journal_dir=small_disk, deadline=5.0) as store:
        for number in range(150):
            if store.write_tracking_record(record(f"n{number}")):
                safe.append(f"n{number}")
    assert len(safe) == 150, "the file took what the journal could not"
    (tmp_path / "a").unlink()
    with TrackingStore(locations, journal_dir=small_disk) as store:
        # What the journal could not take stands in the file alone, which notes no debts: a full pass compares.
        summary = store.reconcile(full=True)
        assert (summary.waiting, summary.unreachable) == (0, {})
    check(locations, small_disk, safe)


def test_with_all_disks_full_the_record_stands_in_the_log_and_the_loss_is_counted(small_disk, caplog):
    location = f"local_file||{small_disk}/b.json"
    answers = []
    with TrackingStore([location], journal_dir=small_disk / "j", deadline=5.0) as store:
        assert store.write_tracking_record(record("kept")) is True
        # The counter has its block before the disk is full.
        (store.journal_folder / "lost").write_bytes(b"")
        filler = fill(small_disk)
        answers = [store.write_tracking_record(record(f"n{number}" * 40)) for number in range(5)]
        lost = answers.count(False)
        assert lost >= 1
        assert sum("could not keep this record anywhere" in message for message in caplog.messages) == lost
        filler.unlink()
        assert store.write_tracking_record(record("after")) is True
        names = {one["transfer_unique_id"] for one in store.read_tracking_records("orders")}
    assert {"kept", "after"} <= names
    assert names >= {f"n{number}" * 40 for number, safe in enumerate(answers) if safe}


def test_losses_are_counted_where_doctor_finds_them(tmp_path):
    (tmp_path / "shut").write_text("in the way")
    with TrackingStore([f"sqlite||{tmp_path}/shut/a.db||t"], journal_dir=tmp_path / "j") as store:
        for number in range(80):
            (store.journal_folder / f"slot-{number:03d}.seg").mkdir(parents=True)
        assert store.write_tracking_record(record("nowhere")) is False
        assert lost_on_host(store.journal_folder) == 1
        assert health(store).lost == 1
        (loss,) = losses_of(store.journal_folder)
        assert (loss.change.columns["transfer_unique_id"], loss.process) == ("nowhere", os.getpid())
        assert "shut" in loss.reason


def test_a_list_of_losses_on_a_full_disk_has_what_it_had_and_goes_on_later(small_disk):
    with TrackingStore([f"local_file||{small_disk}/b.json"], journal_dir=small_disk / "j", deadline=5.0) as store:
        folder = store.journal_folder
        folder.mkdir(parents=True)
        change = change_from_record(record("one"))
        LOSSES.log([change], {}, folder)
        filler = fill(small_disk)
        for _ in range(9):
            LOSSES.log([change], {}, folder)
        listed = len(losses_of(folder))
        assert 1 <= listed < 10
        filler.unlink()
        LOSSES.log([change], {}, folder)
        assert len(losses_of(folder)) == listed + 1


def test_a_journal_on_a_disk_that_became_read_only_gives_way_to_direct_delivery(tmp_path, caplog):
    with mounted(tmp_path / "disk", "size=1m") as disk:
        location = f"sqlite||{tmp_path}/a.db||t"
        with TrackingStore([location], journal_dir=disk) as store:
            assert store.write_tracking_record(record("before")) is True
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with TrackingStore([location], journal_dir=disk) as store:
            assert store.write_tracking_record(record("after")) is True
            assert "cannot be used: Read-only file system; the record is delivered directly" in caplog.text
            names = {one["transfer_unique_id"] for one in store.read_tracking_records("orders")}
            assert names == {"before", "after"}
            assert not health(store).guarantees[0].holds
