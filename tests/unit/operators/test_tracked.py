"""TrackedOperator beside what people write in Dags: default arguments, groups, loops, operators of their own."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import BranchPythonOperator
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.sdk import DAG, BaseOperator, TaskGroup, task

from airflow_provider_pipetrack import AuditSensor, TrackedOperator, TransferReadySensor, tracked
from airflow_provider_pipetrack.attempts.declare import complete_binding
from airflow_provider_pipetrack.attempts.stores import store_for
from airflow_provider_pipetrack.callbacks.task import record_failure, record_retry
from airflow_provider_pipetrack.config import StageTransfer
from airflow_provider_pipetrack.errors import ConfigError, PipetrackError


def mine(context):
    """A callback of the user's."""


@task.tracked(transfer={"stage_i_details": "x"})
def defined_before_any_dag(number=1):
    return number


def test_the_record_tells_of_retries_and_owner_from_wherever_the_task_has_them():
    with DAG("d", default_args={"retries": 7, "owner": "ann"}) as dag:
        one = TrackedOperator(task_id="one", operator=BashOperator, bash_command="x", transfer={})
        tracked(BashOperator).partial(task_id="each", retries=2, transfer={}).expand(bash_command=["x"])
        with TaskGroup("group", default_args={"retries": 4}):
            grouped = TrackedOperator(task_id="two", operator=BashOperator, bash_command="x", transfer={})
        own = TrackedOperator(task_id="own", operator=BashOperator, bash_command="x", owner="bob", transfer={})
        defined_before_any_dag.override(task_id="mapped").expand(number=[1, 2])
    told = {
        name: (spec.transfer.max_retry_attempts, spec.transfer.transfer_process_owner_name)
        for name, spec in complete_binding(dag).specs.items()
    }
    assert told == {
        "one": (7, "ann"),
        "each": (2, "ann"),
        "group.two": (4, "ann"),
        "own": (7, "bob"),
        "mapped": (7, "ann"),
    }
    assert (one.retries, grouped.retries, own.owner) == (7, 4, "bob")
    assert dag.get_task("each").retries == 2


class TriesTwice(BaseOperator):
    def __init__(self, *, stage="", **kwargs):
        super().__init__(**{"retries": 2, **kwargs})
        self.stage = stage


def test_the_record_tells_of_the_retries_of_the_task_where_nobody_says_them():
    with DAG("d", schedule=None) as dag:
        tracked(TriesTwice)(task_id="own", transfer={})
        tracked(TriesTwice)(task_id="given", transfer={"max_retry_attempts": 5})
        TrackedOperator(task_id="plain", python_callable=print, transfer={})
        tracked(BashOperator).partial(task_id="each", transfer={}).expand(bash_command=["x"])
        defined_before_any_dag.override(task_id="function")()
        defined_before_any_dag.override(task_id="mapped").expand(number=[1])
        with TaskGroup("group"):
            TrackedOperator(task_id="plain", python_callable=print, transfer={})
    joins = tracked(TriesTwice)(task_id="joins", transfer={})
    dag.add_task(joins)
    told = {name: spec.transfer.max_retry_attempts for name, spec in complete_binding(dag).specs.items()}
    taken = {made.task_id: made.retries for made in dag.tasks}
    assert told == taken == {
        "own": 2, "given": 5, "plain": 0, "each": 0, "function": 0, "mapped": 0, "group.plain": 0, "joins": 2
    }  # fmt: skip
    assert joins.pipetrack_spec.transfer.model_fields_set.isdisjoint({"max_retry_attempts"})
    index = dag.get_task("mapped").unmap({"op_args": [], "op_kwargs": {"number": 1}})
    assert (index.retries, index.pipetrack_spec.transfer.max_retry_attempts) == (0, 0)


def test_an_operator_keeps_a_pipeline_id_of_its_own():
    asks = {"pipeline_id": "orders", "stage": "mart"}
    with DAG("d") as dag:
        waits = TrackedOperator(task_id="one", operator=TransferReadySensor, operator_args=asks, transfer={})
        TrackedOperator.partial(task_id="each", operator=TransferReadySensor, transfer={}, **asks).expand(
            date=["1", "2"]
        )
        tracked(TransferReadySensor).partial(task_id="all", transfer={}, stage="mart").expand(pipeline_id=["orders"])
    each, every = dag.get_task("each").unmap({"date": "1"}), dag.get_task("all").unmap({"pipeline_id": "orders"})
    for task_ in (waits, each, every):
        assert (task_.pipeline_id, task_.stage) == ("orders", "mart")
        assert task_.pipetrack_spec.pipeline_id == "", "the record is of the Dag's own"


