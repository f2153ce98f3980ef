-- Transfers whose latest attempt failed, each with its owner.
[[SELECT {columns}
FROM {source} t
WHERE {unsettled} AND t.transfer_status = 'failed' AND {latest} {unless_newer} {filters}]]
