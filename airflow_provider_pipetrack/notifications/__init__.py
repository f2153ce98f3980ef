"""Alerts: what is said about an attempt, to whom, and only once."""
