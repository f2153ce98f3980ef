"""Operators whose attempts are tracked."""
