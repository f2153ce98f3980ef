"""Parts that the questions' SQL is put together of: columns, conditions, and what is computed of a run."""

from __future__ import annotations

import re
import textwrap

from airflow_provider_pipetrack.records.indexes import COMPLETED, DECIDED, MATCHED, UNSETTLED
from airflow_provider_pipetrack.records.openness import AUDIT_ASKS_AGAIN, AUDIT_FAILED, LEFT_OUT
from airflow_provider_pipetrack.records.queries.catalog import RECORD_COLUMNS
from airflow_provider_pipetrack.records.queries.last_run import BEGUN, LAST_RUN
from airflow_provider_pipetrack.records.skips import SKIPPED


def qualified(condition: str, called: str = "t") -> str:
    """Return the condition of an index for records that are called so."""
    return re.sub(r"\b(transfer_status|audit_result|audit_metadata|decision|closed_by)\b", rf"{called}.\1", condition)


_SEARCHED = (
    "pipeline_id",
    "dag_id",
    "run_id",
    "task_id",
    "stage_i_details",
    "stage_i_plus_1_details",
    "transfer_unique_id",
    "transfer_process_owner_name",
    "error_message",
    "decision",
)
COLUMN_LIST = "\n  ".join(textwrap.wrap(", ".join(f"t.{name}" for name in RECORD_COLUMNS), 100))
FAILED_NAME = "CASE WHEN t.is_latest = 1 AND (t.transfer_status = 'failed' OR t.audit_failed = 1) THEN t.task_id END"
#: A transfer that names no owner has an empty one in its record.
OWNER = "NULLIF(t.transfer_process_owner_name, '')"
#: What identifies an attempt never changes, so a later one may be looked for in each source on its own.
LATEST = """NOT EXISTS (
  SELECT 1 FROM {source} later
  WHERE later.dag_id = t.dag_id AND later.run_id = t.run_id AND later.task_id = t.task_id
    AND later.map_index = t.map_index AND later.retry_attempt_number > t.retry_attempt_number
)"""
#: When a transfer was announced in its run. A retry, or what a clear adds, and a map index are made later than that.
ANNOUNCED = """(
      SELECT MIN(begun.created_timestamp) FROM {source} begun
      WHERE begun.dag_id = t.dag_id AND begun.run_id = t.run_id AND begun.task_id = t.task_id
        AND begun.map_index = CASE WHEN t.map_index > 0 THEN 0 ELSE t.map_index END AND begun.retry_attempt_number = 0
    )"""
#: The same, joined, where a database may refuse to look something up for each row inside of an expression.
ANNOUNCED_JOINED = """LEFT JOIN (
      SELECT begun.dag_id, begun.run_id, begun.task_id, begun.map_index, MIN(begun.created_timestamp) AS run_began
      FROM {tracking} begun
      WHERE begun.retry_attempt_number = 0
      GROUP BY begun.dag_id, begun.run_id, begun.task_id, begun.map_index
    ) b ON b.dag_id = t.dag_id AND b.run_id = t.run_id AND b.task_id = t.task_id
      AND b.map_index = CASE WHEN t.map_index > 0 THEN 0 ELSE t.map_index END"""
_GOOD = """EXISTS (
  SELECT 1 FROM {{tracking}} good
  JOIN {{tracking}} begun ON begun.dag_id = good.dag_id AND begun.run_id = good.run_id AND begun.task_id = good.task_id
    AND begun.map_index = good.map_index AND begun.retry_attempt_number = 0
  WHERE good.dag_id = t.dag_id AND good.task_id = t.task_id AND good.map_index = t.map_index AND {condition}
    AND good.created_timestamp > CASE WHEN {concerned} THEN t.created_timestamp END
    AND begun.created_timestamp > t.created_timestamp
  {{first}}
)"""
#: Whether no run that began later has completed the transfer, or where its audit failed, completed it with one that
#: matched. What runs for longer than estimated is another matter. Each looks in an index of its own, and the NULL of
#: its CASE ends the search at once where the other is asked for; not every database knows EXISTS beside an OR.
STANDING = " AND ".join(
    f"NOT {_GOOD.format(condition=qualified(condition, 'good'), concerned=concerned)}"
    for condition, concerned in (
        (COMPLETED, "t.transfer_status = 'failed' OR {stale}"),
        (MATCHED, "t.transfer_status NOT IN ('failed', 'in_progress')"),
    )
)
#: How a run stands, from what does not simply say completed; see the state of ``run_columns``. Of several pipelines in
#: one Dag that are asked for alone each stands as its own records do.
UNSETTLED_STATES = """
  SELECT u.dag_id, u.run_id,
    CASE
      WHEN u.in_progress + u.audits_waiting > 0 THEN 'in_progress'
      WHEN u.failed + u.audits_failed > 0 THEN 'failed'
      WHEN NOT EXISTS (
        SELECT 1 FROM {tracking} t
        WHERE t.dag_id = u.dag_id AND t.run_id = u.run_id AND t.transfer_status = 'completed' AND {latest}
          {of_that_pipeline}
      ) THEN 'pending'
      WHEN u.pending > 0 THEN 'in_progress'
      ELSE 'completed'
    END AS state
  FROM (
    SELECT t.dag_id, t.run_id,
      SUM(CASE WHEN t.transfer_status = 'in_progress' THEN 1 ELSE 0 END) AS in_progress,
      SUM(CASE WHEN t.transfer_status = 'failed' THEN 1 ELSE 0 END) AS failed,
      SUM(CASE WHEN t.transfer_status = 'pending' AND NOT {not_run} THEN 1 ELSE 0 END) AS pending,
      SUM(CASE WHEN {audit_failed} THEN 1 ELSE 0 END) AS audits_failed,
      SUM(CASE WHEN {audit_waiting} THEN 1 ELSE 0 END) AS audits_waiting
    FROM {tracking} t
    WHERE {unsettled} AND {latest} {of_that_pipeline}
    GROUP BY t.dag_id, t.run_id
  ) u"""
