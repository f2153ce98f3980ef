"""Parts of questions that find the last run of each pipeline, or the newest runs or records of all."""

from __future__ import annotations

from typing import Final

#: When the last run of each pipeline and Dag began.
BEGUN: Final = """begun AS (
  SELECT t.pipeline_id, t.dag_id,
    COALESCE(MAX(CASE WHEN t.retry_attempt_number = 0 AND t.map_index <= 0 THEN t.created_timestamp END),
      MAX(t.created_timestamp)) AS began_at
  FROM ([[{newest_of_each}]]) t
  GROUP BY t.pipeline_id, t.dag_id
)"""
#: Which run that is.
LAST_RUN: Final = """last_run AS (
  SELECT t.pipeline_id, t.dag_id, t.began_at, MAX(t.run_id) AS run_id
  FROM ([[
    SELECT begun.pipeline_id, begun.dag_id, begun.began_at, t.run_id
    FROM begun
    JOIN {source} t ON t.pipeline_id = begun.pipeline_id AND t.dag_id = begun.dag_id
      AND t.created_timestamp = begun.began_at
  ]]) t
  GROUP BY t.pipeline_id, t.dag_id, t.began_at
)"""
#: From all records that fit.
GROUPING: Final = """
    SELECT t.pipeline_id, t.dag_id, t.created_timestamp, t.retry_attempt_number, t.map_index
    FROM {source} t
    WHERE 1 = 1 {filters}
  """
#: All pipelines and their Dags, from the index alone: from one pipeline to the next, in it from one Dag to the next.
PAIRS: Final = """WITH RECURSIVE pipeline(pipeline_id) AS (
        SELECT {first_pipeline}
        UNION ALL
        SELECT {next_pipeline} FROM pipeline p WHERE p.pipeline_id IS NOT NULL
      ),
      pair(pipeline_id, dag_id) AS (
        SELECT p.pipeline_id, (SELECT MIN(r.dag_id) FROM {source} r WHERE r.pipeline_id = p.pipeline_id)
        FROM pipeline p
        WHERE p.pipeline_id IS NOT NULL
        UNION ALL
        SELECT p.pipeline_id,
          (SELECT MIN(r.dag_id) FROM {source} r WHERE r.pipeline_id = p.pipeline_id AND r.dag_id > p.dag_id)
        FROM pair p
        WHERE p.dag_id IS NOT NULL
      )"""
#: From the index alone: of each pipeline and Dag the newest record.
LEAPING: Final = """
    SELECT t.pipeline_id, t.dag_id, t.created_timestamp, t.retry_attempt_number, t.map_index
    FROM (
      {pairs}
      SELECT t.pipeline_id, t.dag_id, 0 AS retry_attempt_number, 0 AS map_index,
        (
          SELECT r.created_timestamp FROM {source} r
          WHERE r.pipeline_id = t.pipeline_id AND r.dag_id = t.dag_id AND r.retry_attempt_number = 0
            AND r.map_index <= 0
          ORDER BY r.created_timestamp DESC LIMIT 1
        ) AS created_timestamp
      FROM pair t
      WHERE t.dag_id IS NOT NULL {filters}
      UNION ALL
      SELECT t.pipeline_id, t.dag_id, 1 AS retry_attempt_number, 0 AS map_index,
        (
          SELECT r.created_timestamp FROM {source} r
          WHERE r.pipeline_id = t.pipeline_id AND r.dag_id = t.dag_id
          ORDER BY r.created_timestamp DESC LIMIT 1
        ) AS created_timestamp
      FROM pair t
      WHERE t.dag_id IS NOT NULL {filters}
    ) t
    WHERE t.created_timestamp IS NOT NULL
  """
#: A run of a pipeline and Dag that has a record before some moment: when it began.
_BEGAN: Final = """(
          SELECT (
              SELECT MIN(b.created_timestamp)
              FROM (
                SELECT b.created_timestamp FROM {source} b WHERE b.dag_id = n.dag_id AND b.run_id = n.run_id {first}
              ) b
            )
          FROM (
            SELECT r.dag_id, r.run_id FROM {source} r
            WHERE r.pipeline_id = t.pipeline_id AND r.dag_id = t.dag_id {before} {unless_run_newer}
            ORDER BY r.created_timestamp DESC LIMIT 1
          ) n
        )"""