def test_callbacks_of_default_arguments_stay_whoever_gives_them(monkeypatch):
    monkeypatch.setattr("airflow.__version__", "3.4.0")
    with DAG("d", default_args={"on_failure_callback": mine}) as dag:
        TrackedOperator(task_id="dag", operator=BashOperator, bash_command="x", transfer={})
        defined_before_any_dag()
        defined_before_any_dag.override(task_id="mapped").expand(number=[1])
    with DAG("e") as other, TaskGroup("group", default_args={"on_failure_callback": [mine]}):
        TrackedOperator(task_id="grouped", operator=BashOperator, bash_command="x", transfer={})
        tracked(BashOperator).partial(task_id="each", transfer={}).expand(bash_command=["x"])
    for made in (*dag.tasks, *other.tasks):
        callbacks = made.partial_kwargs["on_failure_callback"] if made.is_mapped else made.on_failure_callback
        assert callbacks == [mine, record_failure], made.task_id
    assert dag.has_on_failure_callback
    assert other.has_on_failure_callback


def test_only_the_process_of_a_task_has_callbacks_where_the_scheduler_does_not_bear_them(monkeypatch):
    monkeypatch.setattr("airflow.__version__", "3.4.0b2")
    with DAG("d", default_args={"on_failure_callback": mine}) as dag:
        one = TrackedOperator(task_id="one", operator=BashOperator, bash_command="x", transfer={})
        other = defined_before_any_dag().operator
        each = tracked(BashOperator).partial(task_id="each", transfer={}).expand(bash_command=["x"])
    assert not any(made.has_on_retry_callback for made in dag.tasks)
    assert one.on_failure_callback == [mine]
    index = each.unmap({"bash_command": "x"})
    for prepared in (one.prepare_for_execution(), other.prepare_for_execution(), index):
        assert prepared.on_failure_callback == [mine, record_failure]
        assert prepared.on_retry_callback == [record_retry]


def test_fields_of_a_transfer_set_what_they_mean_unless_the_task_says_it():
    fields = {
        "max_retry_attempts": 5,
        "transfer_process_owner_name": "ann",
        "retry_delay": "5m",
        "execution_timeout": "1h",
        "pool": "slow",
        "can_process_be_parallelized": False,
    }
    names = ("retries", "owner", "retry_delay", "execution_timeout", "pool", "max_active_tis_per_dag")
    expected = [5, "ann", timedelta(minutes=5), timedelta(hours=1), "slow", 1]
    with DAG("d", default_args={"retries": 1}) as dag:
        one = TrackedOperator(task_id="one", operator=BashOperator, bash_command="x", transfer=fields)
        tracked(BashOperator).partial(task_id="each", transfer=fields).expand(bash_command=["x"])
        own = TrackedOperator(task_id="own", operator=BashOperator, bash_command="x", transfer=fields, pool="fast")
        plain = TrackedOperator(task_id="plain", operator=BashOperator, bash_command="x", transfer={})
    for made in (one, dag.get_task("each")):
        assert [getattr(made, name) for name in names] == expected
    assert (own.pool, own.retries) == ("fast", 5)
    other = {"retries": 2, "owner": "bob"}
    with DAG("e", default_args={"retries": 1}) as dag:
        TrackedOperator(task_id="one", operator=BashOperator, bash_command="x", transfer=fields, **other)
        tracked(BashOperator).partial(task_id="each", transfer=fields, **other).expand(bash_command=["x"])
        task.tracked(transfer=fields, **other)(defined_before_any_dag.function).override(task_id="decorated")()
        task.tracked(transfer=fields, **other)(defined_before_any_dag.function).override(task_id="mapped").expand(
            number=[1]
        )
    for name, spec in complete_binding(dag).specs.items():
        recorded = (spec.transfer.max_retry_attempts, spec.transfer.transfer_process_owner_name)
        made = dag.get_task(name)
        assert recorded == (made.retries, made.owner) == (2, "bob"), name
    assert (plain.retries, plain.max_active_tis_per_dag) == (1, None)


def test_a_transfer_as_a_model_says_what_its_fields_say():
    given = StageTransfer(name="x", stage_i_details={"literal": "a"}, retry_delay="5m", audit={"mode": "reschedule"})
    with DAG("d", default_args={"retries": 1}):
        made = TrackedOperator(task_id="one", operator=BashOperator, bash_command="x", transfer=given)
    found = made.pipetrack_spec.transfer
    assert (found.name, found.stage_i_details, found.audit) == ("x", given.stage_i_details, given.audit)
    assert (found.max_retry_attempts, found.audit_enabled, made.retry_delay) == (1, False, timedelta(minutes=5))


