"""An audit that was killed before it said a word is recorded and told once, and no other is."""

from __future__ import annotations

import json
from itertools import permutations
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, task_group

from airflow_provider_pipetrack import AuditSensor, PipelineConfig, TrackedOperator, TrackingStore, build_dag, settings
from airflow_provider_pipetrack.attempts import closing, silent_audits
from airflow_provider_pipetrack.attempts.announce import announced
from airflow_provider_pipetrack.attempts.binding import binding_of
from airflow_provider_pipetrack.attempts.declare import complete_binding
from airflow_provider_pipetrack.attempts.stores import store_for
from airflow_provider_pipetrack.callbacks.dag import close_run
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.merge import fold
from airflow_provider_pipetrack.records.openness import is_accepted_by_hand, is_accepted_by_rule
from airflow_provider_pipetrack.tracking.describe import Outcome, audit_change, end_change

PIPELINE = """
defaults: {transfer_process_email_alerts: [team@example.com]}
stage_transfers: [{name: killed}, {name: spoke}, {name: waited}, {name: by_hand}, {name: matched}, {name: never_ran}]
"""
STATES = {
    "killed__audit": "failed",
    "spoke__audit": "failed",
    "waited__audit": "failed",
    "by_hand__audit": "success",
    "matched__audit": "success",
    "never_ran__audit": "failed",
}


@pytest.fixture
def dag(tmp_path, monkeypatch, mocker):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    mocker.patch.object(silent_audits, "task_states", return_value=STATES)
    made = build_dag(PipelineConfig.from_text(PIPELINE, "audited.yaml"))
    for name in ("killed", "spoke", "waited", "by_hand", "matched"):
        base = start(made, name)
        changes = [end_change(base, Outcome("completed"), by="task")]
        if name == "spoke":
            changes.append(audit_change(base, "pending", {"audit_task": "x", "error": "E"}, try_number=1, final=False))
        if name in ("waited", "by_hand"):
            changes.append(audit_change(base, "pending", {"audit_task": "x", "rows": 3}, try_number=2, final=False))
        store_of(made, name).submit(changes, durable=False)
    store_of(made, "killed").flush()
    return made


def start(dag, name):
    return announced(binding_of(dag).specs[name], {"dag": dag, "run_id": "r"}, RecordKey("audited", "r", name))


def store_of(dag, name):
    return store_for(binding_of(dag).specs[name])


def alerts() -> list[dict]:
    return [json.loads(path.read_text()) for path in (settings.alerts_dir() / "waiting").glob("*.json")]


def audit_of(dag, name) -> tuple[str, dict]:
    record = store_of(dag, name).read_record(RecordKey("audited", "r", name).record_id)
    return record["audit_result"], record["audit_metadata"]


def test_only_the_silent_ones_are_recorded_and_told_once(dag):
    for _ in range(2):
        silent_audits.close_silent_audits(dag, "r")
    told = {alert["record"]["task_id"]: alert["record"]["error_message"] for alert in alerts()}
    assert (set(told), {alert["kind"] for alert in alerts()}) == ({"killed", "waited"}, {"failed"})
    assert "the audit ended without a word" in told["killed"]
    assert "the audit was still pending when it ended" in told["waited"]
    record = store_of(dag, "killed").read_record(RecordKey("audited", "r", "killed").record_id)
    assert record["transfer_status"] == "completed"
    assert record["audit_result"] == "pending"
    assert record["audit_metadata"]["audit_task"] == "killed__audit"
    assert "killed, out of memory" in record["audit_metadata"]["error"]
    assert record["audit_metadata"]["audit_ended"] == "failed"
    assert audit_of(dag, "spoke") == ("pending", {"audit_task": "x", "error": "E", "audit_ended": "failed"})
    result, waited = audit_of(dag, "waited")
    assert (result, waited["audit_ended"], waited["rows"]) == ("pending", "failed", 3)
    result, by_hand = audit_of(dag, "by_hand")
    assert (result, by_hand["audit_ended"]) == ("pending", "passed")
    assert by_hand["warning"] == "Airflow says success; the audit itself gave no answer"
    assert audit_of(dag, "matched") == (None, {})


