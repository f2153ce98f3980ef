"""The local journal: what must not be lost is here before it is anywhere else.

A folder per host holds slots. A process takes the first slot whose lock it gets and keeps it for life; a slot whose
lock can be had has no living owner. Slots are emptied, never removed, so a lock is never won on a removed file.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from airflow_provider_pipetrack.errors import JournalError
from airflow_provider_pipetrack.tracking.frames import Entry, Found, ack_frame, entry_frame, recover, torn_frame
from airflow_provider_pipetrack.tracking.locks import take_lock

#: A slot above this size, in bytes, is emptied as soon as everything in it is acknowledged; while something in it
#: waits, it is left to whoever drains, so that a new process need not read it.
EMPTY_ABOVE = 1_000_000
#: A slot up to this size, in bytes, is taken as it is though nothing waits in it: to read it again takes less time
#: than many disks need to cut a file.
_TAKEN_AS_IT_IS = 32_000
#: A living process whose slot is above this size, in bytes, and cannot be emptied goes on in another one.
ROTATE_ABOVE = 16_000_000
#: Largest journal of a host, in bytes; beyond it the journal counts as full and records are delivered directly.
MAX_FOLDER = 1_000_000_000
#: For the user and his group, such as those of ``run_as_user``: entries hold what only they may read.
FOLDER_MODE = 0o770
_MAX_SLOTS = 4096
#: Slots that are drained together, in number and in bytes.
_TOGETHER = 64
_BYTES_TOGETHER = 16_000_000


class Slot:
    """A slot whose lock this process holds: its own, or one without a living owner that it drains.

    :param path: the slot's file.
    :param descriptor: the open file, with the lock.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        data = _read_all(descriptor)
        found = recover(data)
        if found.end != len(data):
            os.ftruncate(descriptor, found.end)
        self.size = found.end
        self.last_number = found.last_number
        self._left = {entry.number for entry in found.entries}
        self._found: Found | None = found
        self._torn = 0

    def entries(self) -> list[Entry]:
        """Return what waits, oldest first."""
        # What was read at first is handed out once and not kept, since many slots may be held at once.
        found, self._found = self._found, None
        if found is None or self.size != found.end:
            found = recover(_read_all(self._descriptor))
        return [entry for entry in found.entries if entry.number in self._left]

    def holds(self, number: int) -> bool:
        """Return whether the entry with this number waits here."""
        return number in self._left

    @property
    def is_done(self) -> bool:
        """Whether nothing waits."""
        return not self._left

    @property
    def is_removed(self) -> bool:
        """Whether somebody has removed the file, so that nobody would find what is written into it."""
        return self._descriptor >= 0 and os.fstat(self._descriptor).st_nlink == 0

    def append(self, number: int, payload: bytes) -> None:
        """Write an entry.

        :raises JournalError: when it could not be written whole; then nothing of it counts.
        """
        self._write(entry_frame(number, payload))
        self._left.add(number)

    def acknowledge(self, numbers: Iterable[int]) -> None:
        """Forget entries; losing this only means that they are delivered again.

        :raises JournalError: when it could not be written; this process has forgotten them all the same, so that a slot
            on a full disk can be emptied when nothing else waits in it.
        """
        known = [number for number in numbers if number in self._left]
        if known:
            self._left.difference_update(known)
            self._write(ack_frame(known))

    def sync(self) -> None:
        """Bring what was written to the disk.

        :raises JournalError: when that failed; trying again would prove nothing.
        """
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise self._unwritable(error) from error

    def empty(self) -> None:
        """Cut the slot to nothing; only when nothing waits.

        :raises JournalError: when that failed; what was acknowledged stays so.
        """
        try:
            os.ftruncate(self._descriptor, 0)
        except OSError as error:
            raise self._unwritable(error) from error
        self.size = self._torn = 0
        self._found = None

    def close(self) -> None:
        """Give the slot back, empty when nothing waits in it; what waits is for whoever drains it."""
        if self._descriptor >= 0:
            if self.is_done and self.size:
                with suppress(JournalError):  # it is only larger than it need be
                    self.empty()
            self.let_go()

    def let_go(self) -> None:
        """Close the file as it is."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, data: bytes) -> None:
        if self._descriptor < 0:
            raise JournalError("the journal is closed")
        if self._torn:
            data = torn_frame(self._torn) + data
        try:
            # One write in append mode: no other process can come between, and a reader sees all of it or a torn tail.
            written = os.write(self._descriptor, data)
        except OSError as error:
            raise self._unwritable(error) from error
        self.size += written
        self._torn = 0 if written == len(data) else self._torn + written
        if self._torn:
            # What is torn stays, and is known for that when more can be written.
            raise JournalError(f"the disk of the journal in {self.path.parent} is full")

    def _unwritable(self, error: OSError) -> JournalError:
        return JournalError(f"the journal in {self.path.parent} cannot be written: {error.strerror}")


class Journal:
    """The slots of this process: the one that it writes, and those it has left because they had grown.

    :param folder: the host's folder; made when it is missing.
    :raises JournalError: when no slot can be had.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._slot = _take_slot(folder, EMPTY_ABOVE)
        self._grown: list[Slot] = []
        self._numbers = itertools.count(self._slot.last_number + 1)
        self._checked_size = 0
        # A signal handler may come in the middle of an append on the same thread, so the lock must let it in.
        self._lock = threading.RLock()
        self._makes_room = False
        _LIVING.add(self)

    def append(self, payload: bytes, *, durable: bool) -> int:
        """Write an entry and return its number.

        :param durable: True when it, and all before it, must survive a power failure; it always survives the process.
        :raises JournalError: when it could not be written whole; then nothing of it counts.
        """
        with self._lock:
            if self._makes_room:
                raise JournalError("the journal is just being emptied below this signal handler")
            if self._slot.size > EMPTY_ABOVE:
                self._make_room()
            if self._slot.is_removed:
                self._save_removed()
            number, slot = next(self._numbers), self._slot
            slot.append(number, payload)
        if durable:
            slot.sync()
        return number

    def acknowledge(self, numbers: Iterable[int]) -> None:
        """Forget entries; losing this only means that they are delivered again.

        :raises JournalError: when it could not be written.
        """
        wanted = list(numbers)
        failed: JournalError | None = None
        with self._lock:
            for slot in (*self._grown, self._slot):
                try:
                    slot.acknowledge(wanted)
                except JournalError as error:
                    if not slot.is_done:
                        failed = error
                    elif slot is self._slot:
                        self._make_room()
                if slot.is_done and slot is not self._slot:
                    self._grown.remove(slot)
                    slot.close()
        if failed is not None:
            raise failed

    @property
    def is_done(self) -> bool:
        """Whether nothing waits here."""
        return self._slot.is_done and not self._grown

    def pending(self) -> Iterator[Entry]:
        """Yield what waits here: this process's own entries, and those of the slot's earlier owners.

        One slot at a time is in memory; what is acknowledged meanwhile may be left out.
        """
        with self._lock:
            slots = (*self._grown, self._slot)
        for slot in slots:
            with self._lock:
                found = [] if slot.is_done else slot.entries()
            yield from found

    def close(self) -> None:
        """Give the slots back; entries that were not acknowledged wait in them for whoever drains them."""
        with self._lock:
            for slot in (*self._grown, self._slot):
                slot.close()
        _LIVING.discard(self)

    def forget_after_fork(self) -> None:
        """Let go of the slots in a child process, whose inherited locks would keep them from the drainer."""
        self._lock = threading.RLock()
        for slot in (*self._grown, self._slot):
            slot.let_go()

    def _save_removed(self) -> None:
        """Go on in a slot that can be found, with what waits in the one that was removed."""
        self._makes_room = True
        try:
            removed, self._slot = self._slot, _take_slot(self.folder, 0)
            self._checked_size = 0
            for entry in removed.entries():
                self._slot.append(next(self._numbers) if entry.is_damaged else entry.number, entry.payload)
            removed.let_go()
            self._slot.sync()
        finally:
            self._makes_room = False

    def _make_room(self) -> None:
        self._makes_room = True
        try:
            if self._slot.is_done:
                self._slot.empty()
                self._checked_size = 0
            elif self._slot.size > ROTATE_ABOVE:
                self._slot.sync()
                # Numbers go on, so that an acknowledgment can never mean an entry of another slot.
                fresh = _take_slot(self.folder, 0)
                self._grown.append(self._slot)
                self._slot, self._checked_size = fresh, 0
            elif self._slot.size - self._checked_size > EMPTY_ABOVE:
                _insist_on_room(self.folder)
                self._checked_size = self._slot.size
        finally:
            self._makes_room = False


