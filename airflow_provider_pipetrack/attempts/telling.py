"""Tell the people whom a transfer names how its attempt went; what that needs is loaded when somebody is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.attempts.binding import Spec
from airflow_provider_pipetrack.records.key import RecordKey

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.store import TrackingStore

_OF_INDEX = (
    "transfer_unique_id", "records_succeeded", "records_failed", "is_partial", "decision", "transfer_start_timestamp",
    "transfer_end_timestamp", "actual_duration", "actual_seconds",
)  # fmt: skip


def tell(spec: Spec, kind: str, record: Mapping[str, Any], *, of: Sequence[str] = ()) -> None:
    """Raise an alert about an attempt. Returns at once and never raises.

    :param kind: a value of :class:`~airflow_provider_pipetrack.notifications.targets.AlertKind`.
    :param record: the record's columns; ``record_id`` is needed.
    :param of: the ids of the records that it is about, where these are several.
    """
    from airflow_provider_pipetrack.notifications.alerts import raise_alert
    from airflow_provider_pipetrack.notifications.targets import targets_of

    raise_alert(targets_of(spec.transfer, spec.pipeline), kind, record, of=of)


def tell_by_record(kind: str, record: Mapping[str, Any], store: TrackingStore) -> None:
    """Raise an alert where the pipeline itself is not at hand: by the record, and the configuration kept with it."""
    from airflow_provider_pipetrack.notifications.alerts import raise_alert
    from airflow_provider_pipetrack.notifications.stored import targets_by_records

    raise_alert(targets_by_records([store], [record]), kind, record)


def of_all_indexes(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of an index as that of all of them, without what is its own.

    So an audit of all indexes is told of once, however many there are.
    """
    key = replace(RecordKey.parse(str(record["record_id"])), map_index=-1)
    of_index = dict.fromkeys(_OF_INDEX)
    return {**record, **of_index, **key.columns()}


def tell_failed(spec: Spec, record: Mapping[str, Any], *, owes_rollback: bool) -> None:
    """Raise what there is to tell when an attempt has failed and no other follows."""
    tell(spec, "failed", record)
    if owes_rollback:
        tell(spec, "rollback_owed", record)
