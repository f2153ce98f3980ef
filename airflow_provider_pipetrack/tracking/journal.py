"""The local journal: what must not be lost is here before it is anywhere else.

A folder per host holds slots. A process takes the first slot whose lock it gets and keeps it for life; a slot whose
lock can be had has no living owner. Slots are emptied, never removed, so a lock is never won on a removed file.

A frame is ``magic | length | CRC32 | payload``; the checksum covers all the rest. A torn or damaged frame is skipped
by searching the next magic. Payloads are entries, or acknowledgments that name entries which may be forgotten.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import struct
import weakref
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_pipetrack.errors import JournalError

_MAGIC = b"\xabPT\x01"
_HEADER = struct.Struct(">4sII")
_ENTRY, _ACK = b"E", b"A"
_NUMBER = struct.Struct(">Q")
#: A slot above this size, in bytes, is emptied as soon as everything in it is acknowledged.
EMPTY_ABOVE = 1_000_000
#: Largest slot, in bytes; beyond it the journal counts as full and records are delivered directly.
MAX_SLOT = 256_000_000
_MAX_SLOTS = 4096


@dataclass(frozen=True)
class Entry:
    """Something that was appended.

    :param number: its number within the slot.
    :param payload: what was appended.
    """

    number: int
    payload: bytes


class Journal:
    """The slot of this process.

    :param folder: the host's folder; made when it is missing.
    :raises JournalError: when no slot can be had.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor = _take_slot(folder)
        data = _read_all(self._descriptor)
        inherited, end = _recover(data)
        if end != len(data):
            os.ftruncate(self._descriptor, end)
        self._numbers = itertools.count(_last_number(data) + 1)
        self._open: set[int] = {entry.number for entry in inherited}
        self._size = end
        if not self._open and self._size > 0:
            self._empty()
        _LIVING.add(self)

    def append(self, payload: bytes, *, durable: bool) -> int:
        """Write an entry and return its number.

        :param durable: True when the entry must survive a power failure; it always survives the process.
        :raises JournalError: when it could not be written whole; then nothing of it counts.
        """
        if not self._open and self._size > EMPTY_ABOVE:
            self._empty()
        number = next(self._numbers)
        self._write(_ENTRY + _NUMBER.pack(number) + payload, durable=durable)
        self._open.add(number)
        return number

    def acknowledge(self, numbers: Iterable[int]) -> None:
        """Forget entries; losing this only means that they are delivered again.

        :raises JournalError: when it could not be written.
        """
        known = [number for number in numbers if number in self._open]
        if known:
            self._write(_ACK + b"".join(_NUMBER.pack(number) for number in known), durable=False)
            self._open.difference_update(known)

    def pending(self) -> list[Entry]:
        """Return what waits in this slot: this process's own entries, and those of the slot's earlier owners."""
        return _recover(_read_all(self._descriptor))[0]

    def close(self) -> None:
        """Give the slot back; entries that were not acknowledged wait in it for whoever takes it next."""
        if self._descriptor >= 0:
            if not self._open:
                self._empty()
            os.close(self._descriptor)
            self._descriptor = -1
        _LIVING.discard(self)

    def forget_after_fork(self) -> None:
        """Let go of the slot in a child process, whose inherited lock would keep it from the drainer."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, payload: bytes, *, durable: bool) -> None:
        data = _frame(payload)
        if self._descriptor < 0:
            raise JournalError("the journal is closed")
        if self._size + len(data) > MAX_SLOT:
            raise JournalError(f"the journal in {self.folder} is full ({self._size / 1e6:.0f} MB undelivered)")
        try:
            # One write on a descriptor in append mode needs no lock, so a signal handler cannot block on one.
            written = os.write(self._descriptor, data)
            self._size += written
            if written != len(data):
                # What is torn stays: readers search the next whole frame, and cutting could hit another's.
                raise JournalError(f"the disk of the journal in {self.folder} is full")
            if durable:
                os.fdatasync(self._descriptor)
        except OSError as error:
            raise JournalError(f"the journal in {self.folder} cannot be written: {error.strerror}") from error

    def _empty(self) -> None:
        os.ftruncate(self._descriptor, 0)
        self._size = 0


@contextmanager
def idle_slots(folder: Path) -> Iterator[Iterator[Slot]]:
    """Give the slots that have no living owner, each under its lock while it is looked at."""
    opened: list[int] = []

    def slots() -> Iterator[Slot]:
        for path in _slot_paths(folder):
            descriptor = _lock(path, create=False)
            if descriptor is not None:
                opened.append(descriptor)
                yield Slot(path, descriptor)

    try:
        yield slots()
    finally:
        for descriptor in opened:
            os.close(descriptor)


@dataclass(frozen=True)
class Slot:
    """A slot without a living owner, held by whoever drains it."""

    path: Path
    descriptor: int

    def entries(self) -> list[Entry]:
        """Return what was left behind."""
        return _recover(_read_all(self.descriptor))[0]

    def acknowledge(self, numbers: Iterable[int]) -> None:
        """Forget entries; empty the slot when nothing is left."""
        done = set(numbers)
        left = [entry for entry in self.entries() if entry.number not in done]
        if not left:
            os.ftruncate(self.descriptor, 0)
            return
        os.write(self.descriptor, _frame(_ACK + b"".join(_NUMBER.pack(number) for number in sorted(done))))


def undelivered(folder: Path) -> list[Entry]:
    """Return what waits in all slots of a host, living owners included; only for looking at."""
    found: list[Entry] = []
    for path in _slot_paths(folder):
        try:
            found.extend(_recover(path.read_bytes())[0])
        except OSError:
            continue
    return found


def _take_slot(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o775)
        for number in range(_MAX_SLOTS):
            descriptor = _lock(folder / f"slot-{number:03d}.seg", create=True)
            if descriptor is not None:
                return descriptor
    except OSError as error:
        raise JournalError(f"the journal folder {folder} cannot be used: {error.strerror}") from error
    raise JournalError(f"all {_MAX_SLOTS} slots in {folder} are taken")


def _lock(path: Path, *, create: bool) -> int | None:
    """Return the slot's descriptor with its lock, or None when it has a living owner or is another user's."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except PermissionError:
        if not path.exists():
            raise
        return None
    except FileNotFoundError:
        if not create:
            return None
        descriptor = os.open(path, flags | os.O_CREAT, 0o664)
        _sync_folder(path.parent)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _slot_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("slot-*.seg"))


