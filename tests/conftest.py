"""Settings that must stand before Airflow is imported, and the servers that tests share."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine must not fail a test for being slow; pytest-timeout bounds each of them.
settings.register_profile("pipetrack", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pipetrack")

_HOME = Path(tempfile.mkdtemp(prefix="pipetrack-tests-"))
os.environ["AIRFLOW_HOME"] = str(_HOME)
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(_HOME / "dags")
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{_HOME / 'airflow.db'}"
# Airflow reads it once in a process.
os.environ["AIRFLOW__API_AUTH__JWT_SECRET"] = "a secret for tests, as long as its algorithm wants it to be: 64 bytes"
# Its alarm would end that of pytest-timeout, where a test run reads the Dag files again.
os.environ["AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT"] = "0"
os.environ["DO_NOT_TRACK"] = "1"
for _name in [name for name in os.environ if name.startswith("AIRFLOW__PIPETRACK__")]:
    del os.environ[_name]


def pytest_unconfigure() -> None:
    # A server's handle logs once more when the interpreter exits, behind the summary.
    logging.raiseExceptions = False
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """An AIRFLOW_HOME with a migrated metadata database; the one that this process uses."""
    from airflow_provider_pipetrack.compat import keep_api_of_test_runs

    (_HOME / "dags").mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True, timeout=180)
    keep_api_of_test_runs()
    return _HOME
