"""What surrounds user code: arguments, time limits, the upstream gate, rollback. Airflow itself is the only fake."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sqlite3
import sys
import threading
import time
from contextlib import closing as closing_of
from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, BaseHook, BaseOperator, Connection, task, task_group
from airflow.sdk.execution_time.timeout import TimeoutPosix

from airflow_provider_pipetrack import AuditSensor, TrackedOperator, TrackingStore, report, settings, tracked
from airflow_provider_pipetrack.attempts import attempt as attempt_module
from airflow_provider_pipetrack.attempts import closing, gate, rollback, verdicts
from airflow_provider_pipetrack.attempts.announce import announced_index
from airflow_provider_pipetrack.attempts.attempt import Attempt
from airflow_provider_pipetrack.attempts.binding import Spec, is_consumed, is_root, upstream_transfers
from airflow_provider_pipetrack.attempts.bounded import ExitError, TimeLimitError, call_within, disarm_timeout
from airflow_provider_pipetrack.attempts.declare import complete_binding
from airflow_provider_pipetrack.attempts.errors import TrackingUnavailableError
from airflow_provider_pipetrack.attempts.gate import check_upstreams
from airflow_provider_pipetrack.attempts.rollback import Rollback
from airflow_provider_pipetrack.attempts.starting import goes_on
from airflow_provider_pipetrack.attempts.stores import store_for
from airflow_provider_pipetrack.attempts.users import arguments_for, call_user_function
from airflow_provider_pipetrack.callbacks.task import record_failure, record_retry
from airflow_provider_pipetrack.compat import AirflowFailException, AirflowSkipException, AirflowTaskTimeout
from airflow_provider_pipetrack.config import StageTransfer
from airflow_provider_pipetrack.config.functions import FunctionError
from airflow_provider_pipetrack.notifications import alerts
from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.skips import is_skipped
from airflow_provider_pipetrack.tracking.describe import stop_event
from tests.airflow_versions import AIRFLOW


def test_a_function_gets_what_it_asks_for_by_name():
    def asks(run_id, limit=3, *, extra):
        return (run_id, limit, extra)

    assert arguments_for(asks, {"run_id": "r", "extra": 1, "other": 2}) == {"run_id": "r", "extra": 1}
    assert arguments_for(lambda **more: more, {"a": 1}) == {"a": 1}
    with pytest.raises(TypeError, match="asks asks for extra, which is not on offer"):
        arguments_for(asks, {"run_id": "r"})


def test_operator_args_are_offered_too():
    spec = Spec(StageTransfer(name="a", operator_args={"table": "orders"}), "p")
    assert call_user_function(spec, lambda table, ds: (table, ds), {"context": {"ds": "2026-01-01"}}) == (
        "orders",
        "2026-01-01",
    )


def test_a_function_gets_arguments_as_the_task_has_them():
    by_function = Spec(StageTransfer(name="a", operator_args={"table": "orders_{{ ds_nodash }}", "top": 3}), "p")
    runs = SimpleNamespace(op_kwargs={"table": "orders_20260101", "top": 3, "country": "de"})
    asks = lambda table, top, country: (table, top, country)  # noqa: E731
    assert call_user_function(by_function, asks, {"context": {"task": runs}}) == ("orders_20260101", 3, "de")
    arguments = {"bash_command": "load {{ ds }}", "cwd": "/data"}
    mapped = {"operator": "x.BashOperator", "operator_args": arguments, "expand": {"env": [{"COUNTRY": "de"}]}}
    by_operator = Spec(StageTransfer(name="a", **mapped), "p")
    runs = BashOperator(task_id="a", bash_command="load 2026-01-01", cwd="/data", env={"COUNTRY": "de"})
    asks = lambda bash_command, env, cwd: (bash_command, env, cwd)  # noqa: E731
    told = call_user_function(by_operator, asks, {"context": {"task": runs}})
    assert told == ("load 2026-01-01", {"COUNTRY": "de"}, "/data")


def test_an_argument_that_only_the_rollback_takes_is_rendered_too():
    spec = Spec(StageTransfer(name="a", operator_args={"schema": "day_{{ ds_nodash }}"}), "p")
    loads = PythonOperator(task_id="a", python_callable=lambda: None, op_kwargs={"schema": "day_20260101"})
    given = {"context": {"task": loads}}
    asks = lambda schema: schema  # noqa: E731
    assert call_user_function(spec, asks, given) == "day_20260101"
    loads.execute(given["context"])
    assert call_user_function(spec, asks, given) == "day_20260101"


def test_a_function_that_hangs_is_left_behind():
    never = threading.Event()
    with pytest.raises(TimeLimitError, match=r"the counts function has not returned within 0\.05 s"):
        call_within(0.05, "the counts function", never.wait)
    never.set()
    assert call_within(5, "f", lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        call_within(5, "f", lambda: 1 / 0)


async def undoes_nothing():
    pytest.fail("nobody awaits it")


@pytest.mark.filterwarnings("error:coroutine .* was never awaited:RuntimeWarning")
def test_a_function_that_nobody_awaits_is_refused_and_what_it_should_do_is_not_taken_for_done(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(rollback, "task_states", lambda *asked, **more: {"a": "running"})
    attempt = begun_attempt(transfer={"rollback": f"{__name__}.undoes_nothing", "counts": f"{__name__}.undoes_nothing"})
    attempt.rollback.owe()
    attempt.fail(ValueError("gone"))
    refusal = "undoes_nothing is an async function, which nobody awaits here; write a plain one, which may call asyncio.run(…)"
    assert attempt.end.columns["decision"] == f"rollback failed and is owed: FunctionError: {refusal}"
    assert attempt.rollback.is_owed
    attempt.complete(None)
    assert attempt.end.columns["decision"] == f"counts unknown: {refusal}"


@pytest.mark.filterwarnings("error:coroutine .* was never awaited:RuntimeWarning")
def test_a_transfer_that_airflow_does_not_await_has_not_completed(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(rollback, "task_states", lambda *asked, **more: {"a": "running"})

    class Calls(BaseOperator):
        """Calls an async function as Airflow 3.1 does."""

        def __init__(self, python_callable, **more):
            super().__init__(**more)
            self.python_callable = python_callable

        def execute(self, context):
            return self.python_callable()

    with DAG("d", schedule=None):
        load = TrackedOperator(task_id="a", operator=Calls, python_callable=undoes_nothing)
    with pytest.raises(FunctionError, match="undoes_nothing is an async function"):
        load.execute(context_of(load))
    assert load._pipetrack_attempt.end.columns["transfer_status"] == "failed"


def test_a_function_that_wants_to_end_the_process_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(attempt_module, "call_user_function", lambda *given: sys.exit(3))
    attempt = begun_attempt(transfer={"counts": "x.count"})
    attempt.complete(None)
    assert attempt.end.columns["transfer_status"] == "completed"
    assert attempt.end.columns["decision"] == "counts unknown: the counts function has called sys.exit(3)"
    with pytest.raises(ExitError, match=r"^f has called sys\.exit\(\)$"):
        call_within(5, "f", sys.exit)


def test_what_is_mapped_itself_or_with_its_group_is_announced_as_its_first_index():
    with DAG("groups", schedule=None) as made:
        TrackedOperator(task_id="plain", transfer={})
        TrackedOperator.partial(task_id="mapped", python_callable=print).expand(op_args=[[1]])

        @task_group
        def each(number):
            TrackedOperator(task_id="inner", python_callable=print, op_args=[number], transfer={})

        each.expand(number=[1, 2])
    specs = complete_binding(made).specs
    indexes = {name: announced_index(made, name, spec) for name, spec in specs.items()}
    assert indexes == {"plain": -1, "mapped": 0, "each.inner": 0}


@pytest.fixture
def dag():
    strict = {"upstream_completion_required": True}
    with DAG("d", schedule=None) as made:
        first = TrackedOperator(task_id="first", transfer={})
        audit = AuditSensor(task_id="check", transfer="first", function=lambda: True)
        second = TrackedOperator(task_id="second", transfer=strict)
        mapped = TrackedOperator.partial(task_id="mapped", python_callable=print).expand(op_args=[[1], [2]])
        last = TrackedOperator(task_id="last", transfer=strict)
        first >> audit >> second >> mapped >> last
    return made


def test_dependencies_are_found_through_audits_and_other_tasks(dag):
    assert [upstream_transfers(dag, t.task_id) for t in dag.tasks if t.task_id in {"second", "mapped", "last"}] == [
        ("first",),
        ("second",),
        ("mapped",),
    ]
    assert [is_root(dag, name) for name in ("first", "second")] == [True, False]
    assert [is_consumed(dag, name) for name in ("first", "second", "mapped", "last")] == [True, False, True, False]


def context(**answers):
    pull = lambda task_ids, key: answers.get(task_ids)  # noqa: E731
    return {"ti": SimpleNamespace(xcom_pull=pull, dag_id="d", run_id="r")}


def says(monkeypatch, states, *, others=()):
    """Have Airflow say the states of the tasks that it is asked about.

    :param others: what is called like an index of a task, and is a task of its own.
    """

    def of_tasks(dag_id, run_id, *, task_ids=None):
        owners = {name: name if name in others else re.sub(r"_\d+$", "", name) for name in states}
        return {name: state for name, state in states.items() if task_ids is None or owners[name] in task_ids}

    monkeypatch.setattr(gate, "task_states", of_tasks)


WHOLE = {"is_partial": False}
PARTIAL = {"is_partial": True, "decision": "partial data accepted: 5 of 10 records"}


@pytest.mark.parametrize(
    ("answers", "refusal"),
    [
        ({"first": WHOLE, "check": {"audit_result": "matched", "checked": True}}, None),
        ({"first": WHOLE, "check": {"audit_result": "pending", "checked": False}}, None),
        ({"first": PARTIAL, "check": {"audit_result": "matched", "checked": True}}, "partial data .*5 of 10 records"),
        ({"first": WHOLE, "check": {"audit_result": "pending", "checked": True}}, "audit result pending"),
        ({"first": WHOLE, "check": {"audit_result": "mismatched", "checked": True}}, "audit result mismatched"),
    ],
)
def test_an_upstream_must_be_complete_where_that_is_required(dag, answers, refusal):
    task = dag.get_task("second")
    if refusal is None:
        assert check_upstreams(task, context(**answers)) is None
        return
    with pytest.raises(AirflowFailException, match=f"second needs its upstream complete.*upstream 'first'.*{refusal}"):
        check_upstreams(task, context(**answers))


def test_a_continuous_upstream_is_not_asked_whether_it_is_complete(monkeypatch):
    says(monkeypatch, {"stream": "running"})
    with DAG("d", schedule=None):
        stream = TrackedOperator(task_id="stream", transfer={"estimated_duration": "continuous"})
        load = TrackedOperator(task_id="load", transfer={"upstream_completion_required": True}, trigger_rule="always")
        stream >> load
    assert check_upstreams(load, context()) is None
    assert check_upstreams(load, context(stream=PARTIAL)) is None


def test_one_partial_index_of_a_mapped_upstream_is_enough_to_refuse(dag, monkeypatch):
    says(monkeypatch, {"mapped_0": "success", "mapped_1": "success"})
    with pytest.raises(AirflowFailException, match="upstream 'mapped' delivered partial data"):
        check_upstreams(dag.get_task("last"), context(mapped=[WHOLE, PARTIAL]))
    assert check_upstreams(dag.get_task("last"), context(mapped=[WHOLE, WHOLE])) is None


@pytest.mark.parametrize(
    ("other", "refused"),
    [("failed", True), ("upstream_failed", True), ("running", True), ("skipped", False), ("removed", False)],
)
def test_an_index_that_has_not_completed_is_enough_to_refuse_whatever_the_trigger_rule(
    dag, monkeypatch, other, refused
):
    states = {"mapped_0": "success", "mapped_1": other, "last": "running"}
    says(monkeypatch, states)
    if not refused:
        assert check_upstreams(dag.get_task("last"), context(mapped=[WHOLE])) is None
        return
    with pytest.raises(AirflowFailException, match="upstream 'mapped' has not completed in all of its indexes"):
        check_upstreams(dag.get_task("last"), context(mapped=[WHOLE]))


@pytest.mark.parametrize(
    ("answers", "states", "said"),
    [
        ({}, {"first": "success", "check": "success"}, None),
        ({"first": WHOLE}, {"check": "success"}, None),
        ({}, {"first": "success", "check": "running"}, "has the audit result pending"),
        ({"first": WHOLE}, {"check": None}, "has the audit result pending"),
        ({"first": WHOLE}, {"check": "failed"}, "has a failed audit"),
        ({}, {"first": "skipped", "check": "skipped"}, "was skipped"),
        ({}, {"first": "failed"}, "has not completed"),
        ({}, {}, "has not completed"),
    ],
)
def test_where_an_upstream_said_nothing_airflows_state_decides(dag, monkeypatch, answers, states, said):
    says(monkeypatch, states)
    if said is not None:
        with pytest.raises(AirflowFailException, match=f"upstream 'first' {said}$"):
            check_upstreams(dag.get_task("second"), context(**answers))
        return
    note = check_upstreams(dag.get_task("second"), context(**answers))
    assert note.endswith("the audit of upstream 'first' was set to success by hand")
    assert note.startswith("upstream 'first' was set to success by hand; ") == (not answers)


def test_all_indexes_of_a_mapped_upstream_must_be_set_by_hand(dag, monkeypatch):
    for states, accepted in (({"mapped_0": "success", "mapped_1": "success", "mapped_2": "removed"}, True),
                             ({"mapped_0": "success", "mapped_1": "failed"}, False)):  # fmt: skip
        says(monkeypatch, states)
        if accepted:
            assert check_upstreams(dag.get_task("last"), context()) == "upstream 'mapped' was set to success by hand"
        else:
            with pytest.raises(AirflowFailException, match="upstream 'mapped' has not completed"):
                check_upstreams(dag.get_task("last"), context())


def test_a_single_index_that_was_set_by_hand_is_said_too(dag, monkeypatch):
    says(monkeypatch, {"mapped_0": "success", "mapped_1": "success", "mapped_2": "skipped", "mapped_3": "removed"})
    note = "upstream 'mapped' was set to success by hand in 1 of its 3 indexes"
    assert check_upstreams(dag.get_task("last"), context(mapped=[WHOLE])) == note
    # What is of an index that was removed later is still there.
    assert check_upstreams(dag.get_task("last"), context(mapped=[WHOLE, WHOLE, WHOLE])) is None


def test_another_task_called_like_an_index_of_the_upstream_says_nothing_about_it(dag, monkeypatch):
    states = {"first": "success", "first_2": "failed", "check": "success", "check_1": "running"}
    says(monkeypatch, states, others={"first_2", "check_1"})
    assert check_upstreams(dag.get_task("second"), context()).startswith("upstream 'first' was set to success by hand")
    says(monkeypatch, {"mapped_0": "success", "mapped_1": "success", "mapped_2": "failed"}, others={"mapped_2"})
    assert check_upstreams(dag.get_task("last"), context(mapped=[WHOLE, WHOLE])) is None


@pytest.mark.parametrize(
    ("loaded", "audited", "refusal"),
    [
        ("skipped", "skipped", None),
        ("success", "skipped", "has the audit result pending"),
        ("skipped", "failed", "has a failed audit"),
    ],
)
def test_an_index_of_a_mapped_group_that_loaded_nothing_needs_no_audit(monkeypatch, loaded, audited, refusal):
    with DAG("d", schedule=None):

        @task_group
        def places(place):
            load = TrackedOperator(task_id="load", transfer={})
            load >> AuditSensor(task_id="check", transfer="places.load", function=bool, audit_config={"place": place})

        last = TrackedOperator(task_id="last", transfer={"upstream_completion_required": True})
        places.expand(place=["a", "b"]) >> last
    states = {"places.load_0": "success", "places.load_1": loaded}
    says(monkeypatch, {**states, "places.check_0": "success", "places.check_1": audited})
    answers = {"places.load": [WHOLE], "places.check": [{"audit_result": "matched", "checked": True}]}
    if refusal is None:
        assert check_upstreams(last, context(**answers)) is None
        return
    with pytest.raises(AirflowFailException, match=refusal):
        check_upstreams(last, context(**answers))


def test_a_mapped_audit_is_judged_by_each_of_its_indexes(monkeypatch):
    with DAG("d", schedule=None) as dag:
        first = TrackedOperator(task_id="first", transfer={})
        check = AuditSensor.partial(task_id="check", transfer="first", function=bool).expand(audit_config=[{}, {}])
        first >> check >> TrackedOperator(task_id="second", transfer={"upstream_completion_required": True})
    good, bad = ({"audit_result": result, "checked": True} for result in ("matched", "mismatched"))
    states = {"check_0": "success", "check_1": "success"}
    says(monkeypatch, states)
    second = dag.get_task("second")
    assert check_upstreams(second, context(first=WHOLE, check=[good, good])) is None
    with pytest.raises(AirflowFailException, match="upstream 'first' has the audit result mismatched"):
        check_upstreams(second, context(first=WHOLE, check=[bad, good]))
    stopped = {**bad, "stops": True}
    assert check_upstreams(second, context(first=WHOLE, check=[stopped, good])) == BY_HAND
    with pytest.raises(AirflowFailException, match="upstream 'first' has the audit result mismatched"):
        check_upstreams(second, context(first=WHOLE, check=[stopped, bad]))
    states["check_1"] = "removed"
    assert check_upstreams(second, context(first=WHOLE, check=[good])) is None
    states["check_1"] = "failed"
    with pytest.raises(AirflowFailException, match="upstream 'first' has a failed audit"):
        check_upstreams(second, context(first=WHOLE, check=[good]))


BY_HAND = "the audit of upstream 'first' was set to success by hand"


@pytest.mark.parametrize(
    ("audited", "state", "refusal"),
    [
        ({"audit_result": "mismatched", "stops": True}, "success", None),
        ({"audit_result": "mismatched", "stops": True}, "failed", "has the audit result mismatched"),
        ({"audit_result": "mismatched"}, "success", "has the audit result mismatched"),  # it has warned
    ],
)
def test_a_mismatch_counts_no_more_where_somebody_has_set_its_audit_to_success(
    dag, monkeypatch, audited, state, refusal
):
    says(monkeypatch, {"first": "success", "check": state})
    answers = context(first=WHOLE, check={**audited, "checked": True})
    if refusal is None:
        assert check_upstreams(dag.get_task("second"), answers) == BY_HAND
        return
    with pytest.raises(AirflowFailException, match=f"upstream 'first' {refusal}$"):
        check_upstreams(dag.get_task("second"), answers)


def loaded(attempt, index=-1):
    return {**WHOLE, "map_index": index, "record_id": RecordKey("d", "r", "first", index, attempt).record_id}


MATCHED = {"audit_result": "matched", "checked": True}


@pytest.mark.parametrize(
    ("answers", "audited", "is_whole"),
    [
        (loaded(2), {**MATCHED, "audited": [[-1, 2]]}, True),
        (loaded(2), {**MATCHED, "audited": [[-1, 1]]}, False),
        (loaded(1), {**MATCHED, "audited": []}, False),  # it had been set to success by hand
        ([loaded(1, 0), loaded(2, 1)], {**MATCHED, "audited": [[0, 1], [1, 2]]}, True),
        ([loaded(1, 0), loaded(2, 1)], {**MATCHED, "audited": [[0, 1], [1, 1]]}, False),
        (loaded(2), {"audit_result": "pending", "checked": False, "audited": [[-1, 1]]}, True),
        (loaded(2), {"audit_result": "mismatched", "checked": True, "stops": True, "audited": [[-1, 1]]}, True),
        (loaded(2), MATCHED, True),  # of an audit that ran before this version
    ],
)
def test_what_has_loaded_again_without_its_audit_is_refused(dag, monkeypatch, answers, audited, is_whole):
    says(monkeypatch, {"first": "success", "check": "success"})
    if is_whole:
        assert check_upstreams(dag.get_task("second"), context(first=answers, check=audited)) in (None, BY_HAND)
        return
    with pytest.raises(AirflowFailException, match="'first' has loaded again since its audit; clear the audit, too"):
        check_upstreams(dag.get_task("second"), context(first=answers, check=audited))


@pytest.mark.parametrize(
    ("attempt", "state", "refusal"),
    [
        (1, "success", None),
        (1, "failed", "has a failed audit"),
        (1, None, "has loaded again since its audit"),  # the second index came with the clear
        (2, "success", "has loaded again since its audit"),
    ],
)
def test_in_a_mapped_group_an_audit_without_a_word_may_be_set_to_success_by_hand(monkeypatch, attempt, state, refusal):
    with DAG("d", schedule=None):

        @task_group
        def places(place):
            load = TrackedOperator(task_id="first", transfer={})
            load >> AuditSensor(task_id="check", transfer="places.first", function=bool, audit_config={"place": place})

        last = TrackedOperator(task_id="last", transfer={"upstream_completion_required": True})
        places.expand(place=["a", "b"]) >> last
    states = {"places.first_0": "success", "places.first_1": "success", "places.check_0": "success"}
    says(monkeypatch, {**states, **({"places.check_1": state} if state else {})})
    told = [{**MATCHED, "audited": [[0, 1]], "map_index": 0}]
    answers = {"places.first": [loaded(attempt, 0), loaded(1, 1)], "places.check": told}
    if refusal is None:
        assert check_upstreams(last, context(**answers)) == BY_HAND.replace("first", "places.first")
        return
    with pytest.raises(AirflowFailException, match=refusal):
        check_upstreams(last, context(**answers))


def test_what_an_index_has_said_that_was_removed_since_counts_no_more(dag, monkeypatch):
    says(monkeypatch, {"mapped_0": "success", "mapped_1": "removed"})
    answers = [{**WHOLE, "map_index": 0}, {**PARTIAL, "map_index": 1}]
    assert check_upstreams(dag.get_task("last"), context(mapped=answers)) is None
    with pytest.raises(AirflowFailException, match="upstream 'mapped' delivered partial data"):
        check_upstreams(dag.get_task("last"), context(mapped=[{**PARTIAL, "map_index": 0}]))
    with DAG("e", schedule=None) as other:
        first = TrackedOperator(task_id="first", transfer={})
        check = AuditSensor.partial(task_id="check", transfer="first", function=bool).expand(audit_config=[{}, {}])
        first >> check >> TrackedOperator(task_id="second", transfer={"upstream_completion_required": True})
    says(monkeypatch, {"check_0": "success", "check_1": "removed"})
    warned = {"audit_result": "mismatched", "checked": True, "map_index": 1}
    answers = {"first": WHOLE, "check": [{**MATCHED, "map_index": 0}, warned]}
    assert check_upstreams(other.get_task("second"), context(**answers)) is None


def test_in_a_mapped_group_each_index_is_judged_by_its_own_upstreams(monkeypatch):
    with DAG("d", schedule=None) as dag:

        @task_group
        def each(number):
            load = TrackedOperator(task_id="load", python_callable=print, op_args=[number], transfer={})
            check = AuditSensor(task_id="check", transfer="each.load", function=lambda: True)
            load >> check >> TrackedOperator(task_id="use", transfer={"upstream_completion_required": True})

        each.expand(number=[1, 2, 3])
    good, bad = ({"audit_result": result, "checked": True} for result in ("matched", "mismatched"))
    said = {("each.load", 0): WHOLE, ("each.check", 0): good, ("each.load", 1): WHOLE, ("each.check", 1): bad}
    states = {"each.load_2": "success", "each.check_2": "success", "each.check_1": "failed"}
    says(monkeypatch, states)

    def of(index):
        pull = lambda task_ids, key, map_indexes: said.get((task_ids, map_indexes))  # noqa: E731
        return {"ti": SimpleNamespace(xcom_pull=pull, dag_id="d", run_id="r", map_index=index)}

    use = dag.get_task("each.use")
    assert check_upstreams(use, of(0)) is None
    with pytest.raises(AirflowFailException, match="upstream 'each.load' has the audit result mismatched"):
        check_upstreams(use, of(1))
    assert check_upstreams(use, of(2)) == (
        "upstream 'each.load' was set to success by hand; the audit of upstream 'each.load' was set to success by hand"
    )


class States(dict):
    """Airflow's task state store."""

    set = dict.__setitem__


