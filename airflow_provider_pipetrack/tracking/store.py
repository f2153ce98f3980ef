"""TrackingStore: the one way to write tracking records and to read them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from airflow_provider_pipetrack import metrics, settings
from airflow_provider_pipetrack.errors import JournalError, PipetrackError, StorageError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.handmade import change_from_record, change_from_updates
from airflow_provider_pipetrack.storage.base import Record, StorageAdapter
from airflow_provider_pipetrack.storage.locations import masked, parse_location_string
from airflow_provider_pipetrack.storage.registry import types_of
from airflow_provider_pipetrack.tracking.along import Delivered
from airflow_provider_pipetrack.tracking.delivery import Batch, Delivery
from airflow_provider_pipetrack.tracking.fitting import fit_to_keep
from airflow_provider_pipetrack.tracking.journal import Journal
from airflow_provider_pipetrack.tracking.leg import Leg
from airflow_provider_pipetrack.tracking.losses import LOSSES, forget_unnoted, log_unnoted, unnoted_by
from airflow_provider_pipetrack.tracking.marks import forget_old
from airflow_provider_pipetrack.tracking.reading import Reading, read_history, read_merged, read_named, read_one
from airflow_provider_pipetrack.tracking.reconcile import Reconciler, Summary, bring_home
from airflow_provider_pipetrack.tracking.shared import (
    claim_waiting,
    entry_payload,
    folder_of_host,
    forget_waiting,
    note_waiting,
    own_journal,
    release_journal,
)

log = logging.getLogger("airflow_provider_pipetrack.tracking")

#: Seconds that a task process spends at most on what others have left behind.
HOME_LIMIT = 2.0


class TrackingStore:
    """Writes tracking records to a chain of locations and reads them back. Needs no running Airflow.

    Every change goes into a local journal first and is then delivered: to the first location that takes it, or in
    ``mirror`` mode to all. What could not be delivered, or stands only in a fallback, is brought home by
    :meth:`reconcile`.

    :param locations: location strings, in the order of preference.
    :param mode: ``fallback`` or ``mirror``.
    :param connections: Airflow connection of each type of location, such as ``{"postgres": "my_conn"}``.
    :param journal_dir: folder of the journal; that of ``[pipetrack]`` when not given.
    :param deadline: seconds that a write waits at most for its delivery.
    :param adapters: class, or its dotted path, of each type of location of your own.
    :param delivery: ``now``, or ``batch``: what need not survive a power failure (that transfers are pending, that an
        attempt has begun) is put into the journal at once, but delivered only with the next end, decision or
        :meth:`flush`, in one write; until then other hosts do not see it. A killed process leaves it to reconcile.
    :raises LocationError: when a location string cannot be understood.
    :raises PipetrackError: for an empty chain or an unknown mode.
    """

    def __init__(
        self,
        locations: Sequence[str],
        mode: str = "fallback",
        connections: Mapping[str, str] | None = None,
        journal_dir: str | Path | None = None,
        deadline: float = 5.0,
        adapters: Mapping[str, str | type[StorageAdapter]] | None = None,
        delivery: str = "now",
    ) -> None:
        if delivery not in {"now", "batch"}:
            raise PipetrackError(f"delivery {delivery!r}: expected now or batch")
        if mode not in {"fallback", "mirror"}:
            raise PipetrackError(f"mode {mode!r}: expected fallback or mirror")
        if isinstance(locations, str) or not locations:
            raise PipetrackError("a tracking store needs a list with at least one location")
        if not deadline > 0:
            raise PipetrackError(f"deadline {deadline!r}: expected seconds above 0")
        self.mode = mode
        self.deadline = float(deadline)
        self._batches = delivery == "batch"
        self._texts = tuple(locations)
        self._connections = dict(connections or {})
        self._adapters = dict(adapters or {})
        types = types_of(self._texts, self._adapters)
        self._locations = [parse_location_string(text, types) for text in locations]
        self.journal_folder = Path(journal_dir or settings.journal_dir()) / settings.host_name()
        self._begin()

    @classmethod
    def from_settings(cls) -> TrackingStore:
        """Return the store that ``[pipetrack]`` describes; SQLite under ``AIRFLOW_HOME`` when it names no location."""
        return cls(
            settings.tracking_location() or [settings.default_location()],
            mode=settings.mode(),
            deadline=settings.delivery_deadline(),
        )

    @property
    def legs(self) -> Sequence[Leg]:
        """The locations of the chain."""
        self._start_anew_in_child()
        return self._legs

    @property
    def shown_locations(self) -> list[str]:
        """The chain for people and records, without secrets."""
        return [masked(text) for text in self._texts]

    def write_tracking_record(self, record: Mapping[str, Any]) -> bool:
        """Write a record given as a dict of columns.

        Without ``record_id``, ``dag_id`` and ``task_id``, ``pipeline_id`` and ``transfer_unique_id`` stand in for them.
        Keys that are no columns are kept in ``extra_columns``.

        :return: True when the record is safe: in the journal, or confirmed by a location.
        :raises RecordError: when it cannot be identified or has a status that does not exist.
        """
        return self._write(change_from_record(record))

    def update_tracking_record(
        self, transfer_id: str, updates: Mapping[str, Any], *, pipeline_id: str | None = None
    ) -> bool:
        """Change columns of a stored record.

        :param transfer_id: a ``record_id``, or a ``transfer_unique_id``: the latest attempt in the run that began last.
        :param pipeline_id: the record's pipeline; a storage adapter of the user's own needs it.
        :return: True when the change is safe, False when no location knows such a record.
        :raises RecordError: when a column may not be updated or a word is wrong.
        :raises StorageError: when a location could not be asked, and no other knows the record, or only one that has
            ended where a later one may be meant.
        """
        known = (pipeline_id,) if pipeline_id else ()
        record = read_named(self.legs, self.journal_folder, transfer_id, known, self.deadline)
        return record is not None and self._write(change_from_updates(record, updates))

    def read_tracking_records(self, pipeline_id: str) -> list[Record]:
        """Return all records of a pipeline, merged from every location that can be reached and from the journal."""
        return self.read(pipeline_id).records

    def read(self, pipeline_id: str) -> Reading:
        """Return all records of a pipeline, and which locations could not be asked."""
        return self._read(
            lambda adapter: adapter.read_tracking_records(pipeline_id),
            lambda record: record.get("pipeline_id") == pipeline_id,
        )

    def read_run(self, dag_id: str, run_id: str, pipeline_ids: Iterable[str] = ()) -> Reading:
        """Return the records of a Dag run.

        :param pipeline_ids: the pipelines that the run may belong to; a storage adapter of the user's own needs them.
        """
        known = tuple(pipeline_ids)
        return self._read(
            lambda adapter: adapter.read_run(dag_id, run_id, known),
            lambda record: record.get("dag_id") == dag_id and record.get("run_id") == run_id,
        )

    def read_record(self, record_id: str, pipeline_ids: Iterable[str] = ()) -> Record | None:
        """Return one record, or None."""
        records = self.look_up(record_id, pipeline_ids).records
        return records[0] if records else None

    def look_up(self, record_id: str, pipeline_ids: Iterable[str] = ()) -> Reading:
        """Return one record, or none, and which locations could not be asked."""
        # Asked for while a transfer waits, so it takes no longer than a write may.
        return read_one(self.legs, self.journal_folder, record_id, tuple(pipeline_ids), self.deadline)

    def history(self, record_id: str) -> list[dict[str, Any]]:
        """Return the changes of a record, oldest first, from all locations that keep them.

        What still waits in this host's journal is among them, with ``waiting: True``. A location that cannot be asked
        is named in the log.
        """
        events, unreachable = read_history(self.legs, record_id, self.journal_folder)
        for name, reason in unreachable.items():
            log.warning("pipetrack: %s", StorageError(name, reason))
        return events

    def reconcile(
        self,
        *,
        full: bool = False,
        progress: Callable[[int], None] | None = None,
        limit: float | None = None,
        adopt_host: str | None = None,
        retired: Collection[str] = (),
    ) -> Summary:
        """Deliver what waits in this host's journal, and bring what stands only in fallbacks to where it is owed.

        :param full: also try dead letters again, and compare what the locations have, so that each gets what it lacks.
        :param progress: called with how many records or changes have been dealt with so far.
        :param limit: seconds after which no new step begins; None for no limit.
        :param adopt_host: another host, whose journal stands beside this one's on a shared disk and is drained too.
            Only for a host that is gone: where the disk does not lock across hosts, its own processes may be writing.
        :param retired: names of locations that are gone for good, as ``pipetrack doctor`` shows them: nothing is owed
            to them any more, and what is in a journal for them alone goes along this chain.
        :raises JournalError: when there is no journal of ``adopt_host``.
        """
        folders = [
            self.journal_folder,
            *([folder_of_host(self.journal_folder.parent, adopt_host)] if adopt_host else []),
        ]
        self.flush()
        forget_old(self.journal_folder)
        until = None if limit is None else time.monotonic() + limit
        journal = self._journal_if_any()
        forget_waiting(self.journal_folder)
        unnoted = unnoted_by(self) if full and until is None else 0
        summary = Reconciler(self, journal, folders, progress=progress, until=until, retired=retired).run(full=full)
        is_level = all(leg.name not in summary.unreachable for leg in self.legs if leg.can_list)
        if unnoted and is_level and unnoted_by(self) == unnoted:
            forget_unnoted(self)
        if summary.waiting or summary.still_owed:
            note_waiting(self.journal_folder)
        return summary

    def bring_home(self, limit: float = HOME_LIMIT) -> Summary | None:
        """Bring home what waits on this host, if something does and nobody has tried for a while.

        For a task process whose own delivery went well. It takes ``limit`` seconds at most; what it does not finish is
        left to the next.

        :return: what was done; None when there was nothing to do or the time was up.
        """
        if not claim_waiting(self.journal_folder):
            return None
        journal = self._journal_if_any()
        forget_waiting(self.journal_folder)
        summary = bring_home(self, journal, limit)
        if summary is None or summary.waiting or summary.still_owed:
            note_waiting(self.journal_folder)
        return summary

    def make_ready(self) -> None:
        """Connect in the delivery thread to where the next change will go, before there is one; return at once."""
        self._start_anew_in_child()
        self._delivery.make_ready()

    def hold_connections(self) -> None:
        """Ask Airflow for the connections of the whole chain, in the thread that calls, and keep its answers."""
        for leg in self.legs:
            leg.hold_connection()

    def release_connections(self) -> None:
        """Ask Airflow for a connection each time that it is needed, as at first."""
        for leg in self.legs:
            leg.release_connection()

    def submit(self, changes: Sequence[Change], *, durable: bool) -> bool:
        """Put changes into the journal and hand them to the delivery thread; return at once and never raise.

        :param durable: True when they must survive a power failure.
        :return: whether the journal has them.
        """
        return self._submit(changes, durable=durable).entry is not None

    def _submit(self, changes: Sequence[Change], *, durable: bool) -> Batch:
        self._start_anew_in_child()
        cleaned = [replace(change, columns=fit_to_keep(change.columns), plain=None) for change in changes]
        metrics.count_changes(cleaned)
        entry, journal = self._journaled(cleaned, durable=durable)
        batch = Batch(cleaned, entry, journal, time.monotonic() + self.deadline, urgent=durable or entry is None)
        if durable or entry is None or not self._batches:
            self._delivery.submit(batch)
        else:
            self._delivery.hold(batch)
        return batch

    def flush(self, seconds: float | None = None) -> bool:
        """Wait until everything submitted is delivered or given up.

        :param seconds: how long at most; the deadline when not given.
        :return: whether a location has confirmed all of it.
        """
        self._start_anew_in_child()
        return self._delivery.flush(self.deadline if seconds is None else seconds)

    def keeps(self) -> bool:
        """Return whether a record could be kept now, in the journal or in a location."""
        from airflow_provider_pipetrack.tracking.keeping import could_keep  # seldom asked

        return could_keep(self)

    def close(self) -> None:
        """Deliver what is under way, and give back connections and the journal's slot."""
        self.flush()
        self._delivery.stop()
        self.close_legs()
        release_journal(self.journal_folder)

    def close_legs(self) -> None:
        """Give back the connections."""
        for leg in self.legs:
            leg.close()

    def __enter__(self) -> TrackingStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def for_chain(self, chain: Mapping[str, Any]) -> TrackingStore:
        """Return the store of the chain that stands in a journal entry."""
        if chain == self.chain():
            return self
        return TrackingStore(
            chain["locations"],
            mode=chain["mode"],
            connections=chain["connections"],
            journal_dir=self.journal_folder.parent,
            deadline=self.deadline,
            adapters=chain["adapters"],
        )

    def _start_anew_in_child(self) -> None:
        """In a forked child, start with connections and a thread of its own; nothing of the parent is touched."""
        if os.getpid() != self._pid:
            # Kept, since to forget the parent's connections is to close them.
            _OF_PARENTS.append(self._legs)
            self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        folder = self.journal_folder / "breakers"
        self._legs = [Leg(place, self._connections, self._adapters, folder) for place in self._locations]
        self._delivery = Delivery(self._legs, self.mode, self._settled)

    def _write(self, change: Change) -> bool:
        batch = self._submit([change], durable=True)
        return self._delivery.wait(batch, self.deadline) or batch.entry is not None

    def chain(self) -> dict[str, Any]:
        """Return the chain as it stands in journal entries."""
        named = {kind: adapter for kind, adapter in self._adapters.items() if isinstance(adapter, str)}
        return {
            "locations": list(self._texts),
            "mode": self.mode,
            "connections": self._connections,
            "adapters": named,
        }

    def _journaled(self, changes: Sequence[Change], *, durable: bool) -> tuple[int | None, Journal | None]:
        try:
            journal = own_journal(self.journal_folder)
            return journal.append(entry_payload(self.chain(), changes), durable=durable), journal
        except JournalError as error:
            log.warning("pipetrack: %s; the record is delivered directly", error)
            return None, None

    def _journal_if_any(self) -> Journal | None:
        try:
            return own_journal(self.journal_folder)
        except JournalError as error:
            log.warning("pipetrack: %s", error)
            return None

    def _settled(self, batch: Batch, delivered: Delivered) -> None:
        seconds = time.monotonic() - (batch.deadline - self.deadline)
        metrics.count_delivery(len(batch.changes), seconds, delivered.failures, confirmed=delivered.confirmed)
        if delivered.failures:
            note_waiting(self.journal_folder)
        if batch.entry is not None and batch.journal is not None:
            if delivered.released:
                self._forget(batch.journal, batch.entry)
        elif not delivered.confirmed:
            LOSSES.log(batch.changes, delivered.failures, self.journal_folder)
        elif not delivered.released:
            log_unnoted(self, len(batch.changes), delivered.failures)

    def _forget(self, journal: Journal, number: int) -> None:
        try:
            journal.acknowledge([number])
        except JournalError as error:
            # It is only delivered again.
            log.warning("pipetrack: %s", error)

    def _read(self, ask: Callable[[StorageAdapter], list[Record]], wanted: Callable[[Record], bool]) -> Reading:
        return read_merged(self.legs, self.journal_folder, ask, wanted)


_OF_PARENTS: list[Sequence[Leg]] = []
