"""The merge of two versions of one record: monotonic, commutative, associative, repeatable.

Each column group is taken whole from the version with the greater key. Filling gaps column by column
would not commute, and taking the whole row would lose a start that arrives after its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.columns import COLUMNS, KEY_COLUMN, MERGED_GROUPS, NAMES_BY_GROUP

Record = dict[str, Any]

_NOTHING: Record = dict.fromkeys(column.name for column in COLUMNS)


def record_of(change: Change) -> Record:
    """The record that exists when nothing but ``change`` is known."""
    record: Record = {**_NOTHING, **change.columns}
    for group in MERGED_GROUPS:
        record[KEY_COLUMN[group]] = change.keys.get(group, "")
    record["created_timestamp"] = change.columns.get("created_timestamp") or change.at
    record["updated_timestamp"] = change.at
    record["record_version"] = 1
    return record


def merge(left: Mapping[str, Any], right: Mapping[str, Any]) -> Record:
    """The record that both versions agree on.

    :param left: a record as the storages return it; ``right`` likewise, with the same ``record_id``.
    :raises ValueError: when they are different records.
    """
    if left.get("record_id") != right.get("record_id"):
        raise ValueError(f"cannot merge record {left.get('record_id')!r} with {right.get('record_id')!r}")
    merged = dict(left)
    for group in MERGED_GROUPS:
        key = KEY_COLUMN[group]
        if (right.get(key) or "") > (left.get(key) or ""):
            merged[key] = right[key]
            merged.update((name, right.get(name)) for name in NAMES_BY_GROUP[group])
    merged["created_timestamp"] = _pick(min, left, right, "created_timestamp")
    merged["updated_timestamp"] = _pick(max, left, right, "updated_timestamp")
    merged["record_version"] = _pick(max, left, right, "record_version")
    return merged


def fold(changes: Iterable[Change]) -> Record:
    """One record from all changes of it, in any order, with repetitions.

    :raises ValueError: when there is no change, or they belong to different records.
    """
    known = list(changes)
    if not known:
        raise ValueError("there is no change to fold")
    if len({change.record_id for change in known}) > 1:
        raise ValueError("cannot fold changes of different records")
    record = record_of(known[0])
    for change in known[1:]:
        _lay_over(record, change)
    return record


def _lay_over(record: Record, change: Change) -> None:
    """Merge a change into a record in place; as :func:`merge` does with the record that it alone makes."""
    for group, key in change.keys.items():
        column = KEY_COLUMN[group]
        if key > record[column]:
            record[column] = key
            for name in NAMES_BY_GROUP[group]:
                record[name] = change.columns[name]
    created = change.columns.get("created_timestamp") or change.at
    record["created_timestamp"] = min(record["created_timestamp"], created)
    record["updated_timestamp"] = max(record["updated_timestamp"], change.at)


def is_newer(change: Change, record: Mapping[str, Any]) -> bool:
    """Whether ``change`` would alter ``record``."""
    return any(key > (record.get(KEY_COLUMN[group]) or "") for group, key in change.keys.items())


def _pick(choose: Any, left: Mapping[str, Any], right: Mapping[str, Any], name: str) -> Any:
    known = [side[name] for side in (left, right) if side.get(name) is not None]
    return choose(known) if known else None
