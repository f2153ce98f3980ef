-- The last ten runs of each pipeline, a thousand at most: how each stands.
WITH {lately}begun AS (
  SELECT r.pipeline_id, r.dag_id, r.run_id, r.began_at
  FROM (
    SELECT t.pipeline_id, t.dag_id, t.run_id, MIN(t.created_timestamp) AS began_at,
      ROW_NUMBER() OVER (
        PARTITION BY t.pipeline_id, t.dag_id ORDER BY MIN(t.created_timestamp) DESC, t.run_id DESC
      ) AS place
    FROM ([[
      {records_of_runs}
    ]]) t
    GROUP BY t.pipeline_id, t.dag_id, t.run_id
  ) r
  WHERE r.place <= 10 {in_trouble}
  ORDER BY r.began_at DESC, r.pipeline_id, r.dag_id, r.run_id
  LIMIT 1000
),
attempt AS (
  SELECT t.*, {is_latest}
  FROM ([[
    SELECT begun.began_at, {run_sources}
    FROM begun
    JOIN {source} t ON t.dag_id = begun.dag_id AND t.run_id = begun.run_id
      AND t.pipeline_id = begun.pipeline_id {unless_newer}
  ]]) t
)
SELECT t.pipeline_id, t.dag_id, t.run_id, {run_columns}
FROM attempt t
GROUP BY t.pipeline_id, t.dag_id, t.run_id
