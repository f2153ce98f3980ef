-- One row per pipeline and Dag: how its last run stands.
WITH begun AS (
  SELECT t.pipeline_id, t.dag_id,
    COALESCE(MAX(CASE WHEN t.retry_attempt_number = 0 AND t.map_index <= 0 THEN t.created_timestamp END),
      MAX(t.created_timestamp)) AS began_at
  FROM {tracking} t
  WHERE 1 = 1 {filters}
  GROUP BY t.pipeline_id, t.dag_id
),
last_run AS (
  SELECT begun.pipeline_id, begun.dag_id, begun.began_at, MAX(t.run_id) AS run_id
  FROM begun
  JOIN {tracking} t ON t.pipeline_id = begun.pipeline_id AND t.dag_id = begun.dag_id
    AND t.created_timestamp = begun.began_at
  GROUP BY begun.pipeline_id, begun.dag_id, begun.began_at
),
attempt AS (
  SELECT last_run.began_at, {run_sources}
  FROM last_run
  JOIN {tracking} t ON t.dag_id = last_run.dag_id AND t.run_id = last_run.run_id
    AND t.pipeline_id = last_run.pipeline_id
)
SELECT t.pipeline_id, t.dag_id, t.run_id, {run_columns}, {owners} AS owners
FROM attempt t
GROUP BY t.pipeline_id, t.dag_id, t.run_id