def test_each_index_of_an_audit_is_closed_by_its_own_state_and_one_that_is_mapped_itself_by_all(
    tmp_path, monkeypatch, mocker
):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    with DAG("mapped") as mapped:

        @task_group
        def each(number):
            load = TrackedOperator(task_id="load", python_callable=print, op_args=[number], transfer={})
            load >> AuditSensor(task_id="check", transfer="each.load", function=bool)

        each.expand(number=[1, 2, 3])
        for name in ("killed", "by_hand", "running"):
            load = TrackedOperator(task_id=name, transfer={})
            load >> AuditSensor.partial(task_id=f"{name}_check", transfer=name, function=bool).expand(
                audit_config=[{}, {}]
            )
    states = {"each.check_0": "failed", "each.check_1": "success", "each.check_2": "failed"}
    for name, second in (("killed", "failed"), ("by_hand", "success"), ("running", "running")):
        states |= {f"{name}_check_0": "success", f"{name}_check_1": second}
    mocker.patch.object(silent_audits, "task_states", return_value=states)
    keys = [RecordKey("mapped", "r", "each.load", index) for index in range(3)]
    keys += [RecordKey("mapped", "r", name) for name in ("killed", "by_hand", "running")]
    found = {"audit_task": "each.check", "audit_ended": "failed"}
    store = store_of(mapped, "killed")
    for key in keys:
        base = announced(complete_binding(mapped).specs[key.name], {"dag": mapped, "run_id": "r"}, key)
        store.submit([end_change(base, Outcome("completed"), by="task")], durable=False)
        if key.map_index == 1 or key.name == "by_hand":
            said = {**found, "audit_task": "each.check" if key.map_index == 1 else "by_hand_check"}
            store.submit([audit_change(base, "mismatched", said, try_number=1, final=True)], durable=False)
    store.flush()
    silent_audits.close_silent_audits(mapped, "r")
    read = [store.read_record(key.record_id) for key in keys]
    ends = [(r["audit_result"], (r["audit_metadata"] or {}).get("audit_ended")) for r in read]
    assert ends == [
        ("pending", "failed"), ("mismatched", "passed"), ("pending", "failed"),
        ("pending", "failed"), ("mismatched", "passed"), (None, None),
    ]  # fmt: skip


def test_an_audit_of_what_this_dag_does_not_track_is_told_like_others(tmp_path, monkeypatch, mocker):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    mocker.patch.object(silent_audits, "task_states", return_value={"lost": "failed", "own": "failed"})
    told = {"transfer_process_email_alerts": ["team@example.com"]}
    with DAG("by_hand") as by_hand:
        AuditSensor(task_id="lost", transfer="elsewhere")
        AuditSensor(task_id="own", transfer={"stage_i_plus_1_details": "orders", **told})
    for _ in range(2):
        silent_audits.close_silent_audits(by_hand, "r")
    (alert,) = alerts()
    assert (alert["kind"], alert["record"]["task_id"]) == ("failed", "own")
    record = store_for(by_hand.get_task("own").pipetrack_spec).read_record(RecordKey("by_hand", "r", "own").record_id)
    assert (record["stage_i_plus_1_details"], record["audit_metadata"]["audit_task"]) == ("orders", "own")


@pytest.mark.parametrize("state", ["success", "skipped", "upstream_failed", None])
def test_an_audit_without_a_record_that_has_not_failed_is_none_to_tell_of(tmp_path, monkeypatch, mocker, state):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    mocker.patch.object(silent_audits, "task_states", return_value={"own": state})
    told = {"transfer_process_email_alerts": ["team@example.com"]}
    with DAG("by_hand") as by_hand:
        audit = AuditSensor(task_id="own", transfer={"stage_i_plus_1_details": "orders", **told})
    silent_audits.close_silent_audits(by_hand, "r")
    assert store_for(audit.pipetrack_spec).read_run("by_hand", "r", ["by_hand"]).records == []
    assert alerts() == []


