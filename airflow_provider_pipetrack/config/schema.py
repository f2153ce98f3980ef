"""The JSON Schema of pipeline files, for editors."""

from __future__ import annotations

from typing import Any

from airflow_provider_pipetrack.config.pipeline import PipelineConfig
from airflow_provider_pipetrack.config.types import Model


def pipeline_schema() -> dict[str, Any]:
    """Return the JSON Schema of a pipeline file, made from the models that read it."""
    schema = PipelineConfig.model_json_schema(mode="validation")
    models = {model.__name__: model for model in Model.__subclasses__()}
    _describe(schema, PipelineConfig)
    for name, definition in schema["$defs"].items():
        _describe(definition, models[name])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "pipetrack pipeline"}


def _describe(definition: dict[str, Any], model: type[Model]) -> None:
    """Add the descriptions that get lost where a key refers to another model."""
    for name, field in definition.get("properties", {}).items():
        field.setdefault("description", model.model_fields[name].description)
