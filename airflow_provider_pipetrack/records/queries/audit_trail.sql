-- Every attempt with its audit: what was compared, what came of it, who ended it and why.
[[SELECT {columns}
FROM {source} t
WHERE (t.audit_result IS NOT NULL OR t.decision IS NOT NULL OR t.closed_by IS NOT NULL) {unless_newer} {filters}]]