def test_an_audit_of_what_this_dag_does_not_track_that_has_said_why_it_failed_is_not_told_again(
    tmp_path, monkeypatch, mocker
):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    mocker.patch.object(silent_audits, "task_states", return_value={"own": "failed"})
    told = {"transfer_process_email_alerts": ["team@example.com"]}
    with DAG("by_hand") as by_hand:
        audit = AuditSensor(task_id="own", transfer={"stage_i_plus_1_details": "orders", **told})
    spec, key = audit.pipetrack_spec, RecordKey("by_hand", "r", "own")
    base = announced(spec, {"dag": by_hand, "run_id": "r"}, key)
    said = {"audit_task": "own", "audit_ended": "failed", "error": "E"}
    store_for(spec).submit([audit_change(base, "pending", said, try_number=1, final=True)], durable=True)
    silent_audits.close_silent_audits(by_hand, "r")
    assert store_for(spec).read_record(key.record_id)["audit_metadata"] == said
    assert alerts() == []


def test_the_audit_of_a_transfer_that_has_not_completed_is_left_alone(dag):
    store_of(dag, "never_ran").submit([end_change(start(dag, "never_ran"), Outcome("failed"), by="task")], durable=True)
    silent_audits.close_silent_audits(dag, "r")
    assert audit_of(dag, "never_ran") == (None, {})
    assert "never_ran" not in {alert["record"]["task_id"] for alert in alerts()}


@pytest.mark.parametrize("state", ["running", "upstream_failed", None])
def test_an_index_whose_audit_has_not_ended_is_left_alone(tmp_path, monkeypatch, mocker, state):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    with DAG("mapped") as mapped:

        @task_group
        def each(number):
            load = TrackedOperator(task_id="load", python_callable=print, op_args=[number], transfer={})
            load >> AuditSensor(task_id="check", transfer="each.load", function=bool)

        each.expand(number=[1, 2])
    mocker.patch.object(silent_audits, "task_states", return_value={"each.check_0": "failed", "each.check_1": state})
    said = {"audit_task": "each.check", "audit_ended": "not yet"}
    keys = [RecordKey("mapped", "r", "each.load", index) for index in range(2)]
    store = store_of(mapped, "each.load")
    for key in keys:
        base = announced(complete_binding(mapped).specs[key.name], {"dag": mapped, "run_id": "r"}, key)
        asks = audit_change(base, "pending", said, try_number=1, final=False)
        store.submit([end_change(base, Outcome("completed"), by="task"), asks], durable=True)
    silent_audits.close_silent_audits(mapped, "r")
    found = [store.read_record(key.record_id)["audit_metadata"]["audit_ended"] for key in keys]
    assert found == ["failed", "not yet"]


def test_an_audit_that_was_killed_after_it_had_asked_to_be_asked_again_is_told_wherever_it_stands(
    tmp_path, monkeypatch, mocker
):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    mocker.patch.object(silent_audits, "task_states", return_value={"own": "failed"})
    told = {"transfer_process_email_alerts": ["team@example.com"]}
    with DAG("by_hand") as by_hand:
        audit = AuditSensor(task_id="own", transfer={"stage_i_plus_1_details": "orders", **told})
    spec, key = audit.pipetrack_spec, RecordKey("by_hand", "r", "own")
    base = announced(spec, {"dag": by_hand, "run_id": "r"}, key)
    asks = audit_change(base, "pending", {"audit_task": "own", "audit_ended": "not yet"}, try_number=1, final=False)
    store_for(spec).submit([asks], durable=True)
    silent_audits.close_silent_audits(by_hand, "r")
    assert store_for(spec).read_record(key.record_id)["audit_metadata"]["audit_ended"] == "failed"
    assert [alert["kind"] for alert in alerts()] == ["failed"]


def test_an_audit_that_was_set_by_hand_is_closed_when_its_run_succeeds(dag, mocker):
    mocker.patch.object(closing, "task_states", return_value={})
    close_run(dag, {"dag": dag, "run_id": "r", "reason": "success"})
    assert audit_of(dag, "by_hand")[1]["audit_ended"] == "passed"


