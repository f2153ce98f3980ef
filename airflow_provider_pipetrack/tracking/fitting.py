"""What a change becomes before it is kept anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.records.clean import clean_columns
from airflow_provider_pipetrack.records.masking import without_secrets


def fit_to_keep(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a change as they may be kept: fit for every storage, and without secrets."""
    cleaned = clean_columns(columns)
    return {name: without_named_secrets(value) if _has_names(value) else value for name, value in cleaned.items()}


def without_named_secrets(value: Any) -> Any:
    """Return a copy of ``value`` in which what stands under a secret's name, as the settings know it, is masked."""
    return without_secrets(value, tuple(settings.mask_fields()))


def _has_names(value: Any) -> bool:
    """Return whether there are names in a value; to ask for the setting where there are none may load Airflow."""
    return bool(value) if isinstance(value, dict) else isinstance(value, list) and any(map(_has_names, value))