_BEFORE: Final = "AND r.created_timestamp < t.began_at"
#: Runs among which the last ten of each pipeline and Dag are, from the index alone: those with a record since the tenth
#: step back, where each step is to when the run of the newest record before the last step began. Ten runs began since.
#: Runs that newer records are of may have begun before what is stored of them: they are no steps, and all looked at.
LATELY: Final = f"""lately AS (
  SELECT DISTINCT t.pipeline_id, t.dag_id, t.run_id
  FROM ([[
    SELECT t.pipeline_id, t.dag_id, r.run_id
    FROM (
      {{pairs}},
      step(pipeline_id, dag_id, began_at, place) AS (
        SELECT t.pipeline_id, t.dag_id, {_BEGAN.replace("{before}", "")}, 1
        FROM pair t
        WHERE t.dag_id IS NOT NULL {{filters}}
        UNION ALL
        SELECT t.pipeline_id, t.dag_id, {_BEGAN.replace("{before}", _BEFORE)}, t.place + 1
        FROM step t
        WHERE t.place < 10 AND t.began_at IS NOT NULL
      )
      SELECT t.pipeline_id, t.dag_id, MIN(t.began_at) AS began_at FROM step t GROUP BY t.pipeline_id, t.dag_id
    ) t
    {{since_then}}
    {{or_newer}}
    SELECT t.pipeline_id, t.dag_id, t.run_id FROM newer t WHERE 1 = 1 {{filters}}
  ]]) t
),
"""
#: All records of these runs; found by their run, which has few.
RECORDS_LATELY: Final = """SELECT l.pipeline_id, l.dag_id, l.run_id, t.created_timestamp
      FROM lately l {of_that_run}"""
#: Whose records are joined to a pipeline and Dag since some moment, and to a run.
SINCE_THEN: Final = "r.pipeline_id = t.pipeline_id AND r.dag_id = t.dag_id AND r.created_timestamp >= t.began_at"
OF_THAT_RUN: Final = "t.dag_id = l.dag_id AND t.run_id = l.run_id AND COALESCE(t.pipeline_id, '') = l.pipeline_id"
#: All records that fit.
RECORDS: Final = "SELECT t.pipeline_id, t.dag_id, t.run_id, t.created_timestamp FROM {source} t WHERE 1 = 1 {filters}"
FIRST_PIPELINE: Final = "MIN(r.pipeline_id) FROM {source} r"
NEXT_PIPELINE: Final = "(SELECT MIN(r.pipeline_id) FROM {source} r WHERE r.pipeline_id > p.pipeline_id)"
#: So many of the newest runs, out of those that the newest records are of, and what joins records to them.
RECENT: Final = """(SELECT t.* FROM (
      SELECT t.dag_id, t.run_id
      FROM (
        SELECT t.dag_id, t.run_id, t.created_timestamp
        FROM {tracking} t
        WHERE 1 = 1 {seen}
        ORDER BY t.created_timestamp DESC
        LIMIT :newest_of_runs
      ) t
      GROUP BY t.dag_id, t.run_id
      ORDER BY MAX(t.created_timestamp) DESC, t.dag_id, t.run_id
      LIMIT :newest
    ) recent JOIN"""
OF_RECENT: Final = "ON t.dag_id = recent.dag_id AND t.run_id = recent.run_id {first}) t"
#: So many of the newest records that are chosen from, of each source, with all that transfers are judged and chosen by.
NEWEST_JUDGED: Final = """([[
  SELECT * FROM (
    SELECT t.pipeline_id, t.dag_id, t.run_id, t.task_id, t.map_index, t.retry_attempt_number, t.stage_i_details,
      t.stage_i_plus_1_details, t.transfer_unique_id, t.transfer_process_owner_name, t.transfer_status, t.decision,
      t.is_partial, t.error_message, t.audit_result, t.created_timestamp, t.transfer_start_timestamp,
      t.transfer_end_timestamp, t.actual_seconds, t.estimated_seconds
    FROM {source} t
    WHERE 1 = 1 {unless_newer} {seen} {chosen}
    ORDER BY t.created_timestamp DESC
    LIMIT :newest_records
  ) newest
]])"""
#: So many of the newest records of a source that are chosen from, with all they have.
NEWEST_LISTED: Final = """(
  SELECT t.* FROM {source} t
  WHERE 1 = 1 {unless_newer} {seen} {chosen}
  ORDER BY t.created_timestamp DESC
  LIMIT :newest_records
)"""
