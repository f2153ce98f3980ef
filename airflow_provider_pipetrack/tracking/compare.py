"""Which records the locations of a chain do not agree on."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from airflow_provider_pipetrack.storage.base import Listed, StorageAdapter
from airflow_provider_pipetrack.tracking.drain import STEP_LIMIT
from airflow_provider_pipetrack.tracking.leg import Leg

_PAGE = 5000


@dataclass(frozen=True)
class Difference:
    """A record that some locations lack or have otherwise.

    :param record_id: the record.
    :param holders: what each location that has it says of it.
    :param legs: all locations that were compared.
    """

    record_id: str
    holders: dict[Leg, Listed]
    legs: Sequence[Leg]

    def takers_from(self, giver: Leg) -> list[Leg]:
        """Return the locations that may lack something of what ``giver`` has."""
        given = self.holders.get(giver)
        return [leg for leg in self.legs if leg is not giver and given and _may_lack(self.holders.get(leg), given)]


def differences(legs: Sequence[Leg], progress: Callable[[int], None]) -> Iterator[Difference]:
    """Yield the records on which locations differ, by their ids.

    :param progress: called with how many records were looked at since the last call.
    :raises StorageError: when a location does not answer.
    """
    listings = [_all(leg, number) for number, leg in enumerate(legs)]
    seen = 0
    for record_id, group in itertools.groupby(heapq.merge(*listings), key=lambda pair: pair[0].record_id):
        holders = {legs[number]: listed for listed, number in group}
        difference = Difference(record_id, holders, legs)
        if any(difference.takers_from(giver) for giver in holders):
            yield difference
        seen += 1
        if seen % _PAGE == 0:
            progress(_PAGE)
    progress(seen % _PAGE)


def _all(leg: Leg, number: int) -> Iterator[tuple[Listed, int]]:
    after = ""
    while True:
        page = leg.call(partial(_page, after), STEP_LIMIT, patient=True, large=True)
        yield from ((listed, number) for listed in page)
        if len(page) < _PAGE:
            return
        after = page[-1].record_id


def _page(after: str, adapter: StorageAdapter) -> list[Listed]:
    return adapter.inventory(after, _PAGE)


def _may_lack(known: Listed | None, given: Listed) -> bool:
    if known is None:
        return True
    return known.keys != given.keys or bool(known.events and given.events and known.events != given.events)
