"""TrackedOperator around operators of every kind, in a hand-written Dag, with the records in PostgreSQL."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DAG = """
import pathlib, time
from datetime import datetime, timedelta, timezone
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.providers.standard.sensors.python import PythonSensor
from airflow.providers.standard.sensors.time_delta import WaitSensor
from airflow.sdk import DAG, task
from airflow_provider_pipetrack.compat import AirflowSkipException
from airflow_provider_pipetrack import AuditSensor, TrackedOperator, report, tracked

HERE = pathlib.Path(__file__).parent
LOCATIONS = ["postgres@tracking_pg||postgres||public||pipeline_tracking"]

def stages(source, target, **more):
    return {"stage_i_details": source, "stage_i_plus_1_details": target, "tracking_location": LOCATIONS, **more}

def count():
    report(records_succeeded=98, records_failed=2)
    return "counted"

def skip():
    raise AirflowSkipException("nothing new today")

def hang():
    time.sleep(60)

def second_poke(name):
    file = HERE / name
    seen = file.exists()
    file.touch()
    return seen

def audit(source_stage, target_stage, audit_config, run_id):
    if not second_poke(f"audit-{audit_config['round']}-{run_id[-6:]}.seen"):
        return {"audit_result": "pending", "why": "still counting"}
    return {"audit_result": "matched", "stages": [source_stage, target_stage]}

def wrong(source_stage, target_stage, audit_config):
    return {"audit_result": "mismatched", "missing": 7}

def breaks(source_stage, target_stage, audit_config):
    raise ZeroDivisionError("no rows to divide by")

def in_two_seconds():
    return (datetime.now(timezone.utc) + timedelta(seconds=2)).isoformat()

with DAG("every_kind", schedule=None, user_defined_macros={"in_two_seconds": in_two_seconds}) as dag:
    bash = TrackedOperator(task_id="bash", operator=BashOperator, operator_args={"bash_command": "echo {{ run_id }}"},
                           transfer=stages("a", "b"), retries=0)
    python = TrackedOperator(task_id="python", python_callable=count, transfer=stages("b", "c"), retries=0)
    sql = TrackedOperator(task_id="sql", operator=SQLExecuteQueryOperator,
                          operator_args={"conn_id": "warehouse", "sql": "CREATE TABLE IF NOT EXISTS t (x int)"},
                          transfer=stages("c", "d"), retries=0)
    sensor = tracked(PythonSensor)(task_id="sensor", python_callable=second_poke,
                                   op_args=["sensor-{{ run_id[-6:] }}.seen"], mode="reschedule", poke_interval=6,
                                   transfer=stages("d", "e"), retries=0)
    mapped = tracked(BashOperator).partial(task_id="mapped", transfer=stages("e", "f"), retries=0).expand(
        bash_command=["echo 1", "echo 2", "exit 1"])
    skipped = TrackedOperator(task_id="skipped", python_callable=skip, transfer=stages("g", "h"), retries=0)
    slow = TrackedOperator(task_id="slow", python_callable=hang, execution_timeout=timedelta(seconds=1),
                           transfer=stages("h", "i"), retries=0)
    unrendered = TrackedOperator(task_id="unrendered", operator=BashOperator,
                                 operator_args={"bash_command": "{{ no_such_name.at_all }}"},
                                 transfer=stages("i", "j"), retries=0)
    deferred = TrackedOperator(task_id="deferred", operator=DateTimeSensorAsync,
                               operator_args={"target_time": "{{ in_two_seconds() }}"},
                               transfer=stages("j", "k"), retries=0)
    from_trigger = TrackedOperator(task_id="from_trigger", operator=WaitSensor,
                                   operator_args={"time_to_wait": timedelta(seconds=2), "deferrable": True},
                                   transfer=stages("j", "k2"), retries=0)

    @task.tracked(transfer=stages("k", "l"), retries=0)
    def decorated(number):
        return {"records_succeeded": number, "records_failed": 0}

    never = TrackedOperator(task_id="never", python_callable=count, transfer=stages("l", "m"), retries=0)
    audited = AuditSensor(task_id="audit_python", transfer="python", function=audit, audit_config={"round": "poke"},
                          poke_interval=1)
    audited_later = AuditSensor(task_id="audit_sql", transfer="sql", function=audit, audit_config={"round": "later"},
                                mode="reschedule", poke_interval=6)
    mismatched = AuditSensor(task_id="audit_bash", transfer="bash", function=wrong, retries=3)
    broken = AuditSensor(task_id="audit_deferred", transfer="deferred", function=breaks, retries=0)
    behind = TrackedOperator(task_id="behind_mismatch", python_callable=count, transfer=stages("m", "n"), retries=0)
    python >> audited
    sql >> audited_later
    bash >> mismatched >> behind
    deferred >> broken
    decorated(5)
    decorated.override(task_id="each").expand(number=[1, 2])
    slow >> never
