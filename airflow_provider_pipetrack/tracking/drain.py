"""Deliver what waits in journals: many entries at once, each along the chain it was written for."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.errors import JournalError, PipetrackError, StorageError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.storage.locations import masked
from airflow_provider_pipetrack.tracking.along import Delivered, deliver
from airflow_provider_pipetrack.tracking.frames import Entry
from airflow_provider_pipetrack.tracking.leg import Leg
from airflow_provider_pipetrack.tracking.shared import (
    EntryError,
    chain_bytes,
    changes_of,
    entry_payload,
    lacking_in,
    own_journal,
)

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.reconcile")

#: Changes that are brought to a location in one go, and as many as fit into the short time that a task waits.
AT_ONCE = 5000
AT_ONCE_IN_A_TASK = 200
#: Entries that are written anew before the disk is waited for.
_NARROWED_AT_ONCE = 100
#: Seconds that one such step may take.
STEP_LIMIT = 60.0

#: Forgets entries, by their numbers, where they wait.
Forget = Callable[[Sequence[int]], None]


@dataclass(frozen=True)
class _Letter:
    """A journal entry with what stands in it, and how it is forgotten."""

    entry: Entry
    forget: Forget
    changes: Sequence[Change]


@dataclass(frozen=True)
class _Way:
    """Where entries go: the chain that they were written for, and of its locations those that may lack them."""

    store: TrackingStore
    legs: Sequence[Leg]


class _Pile:
    """Entries of one chain that are delivered together."""

    def __init__(self, chain: dict[str, Any], lacking: frozenset[str]) -> None:
        self.chain = chain
        self.lacking = lacking
        self.letters: list[_Letter] = []
        self.size = 0

    def add(self, letter: _Letter) -> None:
        self.letters.append(letter)
        self.size += len(letter.changes)


class Drain:
    """Delivers journal entries, and sets aside those that nobody will ever take. Use it as a context manager.

    :param store: the store whose connections are used where an entry belongs to its chain.
    :param set_aside: keeps an entry that nobody takes, with the reason; returns whether the journal may forget it.
    :param until: when to stop beginning new steps, by the monotonic clock; None for no limit.
    :param patient: True where no task waits for it.
    :param progress: called with the number of changes that were dealt with, after each step.
    :param retired: names of locations that are gone for good. What was for them alone goes along the store's own chain.
    """

    def __init__(
        self,
        store: TrackingStore,
        set_aside: Callable[[bytes, str], bool],
        *,
        until: float | None,
        patient: bool,
        progress: Callable[[int], None],
        retired: Collection[str] = (),
    ) -> None:
        self._store = store
        self._retired_names = frozenset(retired)
        self._set_aside_entry = set_aside
        self._until = until
        self._patient = patient
        self._progress = progress
        self._others: dict[str, TrackingStore] = {}
        self.drained = 0
        self.retired = 0
        self.waiting = 0
        self.dead = 0
        self.failures: dict[str, str] = {}

    def __enter__(self) -> Drain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for store in self._others.values():
            store.close_legs()

    @property
    def time_is_up(self) -> bool:
        """Whether no new step may begin."""
        return self._until is not None and time.monotonic() >= self._until

    def deliver(self, entries: Iterable[tuple[Entry, Forget]]) -> None:
        """Deliver entries, and forget those that are where they belong or were set aside."""
        # Not read ahead in a thread: while that computes, a driver that sends much in small parts waits for its turn
        # after each of them, which costs more than is won.
        for pile in self._piled(entries):
            self._send(pile)

    def _piled(self, entries: Iterable[tuple[Entry, Forget]]) -> Iterator[_Pile]:
        """Yield the entries as piles, each of one chain."""
        piles: dict[bytes, _Pile] = {}
        for entry, forget in entries:
            if entry.is_damaged:
                self._set_aside(entry, forget, "these bytes are damaged in the journal and cannot be read any more")
                continue
            try:
                chain, changes = changes_of(entry.payload)
            except EntryError as error:
                self._set_aside(entry, forget, str(error))
                continue
            if not changes:  # only tried whether the journal takes something
                _forget([_Letter(entry, forget, ())])
                continue
            name = chain_bytes(entry.payload)
            pile = piles.get(name) or piles.setdefault(name, _Pile(chain, lacking_in(name)))
            pile.add(_Letter(entry, forget, changes))
            if pile.size >= (AT_ONCE if self._patient else AT_ONCE_IN_A_TASK):
                yield piles.pop(name)
        yield from piles.values()

    def _send(self, pile: _Pile) -> None:
        letters = pile.letters
        try:
            store = self._store_of(pile.chain)
        except PipetrackError as error:
            log.warning("pipetrack: %d changes in the journal wait: %s", _size(letters), error)
            self.failures[", ".join(masked(str(text)) for text in pile.chain["locations"])] = str(error)
            self.waiting += _size(letters)
        else:
            self._deliver_to(store, pile)
        self._progress(_size(letters))

    def _deliver_to(self, store: TrackingStore, pile: _Pile) -> None:
        lacking = pile.lacking - self._retired_names
        if pile.lacking and not lacking:
            self.retired += _size(pile.letters)
            _forget(pile.letters)
            return
        open_legs = [leg for leg in store.legs if leg.name not in self._retired_names]
        if not open_legs:
            store, open_legs = self._store, list(self._store.legs)
        legs = [leg for leg in open_legs if leg.name in lacking]
        self._deliver_some(_Way(store, legs or open_legs), pile.letters)

    def _deliver_some(self, way: _Way, letters: Sequence[_Letter]) -> None:
        if self.time_is_up:
            self.waiting += _size(letters)
            return
        delivered = self._attempt(way, letters)
        if delivered.released:
            self.drained += _size(letters)
            _forget(letters)
            return
        if delivered.refused and self._all_would_write(way):
            if len(letters) > 1:
                # One of them may be what nobody takes; the others must not wait for it.
                half = len(letters) // 2
                self._deliver_some(way, letters[:half])
                self._deliver_some(way, letters[half:])
                return
            reasons = "; ".join(f"{name}: {reason}" for name, reason in delivered.failures.items())
            if self._set_aside(letters[0].entry, letters[0].forget, reasons):
                return
        if delivered.confirmed:
            self._narrow(way, letters, delivered.failures)
        self.failures.update(delivered.failures)
        self.waiting += _size(letters)

    def _narrow(self, way: _Way, letters: Sequence[_Letter], lacking: Collection[str]) -> None:
        """Let entries wait only for those that lack them; the others can note no debt, and would get them each time."""
        try:
            journal = own_journal(self._store.journal_folder)
            for some in (letters[at : at + _NARROWED_AT_ONCE] for at in range(0, len(letters), _NARROWED_AT_ONCE)):
                if self.time_is_up:
                    break
                for letter in some:
                    payload = entry_payload(way.store.chain(), letter.changes, lacking)
                    journal.append(payload, durable=letter is some[-1])
                _forget(some)
        except JournalError as error:
            log.warning("pipetrack: %s", error)

    def _attempt(self, way: _Way, letters: Sequence[_Letter]) -> Delivered:
        changes = [change for letter in letters for change in letter.changes]
        end = time.monotonic() + STEP_LIMIT
        end = end if self._until is None else min(end, self._until)
        return deliver(way.legs, way.store.mode, changes, end, patient=self._patient, large=not self._patient)

    def _all_would_write(self, way: _Way) -> bool:
        """Return whether every location takes an ordinary record, so that what it refuses is refused for what it is."""
        try:
            for leg in way.legs:
                leg.call(lambda adapter: adapter.check_writing(), STEP_LIMIT, patient=self._patient)
        except StorageError:
            return False
        return True

    def _set_aside(self, entry: Entry, forget: Forget, reason: str) -> bool:
        kept = self._set_aside_entry(entry.payload, reason)
        self.dead += 1
        if kept:
            forget([entry.number])
        return kept

    def _store_of(self, chain: dict[str, Any]) -> TrackingStore:
        name = json.dumps(chain, sort_keys=True)
        if name not in self._others:
            store = self._store.for_chain(chain)
            if store is self._store:
                return store
            self._others[name] = store
            if self._patient:
                knock(store.legs)
        return self._others[name]


def knock(legs: Iterable[Leg]) -> dict[str, str]:
    """Ask each location for a sign of life, even those that are left alone; return why some gave none, by name.

    A file that is not on this host is not asked: that would make an empty one.
    """
    silent: dict[str, str] = {}
    for leg in legs:
        try:
            if leg.is_here:
                leg.knock()
        except StorageError as error:
            silent[leg.name] = error.message
    return silent


def _forget(letters: Iterable[_Letter]) -> None:
    """Forget what was delivered; what cannot be forgotten is only delivered once more."""
    numbers: dict[Forget, list[int]] = {}
    for letter in letters:
        numbers.setdefault(letter.forget, []).append(letter.entry.number)
    for forget, known in numbers.items():
        try:
            forget(known)
        except JournalError as error:
            log.warning("pipetrack: %s", error)


def _size(letters: Iterable[_Letter]) -> int:
    return sum(len(letter.changes) for letter in letters)
