"""Audits between stages: run a check, judge its answer, keep the evidence."""
