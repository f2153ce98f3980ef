"""Everything that is tracked, in order: copied from one storage to another, or exported to files."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.errors import PipetrackError, StorageError
from airflow_provider_pipetrack.records.columns import COLUMNS
from airflow_provider_pipetrack.records.handmade import event_of_change
from airflow_provider_pipetrack.records.merge import merge, record_of
from airflow_provider_pipetrack.storage.base import Event, Record, StorageAdapter
from airflow_provider_pipetrack.storage.complete import complete
from airflow_provider_pipetrack.tracking.drain import STEP_LIMIT
from airflow_provider_pipetrack.tracking.reading import check_visible, waiting_changes

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.leg import Leg
    from airflow_provider_pipetrack.tracking.store import TrackingStore

#: Records that are moved in one go.
_AT_ONCE = 1000
#: Columns that each storage fills in by itself.
_OF_THE_STORAGE = ("stored_at", "record_version", "owed")
#: What a history says of a change.
EVENT = ("event_id", "record_id", "changed_at", "changed_by", "columns", "keys")
CONTENT = tuple(column.name for column in COLUMNS if column.name not in _OF_THE_STORAGE)

Progress = Callable[[int], None]


class NotListedError(PipetrackError):
    """A storage cannot list what it holds."""


@dataclass
class Copied:
    """What a copy did.

    :param records: records that the source holds.
    :param copied: of these, those that the target lacked or had in an older version.
    :param newer: of these, those that the target has in a newer version, and keeps.
    :param events: changes of the source's history that the target lacked; none where one of them keeps no history.
    :param configs: configurations that were copied.
    :param differing: records that are not the same in both after all, or whose history is not whole in the target.
    :param source_hash: SHA-256 over the source's records, in the order of their ids; ``target_hash`` likewise over the
        same records in the target. They are equal unless the target knows something newer.
    :param source_history_hash: the same over the changes of those records; ``target_history_hash`` over the same
        changes in the target. Both are empty where one of them keeps no history.
    """

    records: int = 0
    copied: int = 0
    newer: int = 0
    events: int = 0
    configs: int = 0
    differing: list[str] = field(default_factory=list)
    source_hash: str = ""
    target_hash: str = ""
    source_history_hash: str = ""
    target_history_hash: str = ""


def copy_records(source: TrackingStore, target: TrackingStore, progress: Progress) -> Copied:
    """Copy all records, their history and their configurations from one location to another, and read them back.

    It can be broken off at any time and begun again: what is in the target already is only compared.

    :param progress: called with how many records have been dealt with so far.
    :raises NotListedError: when the source cannot list what it holds.
    :raises StorageError: when a location refuses or does not answer.
    """
    giver, taker = source.legs[0], target.legs[0]
    check_visible(giver)
    copy = _Copy(giver, taker)
    for record_ids in _batches(_ids(giver)):
        copy.bring(record_ids)
        progress(copy.done.records)
    return copy.finish()


class _Copy:
    """A copy from one location to another, batch by batch."""

    def __init__(self, giver: Leg, taker: Leg) -> None:
        self.done = Copied()
        self._giver, self._taker = giver, taker
        self._has_history = giver.keeps_history and taker.keeps_history
        self._pipelines: set[str] = set()
        self._records = hashlib.sha256(), hashlib.sha256()
        self._events = hashlib.sha256(), hashlib.sha256()

    def bring(self, record_ids: Sequence[str]) -> None:
        """Bring the target what it lacks of some records, and compare what it has then."""
        theirs, events = _read(self._giver, record_ids)
        pipelines = {str(record["pipeline_id"] or record["dag_id"]) for record in theirs.values()}
        ours, known = _read(self._taker, record_ids, pipelines)
        newer = {name for name, record in theirs.items() if _adds(record, ours.get(name))}
        missing = self._missing(events, known)
        untold = {event["record_id"] for event in missing}
        if newer or untold:
            lacking = [record for name, record in theirs.items() if name in newer | untold]
            # All that is known of a record, since a part would not explain it.
            told = [event for event in events if event["record_id"] in newer | untold]
            self._taker.call(partial(_take, lacking, told), STEP_LIMIT, patient=True, large=True)
            ours, known = _read(self._taker, record_ids, pipelines)
        self.done.records += len(theirs)
        self.done.copied += len(newer)
        self.done.events += len(missing)
        self._pipelines |= pipelines
        self._compare(theirs, ours, self._compare_histories(events, known))

    def finish(self) -> Copied:
        """Copy the configurations, and return what was done."""
        done = self.done
        done.source_hash, done.target_hash = (found.hexdigest() for found in self._records)
        if self._has_history:
            done.source_history_hash, done.target_history_hash = (found.hexdigest() for found in self._events)
        done.configs = sum(_copy_configs(self._giver, self._taker, pipeline) for pipeline in sorted(self._pipelines))
        return done

    def _missing(self, events: Sequence[Event], known: Sequence[Event]) -> list[Event]:
        """Return the changes that the target's history lacks."""
        ids = {event["event_id"] for event in known}
        return [event for event in events if event["event_id"] not in ids] if self._has_history else []

    def _compare_histories(self, events: Sequence[Event], known: Sequence[Event]) -> set[str]:
        """Return the records whose changes are not the same in the target."""
        ours = {event["event_id"]: event for event in known}
        differing: set[str] = set()
        for event in sorted(events, key=lambda event: (event["record_id"], event["event_id"])):
            wanted = canonical(plain_event(event))
            found = canonical(plain_event(ours[event["event_id"]])) if event["event_id"] in ours else ""
            self._events[0].update(wanted.encode())
            self._events[1].update(found.encode())
            if wanted != found:
                differing.add(event["record_id"])
        return differing if self._has_history else set()

    def _compare(self, theirs: Mapping[str, Record], ours: Mapping[str, Record], untold: Collection[str]) -> None:
        for name, record in theirs.items():
            wanted, found = content_hash(record), content_hash(ours.get(name, {}))
            self._records[0].update(wanted.encode())
            self._records[1].update(found.encode())
            if name in untold or (wanted != found and _adds(record, ours.get(name))):
                self.done.differing.append(name)
            elif wanted != found:
                self.done.newer += 1


