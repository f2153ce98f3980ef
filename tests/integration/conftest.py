"""What every integration test leaves as it found it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_parsing_context() -> Iterator[None]:
    """Forget which Dag a test run asked for: not every version of Airflow does, and loaders would build no other one."""
    yield
    for name in ("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "_AIRFLOW_PARSING_CONTEXT_TASK_ID"):
        os.environ.pop(name, None)
