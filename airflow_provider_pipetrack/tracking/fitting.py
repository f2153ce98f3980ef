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
    # In the rest there are no names, and to ask for the setting may load Airflow.
    named = {name: value for name, value in cleaned.items() if isinstance(value, dict) and value}
    if not named:
        return cleaned
    more = tuple(settings.mask_fields())
    return {**cleaned, **{name: without_secrets(value, more) for name, value in named.items()}}