#: A run, and those runs that stand in a certain state, from what does not simply say completed.
RUN = "(t.dag_id, t.run_id)"
RUNS_IN = f"SELECT s.dag_id, s.run_id FROM ({UNSETTLED_STATES}) s WHERE {{which}}"
#: Runs in which something has failed, which those that have failed are among; it is quickly known of few runs.
IN_TROUBLE = """AND EXISTS (
    SELECT 1
    FROM ([[
      SELECT 1 AS one FROM {source} t
      WHERE t.dag_id = r.dag_id AND t.run_id = r.run_id AND (t.transfer_status = 'failed' OR {audit_failed})
        AND {latest} {unless_newer}
    ]]) t
    {first}
  )"""
FRAGMENTS = {
    "begun": BEGUN,
    "last_run": LAST_RUN,
    "owner": OWNER,
    "run_sources": """
    t.pipeline_id, t.dag_id, t.run_id, t.task_id, t.pipeline_version, t.transfer_status, t.decision, t.is_partial,
    t.transfer_start_timestamp, t.transfer_end_timestamp, t.logical_date, t.estimated_seconds, t.audit_result,
    t.records_succeeded, t.records_failed, t.transfer_process_owner_name, t.map_index,
    t.retry_attempt_number, t.config_hash, CASE WHEN {audited} THEN 1 ELSE 0 END AS audited,
    CASE WHEN {audit_failed} THEN 1 ELSE 0 END AS audit_failed,
    CASE WHEN {audit_waiting} THEN 1 ELSE 0 END AS audit_waiting""",
    "is_latest": """
    CASE WHEN t.retry_attempt_number = MAX(t.retry_attempt_number)
      OVER (PARTITION BY t.dag_id, t.run_id, t.task_id, t.map_index) THEN 1 ELSE 0 END AS is_latest""",
    "latest": LATEST.replace("{source}", "{stored}"),
    "run_began": f"""CASE WHEN t.retry_attempt_number = 0 AND t.map_index <= 0 THEN t.created_timestamp
    ELSE COALESCE({ANNOUNCED.replace("{source}", "{stored}")}, t.created_timestamp) END""",
    "not_run": "(t.transfer_status = 'pending' AND t.decision IS NOT NULL)",
    "left_out": f"COALESCE(t.decision, '') IN {LEFT_OUT}",
    "skipped": f"(t.transfer_status = 'completed' AND SUBSTR(t.decision, 1, {len(SKIPPED)}) = '{SKIPPED}')",
    # A hand-written Dag has audits that the transfer itself does not know of.
    "audited": """(t.audit_enabled OR t.audit_result IN ('matched', 'mismatched')
    OR (t.audit_result = 'pending' AND {audit_ended} IS NOT NULL))""",
    "audit_failed": f"""(t.audit_result IN ('mismatched', 'pending')
    AND COALESCE({{audit_ended}}, '') = '{AUDIT_FAILED}')""",
    "audit_waiting": f"(t.audit_result = 'pending' AND COALESCE({{audit_ended}}, '') = '{AUDIT_ASKS_AGAIN}')",
    "decided": qualified(DECIDED),
    "unsettled": qualified(UNSETTLED),
    "overdue": "(t.transfer_status = 'in_progress' AND {elapsed} > t.estimated_seconds)",
    "standing": STANDING,
    "stale": """(t.transfer_status = 'in_progress' AND COALESCE(t.estimated_duration, '') <> 'continuous'
    AND {elapsed} > :stale_after AND {elapsed} > 2 * COALESCE(t.estimated_seconds, 0))""",
    "run_columns": """
  MAX(t.pipeline_version) AS pipeline_version,
  CASE
    WHEN {in_progress} + {audits_waiting} > 0 THEN 'in_progress'
    WHEN {failed} + {audits_failed} > 0 THEN 'failed'
    WHEN {pending} > 0 AND {completed} > 0 THEN 'in_progress'
    WHEN {completed} > 0 THEN 'completed'
    ELSE 'pending'
  END AS state,
  MIN(t.began_at) AS began_at,
  MIN(t.transfer_start_timestamp) AS started_at,
  MAX(t.transfer_end_timestamp) AS ended_at,
  MAX(t.logical_date) AS logical_date,
  SUM(CASE WHEN t.is_latest = 1 AND NOT {not_run} THEN 1 ELSE 0 END) AS transfers,
  COUNT(*) AS attempts,
  {pending} AS pending,
  {in_progress} AS in_progress,
  {completed} AS completed,
  {failed} AS failed,
  SUM(CASE WHEN t.is_latest = 1 AND {not_run} THEN 1 ELSE 0 END) AS not_run,
  SUM(CASE WHEN t.is_latest = 1 AND t.is_partial THEN 1 ELSE 0 END) AS partial,
  SUM(CASE WHEN t.is_latest = 1 AND {overdue} THEN 1 ELSE 0 END) AS overdue,
  SUM(CASE WHEN t.is_latest = 1 AND t.audit_result = 'matched' THEN 1 ELSE 0 END) AS audits_matched,
  SUM(CASE WHEN t.is_latest = 1 AND t.audit_result = 'mismatched' THEN 1 ELSE 0 END) AS audits_mismatched,
  {audits_failed} AS audits_failed,
  {audits_waiting} AS audits_waiting,
  SUM(CASE WHEN t.is_latest = 1 AND t.audited = 1 AND NOT {not_run} THEN 1 ELSE 0 END) AS audits_total,
  SUM(CASE WHEN t.is_latest = 1 THEN t.records_succeeded END) AS records_succeeded,
  SUM(CASE WHEN t.is_latest = 1 THEN t.records_failed END) AS records_failed,
  MAX(t.config_hash) AS config_hash""",
    "pending": "SUM(CASE WHEN t.is_latest = 1 AND t.transfer_status = 'pending' AND NOT {not_run} THEN 1 ELSE 0 END)",
    "in_progress": "SUM(CASE WHEN t.is_latest = 1 AND t.transfer_status = 'in_progress' THEN 1 ELSE 0 END)",
    "completed": "SUM(CASE WHEN t.is_latest = 1 AND t.transfer_status = 'completed' THEN 1 ELSE 0 END)",
    "audits_failed": "SUM(CASE WHEN t.is_latest = 1 AND t.audit_failed = 1 THEN 1 ELSE 0 END)",
    "audits_waiting": "SUM(CASE WHEN t.is_latest = 1 AND t.audit_waiting = 1 THEN 1 ELSE 0 END)",
    "failed": "SUM(CASE WHEN t.is_latest = 1 AND t.transfer_status = 'failed' THEN 1 ELSE 0 END)",
}
#: The pipeline that is asked for, where records are found by another index than that of pipelines.
OF_THAT_PIPELINE = "AND COALESCE(t.pipeline_id, '') = :pipeline_id"
TERMS = {
    "status": "t.transfer_status = :status",
    "owner": "t.transfer_process_owner_name = :owner",
    "stage": "(t.stage_i_details = :stage OR t.stage_i_plus_1_details = :stage)",
    "target": "t.stage_i_plus_1_details = :target",
    "since": "t.created_timestamp >= :since",
    "until": "t.created_timestamp < :until",
    "search": "(" + " OR ".join(f"{{lower}}(t.{name}) LIKE :search ESCAPE '!'" for name in _SEARCHED) + ")",
}
#: A stage is asked for as the target, and by the date of its data.
READINESS_TERMS = {
    "stage": "t.stage_i_plus_1_details = :stage",
    # A record is made after the date of its data, by a clock that may be behind; the second term has an index.
    "since": "COALESCE(t.logical_date, {run_began}) >= :since AND t.created_timestamp >= :made_since",
    "until": "COALESCE(t.logical_date, {run_began}) < :until",
}
