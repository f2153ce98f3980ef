"""What is done with whole chains: make their locations, and find all that are to be kept up or shown."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.errors import LocationError, PipetrackError
from airflow_provider_pipetrack.storage.locations import masked, parse_location_string
from airflow_provider_pipetrack.tracking.chains import forget_chain, known_chains, last_used, remember_chain
from airflow_provider_pipetrack.tracking.pool import get_store
from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.maintenance")

#: Seconds that it may take to make or upgrade the tables of a location; an index on many records takes long.
_UPGRADE_LIMIT = 600.0
#: Chains beside that of ``[pipetrack]`` that people are shown at once.
MOST_CHAINS = 10


def upgrade_locations(store: TrackingStore, progress: Callable[[int], None]) -> dict[str, list[str]]:
    """Make tables, collections or folders in every location of a chain, or add what those of an older version lack.

    :param progress: called with how many locations are done so far.
    :return: what was added to tables that were there, by location.
    :raises StorageError: when a location refuses or does not answer.
    """
    added: dict[str, list[str]] = {}
    for number, leg in enumerate(store.legs, 1):
        added[leg.name] = leg.call(lambda adapter: adapter.upgrade(), _UPGRADE_LIMIT, patient=True)
        progress(number)
    return added


def shown_stores(*, own_code: bool, most: int | None = MOST_CHAINS) -> tuple[list[TrackingStore], dict[str, str]]:
    """Return the stores that people are shown, and why another chain is not shown, by the name of its first location.

    They are the store of ``[pipetrack]``, first, those that it names to be shown, and those of the ``most`` chains that
    were used last. The built-in default is no part of them as long as nothing stands there and there are
    other chains.

    :param own_code: whether storage code of the pipelines' own may be loaded. The api-server must not: who writes Dags
        has no say in what runs there.
    :param most: None for every chain that is known.
    :raises PipetrackError: when ``[pipetrack]`` cannot be understood.
    """
    plain = {"mode": settings.mode(), "connections": {}, "adapters": {}}
    wanted = [{"locations": chain, **plain} for chain in settings.also_shown()]
    named = settings.tracking_location()
    default = settings.default_location()
    stores = [get_store(tuple(named) or (default,), mode=settings.mode(), connections={}, adapters={}, remember=False)]
    left_out: dict[str, str] = {}
    places = {_places(stores[0].chain())}
    for number, chain in enumerate([*wanted, *known_chains()]):
        own = chain if own_code else {**chain, "adapters": {}}
        if _places(own) in places:
            continue
        if number >= len(wanted) and most is not None and len(places) > most + len(wanted):
            left_out[masked(chain["locations"][0])] = f"only the {most} chains that were used last are asked"
            continue
        places.add(_places(own))
        try:
            stores.append(store_of_chain(own))
        except PipetrackError as error:
            left_out[masked(chain["locations"][0])] = _unusable(chain, error, own_code=own_code)
    if not named and len(stores) > 1 and not stores[0].legs[0].is_here:
        del stores[0]
    return stores, left_out


def stores_of_host() -> list[TrackingStore]:
    """Return the store of ``[pipetrack]`` and of every chain that a process of this host has used, each once."""
    return list({id(store): store for store in _all_stores()}.values())


def name_of(text: str) -> str:
    """Return the name by which records say that a location lacks them, whatever form it is written in."""
    try:
        return parse_location_string(text).name
    except LocationError:  # of a storage of the user's own, whose code may be gone, too
        return masked(text)


def uses_of(name: str, stores: Iterable[TrackingStore]) -> list[float]:
    """Return when chains with a location were used last, of those that this host remembers, as seconds since 1970.

    :param name: the location's.
    """
    used = [last_used(store.chain()) for store in stores if any(leg.name == name for leg in store.legs)]
    return [moment for moment in used if moment is not None]


def retire_from_chains(stores: Iterable[TrackingStore], retired: Collection[str]) -> int:
    """Let the chains that this host remembers go on without locations that are gone for good; return how many had one.

    A chain that a pipeline still names comes back when it is used.

    :param retired: names of the locations.
    """
    changed = 0
    for store in stores:
        chain = store.chain()
        left = [text for text, leg in zip(chain["locations"], store.legs, strict=True) if leg.name not in retired]
        if len(left) < len(chain["locations"]) and forget_chain(chain):
            changed += 1
            if left:
                remember_chain({**chain, "locations": left})
    return changed


def _all_stores() -> Iterator[TrackingStore]:
    try:
        locations = settings.tracking_location() or [settings.default_location()]
        yield get_store(tuple(locations), mode=settings.mode(), connections={}, adapters={})
    except PipetrackError as error:
        log.error("pipetrack: %s", error)  # noqa: TRY400  it says what to do; a traceback does not
    for chain in known_chains():
        try:
            yield store_of_chain(chain)
        except PipetrackError as error:
            log.warning("pipetrack leaves out a chain that was used on this host: %s", error)


def store_of_chain(chain: Mapping[str, Any]) -> TrackingStore:
    """Return this process's store of a chain, as :meth:`TrackingStore.chain` describes it.

    :raises PipetrackError: when this process cannot use it.
    """
    return get_store(
        tuple(chain["locations"]),
        mode=chain["mode"],
        connections=chain["connections"],
        adapters=chain["adapters"],
        remember=False,
    )


def _places(chain: Mapping[str, Any]) -> str:
    """Return where a chain keeps records; the mode makes no difference to who reads them."""
    return json.dumps([chain["locations"], chain["connections"], chain["adapters"]], sort_keys=True)


def _unusable(chain: Mapping[str, Any], error: PipetrackError, *, own_code: bool) -> str:
    if chain["adapters"] and not own_code:
        return "is a storage of a pipeline's own, whose code is not loaded here; `pipetrack status` shows it"
    return error.message if isinstance(error, LocationError) else str(error)
