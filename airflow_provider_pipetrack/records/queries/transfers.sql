-- How every transfer of every run stands: the latest attempt of each transfer and map index.
SELECT {columns}
FROM {tracking} t
WHERE {latest} AND {wanted} {filters}
