-- What a person should look at: failed for good, mismatched, overdue, or open for too long.
[[SELECT {columns},
  CASE
    WHEN t.transfer_status = 'failed' THEN 'failed'
    WHEN t.audit_result = 'mismatched' THEN 'mismatched'
    WHEN {stale} THEN 'stale'
    ELSE 'overdue'
  END AS reason
FROM {source} t
WHERE {unsettled} AND {latest}
  AND (t.transfer_status = 'failed' OR t.audit_result = 'mismatched' OR {overdue} OR {stale}) {unless_newer} {filters}]]
