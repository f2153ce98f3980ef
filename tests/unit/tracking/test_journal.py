"""The local journal: what was appended is found again, whatever happens to the process, the disk or the bytes."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pipetrack.errors import JournalError
from airflow_provider_pipetrack.tracking import journal as journal_module
from airflow_provider_pipetrack.tracking.journal import Journal, idle_slots, undelivered
from tests.unit.tracking.site import largest_file

#: Opens a journal in the folder it is given, appends three entries, says so and waits to be killed.
OWNER = """
import sys
from pathlib import Path
from airflow_provider_pipetrack.tracking.journal import Journal
journal = Journal(Path(sys.argv[1]))
for number in range(3):
    journal.append(b"entry %d" % number, durable=True)
print(sorted(path.name for path in Path(sys.argv[1]).iterdir()), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def opened():
    """Open journals that are given back at the end."""
    journals = []

    def open_one(folder: Path) -> Journal:
        journals.append(Journal(folder))
        return journals[-1]

    yield open_one
    for one in journals:
        one.close()


@contextmanager
def owner(folder: Path):
    """Another process that holds a slot with three entries."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def payloads(entries) -> list[bytes]:
    return [entry.payload for entry in entries]


def slot(folder: Path, number: int = 0) -> Path:
    return folder / f"slot-{number:03d}.seg"


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans(), st.booleans()), max_size=12))
def test_what_was_appended_and_not_acknowledged_is_found_again(steps):
    with tempfile.TemporaryDirectory() as name:
        first = Journal(Path(name))
        expected = []
        for payload, durable, acknowledged in steps:
            number = first.append(payload, durable=durable)
            if acknowledged:
                first.acknowledge([number])
            else:
                expected.append(payload)
        assert payloads(first.pending()) == expected
        assert payloads(undelivered(Path(name))) == expected
        first.close()
        second = Journal(Path(name))
        assert payloads(second.pending()) == expected
        second.close()


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), st.data())
def test_numbers_are_never_used_twice_by_the_next_owner(contents, data):
    with tempfile.TemporaryDirectory() as name:
        first = Journal(Path(name))
        numbers = [first.append(payload, durable=False) for payload in contents]
        first.acknowledge(data.draw(st.lists(st.sampled_from(numbers[:-1] or [0]), unique=True)))
        waiting = payloads(first.pending())
        first.close()
        second = Journal(Path(name))
        assert second.append(b"new", durable=False) > max(numbers)
        assert payloads(second.pending()) == [*waiting, b"new"]
        second.close()


@pytest.fixture
def small_slot(folder) -> bytes:
    """The bytes of a slot with four entries, of which the second is acknowledged."""
    one = Journal(folder)
    numbers = [one.append(f"entry {number}".encode() * 3, durable=False) for number in range(4)]
    one.acknowledge(numbers[1:2])
    data = slot(folder).read_bytes()
    one.close()
    return data


def test_a_slot_cut_at_any_byte_gives_only_whole_entries_and_takes_new_ones(folder, small_slot, opened):
    whole = [f"entry {number}".encode() * 3 for number in range(4)]
    frame = len(small_slot[: small_slot.index(b"\xabPT\x01", 1)])
    for length in range(len(small_slot)):
        slot(folder).write_bytes(small_slot[:length])
        found = payloads(undelivered(folder))
        assert found == whole[: min(4, length // frame)], f"cut to {length} bytes"
        one = opened(folder)
        one.append(b"after the cut", durable=False)
        assert payloads(one.pending()) == [*found, b"after the cut"], f"cut to {length} bytes"
        one.close()


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_flipped_byte_never_gives_a_wrong_entry_and_costs_one_at_most(folder, small_slot, opened, flip):
    whole = {f"entry {number}".encode() * 3 for number in range(4)}
    expected = whole - {b"entry 1" * 3}
    for position in range(len(small_slot)):
        damaged = bytearray(small_slot)
        damaged[position] ^= flip
        slot(folder).write_bytes(damaged)
        entries = list(undelivered(folder))
        found = [entry.payload for entry in entries if not entry.is_damaged]
        assert set(found) <= whole, f"byte {position}"
        assert len(expected - set(found)) <= 1, f"byte {position}"
        said = [entry.payload for entry in entries if entry.is_damaged]
        is_end = position >= small_slot.rindex(b"\xabPT\x01")
        assert len(said) == 1 or (is_end and not said), f"byte {position}"
        assert all(piece in bytes(damaged) for piece in said)
        one = opened(folder)
        one.append(b"after the damage", durable=False)
        assert list(one.pending())[:-1] == entries, f"byte {position}"
        assert payloads(one.pending())[-1] == b"after the damage"
        one.acknowledge([entry.number for entry in entries if entry.is_damaged])
        assert payloads(undelivered(folder)) == [*found, b"after the damage"], f"byte {position}"
        assert one.append(b"last", durable=False) < 10
        one.close()


def test_a_slot_whose_owner_was_killed_is_taken_over_with_its_entries(folder, opened):
    with owner(folder) as process:
        process.kill()
        process.wait()
        one = opened(folder)
    assert payloads(one.pending()) == [b"entry 0", b"entry 1", b"entry 2"]
    assert [path.name for path in folder.iterdir()] == ["slot-000.seg"]
    one.acknowledge([entry.number for entry in one.pending()])
    assert list(one.pending()) == []


def test_a_slot_that_has_grown_and_in_which_something_waits_is_taken_with_all_of_it(folder, opened):
    first = opened(folder)
    entries = [bytes([65 + step]) * 30_000 for step in range(3)]
    numbers = [first.append(payload, durable=False) for payload in entries]
    first.acknowledge(numbers[:1])
    first.close()
    second = opened(folder)
    second.append(b"mine", durable=False)
    assert payloads(second.pending()) == payloads(undelivered(folder)) == [*entries[1:], b"mine"]
    assert [path.name for path in folder.iterdir()] == ["slot-000.seg"]


def test_where_every_slot_is_taken_the_journal_says_so(folder, opened, monkeypatch):
    monkeypatch.setattr(journal_module, "_MAX_SLOTS", 2)
    opened(folder), opened(folder)
    with pytest.raises(JournalError, match=r"all 2 slots in .*/journal are taken"):
        opened(folder)


@pytest.mark.parametrize(("limit", "emptied"), [(32_000, False), (50, True)])
def test_a_slot_in_which_nothing_waits_is_taken_as_it_is_unless_it_has_grown(
    folder, opened, monkeypatch, limit, emptied
):
    monkeypatch.setattr(journal_module, "_TAKEN_AS_IT_IS", limit)
    with owner(folder) as process:
        process.kill()
        process.wait()
        for idle in idle_slots(folder):
            idle[0].acknowledge([entry.number for entry in idle[0].entries()])
            size = slot(folder).stat().st_size
            idle[0].let_go()
    one = opened(folder)
    assert slot(folder).stat().st_size == (0 if emptied else size)
    assert list(one.pending()) == []
    number = one.append(b"mine", durable=True)
    assert [(entry.number, entry.payload) for entry in undelivered(folder)] == [(number, b"mine")]


def test_a_drainer_sees_the_slots_of_killed_owners_and_none_of_living_ones(folder):
    with owner(folder) as killed, owner(folder):
        killed.kill()
        killed.wait()
        for idle in idle_slots(folder):
            assert [one.path.name for one in idle] == ["slot-000.seg"]
            assert payloads(idle[0].entries()) == [b"entry 0", b"entry 1", b"entry 2"]
            idle[0].acknowledge([entry.number for entry in idle[0].entries()][:2])
            assert payloads(idle[0].entries()) == [b"entry 2"]
            idle[0].acknowledge([entry.number for entry in idle[0].entries()])
        assert slot(folder, 0).stat().st_size == 0
        assert payloads(undelivered(folder)) == [b"entry 0", b"entry 1", b"entry 2"]


def test_a_slot_that_cannot_be_read_keeps_none_of_the_others_from_being_drained_and_is_drained_later(
    folder, monkeypatch
):
    with owner(folder) as first, owner(folder) as second:
        for process in (first, second):
            process.kill()
            process.wait()
    read, broken = journal_module._read_all, os.stat(slot(folder, 0)).st_ino

    def failing(descriptor):
        if os.fstat(descriptor).st_ino == broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor)

    monkeypatch.setattr(journal_module, "_read_all", failing)
    slots = idle_slots(folder)
    assert [one.path.name for one in next(slots)] == ["slot-001.seg"]
    with pytest.raises(JournalError, match="cannot be drained: Input/output error"):
        next(slots)
    monkeypatch.setattr(journal_module, "_read_all", read)
    assert [one.path.name for idle in idle_slots(folder) for one in idle] == ["slot-000.seg", "slot-001.seg"]


def test_a_slot_under_the_drainer_is_not_given_to_a_new_process(folder, opened):
    first = opened(folder)
    first.append(b"left behind", durable=False)
    first.close()
    for held in idle_slots(folder):
        assert [one.path.name for one in held] == ["slot-000.seg"]
        one = opened(folder)
        one.append(b"mine", durable=False)
        held[0].acknowledge([entry.number for entry in held[0].entries()])
    assert slot(folder, 0).stat().st_size == 0
    assert slot(folder, 1).stat().st_size > 0


def test_processes_never_share_a_slot(folder, opened):
    first, second = opened(folder), opened(folder)
    with owner(folder) as third, owner(folder) as fourth:
        assert third.poll() is None
        assert fourth.poll() is None
        first.append(b"first", durable=False)
        second.append(b"second", durable=False)
        assert [path.name for path in sorted(folder.iterdir())] == [f"slot-{number:03d}.seg" for number in range(4)]
        assert payloads(undelivered(folder)) == [b"first", b"second", *[b"entry 0", b"entry 1", b"entry 2"] * 2]
    first.close()
    assert slot(folder, 0).exists(), "a slot is emptied, never removed"


def in_child(work) -> int:
    """Run ``work`` in a forked child and return its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = work() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_child_lets_go_of_the_slot_and_the_parent_keeps_it(folder, opened):
    one = opened(folder)
    one.append(b"before", durable=False)

    def child() -> int:
        try:
            one.append(b"from the child", durable=False)
        except JournalError as error:
            return 42 if str(error) == "the journal is closed" else 43
        return 44

    assert in_child(child) == 42
    one.append(b"after", durable=False)
    assert payloads(one.pending()) == [b"before", b"after"]
    assert payloads(undelivered(folder)) == [b"before", b"after"]


def test_a_child_that_is_forked_while_a_thread_appends_does_not_wait_for_that_thread(folder, opened):
    one = opened(folder)
    holds, ends = threading.Event(), threading.Event()

    def append() -> None:
        with one._lock:
            holds.set()
            ends.wait(30.0)

    def child() -> int:
        signal.alarm(10)
        try:
            one.append(b"from the child", durable=False)
        except JournalError:
            return 42
        return 44

    thread = threading.Thread(target=append)
    thread.start()
    try:
        assert holds.wait(30.0)
        assert in_child(child) == 42
    finally:
        ends.set()
        thread.join()


def test_a_living_child_of_a_dead_owner_does_not_keep_the_slot_from_the_drainer(folder):
    script = """
import os, sys
from pathlib import Path
from airflow_provider_pipetrack.tracking.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.append(b"left behind", durable=True)
if os.fork() == 0:
    print("child lives", flush=True)
    sys.stdin.read()
    os._exit(0)
os.wait()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "child lives\n"
    process.kill()
    process.wait()
    try:
        assert [payloads(one.entries()) for held in idle_slots(folder) for one in held] == [[b"left behind"]]
    finally:
        process.communicate()


def test_a_short_write_is_an_error_and_costs_nothing_that_was_there(folder, opened):
    one = opened(folder)
    one.append(b"kept", durable=True)
    with largest_file(slot(folder).stat().st_size + 50):
        with pytest.raises(JournalError, match=r"the disk of the journal in .*/journal is full"):
            one.append(b"x" * 200, durable=True)
        with pytest.raises(JournalError, match=r"the journal in .*/journal cannot be written: File too large"):
            one.append(b"y", durable=True)
    assert payloads(one.pending()) == [b"kept"]
    with largest_file(slot(folder).stat().st_size + 30), pytest.raises(JournalError, match="is full"):
        one.append(b"z" * 200, durable=True)
    one.append(b"after", durable=True)
    # What is torn was never promised, so it is not said to be damaged.
    assert payloads(one.pending()) == [b"kept", b"after"]
    one.close()
    again = opened(folder)
    assert payloads(again.pending()) == [b"kept", b"after"]


def test_a_full_journal_refuses_more_until_it_is_drained(folder, opened, monkeypatch):
    monkeypatch.setattr(journal_module, "MAX_FOLDER", 2_000)
    monkeypatch.setattr(journal_module, "EMPTY_ABOVE", 500)
    one = opened(folder)
    numbers = [one.append(b"x" * 900, durable=False) for _ in range(3)]
    with pytest.raises(JournalError, match=r"the journal in .*/journal is full \(0 MB wait\); run pipetrack reconcile"):
        one.append(b"x" * 900, durable=False)
    with pytest.raises(JournalError, match="is full"):
        opened(folder)
    one.acknowledge(numbers)
    one.append(b"x" * 900, durable=False)
    assert payloads(one.pending()) == [b"x" * 900]
    assert slot(folder).stat().st_size < 1_000, "a slot in which all is acknowledged is emptied"


def test_a_large_slot_in_which_something_waits_is_left_to_the_drainer(folder, opened, monkeypatch):
    monkeypatch.setattr(journal_module, "EMPTY_ABOVE", 500)
    first = opened(folder)
    first.append(b"x" * 900, durable=False)
    first.close()
    second = opened(folder)
    second.append(b"y", durable=False)
    assert payloads(second.pending()) == [b"y"]
    assert slot(folder, 1).stat().st_size > 0
    ((idle,),) = list(idle_slots(folder))
    assert idle.path == slot(folder, 0)


def test_a_living_process_goes_on_in_another_slot_and_acknowledges_across_both(folder, opened, monkeypatch):
    monkeypatch.setattr(journal_module, "EMPTY_ABOVE", 500)
    monkeypatch.setattr(journal_module, "ROTATE_ABOVE", 1_000)
    one = opened(folder)
    numbers = [one.append(bytes([65 + step]) * 400, durable=True) for step in range(8)]
    assert len(set(numbers)) == 8
    assert [slot(folder, number).stat().st_size > 1_000 for number in range(2)] == [True, True]
    assert [payload[:1] for payload in payloads(one.pending())] == [bytes([65 + step]) for step in range(8)]
    one.acknowledge(numbers[:6])
    assert [payload[:1] for payload in payloads(one.pending())] == [b"G", b"H"]
    assert [payload[:1] for payload in payloads(undelivered(folder))] == [b"G", b"H"]
    one.acknowledge(numbers[6:])
    one.close()
    assert [path.stat().st_size for path in sorted(folder.iterdir())] == [0, 0, 0]


def test_a_slot_that_was_left_is_kept_until_all_in_it_is_acknowledged_and_is_given_back_then(
    folder, opened, monkeypatch
):
    monkeypatch.setattr(journal_module, "EMPTY_ABOVE", 500)
    monkeypatch.setattr(journal_module, "ROTATE_ABOVE", 1_000)
    one = opened(folder)
    assert one.is_done
    numbers = [one.append(bytes([65 + step]) * 400, durable=True) for step in range(5)]
    one.acknowledge(numbers[:1] + numbers[3:])
    assert [payload[:1] for payload in payloads(one.pending())] == [b"B", b"C"]
    assert not one.is_done, "something waits in the slot that was left"
    one.acknowledge(numbers[1:3])
    assert one.is_done
    assert slot(folder, 0).stat().st_size == 0
    assert list(idle_slots(folder)) == []
    numbers = [one.append(b"last", durable=False)]
    assert not one.is_done
    one.acknowledge(numbers)
    assert one.is_done


def test_what_must_survive_a_power_failure_is_on_the_disk_before_it_has_a_number(folder, opened, monkeypatch):
    synced: list[list[bytes]] = []
    monkeypatch.setattr(os, "fdatasync", lambda _: synced.append(payloads(undelivered(folder))))
    one = opened(folder)
    one.append(b"start", durable=False)
    assert synced == []
    one.append(b"end", durable=True)
    assert synced == [[b"start", b"end"]]

    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(JournalError, match=r"the journal in .* cannot be written: Input/output error"):
        one.append(b"lost", durable=True)


def test_what_was_appended_before_is_on_the_disk_too_when_a_slot_has_been_left_meanwhile(folder, opened, monkeypatch):
    monkeypatch.setattr(journal_module, "EMPTY_ABOVE", 500)
    monkeypatch.setattr(journal_module, "ROTATE_ABOVE", 1_000)
    synced: dict[int, int] = {}

    def note(descriptor: int) -> None:
        found = os.fstat(descriptor)
        synced[found.st_ino] = found.st_size

    monkeypatch.setattr(os, "fdatasync", note)
    one = opened(folder)
    for step in range(4):
        one.append(bytes([65 + step]) * 400, durable=step == 3)
    assert [synced[path.stat().st_ino] for path in (slot(folder, 0), slot(folder, 1))] == [
        slot(folder, number).stat().st_size for number in (0, 1)
    ]


def test_idle_slots_are_held_some_at_a_time_by_what_they_hold(folder, monkeypatch):
    monkeypatch.setattr(journal_module, "_BYTES_TOGETHER", 2_000)
    journals = [Journal(folder) for _ in range(4)]
    for number, one in enumerate(journals):
        one.append(bytes([65 + number]) * 1_500, durable=False)
    for one in journals:
        one.close()
    held = [[payload[:1] for slot in slots for payload in payloads(slot.entries())] for slots in idle_slots(folder)]
    assert held == [[b"A", b"B"], [b"C", b"D"]], "two of them are above the limit together"


def test_idle_slots_are_held_some_at_a_time_by_their_number(folder, monkeypatch):
    monkeypatch.setattr(journal_module, "_TOGETHER", 2)
    journals = [Journal(folder) for _ in range(5)]
    for one in journals:
        one.append(b"waits", durable=False)
    for one in journals:
        one.close()
    assert [len(slots) for slots in idle_slots(folder)] == [2, 2, 1]


def test_threads_that_append_and_acknowledge_at_once_lose_nothing_while_the_slot_is_emptied(
    folder, opened, monkeypatch
):
    monkeypatch.setattr(journal_module, "EMPTY_ABOVE", 500)
    one = opened(folder)
    missing = []

    def work(worker: int) -> None:
        for step in range(200):
            payload = b"%d-%d" % (worker, step)
            number = one.append(payload, durable=False)
            if payload not in payloads(one.pending()):
                missing.append(payload)
            one.acknowledge([number])

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (missing, list(one.pending())) == ([], [])


def test_a_signal_handler_may_append_while_an_append_is_under_way(folder, opened, monkeypatch):
    one = opened(folder)
    real = os.write

    def interrupted(descriptor, data):
        monkeypatch.setattr(journal_module.os, "write", real)
        one.append(b"from the handler", durable=True)
        return real(descriptor, data)

    monkeypatch.setattr(journal_module.os, "write", interrupted)
    one.append(b"from below", durable=True)
    assert sorted(payloads(one.pending())) == [b"from below", b"from the handler"]


def test_what_a_signal_handler_appends_while_the_slot_is_emptied_is_refused_and_not_cut_away(
    folder, opened, monkeypatch
):
    monkeypatch.setattr(journal_module, "EMPTY_ABOVE", 500)
    one, refused = opened(folder), []
    one.acknowledge([one.append(b"x" * 900, durable=False)])
    real = os.ftruncate

    def interrupted(descriptor, size):
        monkeypatch.setattr(journal_module.os, "ftruncate", real)
        with pytest.raises(JournalError, match="the journal is just being emptied below this signal handler"):
            one.append(b"from the handler", durable=True)
        refused.append(size)
        real(descriptor, size)

    monkeypatch.setattr(journal_module.os, "ftruncate", interrupted)
    one.append(b"from below", durable=True)
    one.append(b"after", durable=True)
    assert refused == [0]
    assert payloads(one.pending()) == payloads(undelivered(folder)) == [b"from below", b"after"]


def test_an_acknowledged_slot_does_not_grow_for_ever(folder, opened, monkeypatch):
    monkeypatch.setattr(journal_module, "EMPTY_ABOVE", 5_000)
    one = opened(folder)
    for _ in range(200):
        one.acknowledge([one.append(b"x" * 500, durable=False)])
    assert slot(folder).stat().st_size < 6_000
    one.close()
    assert slot(folder).stat().st_size == 0


def test_acknowledging_what_is_unknown_writes_nothing(folder, opened):
    one = opened(folder)
    one.append(b"kept", durable=False)
    size = slot(folder).stat().st_size
    one.acknowledge([999])
    assert slot(folder).stat().st_size == size
    assert payloads(one.pending()) == [b"kept"]


def test_on_a_full_disk_a_slot_in_which_all_is_acknowledged_is_emptied_and_another_says_that_it_is_full(
    folder, opened, monkeypatch
):
    def full(*given):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    one = opened(folder)
    first, second = (one.append(b"entry", durable=True) for _ in range(2))
    with monkeypatch.context() as on_full_disk:
        on_full_disk.setattr(journal_module.os, "write", full)
        with pytest.raises(JournalError, match="cannot be written: No space left on device"):
            one.acknowledge([first])
        assert slot(folder).stat().st_size > 0
        one.acknowledge([second])
    assert slot(folder).stat().st_size == 0
    one.append(b"after", durable=True)
    assert payloads(undelivered(folder)) == [b"after"]


def test_what_waits_in_a_folder_that_is_removed_is_saved_by_the_next_append(folder, opened):
    one = opened(folder)
    numbers = [one.append(b"entry %d" % number, durable=True) for number in range(3)]
    one.acknowledge(numbers[:1])
    shutil.rmtree(folder)
    numbers += [one.append(payload, durable=True) for payload in (b"after", b"last")]
    assert payloads(undelivered(folder)) == [b"entry 1", b"entry 2", b"after", b"last"]
    one.acknowledge(numbers)
    assert list(undelivered(folder)) == list(one.pending()) == []


def test_others_on_the_host_may_not_read_what_waits(folder, opened):
    opened(folder).append(b"private", durable=True)
    assert all(path.stat().st_mode & 0o007 == 0 for path in (folder, slot(folder)))


def test_what_is_saved_from_a_folder_that_is_removed_is_on_the_disk_again(folder, opened, monkeypatch):
    one, synced = opened(folder), []
    one.append(b"end", durable=True)
    shutil.rmtree(folder)
    monkeypatch.setattr(os, "fdatasync", lambda _: synced.append(payloads(undelivered(folder))))
    one.append(b"start", durable=False)
    assert synced == [[b"end"]]


def test_a_slot_that_is_made_is_found_after_a_power_failure(folder, opened, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    opened(folder)
    assert synced == [folder.stat().st_ino]


def test_what_else_stands_in_the_folder_is_left_alone(folder, opened):
    one = opened(folder)
    one.append(b"waits", durable=True)
    one.close()
    size = journal_module.journal_size(folder)
    others = [folder / name for name in ("slot-000.seg.old", "losses.json", "another.seg")]
    for path in others:
        path.write_bytes(b"kept")
    (folder / "breakers").mkdir()
    assert [held.path.name for idle in idle_slots(folder) for held in idle] == ["slot-000.seg"]
    assert payloads(undelivered(folder)) == [b"waits"]
    assert journal_module.journal_size(folder) == size
    assert [path.read_bytes() for path in others] == [b"kept"] * 3


def test_damage_in_a_folder_that_is_removed_is_saved_too(folder, opened):
    one = opened(folder)
    for number in range(3):
        one.append(b"entry %d" % number, durable=False)
    one.close()
    data = bytearray(slot(folder).read_bytes())
    data[len(data) // 2] ^= 1
    slot(folder).write_bytes(data)
    again = opened(folder)
    shutil.rmtree(folder)
    number = again.append(b"new", durable=False)
    kept = list(undelivered(folder))
    assert [entry.payload for entry in kept][0::2] == [b"entry 0", b"entry 2"]
    assert all(entry.number < 10 for entry in kept)
    assert kept[-1].number == number


def test_a_folder_that_cannot_be_made_is_a_journal_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalError, match=r"the journal folder .*/file/journal cannot be used: Not a directory"):
        Journal(tmp_path / "file" / "journal")


def test_a_slot_of_another_user_is_passed_over(opened):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        opened(folder).append(b"of the first user", durable=False)
        slot(folder).chmod(0o600)
        folder.chmod(0o777)

        def another_user() -> int:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            mine = Journal(folder)
            mine.append(b"of another", durable=True)
            return 42 if payloads(mine.pending()) == [b"of another"] and not list(idle_slots(folder)) else 43

        assert in_child(another_user) == 42
        assert slot(folder, 1).stat().st_size > 0