def test_an_audit_that_the_runs_timeout_cut_off_has_failed(dag, mocker):
    mocker.patch.object(silent_audits, "task_states", return_value=dict.fromkeys(STATES, "skipped"))
    mocker.patch.object(closing, "task_states", return_value={})
    close_run(dag, {"dag": dag, "run_id": "r", "reason": "timed_out"})
    result, waited = audit_of(dag, "waited")
    assert (result, waited["audit_ended"], waited["rows"]) == ("pending", "failed", 3)
    assert waited["error"] == "the audit did not end: the run exceeded its dagrun_timeout"
    result, silent = audit_of(dag, "killed")
    assert (result, silent["audit_ended"], silent["error"]) == ("pending", "failed", waited["error"])
    assert {alert["record"]["task_id"] for alert in alerts()} >= {"waited", "by_hand", "killed"}


def test_an_audit_that_was_set_to_success_before_the_runs_timeout_is_not_cut_off(dag):
    silent_audits.close_silent_audits(dag, "r", "timed_out")
    result, by_hand = audit_of(dag, "by_hand")
    assert (result, by_hand["audit_ended"]) == ("pending", "passed")
    assert by_hand["warning"] == "Airflow says success; the audit itself gave no answer"


def test_an_audit_that_was_set_to_skipped_has_not_failed(dag, mocker):
    mocker.patch.object(silent_audits, "task_states", return_value=dict.fromkeys(STATES, "skipped"))
    silent_audits.close_silent_audits(dag, "r", "task_failure")
    result, waited = audit_of(dag, "waited")
    assert (result, waited["audit_ended"]) == ("pending", "passed")
    assert waited["warning"] == "Airflow says skipped; the audit itself gave no answer"
    assert audit_of(dag, "killed") == (None, {})
    assert alerts() == []


def test_an_audit_that_failed_and_was_set_to_success_by_hand_stops_its_run_no_more(dag, mocker):
    mocker.patch.object(silent_audits, "task_states", return_value=dict.fromkeys(STATES, "success"))
    mocker.patch.object(closing, "task_states", return_value={})

    def says(result, number, **metadata):
        change = audit_change(start(dag, "matched"), result, metadata, try_number=number, final=True)
        store_of(dag, "matched").submit([change], durable=True)
        store_of(dag, "matched").flush()

    says("mismatched", 1, audit_task="matched__audit", rows=3, audit_ended="failed")
    for _ in range(2):
        close_run(dag, {"dag": dag, "run_id": "r", "reason": "success"})
        result, found = audit_of(dag, "matched")
        assert (result, found["rows"], found["audit_ended"]) == ("mismatched", 3, "passed")
        assert found["warning"] == "Airflow says success; the audit itself had failed"
    says("mismatched", 2, audit_task="matched__audit", audit_ended="failed")
    assert audit_of(dag, "matched")[1]["audit_ended"] == "failed", "it was cleared and has run again"


@pytest.mark.parametrize("result", ["mismatched", "pending"])
def test_an_audit_that_was_taken_out_of_the_file_stops_its_run_no_more(dag, mocker, result):
    mocker.patch.object(closing, "task_states", return_value={})
    says = {"audit_task": "matched__audit", "rows": 3, "audit_ended": "failed"}
    change = audit_change(start(dag, "matched"), result, says, try_number=1, final=True)
    store_of(dag, "matched").submit([change], durable=True)
    store_of(dag, "matched").flush()
    now = build_dag(
        PipelineConfig.from_text(PIPELINE.replace("matched}", "matched, audit_enabled: false}"), "audited.yaml")
    )
    for _ in range(2):
        close_run(now, {"dag": now, "run_id": "r", "reason": "success"})
        found = audit_of(now, "matched")
        assert found == (result, {**says, "audit_ended": "passed", "warning": "the audit was removed from the Dag"})
    record = store_of(now, "matched").read_record(RecordKey("audited", "r", "matched").record_id)
    assert [is_accepted_by_rule(record), is_accepted_by_hand(record)] == [False, False]


REMOVED = {"audit_ended": "passed", "warning": "the audit was removed from the Dag"}


