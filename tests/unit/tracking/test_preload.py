"""Clients of storages are imported with the plugin when the settings ask for it, and nothing is when they do not."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.tracking.preload import preload_clients

CLIENTS = ("boto3", "psycopg", "pymongo", "snowflake.connector")
SCRIPT = f"""
import sys
import airflow_provider_pipetrack.plugins.pipetrack
print("loaded", *(name for name in {CLIENTS!r} if name in sys.modules))
"""


def loaded(**options: str) -> list[str]:
    """The clients that a process has when it has imported the plugin."""
    environment = {**os.environ, **{f"AIRFLOW__PIPETRACK__{name.upper()}": value for name, value in options.items()}}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=environment)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("loaded")]
    return line.split()[1:]


def test_nothing_is_imported_unless_it_is_asked_for():
    assert loaded(tracking_location='["postgres||a||b||c"]') == []


def test_true_means_the_clients_of_the_chain():
    chain = json.dumps(["postgres||a||b||c", "s3://bucket/x/", "sqlite||/t.db"])
    assert loaded(preload="True", tracking_location=chain) == ["boto3", "psycopg"]


def test_types_may_be_named_for_chains_that_stand_in_pipelines():
    assert loaded(preload="mongodb, postgres") == ["psycopg", "pymongo"]
    assert "snowflake.connector" in loaded(preload="snowflake")


@pytest.mark.parametrize(
    ("written", "read"),
    [("False", []), ("", []), ("no", []), ("1", ["True"]), ("True", ["True"]), ("a, b,", ["a", "b"])],
)
def test_the_option_is_read(monkeypatch, written, read):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__PRELOAD", written)
    assert settings.preload() == read


def test_what_cannot_be_imported_is_said_and_stops_nothing(monkeypatch, caplog):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__PRELOAD", "postgre,sqlite,local_file")
    with caplog.at_level(logging.WARNING):
        assert preload_clients() == ["sqlite", "local_file"]
    assert "[pipetrack] preload: tracking location 'postgre': there is no storage type 'postgre'" in caplog.text


def test_settings_that_cannot_be_read_stop_nothing(monkeypatch, caplog):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__PRELOAD", "True")
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", "[1")
    with caplog.at_level(logging.WARNING):
        assert preload_clients() == []
    assert "expected a JSON list of texts" in caplog.text