"""


@pytest.fixture(scope="module")
def run(airflow_stack) -> str:
    (airflow_stack.dags / "every_kind.py").write_text(DAG)
    airflow_stack.wait_dag("every_kind", timeout=120)
    airflow_stack.unpause("every_kind")
    run_id = airflow_stack.trigger("every_kind", logical_date="2026-01-02T03:04:05Z")
    assert airflow_stack.wait_run("every_kind", run_id, timeout=240) == "failed", airflow_stack.logs()
    return run_id


@pytest.fixture(scope="module")
def records(airflow_stack, postgres_of_stack, run) -> dict[tuple[str, int], dict]:
    """The records of the run, read through a plain connection once the end of the run has closed them all."""

    def closed() -> dict[tuple[str, int], dict] | None:
        rows = postgres_of_stack.run(
            "SELECT task_id, map_index, to_jsonb(t) FROM pipeline_tracking t WHERE run_id = %s", (run,)
        )
        found = {(task_id, index): row for task_id, index, row in rows}
        waiting = found.get(("never", -1), {}).get("decision") is None
        return None if waiting else found

    return airflow_stack._wait("the records of the run to be closed", closed, 60)


def states(airflow_stack, run: str) -> dict[tuple[str, int], str]:
    return {(ti["task_id"], ti["map_index"]): ti["state"] for ti in airflow_stack.task_instances("every_kind", run)}


EXPECTED = {
    ("bash", -1): ("completed", None, None),
    ("python", -1): ("completed", "partial data accepted: 98 of 100 records", None),
    ("sql", -1): ("completed", None, None),
    ("sensor", -1): ("completed", None, None),
    ("mapped", 0): ("completed", None, None),
    ("mapped", 1): ("completed", None, None),
    ("mapped", 2): ("failed", None, "Bash command failed"),
    ("skipped", -1): ("completed", "skipped: nothing new today", None),
    ("slow", -1): ("failed", None, "execution_timeout of 0:00:01 exceeded"),
    ("unrendered", -1): ("failed", None, "no_such_name"),
    ("deferred", -1): ("completed", None, None),
    ("from_trigger", -1): ("completed", "Airflow says success; the task itself did not report its end", None),
    ("decorated", -1): ("completed", None, None),
    ("each", 0): ("completed", None, None),
    ("each", 1): ("completed", None, None),
    ("never", -1): ("pending", "not run: an upstream failed", None),
    ("behind_mismatch", -1): ("pending", "not run: an upstream failed", None),
}


@pytest.mark.parametrize("key", EXPECTED, ids=str)
def test_the_record_says_how_the_attempt_ended(records, key):
    status, decision, error = EXPECTED[key]
    record = records[key]
    assert (record["transfer_status"], record["decision"]) == (status, decision), record["error_message"]
    assert (error or "") in (record["error_message"] or "")
    assert bool(record["error_message"]) == (status == "failed")


def test_there_is_one_record_for_each_attempt_and_no_other(records):
    assert set(records) == set(EXPECTED)


def test_airflow_and_the_records_agree(airflow_stack, run, records):
    airflow = states(airflow_stack, run)
    for key, record in records.items():
        expected = {"success": "completed", "failed": "failed", "skipped": "completed", "upstream_failed": "pending"}
        assert record["transfer_status"] == expected[airflow[key]], key


def test_operators_keep_their_names_and_their_results(airflow_stack, run, records):
    names = {ti["task_id"]: ti["operator_name"] for ti in airflow_stack.task_instances("every_kind", run)}
    assert names["bash"] == "TrackedBashOperator"
    assert names["decorated"] == "Tracked @task"
    assert records["bash", -1]["operator"] == "airflow.providers.standard.operators.bash.BashOperator"
    rendered = {task_id: fields for (task_id, _), fields in airflow_stack.rendered_fields("every_kind", run).items()}
    assert rendered["bash"]["bash_command"] == f"echo {run}"


def test_a_rescheduled_and_a_deferred_attempt_count_from_their_first_start(records):
    for key in (("sensor", -1), ("deferred", -1), ("from_trigger", -1)):
        assert records[key]["actual_seconds"] >= 0.9, key
        assert records[key]["transfer_start_timestamp"]


def test_audits_wait_and_find(airflow_stack, run, records):
    found = states(airflow_stack, run)
    for transfer, audit in (("python", "audit_python"), ("sql", "audit_sql")):
        assert found[audit, -1] == "success"
        assert records[transfer, -1]["audit_result"] == "matched"
        assert records[transfer, -1]["audit_metadata"]["audit_task"] == audit
    assert records["sql", -1]["audit_metadata"]["stages"] == ["c", "d"]


def test_a_mismatch_stops_at_once_and_is_not_retried(airflow_stack, run, records):
    audit = next(ti for ti in airflow_stack.task_instances("every_kind", run) if ti["task_id"] == "audit_bash")
    assert (audit["state"], audit["try_number"]) == ("failed", 1)
    assert records["bash", -1]["audit_result"] == "mismatched"
    assert records["bash", -1]["audit_metadata"]["missing"] == 7
    assert records["bash", -1]["transfer_status"] == "completed"


def test_an_audit_that_cannot_run_is_an_error_and_no_match(airflow_stack, run, records):
    assert states(airflow_stack, run)["audit_deferred", -1] == "failed"
    assert records["deferred", -1]["audit_result"] == "pending"
    assert "ZeroDivisionError: no rows to divide by" in records["deferred", -1]["audit_metadata"]["error"]


def test_dates_and_identity_are_recorded(records, run):
    record = records["python", -1]
    assert record["logical_date"].startswith("2026-01-02T03:04:05")
    assert record["record_id"] == f"every_kind/{run}/python/-1/1"
    assert record["pipeline_id"] == "every_kind"
    assert record["transfer_unique_id"] == f"every_kind/python/{run}"
    assert record["log_url"].startswith("http://127.0.0.1")


def test_the_history_keeps_every_step(postgres_of_stack, run):
    rows = postgres_of_stack.run(
        "SELECT columns ->> 'transfer_status', changed_by FROM pipeline_tracking_history "
        "WHERE record_id = %s ORDER BY changed_at, event_id",
        (f"every_kind/{run}/python/-1/1",),
    )
    statuses = [status for status, by in rows if by == "task"]
    assert statuses[0] == "pending"
    assert statuses[-1] == "completed"
    assert "in_progress" in statuses
