-- One row per pipeline and Dag: how its last run stands.
WITH begun AS (
  SELECT t.pipeline_id, t.dag_id,
    COALESCE(MAX(CASE WHEN t.retry_attempt_number = 0 AND t.map_index <= 0 THEN t.created_timestamp END),
      MAX(t.created_timestamp)) AS began_at
  FROM ([[
    SELECT t.pipeline_id, t.dag_id, t.created_timestamp, t.retry_attempt_number, t.map_index
    FROM {source} t
    WHERE 1 = 1 {filters}
  ]]) t
  GROUP BY t.pipeline_id, t.dag_id
),
last_run AS (
  SELECT t.pipeline_id, t.dag_id, t.began_at, MAX(t.run_id) AS run_id
  FROM ([[
    SELECT begun.pipeline_id, begun.dag_id, begun.began_at, t.run_id
    FROM begun
    JOIN {source} t ON t.pipeline_id = begun.pipeline_id AND t.dag_id = begun.dag_id
      AND t.created_timestamp = begun.began_at
  ]]) t
  GROUP BY t.pipeline_id, t.dag_id, t.began_at
),
attempt AS (
  SELECT t.*, {is_latest}
  FROM ([[
    SELECT last_run.began_at, {run_sources}
    FROM last_run
    JOIN {source} t ON t.dag_id = last_run.dag_id AND t.run_id = last_run.run_id
      AND t.pipeline_id = last_run.pipeline_id {unless_newer}
  ]]) t
)
SELECT t.pipeline_id, t.dag_id, t.run_id, {run_columns}, {owners} AS owners
FROM attempt t
GROUP BY t.pipeline_id, t.dag_id, t.run_id
