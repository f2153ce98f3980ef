"""The configurations that records were made by: kept beside the records, in the first location that can."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.configs import ConfigVersion
from airflow_provider_pipetrack.storage.locations import masked
from airflow_provider_pipetrack.tracking.reading import check_visible

if TYPE_CHECKING:
    from airflow_provider_pipetrack.storage.base import StorageAdapter
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.tracking")


@dataclass(frozen=True)
class Kept:
    """How it went to keep a configuration.

    :param before: the configurations of the pipeline that were known before, in the order of their first use.
    :param settled: whether it is where it belongs; False when a location did not answer and is to be tried again.
    :param unreachable: why a location could not be asked, by its name.
    """

    before: list[ConfigVersion]
    settled: bool
    unreachable: dict[str, str]


def keep_config(store: TrackingStore, version: ConfigVersion) -> Kept:
    """Keep a configuration in the first location of a chain that keeps them and answers; never raise."""

    def keep(adapter: StorageAdapter) -> list[ConfigVersion]:
        known = adapter.config_versions(version.pipeline_id)
        if all(other.config_hash != version.config_hash for other in known):
            adapter.keep_config(version)
        return known

    unreachable: dict[str, str] = {}
    for leg in store.legs:
        if leg.keeps_configs:
            try:
                return Kept(leg.call(keep, store.deadline), not unreachable, unreachable)
            except StorageError as error:
                unreachable[leg.name] = error.message
    return Kept([], not unreachable, unreachable)


def config_versions(stores: Iterable[TrackingStore], pipeline_id: str) -> tuple[list[ConfigVersion], dict[str, str]]:
    """Return the configurations of a pipeline in the order of their first use, and which locations could not be asked.

    :param stores: the stores that may have them.
    :param pipeline_id: the id as it stands in the file, or the Dag's.
    """
    found: dict[str, ConfigVersion] = {}
    unreachable: dict[str, str] = {}
    keepers = {leg.identity: (leg, store) for store in stores for leg in store.legs if leg.keeps_configs}
    for leg, store in keepers.values():
        try:
            check_visible(leg)
            versions = leg.call(lambda adapter: adapter.config_versions(pipeline_id), store.deadline)
        except StorageError as error:
            unreachable[leg.name] = error.message
            continue
        for version in versions:
            known = found.get(version.config_hash)
            if known is None or version.first_used_at < known.first_used_at:
                found[version.config_hash] = version
    return sorted(found.values(), key=lambda version: (version.first_used_at, version.config_hash)), unreachable


def configs_among(stores: Iterable[TrackingStore], wanted: Mapping[str, str], limit: float) -> list[ConfigVersion]:
    """Return configurations by their hashes, as far as locations that keep and say them know them.

    :param stores: the stores that may have them.
    :param wanted: the hash of each, with its Dag.
    :param limit: seconds that one location may take.
    """
    found: dict[str, ConfigVersion] = {}
    for leg in {leg.identity: leg for store in stores for leg in store.legs}.values():
        missing = {config_hash: dag_id for config_hash, dag_id in wanted.items() if config_hash not in found}
        if not missing:
            break
        if not leg.keeps_configs:
            continue
        try:
            check_visible(leg)
            versions = leg.call(partial(_read_configs, wanted=missing), limit)
        except StorageError as error:
            log.debug("no configurations from %s: %s", leg.name, error.message)
            continue
        found.update((version.config_hash, version) for version in versions)
    return list(found.values())


def _read_configs(adapter: StorageAdapter, wanted: Mapping[str, str]) -> list[ConfigVersion]:
    return adapter.read_configs(wanted)


def masked_config(value: Any) -> Any:
    """Return a configuration without the secrets that stand within its texts, such as passwords in addresses."""
    if isinstance(value, Mapping):
        return {key: masked_config(item) for key, item in value.items()}
    if isinstance(value, list):
        return [masked_config(item) for item in value]
    return masked(value) if isinstance(value, str) else value