#: A store that knows nothing of any attempt.
NO_RECORDS = SimpleNamespace(read_record=lambda record_id, pipeline_ids: None)


def make_rollback(calls, state=None, try_number=1, fails=False):
    def undo():
        calls.append(try_number)
        if fails:
            raise OSError("the warehouse is gone")

    transfer = StageTransfer(name="a", rollback="x.undo")
    found = Rollback(
        Spec(transfer, "p"),
        {"ti": SimpleNamespace(try_number=try_number, map_index=-1, dag_id="d", run_id="r", task_id="a"),
         **({"task_state_store": state} if state is not None else {})},
        SimpleNamespace(task_id="a"), RecordKey("d", "r", "a", attempt=try_number), NO_RECORDS,
    )  # fmt: skip
    found._call = undo
    return found


def test_a_failed_attempt_is_rolled_back_once_and_owes_nothing():
    calls, state = [], States()
    attempt = make_rollback(calls, state)
    assert attempt.pay_debt() is None
    assert attempt.undo() == "nothing to roll back", "it has not begun to load"
    attempt.owe()
    assert attempt.undo() == "rolled back"
    assert attempt.undo() == "nothing to roll back"
    assert make_rollback(calls, state, try_number=2).pay_debt() is None
    assert calls == [1]


def test_what_a_killed_attempt_owes_is_paid_before_the_next():
    calls, state = [], States()
    make_rollback(calls, state).owe()
    second = make_rollback(calls, state, try_number=2)
    assert second.pay_debt() == "rolled back the previous attempt first"
    second.owe()
    second.settle()
    assert make_rollback(calls, state, try_number=3).pay_debt() is None
    assert calls == [2]