@pytest.mark.parametrize(
    ("result", "says", "is_removed"),
    [
        ("pending", {"audit_task": "matched__audit", "audit_ended": "not yet"}, True),
        ("matched", {"audit_task": "matched__audit"}, False),
        ("mismatched", {"audit_task": "matched__audit", "audit_ended": "passed"}, False),  # it has warned
        ("mismatched", {"audit_task": "spoke__audit", "audit_ended": "failed"}, False),  # the Dag has it
        ("mismatched", {"audit_ended": "failed"}, False),  # somebody wrote it by hand
    ],
)
def test_only_an_audit_that_is_gone_and_held_its_run_up_is_said_to_be_removed(dag, mocker, result, says, is_removed):
    change = audit_change(start(dag, "matched"), result, says, try_number=1, final=True)
    store_of(dag, "matched").submit([change], durable=True)
    now = build_dag(
        PipelineConfig.from_text(PIPELINE.replace("matched}", "matched, audit_enabled: false}"), "audited.yaml")
    )
    silent_audits.close_silent_audits(now, "r")
    assert audit_of(now, "matched") == (result, {**says, **(REMOVED if is_removed else {})})


@pytest.mark.parametrize(
    ("states", "ended"),
    [
        ({"check": "upstream_failed"}, None),  # it was never expanded
        ({"check": "failed"}, "failed"),
        ({"check_0": "success", "check_1": "skipped", "check_2": "failed"}, "failed"),
        ({"check_0": "success", "check_1": "skipped"}, None),
    ],
)
def test_a_mapped_audit_has_failed_when_one_of_its_indexes_has(tmp_path, monkeypatch, mocker, states, ended):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    with DAG("mapped") as mapped:
        audit = AuditSensor.partial(task_id="check", transfer="load", function=bool).expand(audit_config=[{}, {}, {}])
        TrackedOperator(task_id="load", transfer={}) >> audit
    mocker.patch.object(silent_audits, "task_states", return_value=states)
    key = RecordKey("mapped", "r", "load")
    store = store_of(mapped, "load")
    base = announced(complete_binding(mapped).specs["load"], {"dag": mapped, "run_id": "r"}, key)
    store.submit([end_change(base, Outcome("completed"), by="task")], durable=True)
    silent_audits.close_silent_audits(mapped, "r")
    assert (store.read_record(key.record_id)["audit_metadata"] or {}).get("audit_ended") == ended


def test_an_audit_of_what_this_dag_does_not_track_may_be_set_to_success_by_hand(tmp_path, monkeypatch, mocker):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    mocker.patch.object(silent_audits, "task_states", return_value={"own": "success"})
    with DAG("by_hand") as by_hand:
        AuditSensor(task_id="own", transfer={"stage_i_plus_1_details": "orders"})
    key, spec = RecordKey("by_hand", "r", "own"), by_hand.get_task("own").pipetrack_spec
    base = announced(spec, {"dag": by_hand, "run_id": "r"}, key)
    failed = {"audit_task": "own", "audit_ended": "failed"}
    store_for(spec).submit([audit_change(base, "mismatched", failed, try_number=1, final=True)], durable=True)
    store_for(spec).flush()
    close_run(by_hand, {"dag": by_hand, "run_id": "r", "reason": "success"})
    assert store_for(spec).read_record(key.record_id)["audit_metadata"]["audit_ended"] == "passed"


def test_what_another_audit_of_the_transfer_found_is_not_overruled(dag, mocker):
    mocker.patch.object(silent_audits, "task_states", return_value=dict.fromkeys(STATES, "success"))
    told = {"audit_task": "second", "audit_ended": "failed"}
    failed = audit_change(start(dag, "matched"), "mismatched", told, try_number=1, final=True)
    store_of(dag, "matched").submit([failed], durable=True)
    silent_audits.close_silent_audits(dag, "r")
    assert audit_of(dag, "matched") == ("mismatched", told)


