"""Which configuration a run is made by: kept once, and compared with the one that its version began with."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.attempts.binding import is_root
from airflow_provider_pipetrack.attempts.configuration import configuration_of
from airflow_provider_pipetrack.compat import AirflowFailException
from airflow_provider_pipetrack.config.by_hand import HandWrittenPipeline
from airflow_provider_pipetrack.config.content import plain_text
from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.records.configs import ConfigVersion, changed_stages
from airflow_provider_pipetrack.tracking.configs import keep_config, masked_config

if TYPE_CHECKING:
    from airflow_provider_pipetrack.attempts.binding import Spec
    from airflow_provider_pipetrack.config import PipelineConfig
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.tracking")

#: Seconds for which it is believed that a configuration is still kept: its storage may be made anew, or restored.
_BELIEVED = 86_400.0


class StagesChangedError(AirflowFailException):
    """The stages of a pipeline changed without a new version, and its file asks to fail then."""


def check_version(task: Any, spec: Spec, store: TrackingStore) -> str | None:
    """Keep the configuration of a run, and report stages that changed under an unchanged id and version.

    Done by the pipeline's first tasks of a run, once a day per host and configuration; with ``on_schema_change: fail``
    again until a configuration is accepted.

    :return: what changed, for the record's decision, the first time that it is seen.
    :raises StagesChangedError: when the pipeline asks for it; the attempt is not retried.
    """
    try:
        config = configuration_of(spec, task.dag)
        return _checked(config, store) if config is not None and _begins_with(config, task) else None
    except StagesChangedError:
        raise
    except Exception as error:  # noqa: BLE001  tracking never fails a transfer
        log.warning("pipetrack could not look at the pipeline's version: %s: %s", type(error).__name__, error)
        return None


def version_of(config: PipelineConfig | HandWrittenPipeline) -> ConfigVersion:
    """Return the version that a pipeline file is, or a pipeline in a hand-written Dag, without secrets."""
    return ConfigVersion(
        config_hash=config.config_hash,
        pipeline_id=config.pipeline_id,
        dag_id=config.dag_id,
        pipeline_version=config.pipeline_version,
        stages=[[_text(row.stage_i_details), _text(row.stage_i_plus_1_details)] for row in config.stage_transfers],
        config=masked_config(config.public_content(tuple(settings.mask_fields()))),
        first_used_at=utc_now(),
    )


def _begins_with(config: PipelineConfig | HandWrittenPipeline, task: Any) -> bool:
    """Return whether a task is among the first of its pipeline; a hand-written Dag may have several pipelines."""
    if isinstance(config, HandWrittenPipeline):
        return task.task_id in config.first_tasks
    return is_root(task.dag, task.task_id)


def _checked(config: PipelineConfig | HandWrittenPipeline, store: TrackingStore) -> str | None:
    marker = _marker(store, config.config_hash)
    if _is_kept(marker):
        return None
    version = version_of(config)
    kept = keep_config(store, version)
    for name, reason in kept.unreachable.items():
        log.warning("pipetrack could not keep the configuration in %s: %s", name, reason)
    seen = any(other.config_hash == version.config_hash for other in kept.before)
    changed = changed_stages(version, _comparable(config, kept.before))
    if changed and config.on_schema_change == "fail":
        raise StagesChangedError(_sentence(config, changed))
    if kept.settled:
        _mark(marker)
    if not changed or seen:
        return None
    log.warning("pipetrack: %s", _sentence(config, changed))
    return f"stages changed under an unchanged version: {changed}"


def _comparable(config: PipelineConfig | HandWrittenPipeline, known: Iterable[ConfigVersion]) -> list[ConfigVersion]:
    """Return the configurations that should have the same stages: several hand-written Dags may share a pipeline."""
    by_hand = isinstance(config, HandWrittenPipeline)
    return [version for version in known if not by_hand or version.dag_id == config.dag_id]


def _sentence(config: PipelineConfig | HandWrittenPipeline, changed: str) -> str:
    version = f"pipeline_version {config.pipeline_version!r}" if config.pipeline_version else "no pipeline_version"
    return (
        f"the stages of pipeline {config.pipeline_id!r} are others than when it was first run with {version}: "
        f"{changed}; {_advice(config)} a new pipeline_id to track it apart"
    )


def _advice(config: PipelineConfig | HandWrittenPipeline) -> str:
    by_hand = isinstance(config, HandWrittenPipeline)
    return "give its tasks" if by_hand else "give the file a new pipeline_version, or"


def _text(content: Any) -> str:
    text = plain_text(content)
    return str(content) if text is None else text


def _marker(store: TrackingStore, config_hash: str) -> Path:
    key = "\0".join([config_hash, *store.shown_locations])
    return settings.state_dir() / "configs" / hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _is_kept(marker: Path) -> bool:
    """Return whether this host has kept a configuration lately."""
    try:
        return abs(time.time() - marker.stat().st_mtime) < _BELIEVED
    except OSError:
        return False


def _mark(marker: Path) -> None:
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError as error:
        log.debug("this configuration will be looked at again: %s", error)
