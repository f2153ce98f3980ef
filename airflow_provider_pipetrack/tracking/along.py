"""Bring changes along a chain of locations, under one deadline that they share."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.tracking.leg import Leg

log = logging.getLogger("airflow_provider_pipetrack.delivery")

#: What the last location of a chain gets at least, in seconds, whatever the others have used up.
LAST_LEG = 1.0
#: What every location gets at least, in seconds.
_SHORTEST_LEG = 0.1


class Wait(NamedTuple):
    """When somebody began to wait for a delivery and when he gives up, by the monotonic clock."""

    since: float
    until: float


@dataclass(frozen=True)
class Delivered:
    """How a delivery went.

    :param confirmed: whether a location has the changes now.
    :param released: whether the journal may forget them: no location lacks them, or one knows which do.
    :param refused: whether every location answered and refused them, so that trying again will not help.
    :param failures: what each location that failed said, by name.
    """

    confirmed: bool
    released: bool
    refused: bool = False
    failures: dict[str, str] = field(default_factory=dict)


def deliver(
    legs: Sequence[Leg],
    mode: str,
    changes: Sequence[Change],
    deadline: float | Callable[[], Wait | None],
    *,
    patient: bool = False,
    large: bool = False,
) -> Delivered:
    """Bring changes to the first location that takes them, or in ``mirror`` mode to all.

    :param deadline: when to give up, by the monotonic clock; the legs share what is left of it. Or what says who
        waits: None while nobody does, and as long as that is so each location may take all that its type may.
    :param patient: True for work that no task waits for: each location may take all the time that is left.
    :param large: True for so many changes that a location which is well may need more time for them than there is.
    """
    failures: dict[str, str] = {}
    keepers: list[Leg] = []
    noted: set[str] = set()
    refused = True
    for position, leg in enumerate(legs):
        if keepers and mode != "mirror":
            break
        try:
            owed = _owed(legs, leg, failures, mode)
            _bring(leg, changes, owed, _Turn(legs, position, deadline, patient=patient), large=large)
            keepers.append(leg)
            noted |= set(owed) if leg.keeps_owed else set()
        except StorageError as error:
            failures[leg.name] = error.message
            refused = refused and not error.transient
            log.warning("pipetrack: %s", error)
    if not keepers:
        return Delivered(confirmed=False, released=False, refused=refused, failures=failures)
    if not failures:
        return Delivered(confirmed=True, released=True)
    released = noted >= set(failures)
    if not released and mode == "mirror":
        # A location that failed after the last success is in nobody's notes yet.
        released = _note(legs, keepers, changes, failures, _Turn(legs, len(legs) - 1, deadline, patient=True))
    return Delivered(confirmed=True, released=released, failures=failures)


def make_ready(legs: Sequence[Leg], mode: str, deadline: Callable[[], Wait | None]) -> None:
    """Connect the first location that can be, or in ``mirror`` mode all, for changes to come.

    :param deadline: as for :func:`deliver`: what comes must not wait for this longer than for itself.
    """
    for position, leg in enumerate(legs):
        turn = _Turn(legs, position, deadline, patient=False)
        try:
            is_ready = leg.make_ready(turn.limit, until=turn.until)
        except StorageError as error:
            log.warning("pipetrack: %s", error)
            continue
        if is_ready and mode != "mirror":
            return


class _Turn:
    """How long one location may take, in its place in the chain."""

    def __init__(
        self, legs: Sequence[Leg], position: int, deadline: float | Callable[[], Wait | None], *, patient: bool
    ) -> None:
        self.patient = patient
        self._left = len(legs) - position
        self._most, self._first_answer = _times_of(legs[position])
        self._began = began = time.monotonic()
        self._wait = deadline if callable(deadline) else lambda: Wait(began, deadline)
        self._end: float | None = None

    @property
    def limit(self) -> float:
        """Seconds for the location, as far as that is known at the beginning."""
        end = self._share()
        if end is None:
            return self._most
        left = end - time.monotonic()
        return left if self.patient else min(self._most, left)

    @property
    def until(self) -> Callable[[], float] | None:
        """What says when the location has to end although it could go on; None when that is known already."""
        return None if self._share() is not None else lambda: self._share() or math.inf

    def _share(self) -> float | None:
        """Return when the location's part of the deadline ends; None while nobody waits."""
        wait = self._wait() if self._end is None else None
        if wait is not None:
            now, parts = time.monotonic(), 1 if self.patient else self._left
            least = LAST_LEG if self._left == 1 else _SHORTEST_LEG
            # Who began to wait while the client was loading does not take that from its time for a first answer.
            whole = (wait.until - max(wait.since, self._began)) / parts
            self._end = now + max(least, (wait.until - now) / parts, min(whole, self._first_answer))
        return self._end


def _times_of(leg: Leg) -> tuple[float, float]:
    """Return the seconds that a location may take for one delivery, and for its first answer."""
    try:
        return leg.adapter.time_limit, leg.adapter.cold_start
    except StorageError:
        return LAST_LEG, LAST_LEG


def _bring(leg: Leg, changes: Sequence[Change], owed: Sequence[str], turn: _Turn, *, large: bool = False) -> None:
    leg.call(
        lambda adapter: adapter.apply(changes, owed=owed),
        turn.limit,
        patient=turn.patient,
        large=large,
        until=turn.until,
    )


def _owed(legs: Sequence[Leg], leg: Leg, failures: Collection[str], mode: str) -> list[str]:
    """Return the locations that one which takes the changes notes as lacking them.

    A chain with fallback is tried in its order, so of two notes about one record the longer contains the shorter, which
    is how storages put them together. A mirror has no such order: one change misses this location and the next another.
    There all others are noted; to bring a record to a location that has it does nothing. A file of this host that has
    it is not, since another host would bring it to a file of its own.
    """
    if mode == "mirror" and failures:
        return [other.name for other in legs if other is not leg and (other.name in failures or not other.host_local)]
    return list(failures)


def _note(
    legs: Sequence[Leg], keepers: Sequence[Leg], changes: Sequence[Change], failures: Collection[str], turn: _Turn
) -> bool:
    """Let a location that has the changes know which others lack them; return whether it does."""
    notes = next((leg for leg in keepers if leg.keeps_owed), None)
    if notes is None:
        return False
    try:
        _bring(notes, changes, _owed(legs, notes, failures, "mirror"), turn)
    except StorageError as error:
        log.warning("pipetrack: %s", error)
        return False
    return True