def test_an_attempt_that_is_refused_after_it_has_paid_owes_nothing():
    calls, state = [], States()
    make_rollback(calls, state).owe()
    refused = make_rollback(calls, state, try_number=2)
    refused.pay_debt()
    assert (refused.undo(), refused.is_owed) == ("nothing to roll back", False)
    assert make_rollback(calls, state, try_number=3).pay_debt() is None
    assert calls == [2]


@pytest.mark.parametrize("keeps", [True, False], ids=["task state", "no task state"])
def test_what_was_owed_before_a_deferral_is_rolled_back_or_settled_after_it(keeps):
    calls, state = [], States() if keeps else None
    make_rollback(calls, state).owe()
    failed = make_rollback(calls, state)
    failed.still_owe()
    assert (failed.is_owed, failed.undo(), calls) == (True, "rolled back", [1])
    make_rollback(calls, state).owe()
    completed = make_rollback(calls, state)
    completed.still_owe()
    completed.settle()
    assert not completed.is_owed
    cleared = make_rollback(calls, state, try_number=2)
    assert cleared.pay_debt() == (None if keeps else "rolled back the previous attempt first")


def test_an_attempt_does_not_pay_for_itself():
    calls, state = [], States()
    make_rollback(calls, state, try_number=2).owe()
    assert make_rollback(calls, state, try_number=2).pay_debt() is None
    assert make_rollback(calls, state, try_number=3).pay_debt() == "rolled back the previous attempt first"
    assert calls == [3]


