"""Reconcile: bring every location to the same truth."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_pipetrack.errors import JournalError, StorageError
from airflow_provider_pipetrack.storage.base import ONE_PIPELINE_ONLY, Record, StorageAdapter
from airflow_provider_pipetrack.tracking.compare import Difference, differences
from airflow_provider_pipetrack.tracking.dead_letters import DeadLetter, DeadLetters
from airflow_provider_pipetrack.tracking.drain import STEP_LIMIT, Drain, knock
from airflow_provider_pipetrack.tracking.frames import Entry
from airflow_provider_pipetrack.tracking.journal import Journal, idle_slots
from airflow_provider_pipetrack.tracking.leg import Leg
from airflow_provider_pipetrack.tracking.shared import note_waiting

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.reconcile")

T = TypeVar("T")

#: Records that are brought to a location in one go, and as many as fit into the short time that a task waits.
AT_ONCE = 2000
AT_ONCE_IN_A_TASK = 100
#: Why a full pass leaves a location as it is that has nothing to answer with.
CANNOT_LIST = "cannot list its records, so nothing is compared with it"
#: What a location may say that is well and has only the three methods of a user.
SIMPLE_STORAGE_SAYS = (CANNOT_LIST, ONE_PIPELINE_ONLY)
_SHORTEST_STEP = 0.1


@dataclass
class Summary:
    """What a reconcile did.

    :param drained: changes that were delivered from journals.
    :param healed: records that were brought to a location that lacked them, or in a mirror may have.
    :param copied: records that a full pass brought to a location that lacked them, once for each location.
    :param revived: dead letters that a location took after all.
    :param still_owed: records that a location still lacks.
    :param owed_outside: of these, how many each location lacks that is not in the chain, by its name.
    :param retired: records and changes that are no longer owed to a location that is gone for good.
    :param waiting: changes that are still in a journal.
    :param dead: entries that nobody takes; see ``pipetrack doctor``.
    :param unreachable: why a location could not be brought up to date, by its name.
    """

    drained: int = 0
    healed: int = 0
    copied: int = 0
    revived: int = 0
    still_owed: int = 0
    owed_outside: dict[str, int] = field(default_factory=dict)
    retired: int = 0
    waiting: int = 0
    dead: int = 0
    unreachable: dict[str, str] = field(default_factory=dict)

    def add_outside(self, lacking: Mapping[str, int]) -> None:
        """Count records that locations outside the chain lack, too."""
        for name, number in lacking.items():
            self.owed_outside[name] = self.owed_outside.get(name, 0) + number


class Reconciler:
    """One pass over journals and the chain's fallbacks. Passes at once, on one host or several, do no harm.

    :param store: the store whose chain is healed; entries of other chains go to theirs.
    :param journal: the slots of this process, or None when it has none.
    :param folders: the journal folders to drain.
    :param progress: called with how many records or changes have been dealt with so far.
    :param until: when to stop beginning new steps, by the monotonic clock; None for no limit.
    :param patient: True where no task waits for it.
    :param retired: names of locations that are gone for good: nothing is brought to them, or owed to them any more.
    """

    def __init__(
        self,
        store: TrackingStore,
        journal: Journal | None,
        folders: Sequence[Path],
        *,
        progress: Callable[[int], None] | None = None,
        until: float | None = None,
        patient: bool = True,
        retired: Collection[str] = (),
    ) -> None:
        self.store = store
        self.summary = Summary()
        self._legs = [leg for leg in store.legs if leg.name not in retired]
        self._retired = frozenset(retired)
        self._journal = journal
        self._folders = folders
        self._progress = progress
        self._until = until
        self._patient = patient
        self._done = 0

    def run(self, *, full: bool = False) -> Summary:
        """Do it, and say what was done.

        :param full: try dead letters again, and compare what the locations have, so that each gets what it lacks.
        """
        from airflow_provider_pipetrack.collector import collector_paused

        if self._patient:
            self.summary.unreachable.update(knock(self._legs))
        with collector_paused():
            if full:
                for folder in self._folders:
                    self._revive(DeadLetters(folder))
            for folder in self._folders:
                self._drain(folder)
            self._heal()
            if full:
                self._compare()
        if self._patient:
            self._tidy()
        return self.summary

    def _drain(self, folder: Path) -> None:
        with self._drainer(DeadLetters(folder).add) as drain:
            try:
                if self._journal is not None and folder == self._journal.folder:
                    drain.deliver((entry, self._journal.acknowledge) for entry in self._journal.pending())
                for slots in idle_slots(folder):
                    # Delivered before the slots are let go, since only then can their entries be forgotten.
                    drain.deliver((entry, slot.acknowledge) for slot in slots for entry in slot.entries())
            except JournalError as error:
                log.warning("pipetrack: %s", error)
                self.summary.unreachable["journal"] = str(error)
                note_waiting(folder)  # nobody has seen how much does

    @contextmanager
    def _drainer(self, set_aside: Callable[[bytes, str], bool]) -> Iterator[Drain]:
        with Drain(
            self.store,
            set_aside,
            until=self._until,
            patient=self._patient,
            progress=self._dealt_with,
            retired=self._retired,
        ) as drain:
            yield drain
        self.summary.drained += drain.drained
        self.summary.retired += drain.retired
        self.summary.waiting += drain.waiting
        self.summary.dead += drain.dead
        self.summary.unreachable.update(drain.failures)

    def _revive(self, dead: DeadLetters) -> None:
        letters = dead.read()
        taken: list[DeadLetter] = []

        def forget(numbers: Sequence[int]) -> None:
            taken.extend(letters[number] for number in numbers)

        entries = [(Entry(number, letter.payload), forget) for number, letter in enumerate(letters)]
        with self._drainer(lambda *_: False) as drain:
            drain.deliver(entries)
        self.summary.revived += len(taken)
        try:
            dead.remove(taken)
        except OSError as error:
            # They are where they belong, and are only brought there once more.
            self.summary.unreachable["journal"] = f"{dead.path} cannot be written: {error.strerror}"

    def _heal(self) -> None:
        """Bring what fallbacks hold for other locations to those."""
        for keeper in self._legs:
            if keeper.keeps_owed:
                try:
                    if keeper.is_here:
                        self._heal_from(keeper)
                        self.summary.still_owed += self._ask(keeper, lambda adapter: adapter.count_owed())
                except StorageError as error:
                    self.summary.unreachable[keeper.name] = error.message

    def _heal_from(self, keeper: Leg) -> None:
        after = ""
        others = [leg for leg in self._legs if leg is not keeper]
        # Where there is no other, a person still learns to whom it is owed, and may retire that.
        is_asked = self._retired or (self._patient and not others)
        while not self._time_is_up() and (is_asked or any(not leg.is_left_alone for leg in others)):
            records = self._ask(keeper, partial(_owed_page, after, AT_ONCE if self._patient else AT_ONCE_IN_A_TASK))
            if not records:
                break
            self._heal_some(keeper, records)
            self._dealt_with(len(records))
            after = str(records[-1]["record_id"])

    def _ask(self, leg: Leg, question: Callable[[StorageAdapter], T]) -> T:
        left = STEP_LIMIT if self._until is None else min(STEP_LIMIT, self._until - time.monotonic())
        # The little time of a task may be too short for a location that is well.
        return leg.call(question, max(left, _SHORTEST_STEP), patient=self._patient, large=not self._patient)

    def _heal_some(self, keeper: Leg, records: Sequence[Record]) -> None:
        legs = {leg.name: leg for leg in self._legs}
        left = {record["record_id"]: set(record["owed"] or ()) - self._retired for record in records}
        self.summary.retired += sum(not self._retired.isdisjoint(record["owed"] or ()) for record in records)
        self.summary.add_outside(Counter(name for names in left.values() for name in names if name not in legs))
        for name in sorted({name for names in left.values() for name in names}):
            lacking = [record for record in records if name in left[record["record_id"]]]
            leg = legs.get(name)
            brought = self._bring(keeper, leg, lacking) if leg is not None else []
            self.summary.healed += len(brought)
            for record in brought:
                left[record["record_id"]].discard(name)
        settled = [(r, sorted(left[r["record_id"]])) for r in records if left[r["record_id"]] != set(r["owed"] or ())]
        if settled:
            # Should this fail, the records are where they belong all the same; they are only brought there once more.
            self._ask(keeper, lambda adapter: adapter.settle_all(settled))

    def _bring(self, keeper: Leg, leg: Leg, records: Sequence[Record]) -> list[Record]:
        """Bring records to a location, with their history; return those that it took.

        :raises StorageError: when the keeper does not answer.
        """
        if self._time_is_up() or leg.is_left_alone:
            return []
        ids = [str(record["record_id"]) for record in records]
        events = self._ask(keeper, lambda adapter: adapter.histories(ids))
        try:
            self._ask(leg, lambda adapter: adapter.take(records, events))
        except StorageError as error:
            self.summary.unreachable[leg.name] = error.message
            if error.transient or len(records) == 1 or self._refuses_all(leg):
                return []
            # One of them may be what this location never takes; the others must not wait for it.
            half = len(records) // 2
            return [*self._bring(keeper, leg, records[:half]), *self._bring(keeper, leg, records[half:])]
        return list(records)

    def _refuses_all(self, leg: Leg) -> bool:
        try:
            self._ask(leg, lambda adapter: adapter.check_writing())
        except StorageError:
            return True
        return False

    def _tidy(self) -> None:
        """Let each location do what it had put off."""
        for leg in self._legs:
            try:
                if leg.is_here and not leg.is_left_alone:
                    self._ask(leg, lambda adapter: adapter.tidy())
            except StorageError as error:
                self.summary.unreachable[leg.name] = error.message

    def _compare(self) -> None:
        """Compare what the locations have, and bring each what it lacks."""
        legs = []
        for leg in self._legs:
            if leg.can_list:
                legs.append(leg)
            else:
                self.summary.unreachable.setdefault(leg.name, CANNOT_LIST)
        found: list[Difference] = []
        try:
            for difference in differences(legs, self._dealt_with):
                found.append(difference)
                if len(found) >= AT_ONCE:
                    self._level(found)
                    found = []
        except StorageError as error:
            self.summary.unreachable[error.location] = error.message
        self._level(found)

    def _level(self, found: Sequence[Difference]) -> None:
        """Bring records that differ from every location that has them to every other."""
        if self._time_is_up():
            return
        for giver in dict.fromkeys(leg for difference in found for leg in difference.holders):
            ids = [difference.record_id for difference in found if giver in difference.holders]
            try:
                records = self._ask(giver, partial(_records, ids))
                for taker in dict.fromkeys(leg for difference in found for leg in difference.takers_from(giver)):
                    wanted = {d.record_id for d in found if taker in d.takers_from(giver)}
                    lacking = [record for record in records if record["record_id"] in wanted]
                    self.summary.copied += len(self._bring(giver, taker, lacking))
            except StorageError as error:
                self.summary.unreachable[giver.name] = error.message

    def _dealt_with(self, number: int) -> None:
        self._done += number
        if self._progress is not None:
            self._progress(self._done)

    def _time_is_up(self) -> bool:
        return self._until is not None and time.monotonic() >= self._until


def _owed_page(after: str, limit: int, adapter: StorageAdapter) -> list[Record]:
    return adapter.owed_records(after=after, limit=limit)


def _records(ids: Sequence[str], adapter: StorageAdapter) -> list[Record]:
    return adapter.read_records(ids)


def bring_home(store: TrackingStore, journal: Journal | None, limit: float) -> Summary | None:
    """Bring home what waits on this host, in a thread that is left to itself after ``limit`` seconds.

    :return: what was done, or None when the time was up.
    """
    done: list[Summary] = []

    def work() -> None:
        until = time.monotonic() + limit
        done.append(Reconciler(store, journal, [store.journal_folder], until=until, patient=False).run())

    thread = threading.Thread(target=work, name="pipetrack: bring home", daemon=True)
    thread.start()
    thread.join(limit)
    return done[0] if done else None
