"""Who answers a question: of every chain that is asked the first location that does, each location once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.merge import merge
from airflow_provider_pipetrack.records.queries import Asked
from airflow_provider_pipetrack.storage.base import Record
from airflow_provider_pipetrack.storage.complete import complete
from airflow_provider_pipetrack.storage.memory import answer_from_records
from airflow_provider_pipetrack.tracking.leg import Leg
from airflow_provider_pipetrack.tracking.reading import READ_LIMIT, check_visible, waiting_by_chain
from airflow_provider_pipetrack.tracking.store import TrackingStore

T = TypeVar("T")
Rows = list[dict[str, Any]]
_Result = tuple[T | None, StorageError | None]

#: Seconds that a location may take to say what it keeps for another one.
_OWED_LIMIT = 3.0
#: Seconds that other chains may take when one has answered, and for how long one that did not is not waited for.
OTHERS_LIMIT, _LEFT_OUT = 3.0, 15.0


@dataclass
class Source:
    """A location that answered, for one chain or several.

    :param leg: the location; None for what waits in the journal of chains of which no location answers.
    :param newer: records that count more than what the location has.
    """

    leg: Leg | None
    newer: list[Record]
    rows: Rows = field(default_factory=list)
    total: int = 0

    def ask(self, asked: Asked) -> tuple[Rows, int]:
        """Return the source's own answer.

        :raises StorageError: when it does not answer.
        """
        if self.leg is None:
            return answer_from_records(asked, self.newer)
        return self.leg.call(lambda adapter: adapter.answer(asked, self.newer), READ_LIMIT, large=True)


class Round:
    """Asks a number of chains one question.

    :param stores: the stores of the chains.
    :param late: until when a location is not waited for, by its identity; kept from one question to the next.
    """

    def __init__(self, stores: Sequence[TrackingStore], late: dict[Any, float]) -> None:
        self._stores = stores
        self._late = late
        self._waiting = _waiting(stores)
        self._next = [0] * len(stores)
        self._served: dict[int, Any] = {}
        #: Whether what was asked is what each of several is asked.
        self.is_wide = False
        self.unreachable: dict[str, str] = {}

    def ask(self, one: Asked, several: Asked) -> list[Source]:
        """Return who answered, and what.

        :param one: what is asked when a single location answers for all chains.
        :param several: what each is asked when there are several.
        """
        sources: dict[Any, Source] = {}
        while groups := self._groups():
            self.is_wide = len(groups) > 1 or bool(sources)
            self._ask_groups(groups, several if self.is_wide else one, sources)
        left = [place for place in range(len(self._stores)) if place not in self._served]
        waiting = [record for place in left for record in self._waiting[place]]
        if waiting or not sources:
            self.is_wide = bool(sources)
            rest = Source(None, waiting)
            rest.rows, rest.total = rest.ask(several if sources else one)
            sources[None] = rest
        return list(sources.values())

    def _groups(self) -> dict[Any, tuple[Leg, list[int]]]:
        """Return the locations to be asked next, each with the chains that it would answer for."""
        groups: dict[Any, tuple[Leg, list[int]]] = {}
        for place, store in enumerate(self._stores):
            if place not in self._served and self._next[place] < len(store.legs):
                leg = store.legs[self._next[place]]
                groups.setdefault(leg.identity, (leg, []))[1].append(place)
        for place, identity in self._served.items():
            if identity in groups:  # asked again, now for more chains
                groups[identity][1].append(place)
        return groups

    def _ask_groups(
        self, groups: Mapping[Any, tuple[Leg, list[int]]], asked: Asked, sources: dict[Any, Source]
    ) -> None:
        asking = {
            identity: (lambda leg=leg, places=places: self._asked_source(leg, places, asked))
            for identity, (leg, places) in groups.items()
        }
        results = _at_once(asking, self._late)
        for identity, (leg, places) in groups.items():
            source, error = results[identity]
            if source is not None:
                sources[identity] = source
                self.unreachable.pop(leg.name, None)
                self._served.update(dict.fromkeys(places, identity))
                continue
            self.unreachable[leg.name] = error.message if error else ""
            for place in places:
                if place not in self._served:
                    self._next[place] += 1

    def _asked_source(self, leg: Leg, places: Sequence[int], asked: Asked) -> Source:
        check_visible(leg)
        waiting = [record for place in places for record in self._waiting[place]]
        source = Source(leg, self._newer(leg, waiting))
        source.rows, source.total = source.ask(asked)
        return source

    def _newer(self, asked: Leg, waiting: Sequence[Record]) -> list[Record]:
        """Return what the asked location may not have yet: from the journal, and from those that keep it as owed."""
        found = list(waiting)
        for leg in self._keepers(asked):
            if leg.name in self.unreachable:
                continue
            try:
                check_visible(leg)
                records = leg.call(lambda adapter: adapter.owed_records(), _OWED_LIMIT, large=True)
            except StorageError as error:
                self.unreachable[leg.name] = error.message
                continue
            found += [complete(record) for record in records if asked.name in (record["owed"] or ())]
        merged: dict[str, Record] = {}
        for record in found:
            known = merged.get(record["record_id"])
            merged[record["record_id"]] = record if known is None else merge(known, record)
        return list(merged.values())

    def _keepers(self, asked: Leg) -> Iterable[Leg]:
        """Return the locations that may keep records for another one: those of all chains that it is in."""
        chains = [store.legs for store in self._stores if any(leg.identity == asked.identity for leg in store.legs)]
        return {leg.identity: leg for legs in chains for leg in legs if leg.identity != asked.identity}.values()


def _waiting(stores: Sequence[TrackingStore]) -> list[list[Record]]:
    """Return what waits in the journal for each chain; what is for none of them counts with the first."""
    places = {_chain_key(store.chain()): place for place, store in reversed(list(enumerate(stores)))}
    found: list[list[Record]] = [[] for _ in stores]
    for folder in {store.journal_folder for store in stores}:
        for chain, records in waiting_by_chain(folder):
            found[places.get(_chain_key(chain), 0)].extend(records)
    return found


def _chain_key(chain: Mapping[str, Any]) -> str:
    return json.dumps([chain["locations"], chain["connections"]], sort_keys=True)


def _at_once(asking: Mapping[Any, Callable[[], T]], late: dict[Any, float]) -> dict[Any, _Result[T]]:
    """Ask several at the same time; when one has answered, the others have a few seconds more."""
    if len(asking) == 1:
        return {identity: _tried(ask) for identity, ask in asking.items()}
    results: dict[Any, _Result[T]] = {}
    changed = threading.Condition()

    def run(identity: Any, ask: Callable[[], T]) -> None:
        result = _tried(ask)
        with changed:
            results[identity] = result
            changed.notify()

    begun = time.monotonic()
    asked = [identity for identity in asking if late.get(identity, 0.0) <= begun]
    for identity in asked:
        threading.Thread(target=run, args=(identity, asking[identity]), name="pipetrack: source", daemon=True).start()
    with changed:
        _wait(changed, results, len(asked))
        found = dict(results)
    for identity in asking.keys() - found.keys():
        if identity in asked:
            late[identity] = time.monotonic() + _LEFT_OUT
        found[identity] = None, StorageError("", f"did not answer within {OTHERS_LIMIT:g} s, as others did")
    return found


def _wait(changed: threading.Condition, results: Mapping[Any, _Result[T]], wanted: int) -> None:
    """Wait for all results, but no longer than some seconds after the first good one."""
    until, is_answered = time.monotonic() + READ_LIMIT + OTHERS_LIMIT, False
    while len(results) < wanted and (left := until - time.monotonic()) > 0:
        changed.wait(left)
        if not is_answered and any(error is None for _, error in results.values()):
            until, is_answered = time.monotonic() + OTHERS_LIMIT, True


def _tried(ask: Callable[[], T]) -> _Result[T]:
    try:
        return ask(), None
    except StorageError as error:
        return None, error
