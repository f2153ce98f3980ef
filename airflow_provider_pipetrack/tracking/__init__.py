"""Tracking: the one way to write records and to read them."""
