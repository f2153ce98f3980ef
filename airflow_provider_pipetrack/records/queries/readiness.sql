-- Whether a stage has its data: one row per target stage and run.
WITH stages AS (
  SELECT t.pipeline_id, t.dag_id, t.run_id, t.stage_i_plus_1_details AS stage,
    COALESCE(MAX(t.logical_date), MIN(t.run_began)) AS data_date,
    MIN(t.run_began) AS began_at,
    MAX(t.transfer_end_timestamp) AS ended_at,
    COUNT(*) AS transfers,
    SUM(CASE WHEN t.transfer_status = 'completed' THEN 1 ELSE 0 END) AS completed,
    SUM(CASE WHEN t.transfer_status = 'failed' THEN 1 ELSE 0 END) AS failed,
    SUM(CASE WHEN {not_run} THEN 1 ELSE 0 END) AS not_run,
    SUM(CASE WHEN {skipped} THEN 1 ELSE 0 END) AS skipped,
    SUM(CASE WHEN t.is_partial THEN 1 ELSE 0 END) AS partial,
    SUM(CASE WHEN t.audit_result = 'matched' THEN 1 ELSE 0 END) AS audits_matched,
    SUM(CASE WHEN t.audit_result = 'mismatched' THEN 1 ELSE 0 END) AS audits_mismatched,
    SUM(CASE WHEN t.audited = 1 AND COALESCE(t.audit_result, 'pending') = 'pending' THEN 1 ELSE 0 END)
      AS audits_pending,
    SUM(t.records_succeeded) AS records_succeeded,
    SUM(t.records_failed) AS records_failed,
    MIN(CASE WHEN t.can_access_historical_data THEN 1 ELSE 0 END) AS can_access_historical_data
  FROM ([[
    SELECT t.pipeline_id, t.dag_id, t.run_id, t.stage_i_plus_1_details, t.logical_date,
      CASE WHEN t.retry_attempt_number = 0 THEN t.created_timestamp ELSE {run_began} END AS run_began,
      t.transfer_end_timestamp, t.transfer_status, t.decision, t.is_partial, t.audit_result,
      CASE WHEN {audited} THEN 1 ELSE 0 END AS audited, t.records_succeeded, t.records_failed,
      t.can_access_historical_data
    FROM {recent} {source} t {of_recent} {with_run_began}
    WHERE {latest} AND NOT {left_out} {unless_newer} {filters}
  ]]) t
  GROUP BY t.pipeline_id, t.dag_id, t.run_id, t.stage_i_plus_1_details
)
SELECT stages.*,
  CASE
    WHEN failed > 0 THEN 'failed'
    WHEN not_run > 0 THEN 'not_run'
    WHEN completed < transfers THEN 'in_progress'
    WHEN skipped > 0 THEN 'skipped'
    WHEN audits_mismatched > 0 THEN 'mismatched'
    WHEN audits_pending > 0 THEN 'audit_pending'
    WHEN partial > 0 THEN 'partial'
    ELSE 'ready'
  END AS state
FROM stages
