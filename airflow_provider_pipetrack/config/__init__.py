"""From the text of a pipeline file to its model, with the place of every mistake."""

from __future__ import annotations

from airflow_provider_pipetrack.config.durations import parse_duration
from airflow_provider_pipetrack.config.pipeline import PipelineConfig
from airflow_provider_pipetrack.config.transfer import StageTransfer, transfer_from_mapping

__all__ = ["PipelineConfig", "StageTransfer", "parse_duration", "transfer_from_mapping"]
