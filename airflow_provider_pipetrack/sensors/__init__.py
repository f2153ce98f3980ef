"""Sensors that stand between stages."""
