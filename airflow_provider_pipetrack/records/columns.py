"""Every column of a tracking record, with its type and the group it is merged with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["text", "integer", "float", "boolean", "timestamp", "json"]
Group = Literal["identity", "start", "end", "audit", "free", "system"]

#: Groups that are merged as a whole, each by a key of its own.
MERGED_GROUPS: Final[tuple[Group, ...]] = ("start", "end", "audit", "free")


@dataclass(frozen=True)
class Column:
    """One column of ``pipeline_tracking``.

    :param name: column name; the names of the user's own table are kept.
    :param kind: how the value is stored; ``timestamp`` is UTC with zone.
    :param group: which group the column belongs to when two versions of a record are merged.
    """

    name: str
    kind: Kind
    group: Group


def _columns(group: Group, **kinds: Kind) -> tuple[Column, ...]:
    return tuple(Column(name, kind, group) for name, kind in kinds.items())


COLUMNS: Final[tuple[Column, ...]] = (
    *_columns(
        "identity",
        record_id="text",
        dag_id="text",
        run_id="text",
        task_id="text",
        map_index="integer",
        retry_attempt_number="integer",
    ),
    *_columns(
        "start",
        pipeline_id="text",
        pipeline_version="text",
        logical_date="timestamp",
        stage_i_details="text",
        stage_i_unique_identifier="text",
        stage_i_plus_1_details="text",
        stage_i_plus_1_unique_identifier="text",
        transfer_order_number="float",
        transfer_enabled="boolean",
        transfer_unique_id="text",
        estimated_duration="text",
        estimated_seconds="float",
        transfer_start_timestamp="timestamp",
        can_partial_data_be_collected="boolean",
        can_process_be_parallelized="boolean",
        can_access_historical_data="boolean",
        upstream_completion_required="boolean",
        dependent_on_previous_transfer="boolean",
        max_retry_attempts="integer",
        audit_enabled="boolean",
        transfer_process_owner_name="text",
        transfer_process_email_alerts="json",
        tracking_location="json",
        config_hash="text",
        operator="text",
        log_url="text",
    ),
    *_columns(
        "end",
        transfer_status="text",
        transfer_end_timestamp="timestamp",
        actual_duration="text",
        actual_seconds="float",
        records_succeeded="integer",
        records_failed="integer",
        is_partial="boolean",
        decision="text",
        error_message="text",
        closed_by="text",
    ),
    *_columns("audit", audit_result="text", audit_metadata="json"),
    *_columns("free", extra_columns="json"),
    *_columns(
        "system",
        created_timestamp="timestamp",
        updated_timestamp="timestamp",
        stored_at="timestamp",
        record_version="integer",
        owed="json",
        start_key="text",
        end_key="text",
        audit_key="text",
        free_key="text",
    ),
)

BY_NAME: Final[dict[str, Column]] = {column.name: column for column in COLUMNS}
NAMES_BY_GROUP: Final[dict[Group, tuple[str, ...]]] = {
    group: tuple(column.name for column in COLUMNS if column.group == group)
    for group in ("identity", "start", "end", "audit", "free", "system")
}
#: The columns that hold the groups' merge keys.
KEY_COLUMN: Final[dict[Group, str]] = {group: f"{group}_key" for group in MERGED_GROUPS}
