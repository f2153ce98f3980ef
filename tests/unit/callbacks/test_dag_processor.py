"""In the dag processor the callbacks ask Airflow only for what it answers there; anything else would hang the file."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest
from airflow.sdk.execution_time import comms, task_runner

from airflow_provider_pipetrack import PipelineConfig, TrackingStore, build_dag
from airflow_provider_pipetrack.attempts.binding import binding_of
from airflow_provider_pipetrack.attempts.stores import store_for
from airflow_provider_pipetrack.callbacks.attach import as_list
from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.describe import Content, Described, Outcome, end_change, start_change
from tests import mail_server

PIPELINE = """
pipeline_metadata: {pipeline_id: "{{ var.value.team }}_{{ ti.xcom_pull('x') }}"}
variables: {table: orders}
tracking: {connections: {postgres: away}}
alerts: [{notifier: airflow.providers.smtp.notifications.smtp.SmtpNotifier, kwargs: {to: pager@example.com}}]
defaults:
  tracking_location: LOCATIONS
  transfer_process_email_alerts: [team@example.com]
  depends_on: []
  audit_enabled: false
  max_retry_attempts: 0
stage_transfers:
  - {name: begun, stage_i_details: 'f"{table}_{ds}"', stage_i_plus_1_details: "{{ var.value.team }}"}
  - {name: owes, rollback: os.getcwd, python_callable: os.getcwd}
  - {name: never}
  - {name: audited, audit_enabled: true, audit: {function: os.path.exists}}
  - {name: mapped, operator: airflow.providers.standard.operators.bash.BashOperator, expand: {bash_command: [a, b]}}
