"""Give up a thread that waits for a server: shut the socket it waits on."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from types import FrameType
from typing import Any

#: Where file-like wrappers, HTTP connections and their kind hold their socket.
_HOLDERS = ("_sock", "sock")


def shut_sockets_of(threads: Iterable[int]) -> None:
    """Shut the socket that each thread waits on, so that it goes on at once with an error.

    HTTP clients lend a connection out while a request is under way and give no handle to it; the stack of the waiting
    thread has it, and only that one, so that connections of the user's own are never touched.

    :param threads: identifiers as of :func:`threading.get_ident`.
    """
    frames = sys._current_frames()  # noqa: SLF001  public in CPython, in spite of its name
    for thread in threads:
        found = next(_sockets(frames.get(thread)), None)
        if found is not None:
            with suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)


def _sockets(frame: FrameType | None) -> Iterator[socket.socket]:
    """Yield the sockets on a stack, those of the innermost call first."""
    while frame is not None:
        for value in list(frame.f_locals.values()):
            found = _socket_of(value)
            if found is not None:
                yield found
        frame = frame.f_back


def _socket_of(value: Any) -> socket.socket | None:
    if isinstance(value, socket.socket):
        return value
    held = vars(value) if hasattr(value, "__dict__") else {}
    return next((held[name] for name in _HOLDERS if isinstance(held.get(name), socket.socket)), None)
