-- What a person should look at: failed for good, mismatched, not audited, overdue, or open for too long.
[[SELECT {columns},
  CASE
    WHEN t.transfer_status = 'failed' THEN 'failed'
    WHEN t.audit_result = 'mismatched' THEN 'mismatched'
    WHEN {audit_failed} THEN 'audit_failed'
    WHEN {stale} THEN 'stale'
    ELSE 'overdue'
  END AS reason
FROM (
  SELECT t.* FROM {source} t
  WHERE {unsettled} AND {latest}
    AND (t.transfer_status = 'failed' OR t.audit_result = 'mismatched' OR {audit_failed} OR {overdue} OR {stale})
    {unless_newer} {filters} {first}
) t
WHERE {standing}]]
