"""Tracking changes nothing about a task: every kind of operator, once tracked and once not, in the same Airflow."""

from __future__ import annotations

import importlib.util
from datetime import datetime, timezone
from urllib.parse import quote

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

#: Airflow has retry policies from 3.3 on.
HAS_POLICIES = importlib.util.find_spec("airflow.sdk.definitions.retry_policy") is not None

DAGS = '''
import functools, pathlib
from datetime import datetime, timedelta, timezone
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, PythonOperator, ShortCircuitOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.sdk import DAG, Asset, BaseOperator, BaseOperatorLink, task, task_group
from airflow_provider_pipetrack import tracked

HERE = pathlib.Path(__file__).parent
SOON = datetime(2026, 1, 1, tzinfo=timezone.utc)


class ShopLink(BaseOperatorLink):
    name = "shop"

    def get_link(self, operator, *, ti_key):
        return f"http://127.0.0.1/{ti_key.task_id}/{ti_key.try_number}"


class Linked(BaseOperator):
    template_fields = ("order",)
    operator_extra_links = (ShopLink(),)

    def __init__(self, *, order, **kwargs):
        super().__init__(**kwargs)
        self.order = order

    def execute(self, context):
        context["ti"].xcom_push(key="pushed", value={"order": self.order})
        return [self.order]


class TwoSteps(BaseOperator):
    """Defers twice, and keeps something of its own in between."""

    def execute(self, context):
        self._wait("second", {"seen": ["first"]})

    def second(self, context, event=None, seen=()):
        self._wait("third", {"seen": [*seen, "second"]})

    def third(self, context, event=None, seen=()):
        return [*seen, "third"]

    def _wait(self, method, kwargs):
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

        # Not at once: Airflow fails a task that is queued again before its executor has told of the last leg's end.
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=5)), method_name=method, kwargs=kwargs)


def say_more(outlet_events):
    outlet_events[Asset("kinds://python")].extra = {"rows": 7}
    return {"rows": 7}

def third_poke(name):
    file = HERE / f"kinds-{name}.poked"
    with file.open("a") as writing:
        writing.write(".")
    return len(file.read_text()) >= 3

def break_with(error):
    raise error("on purpose")

def fail_once(ti):
    if ti.try_number == 1:
        raise ValueError("the first time")
    return ti.try_number


def build(kind, dag_id, make, partial, decorate):
    with DAG(dag_id, schedule=None, params={"color": "red"}, default_args={"retries": 0}):
        make(BashOperator)(task_id="bash", bash_command="echo {{ run_id }}; echo {{ params.color }}",
                           env={"A": "{{ ds }}"}, outlets=[Asset("kinds://bash")])
        make(PythonOperator)(task_id="python", python_callable=say_more, outlets=[Asset("kinds://python")])
        make(PythonOperator)(task_id="fails", python_callable=break_with, op_args=[KeyError])
        make(PythonOperator)(task_id="retried", python_callable=fail_once, retries=2,
                             retry_delay=timedelta(seconds=1))
        make(Linked)(task_id="linked", order="{{ run_id }}")
        make(TwoSteps)(task_id="two_steps")
        make(DateTimeSensorAsync)(task_id="deferred", target_time="{{ logical_date + macros.timedelta(seconds=30) }}")
        make(DateTimeSensorAsync)(task_id="from_trigger", target_time=SOON, start_from_trigger=True,
                                  trigger_kwargs={"moment": SOON, "end_from_trigger": False})
        make(PythonSensor)(task_id="poked", python_callable=third_poke, op_args=[f"{kind}-poked"], poke_interval=1)
        make(PythonSensor)(task_id="rescheduled", python_callable=third_poke, op_args=[f"{kind}-rescheduled"],
                           mode="reschedule", poke_interval=6)
        make(PythonSensor)(task_id="gave_up", python_callable=lambda: False, timeout=1, poke_interval=1, soft_fail=True)

        mapped = partial(BashOperator)(task_id="mapped").expand(bash_command=["echo 1", "exit 1", "echo 3"])
        partial(BashOperator)(task_id="pairs", env={"A": "a"}).expand_kwargs(
            [{"bash_command": "echo {{ map_index_template or 1 }}"}, {"bash_command": "echo $A", "append_env": True}])

        @task_group
        def group(number):
            @decorate
            def double(number):
                return number * 2

            pulled = "{{ ti.xcom_pull(task_ids='group.double', map_indexes=ti.map_index) }}"
            double(number) >> make(BashOperator)(task_id="shown", bash_command=f"echo {pulled}")

        group.expand(number=[1, 2])

        @decorate
        def first(rows, when="{{ ds }}"):
            return {"rows": rows, "when": when}

        @decorate
        def total(rows):
            return sum(row["rows"] for row in rows)

        total(first.override(task_id="each").expand(rows=[3, 4]))
        first(5)

        branch = make(BranchPythonOperator)(task_id="branch", python_callable=lambda: "taken")
        branch >> [make(BashOperator)(task_id=name, bash_command="true") for name in ("taken", "left")]
        stop = make(ShortCircuitOperator)(task_id="stop", python_callable=lambda: False)
        stop >> make(BashOperator)(task_id="behind_stop", bash_command="true")

        begin = make(BashOperator)(task_id="begin", bash_command="echo ready").as_setup()
        work = make(BashOperator)(task_id="work", bash_command="exit 1")
        after = make(BashOperator)(task_id="after_work", bash_command="true")
        end = make(BashOperator)(task_id="end", bash_command="echo over").as_teardown(setups=begin)
        begin >> work >> after >> end
        POLICY


def stages(name):
    return {"stage_i_details": "shop", "stage_i_plus_1_details": name}

build("plain", "kinds_plain", lambda operator: operator, lambda operator: operator.partial, task)
build("tracked", "kinds_tracked",
      lambda operator: lambda **more: tracked(operator)(transfer=stages(more["task_id"]), **more),
      lambda operator: lambda **more: tracked(operator).partial(transfer=stages(more["task_id"]), **more),
      lambda function: task.tracked(transfer=stages(function.__name__))(function))
'''
POLICY = """
        from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
        never = ExceptionRetryPolicy(rules=[RetryRule(exception=KeyError, action=RetryAction.FAIL)])
        make(PythonOperator)(task_id="policy", python_callable=break_with, op_args=[KeyError], retries=3,
                             retry_delay=timedelta(seconds=1), retry_policy=never)
"""
PLAIN, TRACKED = "kinds_plain", "kinds_tracked"
RUN = "kinds_run"
Key = tuple[str, int]


