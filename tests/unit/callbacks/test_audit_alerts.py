"""What people are told of an audit, when it is about all indexes of a mapped transfer."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, task_group

from airflow_provider_pipetrack import AuditSensor, TrackedOperator, settings
from airflow_provider_pipetrack.attempts import silent_audits
from airflow_provider_pipetrack.attempts.announce import announced
from airflow_provider_pipetrack.attempts.declare import complete_binding
from airflow_provider_pipetrack.attempts.stores import store_for
from airflow_provider_pipetrack.callbacks.audit import tell_audit
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.describe import Outcome, end_change

TOLD = {"transfer_process_email_alerts": ["team@example.com"], "stage_i_plus_1_details": "orders"}


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """A Dag whose mapped transfers have loaded three indexes each: one with an audit of all, one with an own of each."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    with DAG("mapped") as dag:
        load = TrackedOperator.partial(task_id="load", python_callable=print, transfer=TOLD).expand(
            op_args=[[1], [2], [3]]
        )
        load >> AuditSensor(task_id="check", transfer="load", function=bool)

        @task_group
        def each(number):
            own = TrackedOperator(task_id="own", python_callable=print, op_args=[number], transfer=TOLD)
            own >> AuditSensor(task_id="check", transfer="each.own", function=bool)

        each.expand(number=[1, 2, 3])
    for name in ("load", "each.own"):
        spec = complete_binding(dag).specs[name]
        for index in range(3):
            key = RecordKey("mapped", "r", name, index, attempt=2 if index == 1 else 1)
            end = Outcome("completed", records_succeeded=5, records_failed=0)
            base = announced(spec, {"dag": dag, "run_id": "r"}, key)
            store_for(spec).submit([end_change(base, end, by="task")], durable=True)
    return dag


def told():
    waiting = [json.loads(path.read_text()) for path in (settings.alerts_dir() / "waiting").glob("*.json")]
    return sorted(
        (alert["kind"], alert["record"]["task_id"], alert["record"]["map_index"], alert["record"]["records_succeeded"])
        for alert in waiting
    )


@pytest.mark.parametrize(("mismatched", "kind"), [(True, "mismatched"), (False, "failed")])
def test_one_audit_of_all_indexes_is_told_once(loaded, mismatched, kind):
    answers = [
        {"record_id": RecordKey("mapped", "r", "load", index, 2 if index == 1 else 1).record_id, "records_succeeded": 5}
        for index in range(3)
    ]
    audit = loaded.get_task("check")
    audit.found_mismatch = mismatched
    ti = SimpleNamespace(
        task=audit, dag_id="mapped", run_id="r", task_id="check", map_index=-1, try_number=1, log_url="http://a/log",
        xcom_pull=lambda **asked: answers,
    )  # fmt: skip
    tell_audit({"ti": ti, "dag": loaded, "run_id": "r", "exception": None if mismatched else ValueError("gone")})
    assert told() == [(kind, "load", -1, 15)]
    (path,) = (settings.alerts_dir() / "waiting").glob("*.json")
    record = json.loads(path.read_text())["record"]
    assert (record["record_id"], record["stage_i_plus_1_details"]) == ("mapped/r/load/-1/2", "orders")
    assert record["log_url"] == "http://a/log"


def test_an_audit_of_all_indexes_is_told_again_when_one_of_them_has_loaded_again(loaded):
    audit = loaded.get_task("check")
    audit.found_mismatch = True
    for tries in ((1, 2, 1), (1, 2, 1), (1, 2, 2)):
        answers = [{"record_id": RecordKey("mapped", "r", "load", *one).record_id} for one in enumerate(tries)]
        ti = SimpleNamespace(
            task=audit, dag_id="mapped", run_id="r", task_id="check", map_index=-1, try_number=1,
            xcom_pull=lambda answers=answers, **asked: answers,
        )  # fmt: skip
        tell_audit({"ti": ti, "dag": loaded, "run_id": "r", "exception": None})
    assert told() == [("mismatched", "load", -1, None)] * 2


def test_one_that_was_killed_is_told_once_or_where_each_index_has_its_own_for_each(loaded, mocker):
    states = {"check": "failed", "each.check_0": "failed", "each.check_1": "success", "each.check_2": "failed"}
    mocker.patch.object(silent_audits, "task_states", return_value=states)
    silent_audits.close_silent_audits(loaded, "r")
    assert told() == [
        ("failed", "each.own", 0, 5),
        ("failed", "each.own", 2, 5),
        ("failed", "load", -1, None),
        ("failed", "load", -1, None),
    ], "once for each number of tries"
