"""Reconcile: bring every location to the same truth."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.errors import PipetrackError, StorageError
from airflow_provider_pipetrack.records.handmade import change_of_record
from airflow_provider_pipetrack.storage.base import Record
from airflow_provider_pipetrack.tracking.delivery import deliver
from airflow_provider_pipetrack.tracking.journal import Entry, idle_slots
from airflow_provider_pipetrack.tracking.shared import changes_of

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.leg import Leg
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.reconcile")

#: Records that are brought to a location in one go.
_AT_ONCE = 500
#: Seconds that one such step may take.
_STEP_LIMIT = 60.0


@dataclass
class Summary:
    """What a reconcile did.

    :param drained: changes that were delivered from journals.
    :param healed: records that were brought from a fallback to a location that lacked them.
    :param still_owed: records that a location still lacks.
    :param waiting: changes that are still in a journal.
    :param unreachable: why a location could not be brought up to date, by its name.
    """

    drained: int = 0
    healed: int = 0
    still_owed: int = 0
    waiting: int = 0
    unreachable: dict[str, str] = field(default_factory=dict)


class Reconciler:
    """One pass over this host's journal and the chain's fallbacks. Two passes at once do no harm.

    :param store: the store whose chain is healed; entries of other chains go to theirs.
    :param own: what waits in the slot of this process.
    """

    def __init__(self, store: TrackingStore, own: Sequence[Entry]) -> None:
        self.store = store
        self.own = own
        self.summary = Summary()
        self._stores: list[TrackingStore] = []

    def run(self) -> Summary:
        """Do it, and say what was done."""
        try:
            self.store.acknowledge(self._drain(self.own))
            with idle_slots(self.store.journal_folder) as slots:
                for slot in slots:
                    entries = slot.entries()
                    if entries:
                        slot.acknowledge(self._drain(entries))
            self._heal()
        finally:
            for store in self._stores:
                store.close_legs()
        return self.summary

    def _drain(self, entries: Iterable[Entry]) -> list[int]:
        """Deliver entries along their own chains; return those that may be forgotten."""
        done = []
        for entry in entries:
            chain, changes = changes_of(entry.payload)
            if not changes:
                continue
            try:
                store = self._store_of(chain)
            except PipetrackError as error:
                log.warning("pipetrack: a journal entry waits: %s", error)
                self.summary.waiting += len(changes)
                continue
            delivered = deliver(store.legs, store.mode, changes, time.monotonic() + _STEP_LIMIT)
            self.summary.unreachable.update(delivered.failures)
            if delivered.released:
                self.summary.drained += len(changes)
                done.append(entry.number)
            else:
                self.summary.waiting += len(changes)
        return done

    def _store_of(self, chain: dict[str, Any]) -> TrackingStore:
        store = self.store.for_chain(chain)
        if store is not self.store:
            for known in self._stores:
                if known.for_chain(chain) is known:
                    return known
            self._stores.append(store)
        return store

    def _heal(self) -> None:
        """Bring what a fallback holds for another location to that location."""
        legs = {leg.name: leg for leg in self.store.legs}
        for keeper in self.store.legs:
            try:
                records = keeper.call(lambda adapter: adapter.owed_records(), _STEP_LIMIT)
            except StorageError as error:
                self.summary.unreachable[keeper.name] = error.message
                continue
            for start in range(0, len(records), _AT_ONCE):
                self._heal_some(keeper, records[start : start + _AT_ONCE], legs)

    def _heal_some(self, keeper: Leg, records: Sequence[Record], legs: dict[str, Leg]) -> None:
        settled: set[str] = set()
        for name in sorted({name for record in records for name in record["owed"] or ()}):
            leg = legs.get(name)
            lacking = [record for record in records if name in (record["owed"] or ())]
            if leg is not None and self._bring(leg, lacking):
                settled.add(name)
                self.summary.healed += len(lacking)
            else:
                self.summary.still_owed += len(lacking)
        if settled:
            self._note(keeper, records, settled)

    def _bring(self, leg: Leg, records: Sequence[Record]) -> bool:
        changes = [change_of_record(record) for record in records]
        try:
            leg.call(lambda adapter: adapter.apply(changes), _STEP_LIMIT)
        except StorageError as error:
            self.summary.unreachable[leg.name] = error.message
            return False
        return True

    def _note(self, keeper: Leg, records: Sequence[Record], settled: set[str]) -> None:
        def settle(adapter: Any) -> None:
            for record in records:
                left = [name for name in record["owed"] or () if name not in settled]
                adapter.settle(record, left)

        try:
            keeper.call(settle, _STEP_LIMIT)
        except StorageError as error:
            # The records are where they belong; they are only brought there once more.
            self.summary.unreachable[keeper.name] = error.message
