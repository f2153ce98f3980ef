-- Every attempt there is a record of.
[[SELECT {columns}
FROM {listed} t
WHERE 1 = 1 {unless_newer} {filters}]]
