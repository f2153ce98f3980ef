-- What was audited, decided, or ended by another than its task: what was compared, what came of it, who ended it and why.
[[SELECT {columns}, {audit_ended} AS audit_ended
FROM {source} t
WHERE {decided} {unless_newer} {filters}]]
