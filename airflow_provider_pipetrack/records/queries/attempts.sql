-- Every attempt there is a record of.
SELECT {columns}
FROM {tracking} t
WHERE 1 = 1 {filters}
