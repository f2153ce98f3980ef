"""Subclasses of EmptyOperator in Airflow, whose scheduler marks those done without running them: tracked, they run."""

from __future__ import annotations

import logging
import runpy

import pytest

from airflow_provider_pipetrack import TrackingStore
from airflow_provider_pipetrack.compat import serialize

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]

DAG = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow_provider_pipetrack import tracked

class Ready(EmptyOperator):
    template_fields = ("stage",)

    def __init__(self, *, stage="mart", **kwargs):
        super().__init__(**kwargs)
        self.stage = stage

    def execute(self, context):
        return self.stage

TRACKED = {{"tracking_location": [{location!r}]}}
with DAG("empty_operators", schedule=None) as dag:
    EmptyOperator(task_id="untracked")
    tracked(Ready)(task_id="plain", transfer=TRACKED)
    tracked(Ready).partial(task_id="each", transfer=TRACKED).expand(stage=["a", "b"])
    tracked(Ready).partial(task_id="kwargs", transfer=TRACKED).expand_kwargs([{{"stage": "c"}}])
"""


def test_each_of_them_is_executed_mapped_or_not(airflow_home, tmp_path):
    location = f"sqlite||{tmp_path}/tracking.db"
    path = airflow_home / "dags" / "empty_operators.py"
    path.write_text(DAG.format(location=location))
    dag = runpy.run_path(str(path))["dag"]
    # It is what Airflow's scheduler goes by.
    empty = {task["__var"]["task_id"] for task in serialize(dag)["dag"]["tasks"] if task["__var"].get("_is_empty")}
    assert empty == {"untracked"}
    logging.disable(logging.INFO)
    try:
        run = dag.test()
    finally:
        logging.disable(logging.NOTSET)
    assert str(run.state) == "success"
    with TrackingStore([location]) as store:
        records = store.read_run(run.dag_id, run.run_id).records
    found = {(record["task_id"], record["map_index"]): record for record in records}
    assert set(found) == {("plain", -1), ("each", 0), ("each", 1), ("kwargs", 0)}
    for record in records:
        assert record["transfer_status"] == "completed", record
        assert record["transfer_start_timestamp"] is not None, record
        assert record["decision"] is None, record
