"""The JSON Schema of pipeline files, for editors."""

from __future__ import annotations

from typing import Any

from airflow_provider_pipetrack.config.pipeline import PipelineConfig


def pipeline_schema() -> dict[str, Any]:
    """Return the JSON Schema of a pipeline file, made from the models that read it."""
    schema = PipelineConfig.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "pipetrack pipeline"}
