"""What a statsd server on a free loopback port was told."""

from __future__ import annotations

import re
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_LINE = re.compile(r"([\w.-]+?)(?:,([^:]*))?:([-+\d.e]+)\|(c|ms|g)")


@dataclass
class StatsdServer:
    """The numbers by name and tags.

    :param port: where it listens, UDP.
    :param told: values by name and tags, such as ``airflow.pipetrack.transfers.failed`` and ``{"dag_id": "orders"}``.
    """

    port: int
    told: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = field(default_factory=lambda: defaultdict(list))
    changed: threading.Condition = field(default_factory=lambda: threading.Condition(threading.RLock()))

    def environment(self) -> dict[str, str]:
        """The settings with which an Airflow sends its metrics here."""
        options = {"ON": "True", "HOST": "127.0.0.1", "PORT": str(self.port), "INFLUXDB_ENABLED": "True"}
        return {f"AIRFLOW__METRICS__STATSD_{name}": value for name, value in options.items()}

    def hear(self, packet: str) -> None:
        with self.changed:
            for name, tags, value, _ in _LINE.findall(packet):
                labels = tuple(sorted(tuple(tag.split("=", 1)) for tag in tags.split(",") if tag))
                self.told[name, labels].append(float(value))
            self.changed.notify_all()

    def values(self, name: str, **tags: str) -> list[float]:
        """Return all values of a name whose tags are among others ``tags``."""
        with self.changed:
            found = [(values, dict(labels)) for (told, labels), values in self.told.items() if told == name]
        return [value for values, labels in found if tags.items() <= labels.items() for value in values]

    def wait(self, name: str, **tags: str) -> list[float]:
        with self.changed:
            assert self.changed.wait_for(lambda: self.values(name, **tags), 30), sorted(self.told)
        return self.values(name, **tags)

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.told}


@contextmanager
def running() -> Iterator[StatsdServer]:
    """Listen until the end of the block."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(0.2)
        server = StatsdServer(listener.getsockname()[1])
        stopped = threading.Event()

        def listen() -> None:
            while not stopped.is_set():
                try:
                    server.hear(listener.recv(65536).decode())
                except TimeoutError:
                    continue

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            stopped.set()
            thread.join(5)
