-- Estimates against what transfers really took: the median, the time that 19 of 20 keep, and an estimate with a margin.
WITH chosen AS (
  SELECT t.dag_id, t.task_id
  FROM {tracking} t
  WHERE t.transfer_status = 'completed' AND t.actual_seconds IS NOT NULL {filters}
  GROUP BY t.dag_id, t.task_id
  {page}
),
ranked AS (
  SELECT t.dag_id, t.task_id, t.pipeline_id, t.actual_seconds, t.estimated_seconds,
    ROW_NUMBER() OVER (PARTITION BY t.dag_id, t.task_id ORDER BY t.actual_seconds) AS place,
    COUNT(*) OVER (PARTITION BY t.dag_id, t.task_id) AS completed
  FROM chosen
  JOIN {tracking} t ON t.dag_id = chosen.dag_id AND t.task_id = chosen.task_id
  WHERE t.transfer_status = 'completed' AND t.actual_seconds IS NOT NULL {filters}
)
SELECT dag_id, task_id, MAX(pipeline_id) AS pipeline_id, MAX(completed) AS completed,
  AVG(estimated_seconds) AS estimated_seconds,
  MIN(CASE WHEN place >= 0.50 * completed THEN actual_seconds END) AS p50_seconds,
  MIN(CASE WHEN place >= 0.95 * completed THEN actual_seconds END) AS p95_seconds,
  MAX(actual_seconds) AS longest_seconds,
  SUM(CASE WHEN actual_seconds > estimated_seconds THEN 1 ELSE 0 END) AS over_estimate,
  1.1 * MIN(CASE WHEN place >= 0.95 * completed THEN actual_seconds END) AS suggested_seconds
FROM ranked
GROUP BY dag_id, task_id
