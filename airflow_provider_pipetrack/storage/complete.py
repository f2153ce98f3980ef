"""A record as a storage gives it, made whole: with its keys, and with times that are UTC."""

from __future__ import annotations

import reprlib
from datetime import datetime
from typing import Any

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.clean import clean_value
from airflow_provider_pipetrack.records.columns import COLUMNS, KEY_COLUMN, MERGED_GROUPS

_TIMES = tuple(column.name for column in COLUMNS if column.kind == "timestamp")


def complete(record: dict[str, Any]) -> dict[str, Any]:
    """Return a user's stored record as the merge wants it: with its keys, and with times that are UTC.

    JSON makes texts of times, and some databases give them without their zone.
    """
    keys = {KEY_COLUMN[group]: record.get(KEY_COLUMN[group]) or "" for group in MERGED_GROUPS}
    times = {name: clean_value(name, record[name]) for name in _TIMES if not _has_zone(record.get(name))}
    return {**record, **keys, **times}


def completed(found: Any, location: str) -> list[dict[str, Any]]:
    """Return what a storage has read as complete records.

    :raises StorageError: when a user's storage has returned something else than a list of records.
    """
    try:
        return [complete(record) for record in found if record["record_id"]]
    except (TypeError, KeyError, AttributeError) as error:
        text = (
            f"a read returned {reprlib.repr(found)}; expected a list of dicts that have record_id and the other columns"
        )
        raise StorageError(location, text, transient=False) from error


def _has_zone(moment: Any) -> bool:
    return moment is None or (isinstance(moment, datetime) and moment.tzinfo is not None)