def test_a_function_that_is_decorated_in_a_loop_has_a_transfer_each_time():
    dags = []
    for country in ("de", "fr", "de"):
        with DAG(f"orders_{country}") as dag:

            @task.tracked(transfer={"stage_i_details": country})
            def load(number=1):
                return number

            load()
            load.override(task_id="mapped").expand(number=[1, 2])
        dags.append(dag)
    assert [
        {name: spec.transfer.stage_i_details for name, spec in complete_binding(dag).specs.items()} for dag in dags
    ] == [{"load": country, "mapped": country} for country in ("de", "fr", "de")]


@pytest.mark.parametrize("task_id", ["größe", "x" * 250, "a.b.c"])
def test_every_task_id_of_airflow_will_do(task_id):
    with DAG("d") as dag:
        made = TrackedOperator(task_id=task_id, operator=BashOperator, bash_command="x", transfer={})
    assert complete_binding(dag).specs[task_id] is made.pipetrack_spec


def test_a_function_beside_an_operator_is_the_operators():
    with DAG("d"):
        branch = TrackedOperator(task_id="a", operator=BranchPythonOperator, python_callable=mine, transfer={})
    assert isinstance(branch, BranchPythonOperator)
    assert branch.python_callable is mine


class Meta(type(BaseOperator)):
    """A metaclass of somebody's own."""


class Colored:
    """A mixin that takes an argument."""

    def __init__(self, *, color="red", **kwargs):
        super().__init__(**kwargs)
        self.color = color


class OwnOperator(Colored, BaseOperator, metaclass=Meta):
    """An operator with everything that people do to constructors."""

    def __init__(self, size, *args, **kwargs):
        self.table = kwargs.pop("table", None)
        super().__init__(*args, **kwargs)
        self.size = size

    @property
    def template_fields(self):
        return ("size",)

    def execute(self, context):
        return self.size


def test_operators_of_ones_own_are_tracked_too():
    with DAG("d"):
        made = TrackedOperator(task_id="a", operator=OwnOperator, size=3, color="blue", table="t", transfer={})
        again = tracked(OwnOperator)(task_id="b", size=4, transfer={})
    assert (made.size, made.color, made.table, made.template_fields) == (3, "blue", "t", ("size",))
    assert type(made) is type(again)
    assert isinstance(type(made), Meta)


def test_fields_that_would_do_nothing_are_refused():
    with pytest.raises(ConfigError) as raised, DAG("d"):
        TrackedOperator(task_id="a", transfer={"depends_on": ["b"], "transfer_enabled": False})
    says = "acts in pipeline files only; here the Dag says it, by its tasks and what they wait for"
    assert [str(problem) for problem in raised.value.problems] == [
        f"<python>:0:0: a: transfer.depends_on: {says}",
        f"<python>:0:0: a: transfer.transfer_enabled: {says}",
    ]


def test_a_transfer_that_the_dag_does_not_have_is_named_at_once():
    with (
        pytest.raises(PipetrackError, match=r"^a: the Dag d has no transfer 'nope'; give its fields, such as"),
        DAG("d"),
    ):
        TrackedOperator(task_id="a", operator=BashOperator, bash_command="x", transfer="nope")


@pytest.mark.parametrize("kind", ["task", "index", "audit", "sensor that looks again"])
def test_the_storage_is_made_ready_before_the_transfer_begins(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", f"sqlite||{tmp_path}/t.db")
    with DAG("d", schedule=None):
        one = TrackedOperator(task_id="one", operator=BashOperator, bash_command="x", transfer={})
        each = TrackedOperator.partial(task_id="each", operator=BashOperator, transfer={}).expand(bash_command=["x"])
        waits = TrackedOperator(
            task_id="waits", operator=PythonSensor, python_callable=bool, mode="reschedule", transfer={}
        )
        audit = AuditSensor(task_id="audit", transfer="one")
    tasks = {"task": one, "audit": audit, "sensor that looks again": waits}
    assert not (tmp_path / "t.db").exists()
    prepared = tasks[kind].prepare_for_execution() if kind in tasks else each.unmap({"bash_command": "x"})
    assert store_for(prepared.pipetrack_spec).flush() is True
    assert (tmp_path / "t.db").exists() is (kind != "sensor that looks again")
