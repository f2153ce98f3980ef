-- One row per Dag run: how it stands, and what failed in it.
WITH begun AS (
  SELECT t.dag_id, t.run_id, MIN(t.created_timestamp) AS began_at
  FROM ([[SELECT t.dag_id, t.run_id, t.created_timestamp FROM {recent} {source} t {of_recent} WHERE 1 = 1 {filters}]]) t
  GROUP BY t.dag_id, t.run_id
  {page}
),
attempt AS (
  SELECT t.*, {is_latest}
  FROM ([[
    SELECT t.created_timestamp AS began_at, {run_sources}
    FROM begun
    JOIN {source} t ON t.dag_id = begun.dag_id AND t.run_id = begun.run_id {of_pipeline} {unless_newer}
  ]]) t
),
standing AS (
  SELECT MAX(t.pipeline_id) AS pipeline_id, t.dag_id, t.run_id, {run_columns}, {failed_transfers} AS failed_transfers
  FROM attempt t
  GROUP BY t.dag_id, t.run_id
)
SELECT standing.*,
  ROUND(1000 * CASE WHEN state = 'in_progress' OR ended_at IS NULL THEN {until_now} ELSE {until_end} END) / 1000.0 AS took_seconds
FROM standing
