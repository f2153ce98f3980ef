"""One running Airflow for all end-to-end tests, with a PostgreSQL beside it."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from demo.airflow_process import AirflowStack
from tests import mail_server, statsd_server
from tests.mail_server import MailServer
from tests.postgres_server import PostgresServer, start
from tests.statsd_server import StatsdServer

#: Airflow connections of the stack.
TRACKING, WAREHOUSE, DOWN = "tracking_pg", "warehouse", "tracking_down"
#: Names of the bundles of pipeline files, and of their folders beside the dags folder: ours, and one of Airflow's own
#: with our importer, where Airflow has importers.
PIPELINES, IMPORTED = "pipelines", "imported"
HAS_IMPORTERS = importlib.util.find_spec("airflow.sdk.importers") is not None


@pytest.fixture(scope="session")
def postgres_of_stack() -> Iterator[PostgresServer]:
    """The PostgreSQL that the running Airflow knows as connection ``tracking_pg``."""
    server, handle = start()
    try:
        yield server
    finally:
        handle.cleanup()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def mails_of_stack() -> Iterator[MailServer]:
    """The mail server that the running Airflow knows as ``smtp_default``."""
    with mail_server.running() as server:
        yield server


@pytest.fixture(scope="session")
def metrics_of_stack() -> Iterator[StatsdServer]:
    """The statsd server that the running Airflow sends its metrics to."""
    with statsd_server.running() as server:
        yield server


@pytest.fixture(scope="module")
def airflow_stack(running_airflow: AirflowStack) -> Iterator[AirflowStack]:
    """The running Airflow; the files that a module gives it are taken away again, or it would read them all for ever."""
    folders = [running_airflow.dags, *(running_airflow.dags.parent / name for name in (PIPELINES, IMPORTED))]
    known = {path for folder in folders for path in folder.iterdir()}
    yield running_airflow
    for path in [path for folder in folders for path in folder.iterdir() if path not in known]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="session")
def running_airflow(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_of_stack: PostgresServer,
    mails_of_stack: MailServer,
    metrics_of_stack: StatsdServer,
) -> Iterator[AirflowStack]:
    """A running Airflow: api-server, scheduler, dag-processor and triggerer."""
    folder = tmp_path_factory.mktemp("stack")
    bundles: list[dict[str, Any]] = [
        {"name": "dags-folder", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {}},
        {
            "name": PIPELINES,
            "classpath": "airflow_provider_pipetrack.dag.bundle.PipetrackDagBundle",
            "kwargs": {"path": str(folder / PIPELINES), "refresh_interval": 2},
        },
    ]
    if HAS_IMPORTERS:
        bundles.append(
            {
                "name": IMPORTED,
                "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                "kwargs": {"path": str(folder / IMPORTED), "refresh_interval": 2},
                "importers": ["airflow_provider_pipetrack.dag.importer.PipetrackDagImporter"],
            }
        )
    for name in (PIPELINES, IMPORTED):
        (folder / name).mkdir()
    refused = {"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "login": "a", "password": "secret-Pa55"}
    env = {
        **postgres_of_stack.environment(TRACKING),
        f"AIRFLOW_CONN_{WAREHOUSE.upper()}": json.dumps({"conn_type": "sqlite", "host": str(folder / "warehouse.db")}),
        **metrics_of_stack.environment(),
        "HTTP_PROXY": "http://127.0.0.1:9",  # Airflow's own processes need none to talk to each other
        "AIRFLOW_CONN_SMTP_DEFAULT": mails_of_stack.connection(),
        f"AIRFLOW_CONN_{DOWN.upper()}": json.dumps(refused),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(folder / "bundles"),
        "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
        "AIRFLOW__WORKERS__MISSING_DAG_RETRY_DELAY": "10",
    }
    with AirflowStack(home=folder / "airflow", dags=folder / "dags", env=env, parallelism=3) as stack:
        yield stack