def all_records(stores: Sequence[TrackingStore], unreachable: dict[str, str]) -> Iterator[tuple[Record, list[Event]]]:
    """Yield every record with its history, by the ids, merged from all locations of the chains and the host's journal.

    :param stores: whose chains are read; a location that several name is read once.
    :param unreachable: gets the reason for each location that could not be read, by its name.
    """
    legs = []
    for leg in {leg.identity: leg for store in stores for leg in store.legs}.values():
        try:
            check_visible(leg)
            legs.append((leg, next(_batches(_ids(leg)), None)))
        except (StorageError, NotListedError) as error:
            unreachable[leg.name] = getattr(error, "message", str(error))
    readers = [leg for leg, first in legs if first]
    waiting: dict[str, Record] = {}
    untold: dict[str, dict[str, Event]] = {}
    for folder in {store.journal_folder for store in stores}:
        for change in waiting_changes(folder):
            _add(waiting, record_of(change))
            untold.setdefault(change.record_id, {})[change.event_id] = event_of_change(change)
    listed = heapq.merge(*(_ids(leg) for leg in readers), sorted(waiting))
    for record_ids in _batches(name for name, _ in itertools.groupby(listed)):
        merged = {name: waiting[name] for name in record_ids if name in waiting}
        histories = {name: dict(untold.get(name, {})) for name in record_ids}
        for leg in readers:
            records, events = _read(leg, record_ids)
            for record in records.values():
                _add(merged, record)
            for event in events:
                histories[event["record_id"]][event["event_id"]] = event
        for name in record_ids:
            yield (
                merged[name],
                sorted(histories[name].values(), key=lambda event: (event["changed_at"], event["event_id"])),
            )


def canonical(values: Mapping[str, Any]) -> str:
    """Return values as JSON that is the same, byte by byte, for the same values."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_as_text)


def plain_event(event: Event) -> dict[str, Any]:
    """Return a change as it stands in a history, without what its storage adds."""
    return {name: _plain(event[name]) if name in ("columns", "keys") else event[name] for name in EVENT}


def content_hash(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what a record says, whatever storage it stands in."""
    return hashlib.sha256(canonical({name: record.get(name) for name in CONTENT}).encode()).hexdigest()


def _take(records: Sequence[Record], events: Sequence[Event], adapter: StorageAdapter) -> None:
    adapter.take(records, events)


def _adds(record: Record, known: Record | None) -> bool:
    """Return whether a record says something that a location does not know yet."""
    return known is None or content_hash(merge(known, record)) != content_hash(known)


def _add(records: dict[str, Record], record: Record) -> None:
    version, known = complete(record), records.get(record["record_id"])
    records[record["record_id"]] = version if known is None else merge(known, version)


def _ids(leg: Leg) -> Iterator[str]:
    """Yield the ids of all records of a location, in the order of their bytes."""
    if not leg.can_list:
        text = f"{leg.name} cannot list what it holds: its adapter has only the three methods"
        raise NotListedError(text)
    after = ""
    while page := leg.call(partial(_page, after), STEP_LIMIT, patient=True, large=True):
        yield from page
        after = page[-1]


def _page(after: str, adapter: StorageAdapter) -> list[str]:
    return [listed.record_id for listed in adapter.inventory(after, _AT_ONCE)]


def _batches(names: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while batch := list(itertools.islice(rest, _AT_ONCE)):
        yield batch


def _read(
    leg: Leg, record_ids: Sequence[str], pipeline_ids: Iterable[str] = ()
) -> tuple[dict[str, Record], list[Event]]:
    def read(adapter: StorageAdapter) -> tuple[list[Record], list[Event]]:
        return adapter.read_records(record_ids, pipeline_ids), adapter.histories(record_ids)

    records, events = leg.call(read, STEP_LIMIT, patient=True, large=True)
    found = {record["record_id"]: complete(record) for record in records}
    return dict(sorted(found.items(), key=lambda item: item[0].encode("utf-8", "surrogatepass"))), events


def _copy_configs(giver: Leg, taker: Leg, pipeline_id: str) -> int:
    if not (giver.keeps_configs and taker.keeps_configs):
        return 0
    versions = giver.call(lambda adapter: adapter.config_versions(pipeline_id), STEP_LIMIT, patient=True)
    known = taker.call(lambda adapter: adapter.config_versions(pipeline_id), STEP_LIMIT, patient=True)
    missing = [v for v in versions if v.config_hash not in {other.config_hash for other in known}]
    for version in missing:
        taker.call(lambda adapter, version=version: adapter.keep_config(version), STEP_LIMIT, patient=True)  # type: ignore[misc]
    return len(missing)


def _plain(value: Any) -> Any:
    return json.loads(value) if isinstance(value, (str, bytes)) else value


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