def idle_slots(folder: Path) -> Iterator[list[Slot]]:
    """Yield the slots without a living owner that are not empty, some at a time; each is held while it is looked at.

    :raises JournalError: at the end, when one cannot be opened or read, such as on a disk that has become read-only.
    """
    paths = _slot_paths(folder)
    failure: OSError | None = None
    while paths:
        held: list[Slot] = []
        try:
            while paths and len(held) < _TOGETHER and sum(slot.size for slot in held) < _BYTES_TOGETHER:
                path = paths.pop(0)
                try:
                    slot = _slot_at(path, create=False) if _size(path) else None
                except OSError as error:
                    failure, slot = error, None
                held += [slot] if slot is not None else []
            if held:
                yield held
        finally:
            for slot in held:
                slot.close()
    if failure is not None:
        raise JournalError(f"the journal in {folder} cannot be drained: {failure.strerror}") from failure


def undelivered(folder: Path) -> Iterator[Entry]:
    """Yield what waits in all slots of a host, living owners included; only for looking at, one slot in memory."""
    for path in _slot_paths(folder):
        with suppress(OSError):
            yield from recover(path.read_bytes()).entries


def _take_slot(folder: Path, largest: int) -> Slot:
    """Return the first free slot; one that is larger than ``largest`` bytes is left to whoever drains."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        _insist_on_room(folder)
        for number in range(_MAX_SLOTS):
            path = folder / f"slot-{number:03d}.seg"
            slot = _slot_at(path, create=True) if _size(path) <= largest else None
            if slot is not None:
                if slot.is_done and slot.size > min(largest, _TAKEN_AS_IT_IS):
                    slot.empty()
                if slot.size <= largest:
                    return slot
                slot.let_go()
    except OSError as error:
        raise JournalError(f"the journal folder {folder} cannot be used: {error.strerror}") from error
    raise JournalError(f"all {_MAX_SLOTS} slots in {folder} are taken")


def _slot_at(path: Path, *, create: bool) -> Slot | None:
    descriptor = _lock(path, create=create)
    if descriptor is None:
        return None
    try:
        return Slot(path, descriptor)
    except OSError:
        os.close(descriptor)  # else nobody could drain it as long as this process lives
        raise


def _insist_on_room(folder: Path) -> None:
    used = journal_size(folder)
    if used > MAX_FOLDER:
        raise JournalError(f"the journal in {folder} is full ({used / 1e6:.0f} MB wait); run pipetrack reconcile")


def journal_size(folder: Path) -> int:
    """Return the bytes that a host's slots take up."""
    return sum(_size(path) for path in _slot_paths(folder))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _lock(path: Path, *, create: bool) -> int | None:
    """Return the slot's descriptor with its lock, or None when it has a living owner or is another user's."""
    try:
        return take_lock(path)
    except FileNotFoundError:
        if not create:
            return None
    descriptor = take_lock(path, create=True)
    _sync_folder(path.parent)
    return descriptor


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _slot_paths(folder: Path) -> list[Path]:
    try:
        # Not by glob(), whose first pattern costs a new process more than all the rest.
        return sorted(p for p in folder.iterdir() if p.name.startswith("slot-") and p.name.endswith(".seg"))
    except OSError:
        return []  # whoever must write there says what is wrong


def _read_all(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


_LIVING: weakref.WeakSet[Journal] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for journal in list(_LIVING):
        journal.forget_after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
