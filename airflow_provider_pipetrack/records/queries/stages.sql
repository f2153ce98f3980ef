-- The stages that pipelines fill, as of their last runs: one row per pipeline, Dag and target stage.
WITH {begun},
{last_run}
SELECT t.pipeline_id, t.dag_id, t.stage_i_plus_1_details AS stage, MAX(t.run_id) AS run_id,
  MAX(t.began_at) AS began_at
FROM ([[
  SELECT last_run.began_at, t.pipeline_id, t.dag_id, t.run_id, t.stage_i_plus_1_details
  FROM last_run
  JOIN {source} t ON t.dag_id = last_run.dag_id AND t.run_id = last_run.run_id
    AND t.pipeline_id = last_run.pipeline_id AND t.retry_attempt_number = 0 {unless_newer}
  WHERE t.transfer_enabled AND t.stage_i_plus_1_details IS NOT NULL
]]) t
GROUP BY t.pipeline_id, t.dag_id, t.stage_i_plus_1_details
