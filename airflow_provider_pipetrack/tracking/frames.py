"""The form of a journal's bytes.

A frame is ``magic | length | CRC32 | payload``; the checksum covers all the rest. A torn or damaged frame is skipped
by searching the next magic. Payloads are entries, acknowledgments that name entries which may be forgotten, or marks
that say how many bytes before them a short write has left. Other bytes before a whole frame were damaged later, and are
an entry themselves, so that they do not vanish without a word; so is a last frame that is as long as it says. A shorter
one is what a crash leaves.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_MAGIC = b"\xabPT\x01"
_HEADER = struct.Struct(">4sII")
_ENTRY, _ACK, _TORN = b"E", b"A", b"T"
_NUMBER = struct.Struct(">Q")
#: Damaged bytes have a number above this, by where they begin.
_DAMAGED = 1 << 63


@dataclass(frozen=True)
class Entry:
    """Something that was appended.

    :param number: its number within the slot.
    :param payload: what was appended, or damaged bytes as they are.
    """

    number: int
    payload: bytes

    @property
    def is_damaged(self) -> bool:
        """Whether it was something else before the disk or somebody changed it."""
        return self.number >= _DAMAGED


def entry_frame(number: int, payload: bytes) -> bytes:
    """Return the frame of an entry."""
    return _frame(_ENTRY + _NUMBER.pack(number) + payload)


def ack_frame(numbers: Iterable[int]) -> bytes:
    """Return the frame that lets entries be forgotten."""
    return _frame(_ACK + b"".join(_NUMBER.pack(number) for number in numbers))


def torn_frame(length: int) -> bytes:
    """Return the frame that says that the bytes before it are what a short write has left, and count for nothing."""
    return _frame(_TORN + _NUMBER.pack(length))


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


@dataclass(frozen=True)
class Found:
    """What stands in a slot.

    :param entries: the entries that were not acknowledged.
    :param end: where the last frame ends; what is behind it is torn.
    :param last_number: the greatest number that an entry which was appended has or had.
    """

    entries: list[Entry]
    end: int
    last_number: int


def recover(data: bytes) -> Found:
    """Return what stands in the bytes of a slot, whatever happened to them."""
    entries: dict[int, Entry] = {}
    end = last = 0
    for payload, frame_end in _frames(data):
        begin = frame_end - len(payload) - _HEADER.size
        if payload[:1] == _TORN:
            begin -= _NUMBER.unpack_from(payload, 1)[0]
        if begin > end:
            entries[_DAMAGED + end] = Entry(_DAMAGED + end, data[end:begin])
        end = frame_end
        if payload[:1] == _ENTRY and len(payload) > _NUMBER.size:
            number = _NUMBER.unpack_from(payload, 1)[0]
            entries[number] = Entry(number, payload[1 + _NUMBER.size :])
            last = max(last, number)
        elif payload[:1] == _ACK:
            for (number,) in _NUMBER.iter_unpack(payload[1 : len(payload) - (len(payload) - 1) % _NUMBER.size]):
                entries.pop(number, None)
                last = max(last, number) if number < _DAMAGED else last
    if _is_long_enough(data, end):
        entries[_DAMAGED + end] = Entry(_DAMAGED + end, data[end:])
        end = len(data)
    return Found(list(entries.values()), end, last)


def _is_long_enough(data: bytes, begin: int) -> bool:
    """Return whether what begins there, though it is no whole frame, has the length of one."""
    if len(data) < begin + _HEADER.size:
        return False
    magic, length, _ = _HEADER.unpack_from(data, begin)
    return bool(magic == _MAGIC and begin + _HEADER.size + length <= len(data))
