"""Dead letters: what nobody takes is kept with its reason, and nothing waits behind it."""

from __future__ import annotations

import errno
import json
import os

import pytest

from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.tracking import dead_letters as dead_letters_module
from airflow_provider_pipetrack.tracking.dead_letters import DeadLetter, DeadLetters
from airflow_provider_pipetrack.tracking.health import health
from airflow_provider_pipetrack.tracking.journal import Journal, undelivered
from tests.unit.tracking.site import RECORD

REASON = "picky||x: Picky failed: ValueError: no t13 here"


class Picky(StorageAdapter):
    """Keeps what it gets in a class variable, but never a record named in ``hated``."""

    kept: dict = {}
    hated: set = set()

    def write_tracking_record(self, record):
        if record["transfer_unique_id"] in self.hated:
            raise ValueError(f"no {record['transfer_unique_id']} here")
        self.kept[record["record_id"]] = record
        return True

    def read_tracking_records(self, pipeline_id):
        return [record for record in self.kept.values() if record["pipeline_id"] == pipeline_id]

    def update_tracking_record(self, transfer_id, updates):
        self.kept[transfer_id].update(updates)
        return True


@pytest.fixture
def picky():
    Picky.kept, Picky.hated = {}, {"t13"}
    return {"picky": f"{__name__}.Picky"}


def named(number: int) -> dict:
    return {**RECORD, "transfer_unique_id": f"t{number}"}


def test_nobody_else_may_read_what_a_letter_holds(tmp_path):
    letters = DeadLetters(tmp_path / "host")
    for text in (b"first", b"second"):
        assert letters.add(text, "nobody takes it")
    letters.remove(letters.read()[:1])
    assert [letter.payload for letter in letters.read()] == [b"second"]
    assert "second" not in repr(letters.read())
    for path in (letters.path, letters.path.parent):
        assert path.stat().st_mode & 0o007 == 0


def test_what_every_location_refuses_is_set_aside_and_the_rest_is_delivered(site, picky):
    store = site.store("picky||x", adapters=picky)
    assert all(store.write_tracking_record(named(number)) for number in range(20))
    assert len(Picky.kept) == 19
    summary = store.reconcile()
    assert (summary.drained, summary.dead, summary.waiting, summary.unreachable) == (0, 1, 0, {})
    (letter,) = DeadLetters(store.journal_folder).read()
    assert (letter.reason, letter.record_ids) == (REASON, ["orders/none/t13/-1/1"])
    assert not list(undelivered(store.journal_folder))
    again = store.reconcile()
    assert (again.dead, again.waiting) == (0, 0)


def test_among_many_that_wait_only_the_one_that_nobody_takes_is_set_aside(site, picky):
    Picky.hated = {f"t{number}" for number in range(20)}
    store = site.store("picky||x", adapters=picky)
    assert all(store.write_tracking_record(named(number)) for number in range(20))
    Picky.hated = {"t13"}
    summary = store.reconcile()
    assert (summary.drained, summary.dead, summary.waiting) == (19, 1, 0)
    assert len(Picky.kept) == 19


def test_a_full_reconcile_tries_dead_letters_again(site, picky):
    store = site.store("picky||x", adapters=picky)
    store.write_tracking_record(named(13))
    store.reconcile()
    still = store.reconcile(full=True)
    assert (still.dead, still.revived) == (1, 0)
    assert len(DeadLetters(store.journal_folder).read()) == 1
    Picky.hated = set()
    mended = store.reconcile(full=True)
    assert (mended.dead, mended.revived, list(Picky.kept)) == (0, 1, ["orders/none/t13/-1/1"])
    assert DeadLetters(store.journal_folder).read() == []


def test_a_full_reconcile_goes_on_where_dead_letters_cannot_be_removed(site, picky, monkeypatch):
    store = site.store("picky||x", adapters=picky)
    store.write_tracking_record(named(13))
    store.reconcile()
    Picky.hated = set()

    def fail(*args):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(DeadLetters, "remove", fail)
    summary = store.reconcile(full=True)
    assert (summary.revived, list(Picky.kept)) == (1, ["orders/none/t13/-1/1"])
    assert summary.unreachable["journal"].endswith("cannot be written: Read-only file system")


