"""Counts that the crash tests print at the end."""

from __future__ import annotations

import pytest

_COUNTS: list[str] = []


@pytest.fixture
def report_count():
    """A function that takes a line of the report."""
    return _COUNTS.append


def pytest_terminal_summary(terminalreporter) -> None:
    for line in _COUNTS:
        terminalreporter.write_line(line)
