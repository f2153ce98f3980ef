"""Transfers that trigger a run of another Dag: Airflow does it, and waits for it, when their ``execute`` is over."""

from __future__ import annotations

import logging
import runpy

import pytest

from airflow_provider_pipetrack import TrackingStore
from airflow_provider_pipetrack.attempts.verdicts import RETRIED, ROLLBACK_OWED
from tests.airflow_versions import AIRFLOW

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]

#: Of a wait for a run that failed, which Airflow retries from 3.3 on.
RETRIES = {
    ("fails_again", -1, 0): ("failed", "callback", RETRIED if AIRFLOW >= (3, 3) else None),
    **({("fails_again", -1, 1): ("failed", "callback", None)} if AIRFLOW >= (3, 3) else {}),
}
DAG = """
from datetime import timedelta
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG
from airflow_provider_pipetrack import TrackedOperator, tracked

def trigger(task_id, *, fields={{}}, **arguments):
    transfer = {{"tracking_location": [{location!r}], **fields}}
    return TrackedOperator(
        task_id=task_id, operator=TriggerDagRunOperator, transfer=transfer, trigger_dag_id="triggered", **arguments
    )

# Nobody runs what is triggered, so that it stays queued.
WAITS = {{"wait_for_completion": True, "poke_interval": 1}}
FAILS = {{**WAITS, "allowed_states": ["success"], "failed_states": ["queued"]}}
with DAG("triggered", schedule=None) as triggered:
    TrackedOperator(task_id="load", transfer={{"tracking_location": [{location!r}]}})
with DAG("triggers", schedule=None) as triggers:
    fires = trigger("fires", trigger_run_id="once")
    fires >> trigger("waits", fields={{"upstream_completion_required": True}}, allowed_states=["queued"], **WAITS)
    fires >> trigger("again", trigger_run_id="once", skip_when_already_exists=True)
    fires >> trigger("twice", trigger_run_id="once")
    trigger("fails", fields={{"rollback": "os.abort"}}, **FAILS)
    trigger("fails_again", retries=1, retry_delay=timedelta(0), **FAILS)
    mapped = tracked(TriggerDagRunOperator).partial
    common = {{"trigger_dag_id": "triggered", "transfer": {{"tracking_location": [{location!r}]}}}}
    each = mapped(task_id="each", **common).expand(trigger_run_id=["first", "second"])
    each >> mapped(task_id="each_again", skip_when_already_exists=True, **common).expand(trigger_run_id=["first"])
"""


def test_their_ends_are_recorded_when_airflow_has_decided(airflow_home, tmp_path):
    location = f"sqlite||{tmp_path}/tracking.db"
    path = airflow_home / "dags" / "triggers.py"
    path.write_text(DAG.format(location=location))
    dags = runpy.run_path(str(path))
    logging.disable(logging.INFO)
    try:
        dags["triggered"].test()
        run = dags["triggers"].test()
    finally:
        logging.disable(logging.NOTSET)
    with TrackingStore([location]) as store:
        records = store.read_run(run.dag_id, run.run_id).records
    found = {}
    for record in records:
        name = (record["task_id"], record["map_index"], record["retry_attempt_number"])
        found[name] = (record["transfer_status"], record["closed_by"], record["decision"])
        assert (record["actual_seconds"] or 0) > 0, record
        assert ("gave up" in (record["error_message"] or "")) == (record["transfer_status"] == "failed"), record
    by_task, by_callback = ("completed", "task", None), ("failed", "callback", None)
    skipped = ("completed", "callback", "skipped")
    assert found == {
        ("fires", -1, 0): by_task,
        ("waits", -1, 0): by_task,
        ("each", 0, 0): by_task,
        ("each", 1, 0): by_task,
        ("again", -1, 0): skipped,
        ("each_again", 0, 0): skipped,
        ("twice", -1, 0): by_callback,
        ("fails", -1, 0): ("failed", "callback", ROLLBACK_OWED),
        **RETRIES,
    }
