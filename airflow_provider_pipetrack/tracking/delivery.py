"""Delivery: a thread that brings a process's changes along its chain of locations."""

from __future__ import annotations

import logging
import math
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.tracking.along import Delivered, Wait, deliver, make_ready
from airflow_provider_pipetrack.tracking.journal import Journal
from airflow_provider_pipetrack.tracking.leg import Leg

log = logging.getLogger("airflow_provider_pipetrack.delivery")

#: Seconds that what only announces or begins waits for an end to go with it: a short transfer is then one delivery.
_LINGER = 0.1
#: Seconds that a fork waits at most for a delivery step that is in flight.
_BEFORE_FORK = 2.0


class _Signal(Enum):
    """What the delivery thread is told beside batches."""

    STOP = "stop"
    HURRY = "hurry"


@dataclass(frozen=True, eq=False)
class Batch:
    """Changes on their way; none where only the locations are made ready for those to come.

    :param entry: their number in the journal, or None when the journal could not take them.
    :param journal: the journal that has them.
    :param deadline: when their delivery ends, by the monotonic clock.
    :param urgent: False when they may wait a moment for others to go with them.
    :param outcome: whether a location confirmed them, once that is known.
    """

    changes: Sequence[Change]
    entry: int | None
    journal: Journal | None
    deadline: float
    urgent: bool = True
    outcome: list[bool] = field(default_factory=list)


