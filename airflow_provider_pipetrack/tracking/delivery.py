"""Delivery: a thread that brings changes along the chain of locations, under one deadline."""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.tracking.leg import Leg

log = logging.getLogger("airflow_provider_pipetrack.delivery")

#: What the last location of a chain gets at least, in seconds, whatever the others have used up.
LAST_LEG = 1.0


@dataclass(frozen=True)
class Delivered:
    """How a delivery went.

    :param confirmed: whether a location has the changes now.
    :param released: whether the journal may forget them: no location lacks them, or one knows which do.
    :param failures: what each location that failed said, by name.
    """

    confirmed: bool
    released: bool
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """Changes on their way.

    :param entry: their number in the journal, or None when the journal could not take them.
    :param deadline: when their delivery ends, by the monotonic clock.
    :param outcome: whether a location confirmed them, once that is known.
    """

    changes: Sequence[Change]
    entry: int | None
    deadline: float
    outcome: list[bool] = field(default_factory=list)


def deliver(legs: Sequence[Leg], mode: str, changes: Sequence[Change], deadline: float) -> Delivered:
    """Bring changes to the first location that takes them, or in ``mirror`` mode to all.

    :param deadline: when to give up, by the monotonic clock; the legs share what is left of it.
    """
    failures: dict[str, str] = {}
    keeper: Leg | None = None
    for position, leg in enumerate(legs):
        if keeper is not None and mode != "mirror":
            break
        owed = list(failures)
        try:
            leg.call(lambda adapter, owed=owed: adapter.apply(changes, owed=owed), _limit(legs, position, deadline))  # type: ignore[misc]
            keeper = keeper or leg
        except StorageError as error:
            failures[leg.name] = error.message
            log.warning("pipetrack: %s", error)
    if keeper is None:
        return Delivered(confirmed=False, released=False, failures=failures)
    # In mirror mode a location that failed after the first success is in nobody's notes, so the journal keeps it.
    noted = mode != "mirror" and keeper.adapter.keeps_owed
    return Delivered(confirmed=True, released=not failures or noted, failures=failures)


def _limit(legs: Sequence[Leg], position: int, deadline: float) -> float:
    left = max(0.0, deadline - time.monotonic())
    remaining = len(legs) - position
    share = left / remaining
    if remaining == 1:
        share = max(LAST_LEG, share)
    try:
        return min(legs[position].adapter.time_limit, max(share, 0.1))
    except StorageError:
        return share


class Delivery:
    """The delivery thread of one chain in one process.

    :param legs: the chain.
    :param mode: ``fallback`` or ``mirror``.
    :param settled: called with each batch and how its delivery went.
    """

    def __init__(self, legs: Sequence[Leg], mode: str, settled: Callable[[Batch, Delivered], None]) -> None:
        self._legs = legs
        self._mode = mode
        self._settled = settled
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._idle = threading.Condition()
        self._waiting = 0
        self._complete = True
        self._thread: threading.Thread | None = None

    def submit(self, batch: Batch) -> None:
        """Hand over a batch and return at once."""
        with self._idle:
            if self._waiting == 0:
                self._complete = True
            self._waiting += 1
        self._queue.put(batch)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="pipetrack delivery", daemon=True)
            self._thread.start()

    def flush(self, seconds: float) -> bool:
        """Wait until everything that was handed over is delivered or given up; return whether all was confirmed."""
        with self._idle:
            done = self._idle.wait_for(lambda: self._waiting == 0, seconds)
            return done and self._complete

    def wait(self, batch: Batch, seconds: float) -> bool:
        """Wait until a batch is delivered or given up; return whether it was confirmed."""
        with self._idle:
            self._idle.wait_for(lambda: batch.outcome, seconds)
            return batch.outcome == [True]

    def stop(self) -> None:
        """End the thread once it has nothing left to do."""
        if self._thread is not None and self._thread.is_alive():
            self._queue.put(None)
            self._thread.join(1.0)

    def _run(self) -> None:
        while True:
            batches = self._next()
            if not batches:
                return
            try:
                self._deliver(batches)
            except Exception:
                log.exception("pipetrack: the delivery failed; the journal keeps what it has")
                self._finish(batches, confirmed=False)

    def _next(self) -> list[Batch]:
        """Return what waits, several batches at once: an end that overtakes its start is written with it."""
        batches = []
        found = self._queue.get()
        while found is not None:
            batches.append(found)
            try:
                found = self._queue.get_nowait()
            except queue.Empty:
                return batches
        if batches:
            self._queue.put(None)
        return batches

    def _deliver(self, batches: Sequence[Batch]) -> None:
        changes = [change for batch in batches for change in batch.changes]
        delivered = deliver(self._legs, self._mode, changes, max(batch.deadline for batch in batches))
        for batch in batches:
            self._settled(batch, delivered)
        self._finish(batches, confirmed=delivered.confirmed)

    def _finish(self, batches: Sequence[Batch], *, confirmed: bool) -> None:
        with self._idle:
            for batch in batches:
                batch.outcome.append(confirmed)
            self._waiting -= len(batches)
            self._complete = self._complete and confirmed
            self._idle.notify_all()


class LossCounter:
    """Counts records that neither the journal nor any location could keep; they stand in the log instead."""

    def __init__(self) -> None:
        self.lost = 0

    def log(self, changes: Sequence[Change], failures: dict[str, str]) -> None:
        """Write the records into the log, whole, so that they can be brought back by hand."""
        self.lost += len(changes)
        for change in changes:
            log.error(
                "pipetrack could not keep this record anywhere (%d so far in process %d; %s). Keep this line: %s",
                self.lost,
                os.getpid(),
                "; ".join(f"{name}: {reason}" for name, reason in failures.items()) or "no location",
                json.dumps(change.to_json(), separators=(",", ":")),
            )


LOSSES = LossCounter()
