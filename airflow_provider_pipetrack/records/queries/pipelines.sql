-- One row per pipeline and Dag: how its last run stands.
WITH {begun},
{last_run},
attempt AS (
  SELECT t.*, {is_latest}
  FROM ([[
    SELECT last_run.began_at, {run_sources}
    FROM last_run
    JOIN {source} t ON t.dag_id = last_run.dag_id AND t.run_id = last_run.run_id
      AND t.pipeline_id = last_run.pipeline_id {unless_newer}
  ]]) t
),
standing AS (
  SELECT t.pipeline_id, t.dag_id, t.run_id, {run_columns}, {owners} AS owners,
    MIN({owner}) AS first_owner
  FROM attempt t
  GROUP BY t.pipeline_id, t.dag_id, t.run_id
)
SELECT standing.*,
  CASE
    WHEN state = 'in_progress' AND overdue > 0 THEN 'overdue'
    WHEN state = 'completed' AND partial > 0 THEN 'partial'
    ELSE state
  END AS shown_state
FROM standing
