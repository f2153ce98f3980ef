"""The JSON Schema of pipeline files, for editors."""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from typing import Any

from airflow_provider_pipetrack.config.examples import EXAMPLES
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
    """Add to each key an example, and the text below its field. pydantic can do that too, but 60 ms at each import."""
    texts = _texts_below_fields(model)
    for name, field in definition.get("properties", {}).items():
        field["description"] = texts[name]
        field["examples"] = [EXAMPLES[model.__name__][name]]


def _texts_below_fields(model: type[Model]) -> dict[str, str]:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    found = {}
    statements = getattr(body, "body", [])
    for field, text in itertools.pairwise(statements):
        is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            found[field.target.id] = inspect.cleandoc(str(text.value.value))
    return found
