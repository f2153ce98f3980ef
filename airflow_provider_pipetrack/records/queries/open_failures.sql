-- Transfers whose latest attempt failed, each with its owner.
SELECT {columns}
FROM {tracking} t
WHERE {unsettled} AND t.transfer_status = 'failed' AND {latest} {filters}
