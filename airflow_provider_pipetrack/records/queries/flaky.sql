-- Transfers whose attempts have failed, and how often.
SELECT t.dag_id, t.task_id, MAX(t.pipeline_id) AS pipeline_id,
  MAX(t.stage_i_details) AS stage_i_details, MAX(t.stage_i_plus_1_details) AS stage_i_plus_1_details,
  MAX(t.transfer_process_owner_name) AS transfer_process_owner_name,
  COUNT(DISTINCT t.run_id) AS runs,
  COUNT(*) AS attempts,
  SUM(CASE WHEN t.transfer_status = 'failed' THEN 1 ELSE 0 END) AS failed,
  AVG(CASE WHEN t.transfer_status = 'failed' THEN 1.0 ELSE 0.0 END) AS failed_share,
  AVG(1.0 * t.retry_attempt_number) AS average_retries,
  MAX(CASE WHEN t.transfer_status = 'failed' THEN t.transfer_end_timestamp END) AS last_failed_at
FROM {judged} t
WHERE t.transfer_status IN ('completed', 'failed') {filters}
GROUP BY t.dag_id, t.task_id
HAVING SUM(CASE WHEN t.transfer_status = 'failed' THEN 1 ELSE 0 END) > 0