def test_a_storage_that_finds_records_by_their_pipeline_is_asked_about_all_pipelines_of_the_dag(mocker):
    mocker.patch.object(silent_audits, "task_states", return_value={"check": "failed"})
    store = mocker.patch.object(silent_audits, "store_for").return_value
    store.read_run.return_value.records = []
    with DAG("two") as two:
        TrackedOperator(task_id="one", pipeline_id="p1", transfer={}) >> AuditSensor(task_id="check", transfer="one")
        TrackedOperator(task_id="other", pipeline_id="p2", transfer={})
    silent_audits.close_silent_audits(two, "r")
    assert [sorted(asked.args[2]) for asked in store.read_run.call_args_list] == [["p1", "p2", "two"]]


def test_the_audits_own_word_counts_whenever_it_arrives(dag):
    silent_audits.close_silent_audits(dag, "r")
    for name, number in (("killed", 1), ("waited", 2), ("by_hand", 2)):
        late = audit_change(
            start(dag, name), "mismatched", {"audit_task": "x", "rows": 3}, try_number=number, final=True
        )
        store = store_of(dag, name)
        store.submit([late], durable=True)
        store.flush()
        silent_audits.close_silent_audits(dag, "r")
        assert audit_of(dag, name) == ("mismatched", {"audit_task": "x", "rows": 3})


def test_an_audit_that_asked_to_be_asked_again_before_it_was_killed_has_failed_whenever_that_arrives(dag):
    silent_audits.close_silent_audits(dag, "r")
    asked = {"audit_task": "x", "audit_ended": "not yet"}
    late = audit_change(start(dag, "waited"), "pending", asked, try_number=2, final=False)
    store_of(dag, "waited").submit([late], durable=True)
    store_of(dag, "waited").flush()
    assert audit_of(dag, "waited")[1]["audit_ended"] == "failed"


@pytest.mark.parametrize("order", [1, -1])
def test_only_the_audit_of_the_last_attempt_is_closed_whatever_the_order_of_the_records(dag, mocker, order):
    store, key = store_of(dag, "killed"), RecordKey("audited", "r", "killed", -1, 2)
    base = announced(binding_of(dag).specs["killed"], {"dag": dag, "run_id": "r"}, key)
    answered = audit_change(base, "matched", {"audit_task": "killed__audit"}, try_number=1, final=True)
    store.submit([end_change(base, Outcome("completed"), by="task"), answered], durable=True)
    store.flush()
    records = sorted(store.read_run("audited", "r").records, key=lambda record: record["retry_attempt_number"])
    mocker.patch.object(TrackingStore, "read_run", return_value=SimpleNamespace(records=records[::order]))
    silent_audits.close_silent_audits(dag, "r")
    assert audit_of(dag, "killed") == (None, {}), "of its first attempt"
    assert "killed" not in {alert["record"]["task_id"] for alert in alerts()}


def test_of_several_audits_of_a_transfer_one_that_fails_counts_until_it_is_tried_again(dag):
    def says(result, number, **metadata):
        return audit_change(start(dag, "killed"), result, metadata, try_number=number, final=True)

    mismatched, passed = says("mismatched", 1, audit_ended="failed"), says("matched", 1)
    warned = says("mismatched", 1, audit_ended="passed")
    for changes in permutations([mismatched, passed, warned]):
        assert fold(changes)["audit_metadata"] == {"audit_ended": "failed"}
        assert fold(changes)["audit_result"] == "mismatched"
    assert fold([says("matched", 2), mismatched, passed])["audit_result"] == "matched"


def test_evidence_that_somebody_wrote_by_hand_as_a_list_stops_nothing(dag):
    record_id = RecordKey("audited", "r", "killed").record_id
    store_of(dag, "killed").update_tracking_record(record_id, {"audit_metadata": ["checked by hand"]})
    silent_audits.close_silent_audits(dag, "r")
    assert {alert["record"]["task_id"] for alert in alerts()} == {"killed", "waited"}


def test_a_dag_without_audits_asks_airflow_nothing(tmp_path, monkeypatch, mocker):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    asked = mocker.patch.object(silent_audits, "task_states")
    plain = build_dag(PipelineConfig.from_text("stage_transfers: [{name: a, audit_enabled: false}]", "plain.yaml"))
    silent_audits.close_silent_audits(plain, "r")
    asked.assert_not_called()