@pytest.fixture(scope="module")
def stack(airflow_stack):
    file = airflow_stack.dags / "kinds.py"
    file.write_text(DAGS.replace("POLICY", POLICY.strip() if HAS_POLICIES else ""))
    now = datetime.now(timezone.utc)
    for dag_id in (PLAIN, TRACKED):
        airflow_stack.wait_dag(dag_id, timeout=120)
        airflow_stack.unpause(dag_id)
        airflow_stack.trigger(dag_id, dag_run_id=RUN, logical_date=f"{now:%Y-%m-%dT%H:%M:%SZ}")
    ends = {airflow_stack.wait_run(dag_id, RUN, timeout=400) for dag_id in (PLAIN, TRACKED)}
    assert ends == {"failed"}, airflow_stack.logs()
    return airflow_stack


def instances(stack, dag_id: str) -> dict[Key, dict]:
    return {(ti["task_id"], ti["map_index"]): ti for ti in stack.task_instances(dag_id, RUN)}


def of_each(stack, dag_id: str, question: str, read) -> dict[Key, object]:
    """Ask the API about every task instance."""
    found = {}
    for task_id, index in instances(stack, dag_id):
        path = f"/api/v2/dags/{dag_id}/dagRuns/{RUN}/taskInstances/{quote(task_id)}/{question}"
        answer = stack._request("GET", path.format(index=index))
        found[task_id, index] = read(answer.json()) if answer.status_code == 200 else answer.status_code
    return found


