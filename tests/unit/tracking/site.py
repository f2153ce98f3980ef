"""Locations of a chain that can be shut and opened, and a disk that can be full."""

from __future__ import annotations

import os
import resource
import signal
import time
from contextlib import contextmanager
from pathlib import Path

from airflow_provider_pipetrack.tracking.journal import undelivered
from airflow_provider_pipetrack.tracking.store import TrackingStore

RECORD = {"pipeline_id": "orders", "transfer_unique_id": "t1", "transfer_status": "in_progress"}
RECORD_ID = "orders/none/t1/-1/1"


class Site:
    """Locations that can be shut and opened: a file stands where the folder of a shut one would be."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stores: list[TrackingStore] = []

    def location(self, name: str, kind: str = "sqlite") -> str:
        return f"{kind}||{self.root}/{name}/tracking" + ("||t" if kind == "sqlite" else "")

    def shut(self, *names: str) -> None:
        """Shut locations; what they hold is kept for when they are opened again."""
        for name in names:
            if (self.root / name).exists():
                (self.root / name).rename(self.root / f"{name}-away")
            (self.root / name).write_text("in the way")

    def open(self, *names: str) -> None:
        for name in names:
            (self.root / name).unlink()
            if (self.root / f"{name}-away").exists():
                (self.root / f"{name}-away").rename(self.root / name)

    def store(self, *locations: str, **options) -> TrackingStore:
        texts = [text if "||" in text else self.location(text) for text in locations]
        options = {"journal_dir": self.root / "journal", "deadline": 3.0, **options}
        self.stores.append(TrackingStore(texts, **options))
        return self.stores[-1]

    def alone(self, location: str) -> TrackingStore:
        """A store of one location, with a journal of its own."""
        return self.store(location, journal_dir=self.root / "journal-of-the-reader")

    def ids(self, location: str) -> list[str]:
        """The records that one location has on its own."""
        return [record["record_id"] for record in self.alone(location).read_tracking_records("orders")]

    def waiting(self) -> int:
        folder = self.stores[0].journal_folder
        return len(list(undelivered(folder)))


@contextmanager
def largest_file(size: int):
    """No file may grow beyond ``size`` bytes: a write over it is short, and the next one fails, as on a full disk."""
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old_limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)


def fork_seconds() -> float:
    """Fork a child that ends at once, and return how long that took."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return time.monotonic() - started
