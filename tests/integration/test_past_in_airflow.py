"""A run that is cleared days after it first started: Airflow gives it a new start, its records know the first one."""

from __future__ import annotations

import logging
import runpy
from datetime import timedelta

import pytest
from airflow.models import dagrun

from airflow_provider_pipetrack import TrackingStore
from airflow_provider_pipetrack.records.change import utc_now

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]

DAG = """
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from airflow.sdk import DAG, task
from airflow_provider_pipetrack import TrackedOperator, TrackingStore
from airflow_provider_pipetrack.records.handmade import change_from_record

@task
def was_announced(ti):
    record = {{"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": "load", "transfer_status": "pending"}}
    began = datetime.now(timezone.utc) - timedelta(days={began})
    with TrackingStore([{location!r}]) as store:
        store.submit([replace(change_from_record(record), at=began)], durable=True)

with DAG("past_{began}_{cleared}", schedule=timedelta(days=1), start_date=datetime(2024, 1, 1, tzinfo=timezone.utc)) as dag:
    fields = {{"tracking_location": [{location!r}], "can_access_historical_data": False}}
    was_announced() >> TrackedOperator(task_id="load", transfer=fields)
"""


@pytest.mark.parametrize(
    ("began", "cleared", "state"),
    [(3, 1, "success"), (1, 1, "skipped"), (3, 0, "skipped")],
    ids=["cleared", "cleared, but late at first", "made again after it was deleted"],
)
def test_a_transfer_goes_by_the_first_start_of_its_run(airflow_home, tmp_path, monkeypatch, began, cleared, state):
    make = dagrun.get_or_create_dagrun

    def started_now(*, session, **given):
        # A test run starts at its logical date, wherever that is.
        made = make(**{**given, "start_date": utc_now(), "session": session})
        made.clear_number = cleared
        session.commit()
        return made

    monkeypatch.setattr(dagrun, "get_or_create_dagrun", started_now)
    location = f"sqlite||{tmp_path}/tracking.db"
    path = airflow_home / "dags" / f"past_{began}_{cleared}.py"
    path.write_text(DAG.format(location=location, began=began, cleared=cleared))
    dag = runpy.run_path(str(path))["dag"]
    logging.disable(logging.INFO)
    try:
        run = dag.test(logical_date=utc_now() - timedelta(days=3, hours=12))
    finally:
        logging.disable(logging.NOTSET)
    assert {ti.task_id: str(ti.state) for ti in run.get_task_instances()}["load"] == state
    with TrackingStore([location]) as store:
        (record,) = store.read_run(run.dag_id, run.run_id).records
    assert ("before the run started" in (record["decision"] or "")) == (state == "skipped"), record