def _failed(reason: str) -> Delivered:
    return Delivered(confirmed=False, released=False, failures={"the delivery": reason})


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
        # Not a SimpleQueue: that of Python 3.10 may wait for ever when it is asked for what is there now.
        self._queue: queue.Queue[Batch | _Signal] = queue.Queue()
        self._idle = threading.Condition()
        self._held: list[Batch] = []
        # What no journal has and whose end is not known: who gives up waiting says that it is lost, since the process
        # may end before the thread can.
        self._only_here: list[Batch] = []
        self._waiting = 0
        self._complete = True
        self._awaited: Wait | None = None
        self._outlasted_a_fork = False
        self._is_ready = False
        self._thread: threading.Thread | None = None
        _LIVING.add(self)

    def make_ready(self) -> None:
        """Connect to where the next batch will go, while nobody waits for it yet; done once, and never raises."""
        if not self._is_ready:
            self._is_ready = True
            self._put(Batch((), None, None, math.inf, urgent=False))

    def hold(self, batch: Batch) -> None:
        """Keep a batch until the next one that is not held, or until it is flushed."""
        self._held.append(batch)

    def submit(self, batch: Batch) -> None:
        """Hand over a batch, behind those that are held, and return at once."""
        held, self._held = self._held, []
        for one in (*(replace(one, deadline=batch.deadline) for one in held), batch):
            self._put(one)

    def _put(self, batch: Batch) -> None:
        with self._idle:
            if self._waiting == 0:
                self._complete, self._awaited, self._outlasted_a_fork = True, None, False
            self._waiting += 1
            if batch.entry is None and batch.changes:
                self._only_here.append(batch)
        if batch.urgent:
            self._await(batch.deadline)
        self._queue.put(batch)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="pipetrack delivery", daemon=True)
            self._thread.start()

    def flush(self, seconds: float) -> bool:
        """Wait until everything that was handed over is delivered or given up; return whether all was confirmed."""
        held, self._held = self._held, []
        for batch in held:
            self._put(replace(batch, deadline=time.monotonic() + seconds))
        self._await(time.monotonic() + seconds)
        self._hurry()
        with self._idle:
            only_here = list(self._only_here)
            if self._idle.wait_for(lambda: self._waiting == 0, seconds):
                return self._complete
        self._lose(only_here)
        return False

    def wait_until_idle(self, seconds: float) -> None:
        """Wait until nothing is under way; what is held stays held. What has outlasted that once is not waited for."""
        self._hurry()
        with self._idle:
            if not self._outlasted_a_fork:
                self._outlasted_a_fork = not self._idle.wait_for(lambda: self._waiting == 0, seconds)

    def wait(self, batch: Batch, seconds: float) -> bool:
        """Wait until a batch is delivered or given up; return whether it was confirmed."""
        with self._idle:
            if self._idle.wait_for(lambda: batch.outcome, seconds):
                return batch.outcome == [True]
        self._lose([batch])
        return False

    def is_ours(self, thread: threading.Thread) -> bool:
        """Return whether a thread is this delivery's own."""
        return thread is self._thread

    def stop(self) -> None:
        """End the thread once it has nothing left to do."""
        if self._thread is not None and self._thread.is_alive():
            self._queue.put(_Signal.STOP)
            self._thread.join(1.0)

    def _await(self, deadline: float) -> None:
        """Note that somebody waits until then: what is under way has to share that time, too."""
        with self._idle:
            if self._awaited is None or self._awaited.until < deadline:
                self._awaited = Wait(time.monotonic(), deadline)

    def _hurry(self) -> None:
        """Let nothing wait for others to go with it."""
        if self._waiting:
            self._queue.put(_Signal.HURRY)

    def _run(self) -> None:
        while True:
            batches = self._next()
            if not batches:
                return
            try:
                self._deliver(batches)
            except Exception as error:
                log.exception("pipetrack: the delivery failed; the journal keeps what it has")
                self._give_up([batch for batch in batches if not batch.outcome], f"{type(error).__name__}: {error}")

    def _next(self) -> list[Batch]:
        """Return what waits, several batches at once: an end that overtakes its start is written with it."""
        batches: list[Batch] = []
        until: float | None = None
        while True:
            try:
                found = self._queue.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
            except queue.Empty:
                return batches
            if found is _Signal.STOP:
                if batches:
                    self._queue.put(found)
                return batches
            if isinstance(found, Batch):
                batches.append(found)
                if found.urgent or not found.changes:
                    until = 0.0
                elif until is None:
                    until = time.monotonic() + _LINGER
            elif batches:
                until = 0.0

    def _deliver(self, batches: Sequence[Batch]) -> None:
        changes = [change for batch in batches for change in batch.changes]
        if not changes:
            make_ready(self._legs, self._mode, lambda: self._awaited)
            self._finish(batches, confirmed=True)
            return
        deadline = max(batch.deadline for batch in batches if batch.changes)
        is_awaited = any(batch.urgent for batch in batches)
        delivered = deliver(self._legs, self._mode, changes, deadline if is_awaited else lambda: self._awaited)
        if delivered.refused and len(batches) > 1:
            # One of them may be what nobody takes; the others must not suffer for it.
            for batch in batches:
                self._deliver([batch])
            return
        for batch in batches:
            self._settle(batch, delivered)
        self._finish(batches, confirmed=delivered.confirmed)

    def _give_up(self, batches: Sequence[Batch], reason: str) -> None:
        """Settle what could not even be tried, so that what no journal has is at least in the log."""
        try:
            for batch in batches:
                self._settle(batch, _failed(reason))
        finally:
            self._finish(batches, confirmed=False)

    def _lose(self, batches: Sequence[Batch]) -> None:
        """Settle what nobody waits for any more and no journal has."""
        for batch in batches:
            if batch.entry is None:
                self._settle(batch, _failed("did not end in time"))

    def _settle(self, batch: Batch, delivered: Delivered) -> None:
        """Say how the delivery of a batch went, unless that is said already."""
        if batch.entry is None:
            with self._idle:
                if batch not in self._only_here:
                    return
                self._only_here.remove(batch)
        self._settled(batch, delivered)

    def _finish(self, batches: Sequence[Batch], *, confirmed: bool) -> None:
        with self._idle:
            for batch in batches:
                batch.outcome.append(confirmed)
            self._waiting -= len(batches)
            self._complete = self._complete and confirmed
            self._idle.notify_all()


_LIVING: weakref.WeakSet[Delivery] = weakref.WeakSet()


def _before_fork() -> None:
    """Wait until no delivery step is in flight, so that a child inherits no lock that nobody will ever give back."""
    here = threading.current_thread()
    end = time.monotonic() + _BEFORE_FORK
    for delivery in list(_LIVING):
        if not delivery.is_ours(here):
            delivery.wait_until_idle(max(0.0, end - time.monotonic()))


os.register_at_fork(before=_before_fork)