def test_an_entry_that_one_location_might_take_later_is_no_dead_letter(site, picky):
    site.shut("a")
    store = site.store("picky||x", "a", adapters=picky)
    store.write_tracking_record(named(13))
    summary = store.reconcile()
    assert (summary.dead, summary.waiting) == (0, 1)
    site.open("a")
    assert store.reconcile().drained == 1


def test_entries_that_cannot_be_read_are_set_aside(site):
    store = site.store("a")
    journal = Journal(store.journal_folder)
    for payload in (b"\xff no text", b"[]", b'{"chain": {}, "changes": []}', b"{"):
        journal.append(payload, durable=True)
    journal.close()
    summary = store.reconcile()
    assert (summary.dead, summary.waiting) == (4, 0)
    letters = DeadLetters(store.journal_folder).read()
    assert [letter.payload for letter in letters][:2] == [b"\xff no text", b"[]"]
    assert all(letter.reason.startswith("the entry cannot be read: ") for letter in letters)
    assert [letter.record_ids for letter in letters] == [[]] * 4


def test_an_entry_that_was_damaged_in_the_journal_is_said_once(site):
    site.shut("a")
    store = site.store("a")
    assert all(store.write_tracking_record(named(number)) for number in range(4))
    store.close()
    slot = store.journal_folder / "slot-000.seg"
    data = bytearray(slot.read_bytes())
    data[len(data) // 3] ^= 1
    slot.write_bytes(data)
    for _ in range(2):
        summary = store.reconcile()
        (letter,) = DeadLetters(store.journal_folder).read()
        assert letter.payload in bytes(data)
        assert letter.reason == "these bytes are damaged in the journal and cannot be read any more"
    assert (summary.dead, summary.waiting) == (0, 3)
    site.open("a")
    assert store.reconcile().drained == 3
    assert not health(store).is_well


def test_a_dead_letter_is_a_line_that_a_person_can_read_and_mend(tmp_path):
    dead = DeadLetters(tmp_path)
    entry = {"chain": {"locations": ["x"]}, "changes": [{"record_id": "a/b/c/-1/1"}]}
    assert dead.add(json.dumps(entry, separators=(",", ":")).encode(), "nobody takes it")
    (line,) = dead.path.read_text().splitlines()
    assert {**json.loads(line), "at": None} == {"at": None, "reason": "nobody takes it", "entry": entry}


def test_letters_survive_torn_lines_and_only_those_that_were_taken_are_removed(tmp_path):
    dead = DeadLetters(tmp_path)
    for name in (b"first", b"second"):
        assert dead.add(name, "no")
    with dead.path.open("ab") as file:
        file.write(b'{"at": "cut sho')
    assert dead.add(b"third", "no")
    assert [letter.payload for letter in dead.read()] == [b"first", b"second", b"third"]
    dead.remove([letter for letter in dead.read() if letter.payload == b"second"])
    assert [letter.payload for letter in dead.read()] == [b"first", b"third"]
    assert b"cut sho" in dead.path.read_bytes(), "what cannot be read is not thrown away"


def test_a_full_file_of_dead_letters_leaves_the_entry_in_the_journal(site, picky, monkeypatch, caplog):
    monkeypatch.setattr(dead_letters_module, "MAX_FILE", 10)
    store = site.store("picky||x", adapters=picky)
    store.write_tracking_record(named(13))
    summary = store.reconcile()
    assert (summary.dead, summary.waiting) == (1, 1)
    assert "dead-letters.ndjson: it has reached 0 MB" in caplog.text
    assert len(list(undelivered(store.journal_folder))) == 1


def test_a_letter_without_a_change_names_no_record():
    assert DeadLetter("", "", b'{"changes": 3}').record_ids == []
    assert DeadLetter("", "", b'{"changes": [1, {"record_id": "r"}]}').record_ids == ["r"]
