-- What each ended attempt took, beside its estimate.
[[SELECT t.record_id, t.pipeline_id, t.dag_id, t.run_id, t.task_id, t.map_index, t.retry_attempt_number,
  t.transfer_status, t.is_partial, t.logical_date, t.created_timestamp, t.transfer_start_timestamp,
  t.transfer_end_timestamp, t.actual_seconds, t.estimated_seconds, t.records_succeeded, t.records_failed
FROM {listed} t
WHERE t.actual_seconds IS NOT NULL {unless_newer} {filters}]]