@pytest.mark.parametrize(
    ("caller", "counts"), [("airflow.sdk.execution_time.task_runner", True), ("airflow.providers.x.operators", False)]
)
def test_only_airflow_asks_to_stop_and_not_an_operator_that_cleans_up(tmp_path, monkeypatch, caller, counts):
    class Mine(BashOperator):
        def on_kill(self):
            super().on_kill()

    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    attempt = begun_attempt()
    load = tracked(Mine)(task_id="mine", bash_command="true", transfer={})
    load._pipetrack_attempt = attempt
    calling = {"__name__": caller, "task": load}
    exec("def _on_term():\n    task.on_kill()", calling)
    calling["_on_term"]()
    assert attempt._killed is counts


def test_an_unknown_debt_is_paid():
    calls = []
    assert make_rollback(calls, None, try_number=2).pay_debt() == "rolled back the previous attempt first"
    assert calls == [2]


def test_a_rollback_that_fails_is_owed_and_said():
    calls, state = [], States()
    attempt = make_rollback(calls, state, fails=True)
    attempt.owe()
    assert attempt.undo() == "rollback failed and is owed: OSError: the warehouse is gone"
    assert make_rollback(calls, state, try_number=2).pay_debt() == "rolled back the previous attempt first"
    with pytest.raises(OSError, match="the warehouse is gone"):
        make_rollback(calls, States(), try_number=2, fails=True).pay_debt()


