"""What the questions about many records find in indexes: which columns, and of which records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from airflow_provider_pipetrack.records.openness import AUDIT_ENDED, AUDIT_PASSED
from airflow_provider_pipetrack.records.skips import SKIPPED

#: How an audit ended where its result alone does not say so, as each database reads it from the metadata.
AUDIT_ENDS: Final[Mapping[str, str]] = {
    # An index that evaluates a text which somebody wrote by hand, and which is no JSON, would refuse it.
    "sqlite": f"(CASE WHEN json_valid(audit_metadata) THEN json_extract(audit_metadata, '$.{AUDIT_ENDED}') END)",
    "postgres": f"(audit_metadata ->> '{AUDIT_ENDED}')",
    "snowflake": f"CAST(audit_metadata['{AUDIT_ENDED}'] AS VARCHAR)",
}
#: Records that may need a person; the questions about them use the index with this condition.
UNSETTLED: Final = (
    "(transfer_status IN ('failed', 'in_progress', 'pending') OR audit_result = 'mismatched' "
    f"OR (audit_result = 'pending' AND COALESCE({{audit_ended}}, '') <> '{AUDIT_PASSED}'))"
)
#: Records that were audited, decided about, or ended by another than their task.
DECIDED: Final = "(audit_result IS NOT NULL OR decision IS NOT NULL OR closed_by <> 'task')"
#: Records of a transfer that was done, and of one whose audit also matched: what a later run must have to heal it.
COMPLETED: Final = (
    f"(transfer_status = 'completed' AND SUBSTR(COALESCE(decision, ''), 1, {len(SKIPPED)}) <> '{SKIPPED}')"
)
MATCHED: Final = f"({COMPLETED} AND audit_result = 'matched')"
#: Of the table of records, by label. Only ids and words with a limit: an index refuses what is long.
INDEXES: Final = {
    "begun": "(pipeline_id, dag_id, created_timestamp, run_id, retry_attempt_number, map_index)",
    "attempt": "(dag_id, run_id, task_id, map_index, retry_attempt_number, created_timestamp)",
    "created": "(created_timestamp)",
    "completed": f"(dag_id, task_id, map_index, created_timestamp) WHERE {COMPLETED}",
    "matched": f"(dag_id, task_id, map_index, created_timestamp) WHERE {MATCHED}",
    "took": "(dag_id, task_id, actual_seconds, transfer_status, estimated_seconds, pipeline_id)",
    # With what is asked about such records in it, only those that are returned are read.
    "unsettled_2": "(updated_timestamp, dag_id, run_id, task_id, map_index, retry_attempt_number, transfer_status, "
    f"audit_result, transfer_start_timestamp, estimated_seconds, estimated_duration) WHERE {UNSETTLED}",
    "decided": f"(updated_timestamp, dag_id) WHERE {DECIDED}",
    # Pages and deliveries ask again and again what a location keeps for others, which is nearly always nothing.
    "owed": "(record_id) WHERE owed <> '[]'",
}
#: Labels that indexes had which others have replaced: an index keeps its label only as long as its text.
REPLACED: Final = ("done", "unsettled")
