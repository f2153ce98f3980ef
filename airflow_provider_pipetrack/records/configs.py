"""A version of a pipeline's configuration, as it is kept beside the records that were made by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class ConfigVersion:
    """What a pipeline file said, or a hand-written Dag of one of its pipelines.

    :param config_hash: SHA-256 of the configuration, as the records carry it.
    :param pipeline_id: as it stands there.
    :param stages: source and target of each transfer, in the order of the file; see :func:`changed_stages`.
    :param config: the configuration with defaults filled in, without secrets.
    :param first_used_at: when a run first used it, UTC.
    """

    config_hash: str
    pipeline_id: str
    dag_id: str
    pipeline_version: str | None
    stages: list[list[str]]
    config: Mapping[str, Any]
    first_used_at: datetime

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as a dict."""
        return asdict(self)


def changed_stages(version: ConfigVersion, known: Iterable[ConfigVersion]) -> str | None:
    """Return how the stages differ from those with which the same pipeline and version began, or None.

    :param known: the configurations that have been used, in the order of their first use.
    """
    same = (version.pipeline_id, version.pipeline_version)
    first = next((v for v in known if (v.pipeline_id, v.pipeline_version) == same), None)
    if first is None:
        return None
    before, now = ({tuple(stage) for stage in v.stages} for v in (first, version))
    told = [_told("added", now - before), _told("removed", before - now)]
    return "; ".join(text for text in told if text) or None


def _told(verb: str, stages: Iterable[tuple[str, ...]]) -> str:
    listed = ", ".join(" -> ".join(stage) for stage in sorted(stages))
    return f"{verb} {listed}" if listed else ""
