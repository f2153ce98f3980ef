-- Transfers that run for longer than estimated, right now.
[[SELECT {columns},
  {elapsed} AS elapsed_seconds,
  {elapsed} - t.estimated_seconds AS overdue_seconds
FROM {source} t
WHERE {unsettled} AND {overdue} AND {latest} {unless_newer} {filters}]]
