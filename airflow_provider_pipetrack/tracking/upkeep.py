"""What a person does with locations: make them, and bring all chains of a host up to date."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.storage.locations import masked
from airflow_provider_pipetrack.tracking.chains import known_chains
from airflow_provider_pipetrack.tracking.pool import get_store
from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.maintenance")

#: Seconds that it may take to make or upgrade the tables of a location; an index on many records takes long.
_UPGRADE_LIMIT = 600.0


def upgrade_locations(store: TrackingStore) -> dict[str, list[str]]:
    """Make tables, collections or folders in every location of a chain, or add what those of an older version lack.

    :return: what was added to tables that were there, by location.
    :raises StorageError: when a location refuses or does not answer.
    """
    return {leg.name: leg.call(lambda adapter: adapter.upgrade(), _UPGRADE_LIMIT, patient=True) for leg in store.legs}


def other_chains(store: TrackingStore) -> list[list[str]]:
    """Return the chains that processes of this host have written to, other than a store's own, without secrets."""
    chains = [[masked(text) for text in chain["locations"]] for chain in known_chains()]
    return [chain for chain in chains if chain != store.shown_locations]


def stores_of_host() -> list[TrackingStore]:
    """Return the store of ``[pipetrack]`` and of every chain that a process of this host has used, each once."""
    return list({id(store): store for store in _all_stores()}.values())


def _all_stores() -> Iterator[TrackingStore]:
    try:
        locations = settings.tracking_location() or [settings.default_location()]
        yield get_store(tuple(locations), mode=settings.mode(), connections={}, adapters={})
    except PipetrackError as error:
        log.error("pipetrack: %s", error)  # noqa: TRY400  it says what to do; a traceback does not
    for chain in known_chains():
        try:
            yield get_store(
                tuple(chain["locations"]),
                mode=chain["mode"],
                connections=chain["connections"],
                adapters=chain["adapters"],
            )
        except PipetrackError as error:
            log.warning("pipetrack leaves out a chain that was used on this host: %s", error)
