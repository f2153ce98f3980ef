"""pipetrack: data pipelines from YAML files, every attempt of every transfer tracked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_pipetrack.attempts.counts import report
    from airflow_provider_pipetrack.config import PipelineConfig, StageTransfer, parse_duration
    from airflow_provider_pipetrack.dag import build_dag, load_pipelines, report_problems
    from airflow_provider_pipetrack.errors import ConfigError
    from airflow_provider_pipetrack.operators.tracked import TrackedOperator, tracked
    from airflow_provider_pipetrack.sensors.audit import AuditSensor
    from airflow_provider_pipetrack.sensors.ready import TransferReadySensor
    from airflow_provider_pipetrack.storage.base import StorageAdapter
    from airflow_provider_pipetrack.storage.locations import parse_location_string
    from airflow_provider_pipetrack.tracking.readiness import is_ready
    from airflow_provider_pipetrack.tracking.store import TrackingStore

__version__ = "0.1.0"

#: Where each public name lives; it is imported when it is first asked for.
_HOMES = {
    "AuditSensor": "sensors.audit",
    "ConfigError": "errors",
    "PipelineConfig": "config",
    "StageTransfer": "config",
    "StorageAdapter": "storage.base",
    "TrackedOperator": "operators.tracked",
    "TrackingStore": "tracking.store",
    "TransferReadySensor": "sensors.ready",
    "build_dag": "dag",
    "is_ready": "tracking.readiness",
    "load_pipelines": "dag",
    "parse_duration": "config",
    "parse_location_string": "storage.locations",
    "report": "attempts.counts",
    "report_problems": "dag",
    "tracked": "operators.tracked",
}

__all__ = [
    "AuditSensor",
    "ConfigError",
    "PipelineConfig",
    "StageTransfer",
    "StorageAdapter",
    "TrackedOperator",
    "TrackingStore",
    "TransferReadySensor",
    "build_dag",
    "is_ready",
    "load_pipelines",
    "parse_duration",
    "parse_location_string",
    "report",
    "report_problems",
    "tracked",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