def test_a_debt_that_cannot_be_paid_stays_and_is_said():
    attempt = make_rollback([], States(), try_number=2, fails=True)
    with pytest.raises(OSError, match="the warehouse is gone"):
        attempt.pay_debt()
    assert attempt.undo() == "the rollback of an earlier attempt failed and is owed: OSError: the warehouse is gone"
    assert attempt.is_owed


def test_a_debt_whose_payment_execution_timeout_cuts_off_stays_and_is_said():
    attempt = make_rollback([], States(), try_number=2)
    attempt.task.execution_timeout = timedelta(minutes=1)
    attempt._call = lambda: signal.raise_signal(signal.SIGALRM)
    with pytest.raises(AirflowTaskTimeout), TimeoutPosix(60):
        attempt.pay_debt()
    assert attempt.is_owed
    assert attempt.undo() == (
        "the rollback of an earlier attempt failed and is owed: "
        "AirflowTaskTimeout: execution_timeout of 0:01:00 exceeded"
    )


def context_of(load, try_number=1):
    ti = SimpleNamespace(
        dag_id="d", run_id="r", task_id="a", map_index=-1, try_number=try_number, task=load, start_date=utc_now(),
        get_first_reschedule_date=lambda context: None,
    )  # fmt: skip
    return {"ti": ti, "dag": load.dag, "run_id": "r"}


def begun_attempt(*, resumed=False, rescheduled=0, try_number=1, transfer=None, state=None, run=None, **attributes):
    with DAG("d", schedule=None):
        load = TrackedOperator(task_id="a", python_callable=print, transfer=transfer or {"rollback": "x.undo"})
    for name, value in attributes.items():
        setattr(load, name, value)
    context = {
        **context_of(load, try_number),
        "task_state_store": state,
        "task_reschedule_count": rescheduled,
        "dag_run": run,
    }
    attempt = Attempt(load, context, load.pipetrack_spec, resumed=resumed)
    attempt.begin()
    return attempt


def test_strict_lets_no_transfer_start_whose_record_can_be_kept_nowhere(tmp_path, monkeypatch):
    (tmp_path / "shut").write_text("in the way")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__PIPETRACK__STRICT", "True")
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", f"sqlite||{tmp_path}/shut/t.db")
    calls = []

    def run(journal):
        monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(journal))
        with DAG("d", schedule=None) as made:
            load = TrackedOperator(task_id="a", python_callable=lambda: calls.append(1), transfer={})
        ti = SimpleNamespace(dag_id="d", run_id="r", task_id="a", map_index=-1, try_number=1, task=load)
        load.execute({"ti": ti, "dag": made, "run_id": "r"})

    with pytest.raises(TrackingUnavailableError, match="strict is on, and neither the local journal"):
        run(tmp_path / "shut" / "journal")
    assert calls == []
    run(tmp_path / "journal")
    assert calls == [1]


class Awaits(BaseOperator):
    """As Airflow's own ``BaseAsyncOperator`` does it, which 3.1 lacks."""

    is_async = True

    def __init__(self, *, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def execute(self, context):
        return asyncio.run(self.function())


@pytest.mark.parametrize("kind", ["operator", *(["function"] if AIRFLOW >= (3, 2) else [])])
def test_beside_an_event_loop_no_thread_asks_airflow_for_a_connection(tmp_path, monkeypatch, kind):
    asked = []

    def get_connection(cls, conn_id):
        asked.append((conn_id, threading.current_thread() is threading.main_thread()))
        return Connection(conn_id=conn_id, conn_type="sqlite", host=f"{tmp_path}/{conn_id}/t.db")

    monkeypatch.setattr(BaseHook, "get_connection", classmethod(get_connection))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    chain = ["sqlite@one||/nowhere||t", "sqlite@two||/nowhere||t"]
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", json.dumps(chain))

    def statuses(name):
        with closing_of(sqlite3.connect(tmp_path / name / "t.db")) as database:
            return database.execute("SELECT transfer_status FROM t").fetchall()

    async def while_the_first_location_goes_away():
        found, before = statuses("one"), list(asked)
        (tmp_path / "one").rename(tmp_path / "away")
        (tmp_path / "one").write_text("in the way")
        attempt = load._pipetrack_attempt
        attempt.store.submit([stop_event(attempt._start)], durable=True)
        assert await asyncio.to_thread(attempt.store.flush)
        return found, statuses("two"), before, list(asked)

    with DAG("d", schedule=None) as made:
        if kind == "operator":
            load = TrackedOperator(
                task_id="a", operator=Awaits, function=while_the_first_location_goes_away, transfer={}
            )
        else:
            load = task.tracked(task_id="a", transfer={})(while_the_first_location_goes_away)().operator
        elsewhere = {"tracking_location": ["sqlite@three||/nowhere||t"]}
        load >> TrackedOperator(task_id="b", python_callable=print, transfer=elsewhere)
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="a", map_index=-1, try_number=1, task=load)
    first, second, before, after = load.execute({"ti": ti, "dag": made, "run_id": "r", "outlet_events": {}})
    assert (first, second) == ([("in_progress",)], [("in_progress",)])
    assert after == before
    assert {("one", True), ("two", True)} <= set(before)
    assert [is_main for conn_id, is_main in after if conn_id == "three"] == [True], "where b is announced"
    assert [leg.adapter.held for leg in load._pipetrack_attempt.store.legs] == [None, None]


def test_what_runs_in_an_event_loop_is_told_to_be_overdue_when_it_is_over(tmp_path, monkeypatch):
    sent = threading.Event()
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(alerts, "tell", lambda alert, delivery, *, timeout: sent.set())

    async def is_told_beside_it():
        while not list((settings.alerts_dir() / "waiting").glob("*.json")):
            await asyncio.sleep(0)
        return await asyncio.to_thread(sent.wait, 0.5)

    told = {"estimated_duration": "0.01s", "transfer_process_email_alerts": ["team@example.com"]}
    with DAG("d", schedule=None):
        load = TrackedOperator(task_id="a", operator=Awaits, function=is_told_beside_it, transfer=told)
    assert not load.execute({**context_of(load), "outlet_events": {}})
    alerts.finish_alerts()
    assert sent.is_set()


@pytest.mark.parametrize(
    ("states", "killed", "said", "undone"),
    [
        ({"a": "running"}, False, "rolled back", True),
        # Airflow may have given this process up, and what it says is running is the next attempt.
        ({"a": "running"}, True, "rollback owed: this attempt was asked to stop", False),
        (OSError("broken pipe"), False, "rollback owed: Airflow did not say that this attempt still runs", False),
    ],
)
def test_only_an_attempt_that_surely_still_runs_is_rolled_back(tmp_path, monkeypatch, states, killed, said, undone):
    def answer(*args, **more):
        if isinstance(states, Exception):
            raise states
        return states

    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(rollback, "task_states", answer)
    calls = []
    monkeypatch.setattr(rollback, "call_user_function", lambda *given: calls.append(1))
    attempt = begun_attempt()
    attempt.rollback.owe()
    if killed:
        attempt.killed()
    attempt.fail(RuntimeError("broken"))
    assert attempt.end.columns["decision"] == said
    assert (bool(calls), attempt.rollback.is_owed) == (undone, not undone)


