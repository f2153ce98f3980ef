-- Transfers that have taken longer than estimated, the worst first.
SELECT t.dag_id, t.task_id, MAX(t.pipeline_id) AS pipeline_id,
  MAX(t.stage_i_details) AS stage_i_details, MAX(t.stage_i_plus_1_details) AS stage_i_plus_1_details,
  MAX(t.transfer_process_owner_name) AS transfer_process_owner_name,
  COUNT(*) AS completed,
  SUM(CASE WHEN t.actual_seconds > t.estimated_seconds THEN 1 ELSE 0 END) AS over_estimate,
  AVG(t.actual_seconds) AS average_seconds,
  MAX(t.actual_seconds) AS longest_seconds,
  AVG(t.estimated_seconds) AS estimated_seconds,
  AVG(t.actual_seconds / t.estimated_seconds) AS ratio
FROM {judged} t
WHERE t.transfer_status = 'completed' AND t.actual_seconds IS NOT NULL AND t.estimated_seconds > 0 {filters}
GROUP BY t.dag_id, t.task_id
HAVING SUM(CASE WHEN t.actual_seconds > t.estimated_seconds THEN 1 ELSE 0 END) > 0
