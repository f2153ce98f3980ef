-- How every transfer of every run stands: the latest attempt of each transfer and map index.
[[SELECT {columns}
FROM {listed} t
WHERE {latest} AND {wanted} {unless_newer} {filters}]]
