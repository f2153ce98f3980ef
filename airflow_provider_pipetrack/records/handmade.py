"""Records that a user writes by hand: from a plain dict to a change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.records.change import Authority, Change, Rank, group_key, new_event_id
from airflow_provider_pipetrack.records.clean import clean_columns, clean_json
from airflow_provider_pipetrack.records.columns import BY_NAME, KEY_COLUMN, MERGED_GROUPS, NAMES_BY_GROUP, Group
from airflow_provider_pipetrack.records.key import MAX_ID, RecordKey

STATUS_RANKS = {
    "pending": Rank.PENDING,
    "in_progress": Rank.STARTED,
    "completed": Rank.ENDED,
    "failed": Rank.ENDED,
}
#: Largest number of an attempt or map index.
_LARGEST = 2**31 - 1
AUDIT_RESULTS = ("matched", "mismatched", "pending")


class RecordError(PipetrackError):
    """A record that was written by hand cannot be kept as it is."""


def change_from_record(record: Mapping[str, Any]) -> Change:
    """Return the change that writes a record given as a dict.

    Without ``record_id``, ``dag_id`` and ``task_id``, ``pipeline_id`` and ``transfer_unique_id`` stand in for them.
    Keys that are no columns go into ``extra_columns``.

    :raises RecordError: when the record cannot be identified, or has a status or audit result that does not exist.
    """
    _check_words(record)
    key = _key(record)
    event_id = new_event_id()
    rank = STATUS_RANKS[record.get("transfer_status") or "pending"]
    columns = {name: record.get(name) for group in MERGED_GROUPS for name in NAMES_BY_GROUP[group]}
    columns["pipeline_id"] = columns["pipeline_id"] or key.dag_id
    columns["transfer_status"] = columns["transfer_status"] or "pending"
    columns["extra_columns"] = {**(record.get("extra_columns") or {}), **_unknown(record)}
    failed = columns["transfer_status"] == "failed"
    keys: dict[Group, str] = {
        "start": group_key(rank=min(rank, Rank.STARTED), event_id=event_id),
        "end": group_key(rank=rank, failed=failed, event_id=event_id),
        "audit": group_key(rank=Rank.ENDED if record.get("audit_result") else Rank.PENDING, event_id=event_id),
        "free": group_key(rank=Rank.PENDING, event_id=event_id),
    }
    return Change(key.record_id, {**key.columns(), **clean_columns(columns)}, keys, "user", event_id)


def change_from_updates(record: Mapping[str, Any], updates: Mapping[str, Any]) -> Change:
    """Return the change that lays ``updates`` over a stored record, with keys that win over those stored.

    :raises RecordError: when an update is of a column that identifies the record, or has an impossible word.
    """
    _check_words(updates)
    fixed = sorted(set(updates) & {*NAMES_BY_GROUP["identity"], *NAMES_BY_GROUP["system"]})
    if fixed:
        raise RecordError(f"{', '.join(fixed)} cannot be updated: it identifies the record or is kept by the storage")
    event_id = new_event_id()
    merged = {**record, **{name: value for name, value in updates.items() if name in BY_NAME}}
    unknown = _unknown(updates)
    if unknown or "extra_columns" in updates:
        merged["extra_columns"] = {
            **(record.get("extra_columns") or {}),
            **(updates.get("extra_columns") or {}),
            **unknown,
        }
    touched = {BY_NAME[name].group for name in updates if name in BY_NAME} | ({"free"} if unknown else set())
    # The pipeline goes along, since a user's storage finds a record only by it.
    columns: dict[str, Any] = {name: record.get(name) for name in (*NAMES_BY_GROUP["identity"], "pipeline_id")}
    keys: dict[Group, str] = {}
    for group in MERGED_GROUPS:
        if group in touched:
            columns.update((name, merged.get(name)) for name in NAMES_BY_GROUP[group])
            keys[group] = _greater_key(group, record, merged, event_id)
    return Change(str(record["record_id"]), clean_columns(columns), keys, "user", event_id)


def change_of_record(record: Mapping[str, Any]) -> Change:
    """Return a stored record as one change, to bring it to another storage as it stands."""
    columns = {name: record.get(name) for name in BY_NAME if BY_NAME[name].group != "system"}
    columns["created_timestamp"] = record.get("created_timestamp")
    keys: dict[Group, str] = {g: record[KEY_COLUMN[g]] for g in MERGED_GROUPS if record.get(KEY_COLUMN[g])}
    event_id = max(keys.values(), default="0")
    return Change(str(record["record_id"]), columns, keys, "reconcile", f"copy-{event_id}", record["updated_timestamp"])


def change_of_event(event: Mapping[str, Any]) -> Change:
    """Return the change that stands in a history.

    :param event: a row of the history; ``columns`` and ``keys`` as mappings or as JSON text.
    :raises ValueError, KeyError, TypeError: when it is no such row.
    """
    return Change.from_json(
        {
            "event_id": event["event_id"],
            "record_id": event["record_id"],
            "by": event["changed_by"],
            "at": event["changed_at"].isoformat(),
            "columns": _from_json(event["columns"]),
            "keys": _from_json(event["keys"]),
        }
    )


def event_of_change(change: Change) -> dict[str, Any]:
    """Return a change as it stands in a history; :func:`change_of_event` the other way round."""
    data = change.to_json()
    return {
        "event_id": change.event_id,
        "record_id": change.record_id,
        "changed_at": change.at,
        "changed_by": change.by,
        "columns": data["columns"],
        "keys": data["keys"],
    }


def _from_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, (str, bytes)) else value


def _greater_key(group: Group, record: Mapping[str, Any], merged: Mapping[str, Any], event_id: str) -> str:
    old = str(record.get(KEY_COLUMN[group]) or "")
    rank, authority, failed, sequence = _parts(old)
    if group == "end":
        status = merged.get("transfer_status") or "pending"
        rank = max(rank, STATUS_RANKS[status])
        failed = failed or status == "failed"
    return group_key(rank=rank, authority=authority, failed=failed, sequence=sequence + 1, event_id=event_id)


def _parts(key: str) -> tuple[Rank, Authority, bool, int]:
    try:
        rank, authority, failed, sequence, _ = key.split(".", 4)
        return Rank(int(rank)), Authority(int(authority)), failed == "1", int(sequence)
    except ValueError:
        return Rank.PENDING, Authority.TASK, False, 0


def _key(record: Mapping[str, Any]) -> RecordKey:
    key = _given_key(record) if record.get("record_id") else _key_of_columns(record)
    ids = {"dag_id": key.dag_id, "run_id": key.run_id, "task_id": key.name, "pipeline_id": record.get("pipeline_id")}
    for name, value in ids.items():
        _check_length(name, value)
    if not (-1 <= key.map_index <= _LARGEST and 1 <= key.attempt <= _LARGEST):
        raise RecordError("map_index cannot be below -1, nor retry_attempt_number below 0, and both have a limit")
    return key


def _check_length(name: str, value: Any) -> None:
    if len(str(value or "")) > MAX_ID:
        raise RecordError(f"{name} {str(value)[:40]!r}… has more than {MAX_ID} characters")


def _given_key(record: Mapping[str, Any]) -> RecordKey:
    try:
        return RecordKey.parse(str(record["record_id"]))
    except ValueError as error:
        raise RecordError(str(error)) from None


def _key_of_columns(record: Mapping[str, Any]) -> RecordKey:
    dag_id = record.get("dag_id") or record.get("pipeline_id")
    name = record.get("task_id") or _short(str(record.get("transfer_unique_id") or ""))
    if not dag_id or not name:
        raise RecordError(
            "a record needs record_id, or dag_id or pipeline_id together with task_id or transfer_unique_id"
        )
    try:
        map_index, retries = int(record.get("map_index", -1)), int(record.get("retry_attempt_number") or 0)
    except (TypeError, ValueError, OverflowError):
        raise RecordError("map_index and retry_attempt_number must be whole numbers") from None
    return RecordKey(str(dag_id), str(record.get("run_id") or "none"), str(name), map_index, retries + 1)


def _short(text: str) -> str:
    """Return a text of the user's as a name; a long one is cut, and told apart by its hash."""
    if len(text) <= MAX_ID:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return f"{text[: MAX_ID - 25]}~{digest}"


def _unknown(record: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): clean_json(value) for name, value in record.items() if name not in BY_NAME}


def _check_words(record: Mapping[str, Any]) -> None:
    _check_length("estimated_duration", record.get("estimated_duration"))
    status, result = record.get("transfer_status"), record.get("audit_result")
    if not isinstance(record.get("extra_columns") or {}, Mapping):
        raise RecordError("extra_columns must be a mapping of names to values")
    if status is not None and status not in tuple(STATUS_RANKS):
        raise RecordError(f"transfer_status {status!r}: expected {', '.join(STATUS_RANKS)}")
    if result is not None and result not in AUDIT_RESULTS:
        raise RecordError(f"audit_result {result!r}: expected {', '.join(AUDIT_RESULTS)}")
