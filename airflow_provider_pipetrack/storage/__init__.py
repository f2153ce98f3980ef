"""Where tracking records are kept: one adapter a file, one interface, one registry."""