def completes(attempt):
    attempt.rollback.owe()
    attempt.complete(None)


def fails(attempt):
    attempt.rollback.owe()
    attempt.fail(RuntimeError("broken"))


def is_asked_to_stop(attempt):
    attempt.killed()
    fails(attempt)


def is_set_to_success_while_it_loads(attempt):
    attempt.rollback.owe()
    attempt.store.flush()
    reading = attempt.store.read_run("d", "r", ["d"])
    closing.keep_closed(attempt.store, closing.closed_by_airflow(attempt.store, reading, {"a": "success"}))
    assert attempt.store.read_record(attempt.key.record_id)["transfer_status"] == "completed"


def is_refused(attempt):
    attempt.rollback.pay_debt()
    attempt.fail(AirflowFailException("its upstream is partial"))


def is_refused_while_asked_to_stop(attempt):
    attempt.killed()
    is_refused(attempt)


def is_cut_off_while_it_asks(attempt):
    """What strikes while the record of the attempt before is read: execution_timeout, or a signal to stop."""

    class Locations:
        def read_record(self, record_id, pipeline_ids):
            signal.raise_signal(signal.SIGALRM)

    attempt.rollback.store = Locations()
    with pytest.raises(AirflowTaskTimeout) as raised, TimeoutPosix(60):
        attempt.rollback.pay_debt()
    attempt.fail(raised.value)


@pytest.mark.parametrize(
    ("ends", "pays"),
    [
        ([completes], False),
        ([fails], False),
        ([is_asked_to_stop], True),
        ([lambda attempt: None], True),
        ([is_set_to_success_while_it_loads], True),
        ([is_refused], False),
        ([completes, is_refused], False),
        ([completes, is_refused_while_asked_to_stop], False),
        ([completes, fails, is_refused], False),
        ([completes, is_asked_to_stop, is_refused], False),
        ([lambda attempt: None, is_cut_off_while_it_asks], True),
        ([lambda attempt: None, is_cut_off_while_it_asks, is_refused], False),
    ],
)
@pytest.mark.parametrize("keeps", [True, False], ids=["task state", "no task state"])
def test_with_and_without_a_task_state_the_attempts_before_say_what_is_owed(tmp_path, monkeypatch, ends, pays, keeps):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(rollback, "task_states", lambda *args, **more: {"a": "running"})
    calls = []
    monkeypatch.setattr(rollback, "call_user_function", lambda *given: calls.append(1))
    state = States() if keeps else None
    for number, end in enumerate(ends):
        end(begun_attempt(try_number=number + 1, state=state))
    calls.clear()
    said = begun_attempt(try_number=len(ends) + 1, state=state).rollback.pay_debt()
    assert (said, bool(calls)) == ("rolled back the previous attempt first" if pays else None, pays)


@pytest.mark.parametrize("by_airflow", [True, False], ids=["supervisor lost", "result no XCom"])
@pytest.mark.parametrize("keeps", [True, False], ids=["task state", "no task state"])
def test_what_an_attempt_has_loaded_is_undone_where_airflow_fails_it_behind_its_end(
    tmp_path, monkeypatch, keeps, by_airflow
):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    calls, state = [], States() if keeps else None
    monkeypatch.setattr(rollback, "call_user_function", lambda *given: calls.append(1))
    first = begun_attempt(state=state)
    first.rollback.owe()
    first.complete(object())
    first.ti.state, error = (None, None) if by_airflow else ("up_for_retry", TypeError("cannot be serialized"))
    if by_airflow:
        first.task._pipetrack_attempt = None  # the dag processor has another one
    else:
        first.task._pipetrack_attempt = first
    record_retry({**first.context, "exception": error})
    said = store_for(first.spec).read_record(first.key.record_id)["decision"]
    assert said == ("Airflow retries" if by_airflow else f"Airflow retries; {verdicts.ROLLBACK_OWED}")
    second = begun_attempt(state=state, try_number=2)
    assert (second.rollback.pay_debt(), calls) == ("rolled back the previous attempt first", [1])