def comparable(value):
    """Return a value without what names the Dag or the kind of it."""
    if isinstance(value, dict):
        return {key: comparable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [comparable(inner) for inner in value]
    return value.replace("tracked", "plain") if isinstance(value, str) else value


def assert_same(stack, look) -> dict[Key, object]:
    plain, found = look(PLAIN), look(TRACKED)
    assert set(plain) == set(found)
    different = {key: (plain[key], found[key]) for key in plain if comparable(plain[key]) != comparable(found[key])}
    assert not different
    return plain


def test_states_and_tries_are_the_same(stack):
    names = ("state", "try_number", "max_tries", "pool", "priority_weight", "queue")
    plain = assert_same(
        stack, lambda dag_id: {key: [ti[name] for name in names] for key, ti in instances(stack, dag_id).items()}
    )
    states = {key: values[0] for key, values in plain.items()}
    assert states["branch", -1] == states["taken", -1] == states["from_trigger", -1] == "success"
    assert states["left", -1] == states["behind_stop", -1] == states["gave_up", -1] == "skipped"
    assert (states["work", -1], states["after_work", -1], states["end", -1]) == (
        "failed",
        "upstream_failed",
        "success",
    )
    assert [states["mapped", index] for index in range(3)] == ["success", "failed", "success"]
    assert plain["retried", -1][1] == 2
    if HAS_POLICIES:
        assert plain["policy", -1][:2] == ["failed", 1]


def test_rendered_fields_are_the_same(stack):
    plain = assert_same(stack, lambda dag_id: stack.rendered_fields(dag_id, RUN))
    assert plain["bash", -1]["bash_command"] == f"echo {RUN}; echo red"
    assert plain["group.shown", 1]["bash_command"] == "echo 4"


def test_xcoms_are_the_same(stack):
    def entries(answer):
        return sorted(entry["key"] for entry in answer["xcom_entries"] if entry["key"] != "pipetrack")

    keys = assert_same(stack, lambda dag_id: of_each(stack, dag_id, "xcomEntries?map_index={index}&limit=100", entries))
    assert "pushed" in keys["linked", -1]
    values = assert_same(
        stack,
        lambda dag_id: of_each(
            stack,
            dag_id,
            "xcomEntries/return_value?map_index={index}&deserialize=true",
            lambda answer: answer["value"],
        ),
    )
    assert values["two_steps", -1] == ["first", "second", "third"]
    assert values["total", -1] == 7
    assert values["group.double", 1] == 4


def test_extra_links_are_the_same(stack):
    def look(dag_id):
        return of_each(stack, dag_id, "links?map_index={index}", lambda answer: answer["extra_links"])

    plain = assert_same(stack, look)
    assert plain["linked", -1] == {"shop": "http://127.0.0.1/linked/1"}


def test_outlet_events_are_the_same(stack):
    def look(dag_id):
        answer = stack._request("GET", f"/api/v2/assets/events?source_dag_id={dag_id}&limit=100").json()
        return {
            (event["source_task_id"], event["source_map_index"]): (event["uri"], event["extra"])
            for event in answer["asset_events"]
        }

    plain = assert_same(stack, look)
    assert plain["python", -1][0] == "kinds://python/"
    assert plain["python", -1][1].items() >= {"rows": 7}.items()
    assert ("bash", -1) in plain


def test_every_attempt_of_the_tracked_ones_has_its_record(stack):
    import sqlite3
    from contextlib import closing

    database = stack.home / "pipetrack" / "tracking.db"
    question = "SELECT task_id, map_index, retry_attempt_number, transfer_status, decision FROM pipeline_tracking WHERE dag_id = ?"

    def closed():
        with closing(sqlite3.connect(database)) as connection:
            rows = connection.execute(question, (TRACKED,)).fetchall()
        return rows if all(row[3] in ("completed", "failed") or row[4] for row in rows) else None

    rows = stack._wait("the records to be closed", closed, 60)
    latest = {(row[0], row[1]): row for row in sorted(rows, key=lambda row: row[2])}
    expected = {
        "success": {"completed"},
        "failed": {"failed"},
        "skipped": {"completed", "pending"},
        "upstream_failed": {"pending"},
    }
    found = instances(stack, TRACKED)
    assert set(latest) == set(found)
    for key, ti in found.items():
        assert latest[key][3] in expected[ti["state"]], (key, latest[key], ti["state"])
    assert sorted(row[2:4] for row in rows if row[0] == "retried") == [(0, "failed"), (1, "completed")]