def _read_all(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _frame(payload: bytes) -> bytes:
    head = _MAGIC + struct.pack(">I", len(payload))
    return head + struct.pack(">I", zlib.crc32(payload, zlib.crc32(head))) + payload


def _frames(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield each whole frame's payload, and where the frame ends."""
    position = data.find(_MAGIC)
    while position >= 0:
        end = 0
        if position + _HEADER.size <= len(data):
            _, length, checksum = _HEADER.unpack_from(data, position)
            end = position + _HEADER.size + length
            if end <= len(data):
                payload = data[position + _HEADER.size : end]
                if zlib.crc32(payload, zlib.crc32(data[position : position + 8])) == checksum:
                    yield payload, end
                    position = data.find(_MAGIC, end)
                    continue
        position = data.find(_MAGIC, position + 1)


def _recover(data: bytes) -> tuple[list[Entry], int]:
    """Return the entries that were not acknowledged, and where the last whole frame ends."""
    entries: dict[int, Entry] = {}
    end = 0
    for payload, frame_end in _frames(data):
        end = frame_end
        if payload[:1] == _ENTRY and len(payload) > _NUMBER.size:
            number = _NUMBER.unpack_from(payload, 1)[0]
            entries[number] = Entry(number, payload[1 + _NUMBER.size :])
        elif payload[:1] == _ACK:
            for (number,) in _NUMBER.iter_unpack(payload[1 : len(payload) - (len(payload) - 1) % _NUMBER.size]):
                entries.pop(number, None)
    return list(entries.values()), end


def _last_number(data: bytes) -> int:
    numbers = (_NUMBER.unpack_from(payload, 1)[0] for payload, _ in _frames(data) if payload[:1] == _ENTRY)
    return max(numbers, default=0)


_LIVING: weakref.WeakSet[Journal] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for journal in list(_LIVING):
        journal.forget_after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
