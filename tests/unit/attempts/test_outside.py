"""A failure outside of ``execute``: recorded and told with the way to its log, whatever is said of the attempt later."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from airflow_provider_pipetrack import PipelineConfig, build_dag, settings
from airflow_provider_pipetrack.attempts.announce import announced
from airflow_provider_pipetrack.attempts.binding import binding_of
from airflow_provider_pipetrack.attempts.content import describe_announced
from airflow_provider_pipetrack.attempts.stores import store_for
from airflow_provider_pipetrack.callbacks.task import record_failure
from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.describe import Outcome, end_change, start_change

PIPELINE = "{defaults: {transfer_process_email_alerts: [a@b.c]}, stage_transfers: [{name: load, audit_enabled: false}]}"
LOG = "http://airflow/dags/d/runs/r/tasks/load?try_number=1"
KEY = RecordKey("d", "r", "load")


@pytest.fixture
def failed(tmp_path, monkeypatch):
    """A Dag of one transfer, and the context of its failure before it began."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    dag = build_dag(PipelineConfig.from_text(PIPELINE, "d.yaml"))
    ti = SimpleNamespace(**KEY.columns(), task=dag.get_task("load"), try_number=1, state="failed", log_url=LOG)
    return dag, {"ti": ti, "dag": dag, "run_id": "r", "exception": ZeroDivisionError("division by zero")}


@pytest.mark.parametrize("is_announced", [True, False])
def test_its_log_is_in_the_record_and_in_the_alert(failed, is_announced):
    dag, context = failed
    spec = binding_of(dag).specs["load"]
    store = store_for(spec)
    if is_announced:
        store.submit([announced(spec, context, KEY)], durable=False)
        store.flush()
    record_failure(context)
    store.submit([announced(spec, context, KEY)], durable=False)  # by another host
    store.flush()
    record = store.read_record(KEY.record_id)
    assert (record["transfer_status"], record["log_url"]) == ("failed", LOG)
    assert record["transfer_start_timestamp"] is None
    (alert,) = (json.loads(path.read_text()) for path in (settings.alerts_dir() / "waiting").glob("*.json"))
    assert alert["record"]["log_url"] == LOG


def test_the_start_counts_more_when_the_attempt_begins_after_all(failed):
    dag, context = failed
    spec = binding_of(dag).specs["load"]
    store = store_for(spec)
    record_failure(context)
    described = describe_announced(spec, context, KEY)
    begun = start_change(described, KEY, started=utc_now(), operator="x.Y", log_url="http://airflow/later")
    store.submit([end_change(begun, Outcome("completed"), by="task", sequence=2)], durable=True)
    store.flush()
    record = store.read_record(KEY.record_id)
    assert (record["log_url"], record["operator"]) == ("http://airflow/later", "x.Y")
