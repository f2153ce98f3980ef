"""One module a factory: NAME, IMPORT, write(folder, shape), build(folder, shape)."""
