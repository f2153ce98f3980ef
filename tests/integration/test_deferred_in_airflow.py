"""An attempt that is deferred, where Airflow does not say when it first started: in 3.1, and in every test run."""

from __future__ import annotations

import logging
import runpy

import pytest

from airflow_provider_pipetrack import TrackingStore
from airflow_provider_pipetrack.attempts import starting

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]

WAIT = 3
DAG = """
from datetime import datetime, timedelta, timezone
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import DAG
from airflow_provider_pipetrack import TrackedOperator

def soon():
    return (datetime.now(timezone.utc) + timedelta(seconds={wait})).isoformat()

with DAG("deferred_start", schedule=None, user_defined_macros={{"soon": soon}}) as dag:
    TrackedOperator(task_id="wait", operator=DateTimeSensorAsync, transfer={{"tracking_location": [{location!r}]}},
                    operator_args={{"target_time": "{{{{ soon() }}}}"}})
"""


def test_a_deferred_attempt_counts_from_its_first_start(airflow_home, tmp_path, monkeypatch):
    monkeypatch.setattr(starting, "keeps_first_start", lambda: False)
    location = f"sqlite||{tmp_path}/tracking.db"
    path = airflow_home / "dags" / "deferred_start.py"
    path.write_text(DAG.format(location=location, wait=WAIT))
    logging.disable(logging.INFO)
    try:
        run = runpy.run_path(str(path))["dag"].test()
    finally:
        logging.disable(logging.NOTSET)
    with TrackingStore([location]) as store:
        (record,) = store.read_run("deferred_start", run.run_id).records
    assert record["transfer_status"] == "completed"
    taken = record["transfer_end_timestamp"] - record["transfer_start_timestamp"]
    assert WAIT - 1 <= record["actual_seconds"] <= taken.total_seconds() + 0.01
