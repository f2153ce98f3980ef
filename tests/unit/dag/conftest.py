"""What the tests of finding and loading pipeline files share."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_pipetrack.dag import files, models


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    """Give each test an AIRFLOW_HOME, and nothing that was read before."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    files._VERDICTS.clear()
    models.forget()


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of pipeline files."""
    made = tmp_path / "pipelines"
    made.mkdir()
    return made
