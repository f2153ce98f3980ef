"""A storage whose Airflow provider is not installed says what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED_WITHOUT = """
import sys
sys.modules[f"airflow.providers.{sys.argv[1]}"] = None
from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.registry import make_adapter
adapter = make_adapter(parse_location_string(sys.argv[2]), connections={}, adapters={})
try:
    adapter.load()
except StorageError as error:
    print(error.transient, error.message)
"""


@pytest.mark.parametrize(
    ("provider", "location", "name", "extra"),
    [
        ("postgres", "postgres.db.t", "PostgreSQL", "postgres"),
        ("amazon", "s3://bucket/x/", "Amazon", "amazon"),
        ("mongo", "mongodb.db.tracking", "MongoDB", "mongo"),
        ("snowflake", "snowflake.db.t", "Snowflake", "snowflake"),
    ],
)
def test_a_provider_that_is_not_installed(provider, location, name, extra):
    command = [sys.executable, "-c", LOADED_WITHOUT, provider, location]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"False the {name} provider is not installed (")
    assert done.stdout.endswith(f"; pip install 'airflow-provider-pipetrack[{extra}]'\n")
