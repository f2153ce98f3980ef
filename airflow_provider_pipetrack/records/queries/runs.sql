-- One row per Dag run: how it stands, and what failed in it.
WITH begun AS (
  SELECT t.dag_id, t.run_id, MIN(t.created_timestamp) AS began_at
  FROM {tracking} t
  WHERE 1 = 1 {filters}
  GROUP BY t.dag_id, t.run_id
  {page}
),
attempt AS (
  SELECT begun.began_at, {run_sources}
  FROM begun
  JOIN {tracking} t ON t.dag_id = begun.dag_id AND t.run_id = begun.run_id
)
SELECT MAX(t.pipeline_id) AS pipeline_id, t.dag_id, t.run_id, {run_columns}, {failed_transfers} AS failed_transfers
FROM attempt t
GROUP BY t.dag_id, t.run_id
