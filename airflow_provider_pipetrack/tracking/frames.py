"""The form of a journal's bytes.

A frame is ``magic | length | CRC32 | payload``; the checksum covers all the rest. A torn or damaged frame is skipped
by searching the next magic. Payloads are entries, or acknowledgments that name entries which may be forgotten.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_MAGIC = b"\xabPT\x01"
_HEADER = struct.Struct(">4sII")
_ENTRY, _ACK = b"E", b"A"
_NUMBER = struct.Struct(">Q")


@dataclass(frozen=True)
class Entry:
    """Something that was appended.

    :param number: its number within the slot.
    :param payload: what was appended.
    """

    number: int
    payload: bytes


def entry_frame(number: int, payload: bytes) -> bytes:
    """Return the frame of an entry."""
    return _frame(_ENTRY + _NUMBER.pack(number) + payload)


def acknowledgment_frame(numbers: Iterable[int]) -> bytes:
    """Return the frame that lets entries be forgotten."""
    return _frame(_ACK + b"".join(_NUMBER.pack(number) for number in numbers))


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
    :param end: where the last whole frame ends.
    :param last_number: the greatest number that an entry has or had.
    """

    entries: list[Entry]
    end: int
    last_number: int


def recover(data: bytes) -> Found:
    """Return what stands in the bytes of a slot, whatever happened to them."""
    entries: dict[int, Entry] = {}
    end = last = 0
    for payload, frame_end in _frames(data):
        end = frame_end
        if payload[:1] == _ENTRY and len(payload) > _NUMBER.size:
            number = _NUMBER.unpack_from(payload, 1)[0]
            entries[number] = Entry(number, payload[1 + _NUMBER.size :])
            last = max(last, number)
        elif payload[:1] == _ACK:
            for (number,) in _NUMBER.iter_unpack(payload[1 : len(payload) - (len(payload) - 1) % _NUMBER.size]):
                entries.pop(number, None)
                last = max(last, number)
    return Found(list(entries.values()), end, last)