"""
STATES = {
    "begun": "failed",
    "owes": "failed",
    "never": "upstream_failed",
    "audited": "success",
    "audited__audit": "failed",
    "mapped_0": "success",
    "mapped_1": "failed",
}


class Airflow:
    """The dag processor's side of the conversation: it answers four messages, and notes all others."""

    def __init__(self, smtp: str) -> None:
        self.connections = {
            "away": {"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "login": "u", "password": "p"},
            "smtp_default": json.loads(smtp),
        }
        self.asked: set[str] = set()
        self.refused: list[str] = []

    def send(self, msg):
        self.asked.add(type(msg).__name__)
        if isinstance(msg, comms.GetConnection):
            known = self.connections.get(msg.conn_id)
            if known is None:
                return comms.ErrorResponse(error=comms.ErrorType.CONNECTION_NOT_FOUND)
            whole = {**dict.fromkeys(("schema", "login", "password")), **known, "conn_id": msg.conn_id}
            return comms.ConnectionResult(**{**whole, "extra": json.dumps(known.get("extra", {}))})
        if isinstance(msg, comms.GetVariable):
            return comms.VariableResult(key=msg.key, value="sales")
        if isinstance(msg, comms.GetXCom):
            return comms.XComResult(key=msg.key, value="x")
        if isinstance(msg, comms.GetTaskStates):
            return comms.TaskStatesResult(task_states=dict.fromkeys(msg.run_ids, STATES))
        if isinstance(msg, comms.MaskSecret):  # Airflow's own, of each connection that it gives
            return None
        self.refused.append(type(msg).__name__)
        raise AssertionError(f"{type(msg).__name__} hangs the dag processor")

    async def asend(self, msg):
        return self.send(msg)


@pytest.fixture
def server():
    with mail_server.running() as running:
        yield running


@pytest.fixture
def airflow(server, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    monkeypatch.setattr("airflow.__version__", "3.4.0")  # the scheduler of its betas hands none over
    made = Airflow(server.connection())
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", made, raising=False)
    return made


@pytest.fixture(params=["sqlite", "a connection, which is away, and sqlite"])
def dag(request, airflow, tmp_path):
    """A Dag whose transfers are in every state that the callbacks have to deal with."""
    locations = [f"sqlite||{tmp_path}/tracking.db"]
    if request.param != "sqlite":
        locations.insert(0, "postgres||db||public||pipeline_tracking")
    text = PIPELINE.replace("LOCATIONS", json.dumps(locations))
    made = build_dag(PipelineConfig.from_text(text, "processed.yaml"))
    ended = Outcome("completed", ended=utc_now())
    changes = [start(made, "begun"), start(made, "owes")]
    changes += [end_change(start(made, *place), ended, by="task") for place in (("audited",), ("mapped", 0))]
    store = store_for(binding_of(made).specs["begun"])
    store.submit(changes, durable=False)
    store.flush()
    return made


def start(dag, name, map_index=-1):
    transfer = binding_of(dag).specs[name].transfer
    key = RecordKey(dag.dag_id, "r", name, map_index)
    described = Described(transfer, Content("processed"))
    return start_change(described, key, started=utc_now(), operator="x.Y", log_url=None)


def records(tmp_path):
    with TrackingStore([f"sqlite||{tmp_path}/tracking.db"], journal_dir=tmp_path / "journal") as store:
        found = store.read_run("processed", "r").records
    return {(record["task_id"], record["map_index"]): record for record in found}


@pytest.mark.parametrize("reason", ["task_failure", "timed_out", "all_tasks_deadlocked"])
def test_the_end_of_a_run_asks_for_nothing_else(dag, airflow, server, tmp_path, reason):
    for callback in as_list(dag.on_failure_callback):
        callback({"dag": dag, "run_id": "r", "reason": reason})
    assert airflow.refused == []
    assert airflow.asked >= {"GetTaskStates", "GetConnection"}
    found = records(tmp_path)
    assert {place: record["transfer_status"] for place, record in found.items()} == {
        ("begun", -1): "failed",
        ("owes", -1): "failed",
        ("never", -1): "pending",
        ("audited", -1): "completed",
        ("mapped", 0): "completed",
        ("mapped", 1): "failed",
    }
    assert "the audit ended without a word" in found["audited", -1]["audit_metadata"]["error"]
    assert found["mapped", 0]["audit_metadata"] == {"map_indexes": 2}
    assert "rollback" in found["owes", -1]["decision"]
    told = sorted(to for to, _ in server.mails for to in to)
    assert told.count("team@example.com") == told.count("pager@example.com") >= 4


def test_the_end_of_a_run_that_succeeded_asks_for_nothing_else(dag, airflow):
    for callback in as_list(dag.on_success_callback):
        callback({"dag": dag, "run_id": "r", "reason": "success"})
    assert airflow.refused == []
    assert "GetTaskStates" in airflow.asked


def test_a_killed_task_that_never_began_is_kept_under_the_pipeline_that_its_run_names(airflow, tmp_path):
    text = PIPELINE.replace("LOCATIONS", f"[sqlite||{tmp_path}/tracking.db]").replace(
        "{{ var.value.team }}_", "{{ ds }}"
    )
    made = build_dag(PipelineConfig.from_text(text.replace("{{ ti.xcom_pull('x') }}", ""), "processed.yaml"))
    ti = task_runner.RuntimeTaskInstance.model_construct(
        id=uuid4(), task_id="never", dag_id=made.dag_id, run_id="r", try_number=1, map_index=-1, state=None
    )
    for callback in as_list(made.get_task("never").on_failure_callback):
        callback({"dag": made, "run_id": "r", "ds": "2026-01-02", "ti": ti, "task": made.get_task("never")})
    assert records(tmp_path)["never", -1]["pipeline_id"] == "2026-01-02"


@pytest.mark.parametrize("kind", ["on_failure_callback", "on_retry_callback"])
@pytest.mark.parametrize(("name", "map_index"), [("begun", -1), ("owes", -1), ("never", -1), ("mapped", 1)])
def test_a_killed_task_asks_for_nothing_else(dag, airflow, server, tmp_path, kind, name, map_index):
    task = dag.get_task(name)
    ti = task_runner.RuntimeTaskInstance.model_construct(
        id=uuid4(),
        task_id=name,
        dag_id=dag.dag_id,
        run_id="r",
        try_number=1,
        map_index=map_index,
        state=None,
        task=task,
    )
    callbacks = task.partial_kwargs[kind] if task.is_mapped else getattr(task, kind)
    for callback in as_list(callbacks):
        callback({**ti.get_template_context(), "dag": dag})
    assert airflow.refused == []
    record = records(tmp_path)[name, map_index]
    assert record["transfer_status"] == "failed"
    has_begun = name in ("begun", "owes")
    assert has_begun or record["log_url"] == ti.log_url
    assert bool(server.mails) == (kind == "on_failure_callback")