def test_a_transfer_without_a_rollback_owes_none_and_says_none(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    state = States()
    for number, owes in ((1, Rollback.owe), (2, Rollback.owe), (3, Rollback.still_owe), (4, Rollback.owe_after_all)):
        undoes = begun_attempt(try_number=number, transfer={"estimated_duration": "1h"}, state=state).rollback
        assert undoes.pay_debt() is None
        owes(undoes)
        assert not undoes.is_owed
        assert (undoes.put_off("its worker was lost"), undoes.undo()) == (None, None)
        undoes.settle()
    assert state == {}


def test_a_debt_is_paid_where_its_rollback_failed_or_no_record_can_be_read(tmp_path, monkeypatch):
    def undo(*given):
        raise OSError("the warehouse is gone")

    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(rollback, "task_states", lambda *args, **more: {"a": "running"})
    monkeypatch.setattr(rollback, "call_user_function", undo)
    fails(begun_attempt())
    with pytest.raises(OSError, match="the warehouse is gone"):
        begun_attempt(try_number=2).rollback.pay_debt()
    last = begun_attempt(try_number=3)
    monkeypatch.setattr(rollback, "call_user_function", lambda *given: None)
    last.rollback.store = SimpleNamespace()
    assert last.rollback.pay_debt() == "rolled back the previous attempt first"


def test_what_is_done_before_the_transfers_own_work_is_not_of_its_duration(tmp_path, monkeypatch):
    passed = [timedelta(0)]

    def takes(seconds):
        passed[0] += timedelta(seconds=seconds)

    class Takes7Seconds(BaseOperator):
        def execute(self, context):
            takes(7)

    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    begin = utc_now()
    monkeypatch.setattr(attempt_module, "utc_now", lambda: begin + passed[0])
    monkeypatch.setattr(attempt_module, "monotonic", lambda: passed[0].total_seconds())
    monkeypatch.setattr(rollback, "call_user_function", lambda *given: takes(100))
    with DAG("d", schedule=None):
        load = TrackedOperator(task_id="a", operator=Takes7Seconds, transfer={"rollback": "x.undo"})
    load.execute(context_of(load, try_number=2))
    end = load._pipetrack_attempt.end.columns
    assert (end["decision"], end["actual_seconds"]) == ("rolled back the previous attempt first", 7)
    assert end["transfer_end_timestamp"] - end["transfer_start_timestamp"] == timedelta(seconds=107)


def counts_of(attempt):
    attempt.complete(None)
    end = attempt.end.columns
    return end["records_succeeded"], end["records_failed"]


def test_what_was_reported_before_a_deferral_counts_after_it_and_not_in_another_attempt(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    state = States()
    first = begun_attempt(state=state)
    report(records_succeeded=5)
    first.pause()
    second = begun_attempt(state=state, resumed=True)
    report(records_failed=1)
    second.pause()
    assert counts_of(begun_attempt(state=state, resumed=True)) == (5, 1)
    assert counts_of(begun_attempt(state=state, try_number=2)) == (None, None)
    assert counts_of(begun_attempt(state=state, try_number=2, resumed=True)) == (None, None)
    assert counts_of(begun_attempt(resumed=True)) == (None, None), "this Airflow keeps nothing"


def test_what_is_reported_again_after_a_deferral_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    state = States()
    first = begun_attempt(state=state)
    report(records_succeeded=5, records_failed=2)
    first.pause()
    second = begun_attempt(state=state, resumed=True)
    report(records_succeeded=7)
    assert counts_of(second) == (7, 2)


def test_a_sensor_that_reports_nothing_asks_airflow_for_no_counts_each_time_it_looks(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))

    asked = []
    state = SimpleNamespace(get=asked.append)
    for resumed in (False, True, True):
        begun_attempt(state=state, resumed=resumed, transfer={"estimated_duration": "1h"}).pause()
    assert asked == []
    assert counts_of(begun_attempt(state=state, resumed=True, transfer={"estimated_duration": "1h"})) == (None, None)
    assert asked == ["pipetrack_counts"]


@pytest.mark.parametrize("way", ["deferred", "rescheduled"])
def test_what_was_decided_before_a_deferral_or_a_reschedule_stands_in_the_record(tmp_path, monkeypatch, way):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    later = {"resumed": True} if way == "deferred" else {"rescheduled": 9}
    state = States()
    first = begun_attempt(state=state)
    first.note("upstream 'extract' was set to success by hand")
    first.pause()
    begun_attempt(state=state, **later).pause()
    second = begun_attempt(state=state, **later)
    report(records_succeeded=1, records_failed=0)
    second.pause()
    third = begun_attempt(state=state, **later)
    third.complete(None)
    assert third.end.columns["decision"] == "upstream 'extract' was set to success by hand"
    assert third.end.columns["records_succeeded"] == 1
    skipped = begun_attempt(state=state, **later)
    skipped.skip(AirflowSkipException("nothing new"))
    assert skipped.end.columns["decision"] == "skipped: nothing new; upstream 'extract' was set to success by hand"
    assert counts_of(begun_attempt(state=state, try_number=2, **later)) == (None, None)


def test_a_counts_function_that_blocks_costs_the_counts_only(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(attempt_module, "COUNTS_LIMIT", 0.05)
    never = threading.Event()
    monkeypatch.setattr(attempt_module, "call_user_function", lambda *given: never.wait())
    attempt = begun_attempt(transfer={"counts": "x.count"})
    attempt.complete("a result")
    never.set()
    assert attempt.end.columns["transfer_status"] == "completed"
    assert attempt.end.columns["decision"] == "counts unknown: the counts function has not returned within 0.05 s"


def test_a_skip_is_said_first_whatever_else_was_decided(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    attempt = begun_attempt()
    attempt.note("rolled back the previous attempt first")
    attempt.skip(AirflowSkipException("nothing new"))
    assert attempt.end.columns["decision"] == "skipped: nothing new; rolled back the previous attempt first"
    assert is_skipped(attempt.end.columns)


def test_a_task_that_starts_in_the_triggerer_begins_where_it_is_first_resumed(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    first = begun_attempt(resumed=True, start_from_trigger=True)
    assert first.is_first_leg
    first.pause()
    assert not begun_attempt(resumed=True, start_from_trigger=True).is_first_leg
    assert not begun_attempt(resumed=True, start_from_trigger=False).is_first_leg


def test_a_task_whose_dag_was_not_found_at_first_begins_where_it_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    first = begun_attempt(rescheduled=2)
    assert first.is_first_leg
    first.pause()
    assert not begun_attempt(rescheduled=3).is_first_leg
    assert begun_attempt(rescheduled=3, try_number=2).is_first_leg
    assert not begun_attempt(rescheduled=4, try_number=3).is_first_leg, "Airflow puts no task off so often"


def test_a_sensor_that_looks_again_goes_on_though_its_record_cannot_be_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    spec = Spec(StageTransfer(name="a"), "p")
    context, key = {"task_reschedule_count": 1}, RecordKey("d", "r", "a", -1, 1)
    with TrackingStore(["postgres@nobody||d||public||t"], journal_dir=tmp_path / "journal") as away:
        begun = {
            again: goes_on(SimpleNamespace(reschedule=again), context, away, spec, key, resumed=False)
            for again in (True, False)
        }
    assert begun == {True: True, False: False}
    (tmp_path / "there.db").touch()
    with TrackingStore([f"sqlite||{tmp_path}/there.db"], journal_dir=tmp_path / "other") as there:
        assert not goes_on(SimpleNamespace(reschedule=True), context, there, spec, key, resumed=False)


def test_a_task_whose_dag_was_not_found_at_first_is_refused_and_skipped_as_any_other(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    run = SimpleNamespace(run_type="backfill")
    with pytest.raises(AirflowSkipException, match="this run is a backfill"):
        begun_attempt(rescheduled=1, transfer={"can_access_historical_data": False}, run=run)
    calls, state = [], States()
    make_rollback(calls, state).owe()
    monkeypatch.setattr(rollback, "call_user_function", lambda *given: calls.append("undone"))
    with DAG("d", schedule=None):
        load = TrackedOperator(task_id="a", transfer={"rollback": "x.undo"})
    load.execute({**context_of(load, try_number=2), "task_state_store": state, "task_reschedule_count": 1})
    assert calls == ["undone"]


def test_a_rollback_that_hangs_is_left_behind(monkeypatch):
    never = threading.Event()
    with DAG("d", default_args={"execution_timeout": timedelta(seconds=0.05)}):
        task_ = TrackedOperator(task_id="a", transfer={"rollback": "x.undo"})
    ti = SimpleNamespace(try_number=1, map_index=-1, dag_id="d", run_id="r", task_id="a")
    attempt = Rollback(task_.pipetrack_spec, {"ti": ti}, task_, RecordKey("d", "r", "a"), NO_RECORDS)
    monkeypatch.setattr(rollback, "call_user_function", lambda *given: never.wait())
    attempt.owe()
    assert attempt.undo() == (
        "rollback failed and is owed: TimeLimitError: the rollback has not returned within 0.05 s"
    )
    never.set()


@pytest.mark.parametrize(
    ("states", "running"),
    [({"a": "running"}, True), ({"a": "success"}, False), ({}, False), (OSError("broken pipe"), None)],
)
def test_only_a_task_that_airflow_says_runs_may_undo_anything(monkeypatch, states, running):
    def answer(*args, **more):
        if isinstance(states, Exception):
            raise states
        return states

    monkeypatch.setattr(rollback, "task_states", answer)
    assert make_rollback([]).is_running() is running


@pytest.mark.parametrize(("index", "asked"), [(-1, None), (0, 0), (2, 2)])
def test_airflow_is_asked_whether_this_very_index_runs(monkeypatch, index, asked):
    questions = []
    monkeypatch.setattr(rollback, "task_states", lambda *run, **of: questions.append((run, of)) or {})
    attempt = make_rollback([])
    attempt.context["ti"].map_index = index
    attempt.is_running()
    assert questions == [(("d", "r"), {"task_ids": ["a"], "map_index": asked})]


@pytest.mark.parametrize(
    ("task", "index", "state"),
    [
        ("plain", -1, "success"),
        ("mapped", 0, "failed"),
        ("mapped", 1, "success"),
        ("empty", 0, "skipped"),
        ("gone", -1, None),
    ],
)
def test_states_are_found_by_task_and_index(task, index, state):
    states = {"plain": "success", "mapped_0": "failed", "mapped_1": "success", "empty": "skipped"}
    assert verdicts.state_of(task, index, states) == state


def test_operator_arguments_are_checked():
    with pytest.raises(TypeError, match="^BashOperator has no argument 'python_callable'$"):
        TrackedOperator(task_id="a", operator=BashOperator, bash_command="x", python_callable=print)
    with pytest.raises(
        TypeError, match=r"^BashOperator has no argument 'bash_comand' \(did you mean 'bash_command'\?\)$"
    ):
        TrackedOperator(task_id="a", operator=BashOperator, bash_comand="x")
    with pytest.raises(TypeError, match="given both directly and in operator_args: op_kwargs"):
        TrackedOperator(task_id="a", python_callable=print, operator_args={"a": 1}, op_kwargs={"b": 1})
    with pytest.raises(TypeError, match="operator=<class 'dict'>: expected an operator class"):
        TrackedOperator(task_id="a", operator=dict)
    with pytest.raises(TypeError, match="given both directly and in operator_args: retries"):
        TrackedOperator(task_id="a", operator_args={"retries": 1}, retries=2)
    with pytest.raises(ValueError, match="soft_fail would hide a mismatch; use on_mismatch='warn'"):
        AuditSensor(task_id="a", transfer="x", soft_fail=True)


def test_a_tracked_class_is_made_once_and_is_both():
    kind = tracked(BashOperator)
    assert kind is tracked(BashOperator) is tracked(kind)
    assert issubclass(kind, BashOperator)
    assert issubclass(kind, TrackedOperator)
    assert kind.template_fields == BashOperator.template_fields
    with pytest.raises(TypeError, match="expected an operator class"):
        tracked(print)


def test_the_users_own_callbacks_stay_and_come_first(monkeypatch):
    monkeypatch.setattr("airflow.__version__", "3.4.0")
    mine, default = (lambda context: None), (lambda context: None)
    with DAG("d", schedule=None, on_failure_callback=mine, default_args={"on_retry_callback": default}) as dag:
        task = TrackedOperator(task_id="a", on_failure_callback=mine)
        TrackedOperator(task_id="b")
    assert task.on_failure_callback[0] is mine
    assert task.on_retry_callback[0] is default
    assert len(task.on_failure_callback) == len(task.on_retry_callback) == 2
    assert dag.on_failure_callback[0] is mine
    assert len(dag.on_failure_callback) == 2
    assert dag.has_on_success_callback


def test_callbacks_that_an_operator_gives_to_its_base_stay_too(monkeypatch):
    monkeypatch.setattr("airflow.__version__", "3.4.0")
    mine = lambda context: None  # noqa: E731

    class Given(BaseOperator):
        def __init__(self, **kwargs):
            super().__init__(on_failure_callback=mine, **kwargs)

    class Unless(BaseOperator):
        def __init__(self, **kwargs):
            kwargs.setdefault("on_failure_callback", mine)
            super().__init__(**kwargs)

    with DAG("d", schedule=None):
        tasks = [tracked(operator)(task_id=operator.__name__) for operator in (Given, Unless)]
    for made in tasks:
        assert made.on_failure_callback == [mine, record_failure]
        assert made.on_retry_callback == [record_retry]
        assert made.has_on_retry_callback


def test_a_run_is_closed_by_its_own_dag_whatever_copy_of_it_airflow_hands_over(monkeypatch):
    closed = []
    monkeypatch.setattr(closing, "close_open_records", lambda dag, *of: closed.append((dag, *of)) or [])
    with DAG("d", schedule=None) as dag:
        TrackedOperator(task_id="a")
    for copy_of in (DAG("d"), DAG("another")):  # dag.test() gives one that knows no transfers
        dag.on_success_callback[-1]({"dag": copy_of, "run_id": copy_of.dag_id, "reason": "success"})
    assert closed == [(dag, "d", "success")]


@pytest.fixture
def alarm():
    """Let a test set the alarm; that of its own time limit is set again afterwards."""
    handler, timer = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    yield
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, *timer)


def test_execution_timeout_does_not_strike_while_a_hanging_location_is_waited_for(tmp_path, monkeypatch, alarm):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__PIPETRACK__DELIVERY_DEADLINE", "1.5")
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", f"sqlite||{tmp_path}/t.db")
    ended = []

    def strike(number, frame):
        raise AirflowTaskTimeout

    def load_until_just_before_the_limit():
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        ended.append(time.monotonic())
        return "loaded"

    with DAG("d", schedule=None) as made:
        load = TrackedOperator(
            task_id="a",
            python_callable=load_until_just_before_the_limit,
            transfer={},
            execution_timeout=timedelta(minutes=1),
        )
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="a", map_index=-1, try_number=1, task=load)
    with closing_of(sqlite3.connect(tmp_path / "t.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        signal.signal(signal.SIGALRM, strike)
        assert load.execute({"ti": ti, "dag": made, "run_id": "r", "outlet_events": {}}) == "loaded"
    assert time.monotonic() - ended[0] > 1.0, "nothing was waited for"
    assert load._pipetrack_attempt.has_ended("completed")


@pytest.mark.parametrize(("limit", "goes_on"), [(None, True), (timedelta(hours=1), False)])
def test_an_alarm_that_is_not_execution_timeouts_is_left_alone(alarm, limit, goes_on):
    signal.setitimer(signal.ITIMER_REAL, 600)
    disarm_timeout(TrackedOperator(task_id="a", execution_timeout=limit))
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) == goes_on


def test_a_task_that_joins_its_dag_later_is_tracked_too():
    dag = DAG("d", schedule=None)
    task = TrackedOperator(task_id="late", transfer={"stage_i_details": "x"})
    dag.add_task(task)
    assert task.pipetrack_spec.transfer.stage_i_details == "x"
    assert upstream_transfers(dag, "late") == ()
    assert dag.has_on_failure_callback


def test_decorated_tasks_are_known_to_their_dag_mapped_or_not():
    with DAG("d", schedule=None) as dag:

        @task.tracked(transfer={"stage_i_details": "x"}, retries=2)
        def one(number):
            return number

        @task_group
        def group():
            one.override(task_id="again")(3)

        one(1) >> group()
        one.override(task_id="each").expand(number=[1, 2])
    specs = complete_binding(dag).specs
    assert {name: spec.transfer.name for name, spec in specs.items()} == {
        "one": "one",
        "group.again": "group.again",
        "each": "each",
    }
    assert {spec.transfer.stage_i_details for spec in specs.values()} == {"x"}
    assert upstream_transfers(dag, "group.again") == ("one",)
    assert dag.has_on_failure_callback
    assert all(closing.spec_of_task(t, dag) is specs[t.task_id] for t in dag.tasks)


def test_mistakes_in_a_transfer_are_named():
    from airflow_provider_pipetrack import ConfigError

    with pytest.raises(
        ConfigError, match=r"transfer\.stage_i_detail: there is no such key \(did you mean 'stage_i_details'\?\)"
    ):
        TrackedOperator(task_id="a", transfer={"stage_i_detail": "x"})
