"""What is not ``airflow.sdk`` is as compat takes it to be, in whatever version of Airflow runs these tests."""

from __future__ import annotations

import inspect
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec
import pytest
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup
from airflow.sdk import exceptions as sdk_exceptions
from airflow.sdk.execution_time import comms, supervisor, task_runner

from airflow_provider_pipetrack import compat, tracked
from tests.airflow_versions import AIRFLOW

NAMES = ("a", "b", "c")


def edges(dag: DAG) -> dict[str, tuple[set[str], set[str]]]:
    return {task.task_id: (set(task.upstream_task_ids), set(task.downstream_task_ids)) for task in dag.tasks}


def test_edges_are_those_that_airflow_makes():
    with DAG("ours") as ours:
        tasks = {name: EmptyOperator(task_id=name) for name in NAMES}
        compat.connect(tasks, {"a": [], "b": ["a"], "c": ["a", "b"]})
    with DAG("airflows") as airflows:
        a, b, c = (EmptyOperator(task_id=name) for name in NAMES)
        a >> b >> c
        a >> c
    assert edges(ours) == edges(airflows)
    assert [task.task_id for task in ours.topological_sort()] == [t.task_id for t in airflows.topological_sort()]


def test_the_dag_and_the_group_of_a_block_are_found():
    assert compat.current_dag() is None
    with DAG("found") as dag:
        assert compat.current_dag() is dag
        assert compat.current_task_group(dag) is dag.task_group
        with TaskGroup("group") as group:
            assert compat.current_task_group(dag) is group


def test_default_arguments_reach_a_constructor_that_airflow_does_not_wrap():
    with DAG("defaults", default_args={"bash_command": "echo 1", "retries": 7, "owner": "team"}):
        task = tracked(BashOperator)(task_id="a", transfer={})
    assert (task.bash_command, task.retries, task.owner) == ("echo 1", 7, "team")
    assert compat.is_plain_constructor(tracked(BashOperator).__init__)
    assert not compat.is_plain_constructor(BashOperator.__init__)


def test_an_index_of_a_mapped_task_is_told_from_a_task(monkeypatch):
    seen = []
    monkeypatch.setattr("airflow_provider_pipetrack.operators.tracked.is_unmapping", lambda given: seen.append(given))
    with DAG("mapped"):
        mapped = tracked(BashOperator).partial(task_id="m", transfer={}).expand(bash_command=["echo 1"])
        tracked(BashOperator)(task_id="plain", bash_command="true", transfer={})
    plain = seen.pop()
    mapped.operator_class(task_id="m", bash_command="echo 1", transfer={}, _airflow_from_mapped=True)
    assert compat.is_unmapping(seen.pop())
    assert not compat.is_unmapping(plain)
    assert "_airflow_from_mapped" in inspect.getsource(type(mapped))


def test_the_ways_to_leave_execute_are_exceptions():
    for kind in (*compat.CONTROL_FLOW, *compat.SUCCESSFUL_EXITS):
        assert issubclass(kind, BaseException)
    assert issubclass(compat.AirflowFailException, compat.AirflowException)
    later = {"TaskAwaitingInput"} & set(dir(sdk_exceptions))
    assert {kind.__name__ for kind in compat.CONTROL_FLOW} == {
        "TaskDeferred", "AirflowRescheduleException", "DagRunTriggerException", *later
    }  # fmt: skip
    assert {kind.__name__ for kind in compat.SUCCESSFUL_EXITS} == {"DownstreamTasksSkipped"}


def test_they_are_what_airflows_operators_raise():
    from airflow.providers.common.compat import sdk

    assert sdk.DagRunTriggerException in compat.CONTROL_FLOW
    assert sdk.DownstreamTasksSkipped in compat.SUCCESSFUL_EXITS


@pytest.mark.parametrize(("text", "is_one"), [("0 2 * * *", True), ("@daily", True), ("often", False)])
def test_cron_expressions_are_told_apart(text, is_one):
    assert compat.is_cron(text) == is_one


def test_options_are_read_from_airflows_configuration():
    assert compat.airflow_option("core", "dags_folder").endswith("dags")
    assert compat.airflow_option("core", "no_such_option") is None


