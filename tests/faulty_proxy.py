"""A TCP proxy before a server that misbehaves on demand."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class FaultyProxy:
    """Forwards connections to a server until it is told to do worse.

    :param upstream: host and port of the server, or the path of its unix socket.
    """

    def __init__(self, upstream: tuple[str, int] | str) -> None:
        self.upstream = upstream
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._server.getsockname()[1]
        #: ``pass``, ``hang`` (accepts, never answers), ``reset`` or ``slow``.
        self.mode = "pass"
        #: Seconds that each answer takes in mode ``slow``.
        self.delay = 0.2
        #: How many more answers get through before connections are cut behind the server's back; None for all.
        self.answers_left: int | None = None
        #: What stands in a request whose answer is lost, though the server has done what was asked; None for nothing.
        self.lose_answer_to: bytes | None = None
        #: What is answered, before the connection ends, to a request that has something in it; None for nothing.
        self.refuses: tuple[bytes, bytes] | None = None
        self._deaf: set[socket.socket] = set()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def drop_all(self) -> None:
        """Reset every connection there is."""
        connections, self._open = self._open, []
        for connection in connections:
            _reset(connection)

    def close(self) -> None:
        """Stop, and refuse connections from now on."""
        # A thread that waits in accept() would keep the port open.
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.drop_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self._open.append(client)
            if self.mode == "reset":
                _reset(client)
            elif self.mode != "hang":
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX if isinstance(self.upstream, str) else socket.AF_INET)
        try:
            server.connect(self.upstream)
        except OSError:
            _reset(client)
            return
        self._open.append(server)
        threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
        threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        try:
            while data := source.recv(65_536):
                if self.mode == "hang" or source in self._deaf:
                    continue
                if not is_answer and self.refuses is not None and self.refuses[0] in data:
                    source.sendall(self.refuses[1])
                    break
                if not is_answer and self.lose_answer_to is not None and self.lose_answer_to in data:
                    self._deaf.add(target)
                    # The server does it meanwhile; then the connection ends.
                    threading.Timer(0.3, _reset, [source]).start()
                if is_answer and self.answers_left is not None:
                    if self.answers_left <= 0:
                        break
                    self.answers_left -= 1
                if is_answer and self.mode == "slow":
                    time.sleep(self.delay)
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with suppress(OSError):
        # Closing alone would not wake a thread that reads.
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextmanager
def faulty_proxy(upstream: tuple[str, int] | str) -> Iterator[FaultyProxy]:
    """A proxy before a server, until the block ends."""
    proxy = FaultyProxy(upstream)
    try:
        yield proxy
    finally:
        proxy.close()
