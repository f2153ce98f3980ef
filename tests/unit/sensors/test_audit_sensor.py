"""What an audit says of a mismatch, and which transfer it is about."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, TaskGroup, task
from airflow.sdk.log import mask_secret

from airflow_provider_pipetrack import AuditSensor, PipelineConfig, TrackedOperator, TrackingStore, build_dag
from airflow_provider_pipetrack.audits.engine import AuditResult, Finding
from airflow_provider_pipetrack.compat import AirflowException, AirflowFailException, AirflowSkipException
from airflow_provider_pipetrack.errors import PipetrackError

STAGES = ("raw.2026-01-31", "clean")


def test_the_evidence_of_a_mismatch_is_told_without_secrets(monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__MASK_FIELDS", "badge")
    audit = AuditSensor(task_id="check", transfer={"name": "load"}, function=lambda: False)
    evidence = {"rows": 7, "api_token": "t0k", "of": {"badge": "b4dge"}}
    with pytest.raises(AirflowFailException, match="found a mismatch: .*'rows': 7") as raised:
        audit._on_mismatch(Finding(AuditResult.MISMATCHED, evidence))
    assert "t0k" not in str(raised.value)
    assert "b4dge" not in str(raised.value)


def test_a_secret_that_a_template_of_the_config_asked_for_is_masked_in_the_record(mocker):
    mask_secret("sWordf1sh-24680")
    asked = []
    config = {"source": "db://me:{{ word }}@host", "all": [{"of": [{"them": [{"deep": "{{ word }}"}]}]}], "most": 3}
    transfer = {"name": "load", "audit_metadata": config}
    with DAG("d"):
        audit = AuditSensor(
            task_id="check", transfer=transfer, function=lambda audit_config: asked.append(audit_config)
        )
    store = mocker.patch("airflow_provider_pipetrack.sensors.audit.store_for").return_value
    mocker.patch.object(audit, "_audited_attempts", return_value=[SimpleNamespace(record_id="r", columns={}, keys={})])
    mocker.patch.object(audit, "_stages", return_value={})
    with pytest.raises(AirflowException, match="could not be judged"):
        audit.poke({"word": "sWordf1sh-24680", "ti": SimpleNamespace(try_number=1)})
    assert asked[0]["source"] == "db://me:sWordf1sh-24680@host"
    recorded = store.submit.call_args.args[0][0].columns["audit_metadata"]
    assert recorded["source"] == "db://me:***@host"
    assert recorded["all"] == [{"of": [{"them": [{"deep": "***"}]}]}]
    assert recorded["most"] == 3


def test_a_secret_in_what_an_audit_returns_is_masked_in_the_record(mocker):
    mask_secret("sWordf1sh-13579")
    evidence = {"asked": ["db://me:sWordf1sh-13579@host/orders"], "rows": 3, "of": {"deep": ("sWordf1sh-13579", None)}}
    with DAG("d"):
        audit = AuditSensor(
            task_id="check", transfer={"name": "load"}, function=lambda: {"audit_result": "matched", **evidence}
        )
    store = mocker.patch("airflow_provider_pipetrack.sensors.audit.store_for").return_value
    mocker.patch.object(audit, "_audited_attempts", return_value=[SimpleNamespace(record_id="r", columns={}, keys={})])
    mocker.patch.object(audit, "_stages", return_value={})
    mocker.patch.object(audit, "_tell_downstream")
    assert audit.poke({"ti": SimpleNamespace(try_number=1)}).is_done
    recorded = store.submit.call_args.args[0][0].columns["audit_metadata"]
    assert recorded["asked"] == ["db://me:***@host/orders"]
    assert (recorded["rows"], recorded["of"]["deep"]) == (3, ["***", None])


@pytest.mark.parametrize(("on_mismatch", "stops"), [("fail", {"stops": True}), ("warn", {})])
def test_later_tasks_are_told_whether_a_mismatch_stopped_the_run(mocker, on_mismatch, stops):
    with DAG("d"):
        audit = AuditSensor(task_id="check", transfer={"name": "load"}, function=lambda: False, on_mismatch=on_mismatch)
    mocker.patch.object(audit, "_stages", return_value={})
    mocker.patch.object(audit, "_record")
    told = []
    answer = {"record_id": "d/r/load/-1/3"}
    ti = SimpleNamespace(
        xcom_push=lambda key, value: told.append(value), xcom_pull=lambda **asked: answer, map_index=-1
    )
    if stops:
        with pytest.raises(AirflowFailException):
            audit.poke({"ti": ti})
    else:
        audit.poke({"ti": ti})
    assert told == [{"audit_result": "mismatched", "checked": True, "audited": [[-1, 3]], "map_index": -1, **stops}]


@pytest.mark.parametrize("finds", [True, False])
def test_an_audit_that_has_its_answer_keeps_it_where_nobody_can_say_what_was_audited(mocker, finds):
    with DAG("d"):
        audit = AuditSensor(task_id="check", transfer={"name": "load"}, function=lambda: finds)
    mocker.patch.object(audit, "_stages", return_value={})
    mocker.patch.object(audit, "_record")
    ti = mocker.Mock(map_index=-1)
    ti.xcom_pull.side_effect = OSError("the bucket of XComs is gone")
    if finds:
        assert audit.poke({"ti": ti}).is_done
    else:
        with pytest.raises(AirflowFailException, match="found a mismatch"):
            audit.poke({"ti": ti})
    assert "audited" not in ti.xcom_push.call_args.kwargs["value"], "unknown is not nothing"


def test_a_secret_in_an_object_that_an_audit_returns_is_masked_and_one_that_contains_itself_is_recorded(mocker):
    mask_secret("sWordf1sh-97531")
    evidence = {"why": ValueError("no login as me:sWordf1sh-97531"), "seen": {"sWordf1sh-97531"}, "rows": 3}
    evidence["again"] = evidence
    with DAG("d"):
        audit = AuditSensor(
            task_id="check", transfer={"name": "load"}, function=lambda: {"audit_result": "mismatched", **evidence}
        )
    store = mocker.patch("airflow_provider_pipetrack.sensors.audit.store_for").return_value
    mocker.patch.object(audit, "_audited_attempts", return_value=[SimpleNamespace(record_id="r", columns={}, keys={})])
    mocker.patch.object(audit, "_stages", return_value={})
    mocker.patch.object(audit, "_tell_downstream")
    with pytest.raises(AirflowFailException, match="found a mismatch: .*'rows': 3") as raised:
        audit.poke({"ti": SimpleNamespace(try_number=1)})
    assert "97531" not in str(raised.value)
    recorded = store.submit.call_args.args[0][0].columns["audit_metadata"]
    assert (recorded["why"], recorded["seen"]) == ("ValueError('no login as me:***')", ["***"])
    assert recorded["rows"] == recorded["again"]["rows"] == 3


def test_a_template_of_the_config_that_cannot_be_rendered_is_named(mocker):
    transfer = {"name": "load", "audit_metadata": {"note": "100 {% of all"}}
    with DAG("d"):
        audit = AuditSensor(task_id="check", transfer=transfer, function=lambda: True)
    mocker.patch.object(audit, "_stages", return_value={})
    mocker.patch.object(audit, "_record")
    wanted = r"the audit of load could not be judged: a template in audit_metadata or audit.config .* unknown tag 'of'"
    with pytest.raises(AirflowException, match=wanted):
        audit.poke({})


def test_an_audit_function_that_skips_is_an_error_and_never_skips_what_comes_behind(mocker):
    def skips():
        raise AirflowSkipException("not today")

    with DAG("d"):
        audit = AuditSensor(task_id="check", transfer={"name": "load"}, function=skips)
    mocker.patch.object(audit, "_stages", return_value={})
    recorded = mocker.patch.object(audit, "_record")
    with pytest.raises(AirflowException, match="the audit of load could not be judged: .* never skipped") as raised:
        audit.poke({})
    assert not isinstance(raised.value, AirflowSkipException)
    assert "never skipped" in recorded.call_args.args[1].metadata["error"]


@pytest.mark.parametrize("name", ["load", "shop.lod"])
def test_an_audit_of_a_transfer_that_is_called_otherwise_says_how(name):
    with DAG("d"), TaskGroup("shop"):
        TrackedOperator(task_id="load", transfer={})
        audit = AuditSensor(task_id="check", transfer=name, function=lambda: True)
    with pytest.raises(
        PipetrackError, match=rf"has no transfer '{name}' \(did you mean 'shop.load'\?\); give its fields"
    ):
        _ = audit.pipetrack_spec


def test_an_audit_finds_the_transfer_of_a_mapped_function():
    @task.tracked(transfer={"stage_i_plus_1_details": "orders"})
    def load(number):
        return number

    with DAG("d"):
        loaded = load.override(task_id="each").expand(number=[1, 2])
        audit = AuditSensor(task_id="check", transfer="each", function=lambda: True)
        loaded >> audit
    assert audit.pipetrack_spec.transfer.stage_i_plus_1_details == "orders"


def test_an_audit_is_told_the_stages_by_the_attempt_itself_where_no_storage_answers(tmp_path, monkeypatch, mocker):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    row = {"name": "load", "stage_i_details": "raw.{{ ds }}", "stage_i_plus_1_details": "clean"}
    dag = build_dag(PipelineConfig.from_text(json.dumps({"stage_transfers": [row]}), "orders.json"))
    said = {}
    ti = SimpleNamespace(
        dag_id="orders", run_id="r", task_id="load", map_index=-1, try_number=1, task=dag.get_task("load"),
        xcom_push=lambda key, value: said.update(value), xcom_pull=lambda **asked: said,
    )  # fmt: skip
    context = {"ti": ti, "dag": dag, "run_id": "r", "ds": "2026-01-31"}
    ti.task.execute(context)
    audit = dag.get_task("load__audit")
    audit.function = lambda source_stage, target_stage: {"audit_result": (source_stage, target_stage) == STAGES}
    monkeypatch.setattr(TrackingStore, "look_up", lambda *asked: pytest.fail("no storage answers"))
    mocker.patch.object(audit, "_record")
    assert audit.poke(context).xcom_value == "matched"


def test_what_a_transfer_says_of_its_stages_is_what_its_record_keeps(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    row = {"name": "load", "stage_i_details": "{{ told }}", "stage_i_plus_1_details": "{{ told * 10000 }}"}
    dag = build_dag(PipelineConfig.from_text(json.dumps({"stage_transfers": [row]}), "orders.json"))
    said = {}
    ti = SimpleNamespace(
        dag_id="orders", run_id="r", task_id="load", map_index=-1, try_number=1, task=dag.get_task("load"),
        xcom_push=lambda key, value: said.update(value), xcom_pull=lambda **asked: said,
    )  # fmt: skip
    ti.task.execute({"ti": ti, "dag": dag, "run_id": "r", "told": "a\0b\udcff c d"})
    assert said["stage_i_details"] == "a\ufffdb? c d", "PostgreSQL refuses the one, and HTTP the other"
    assert len(said["stage_i_plus_1_details"]) < 66_000