def test_states_are_asked_for_one_run(mocker):
    from airflow.sdk.execution_time import task_runner

    answer = {"run": {"a": "success", "m_0": None}}
    mocker.patch.object(task_runner, "SUPERVISOR_COMMS", mocker.Mock(), create=True)
    asked = mocker.patch.object(task_runner.RuntimeTaskInstance, "get_task_states", autospec=True, return_value=answer)
    assert compat.task_states("dag", "run", task_ids=["a", "m"], map_index=0) == {"a": "success", "m_0": None}
    assert asked.call_args.kwargs == {"dag_id": "dag", "run_ids": ["run"], "task_ids": ["a", "m"], "map_index": 0}
    assert compat.task_states("dag", "other") == {}


def test_only_from_3_2_on_a_trigger_may_ask_airflow_from_a_thread():
    from airflow.jobs.triggerer_job_runner import TriggerCommsDecoder

    assert compat.triggers_may_ask() == (AIRFLOW >= (3, 2)) == hasattr(TriggerCommsDecoder, "start_reader")


@pytest.fixture
def asked_by(monkeypatch):
    """Makes what a task asks Airflow by; a thread answers, each question for a variable with its key."""
    ends = []

    def make():
        mine, airflows = socket.socketpair()
        ends.append(airflows)
        threading.Thread(target=answer, args=(airflows,), daemon=True).start()
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms.CommsDecoder(socket=mine), raising=False)

    yield make
    for end in ends:
        end.close()


def answer(airflows):
    decoder = msgspec.msgpack.Decoder(comms._RequestFrame)
    with airflows.makefile("rb") as asked, suppress(OSError, ValueError):
        while length := asked.read(4):
            frame = decoder.decode(asked.read(int.from_bytes(length, "big")))
            body = {"type": "VariableResult", "key": frame.body["key"], "value": "x"}
            airflows.sendall(comms._ResponseFrame(id=frame.id, body=body).as_bytes())


def test_threads_that_ask_airflow_at_the_same_time_get_each_their_own_answer(asked_by, monkeypatch):
    monkeypatch.setattr(comms.CommsDecoder, "send", comms.CommsDecoder.send)  # as it is now, again afterwards
    asked_by()
    assert compat.may_ask_from_threads()
    assert compat.may_ask_from_threads(), "asking twice must not wrap it twice"
    assert hasattr(comms.CommsDecoder.send, "__wrapped__") is (AIRFLOW < (3, 2))

    def ask(number):
        return task_runner.SUPERVISOR_COMMS.send(comms.GetVariable(key=str(number))).key

    with ThreadPoolExecutor(8) as threads:
        assert [*threads.map(ask, range(200))] == [*map(str, range(200))]


def test_what_answers_in_a_test_run_bears_one_thread_only(monkeypatch):
    inside = supervisor.InProcessSupervisorComms(supervisor=None)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", inside, raising=False)
    assert compat.may_ask_from_threads() is False


def test_only_from_3_2_on_a_task_that_goes_on_is_told_when_it_started():
    from airflow.sdk.api.datamodels._generated import TIRunContext

    assert compat.keeps_first_start() == (AIRFLOW >= (3, 2)) == ("start_date" in TIRunContext.model_fields)


@pytest.mark.parametrize(
    ("version", "bears"), [("3.1.0", True), ("3.3.2", True), ("3.4.0b2", False), ("3.4.0", True), ("3.4.1rc1", True)]
)
def test_the_scheduler_of_the_betas_of_3_4_is_not_told_of_callbacks(monkeypatch, version, bears):
    monkeypatch.setattr("airflow.__version__", version)
    assert compat.scheduler_bears_callbacks() is bears


def test_secrets_that_airflow_knows_are_masked():
    from airflow.sdk.log import mask_secret

    mask_secret("s3cret-and-long")
    assert "s3cret-and-long" not in compat.redact("it is s3cret-and-long")


def test_bundles_triggers_and_plugins_have_their_base_classes():
    for name in ("initialize", "refresh", "path", "get_current_version"):
        assert hasattr(compat.dag_bundle_base(), name)
    base, event = compat.trigger_classes()
    assert {"serialize", "run"} <= set(dir(base))
    assert event({"a": 1}).payload == {"a": 1}
    assert compat.plugin_base().__name__ == "AirflowPlugin"
