-- What was audited, decided, or ended by another than its task: what was compared, what came of it, who ended it and why.
[[SELECT {columns}
FROM {source} t
WHERE (t.audit_result IS NOT NULL OR t.decision IS NOT NULL OR t.closed_by <> 'task') {unless_newer} {filters}]]
