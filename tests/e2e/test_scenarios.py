"""Advanced scenarios in a running Airflow: new stages, partial failures, ways around a stage, several storages; then
backfills, two runs at once, transfers that take too long."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone
from itertools import combinations

import pytest

from airflow_provider_pipetrack import TrackingStore
from tests.airflow_versions import AIRFLOW
from tests.e2e.conftest import TRACKING

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

QUICK = (
    "defaults: {max_retry_attempts: 0, retry_delay: 1s, audit_enabled: false}\nuser_functions: scenario_functions.py\n"
)
PIPELINES = {
    # A new stage makes a new pipeline; both are tracked apart.
    "scenario_old": """
dag: {dag_id: scenario_old}
pipeline_metadata: {pipeline_id: shop_v1}
stage_transfers:
  - {name: s1, stage_i_details: source, stage_i_plus_1_details: stage1}
  - {name: s2, stage_i_details: stage1, stage_i_plus_1_details: stage2, transfer_order_number: 2}
""",
    "scenario_new": """
dag: {dag_id: scenario_new}
pipeline_metadata: {pipeline_id: shop_v2}
stage_transfers:
  - {name: s1, stage_i_details: source, stage_i_plus_1_details: stage1}
  - {name: s_new, stage_i_details: stage1, stage_i_plus_1_details: new_stage, transfer_order_number: 1.5}
  - {name: s2, stage_i_details: new_stage, stage_i_plus_1_details: stage2, transfer_order_number: 2}
""",
    # 700,000 of 1,000,000 records: go on with them, or roll back and load all again.
    "scenario_partial": """
stage_transfers:
  - {name: goes_on, python_callable: load, can_partial_data_be_collected: true}
  - {name: loads_again, python_callable: load, can_partial_data_be_collected: false, rollback: undo, max_retry_attempts: 1}
  - {name: after, transfer_order_number: 2, python_callable: counts_of}
""",
    # stage1 -> stage3 around stage2, beside stage2 -> stage3.
    "scenario_bypass": """
stage_transfers:
  - {name: fill1, stage_i_details: source, stage_i_plus_1_details: stage1}
  - {name: fill2, stage_i_details: stage1, stage_i_plus_1_details: stage2, transfer_order_number: 2}
  - {name: around, stage_i_details: stage1, stage_i_plus_1_details: stage3, transfer_order_number: 3,
     dependent_on_previous_transfer: false, upstream_completion_required: true}
  - {name: through, stage_i_details: stage2, stage_i_plus_1_details: stage3, transfer_order_number: 3}
  - {name: serve, stage_i_details: stage3, stage_i_plus_1_details: target, transfer_order_number: 4}
""",
    # One record in several storages at once.
    "scenario_storages": """
tracking: {mode: mirror, connections: {postgres: %(connection)s}}
stage_transfers:
  - name: everywhere
    stage_i_details: a
    stage_i_plus_1_details: b
    tracking_location: ["sqlite||%(home)s/mirror.db", "local_file||%(home)s/mirror.json", "postgres||postgres||public||mirror"]
""",
    "dates": """
dag: {schedule: "@daily", start_date: %(start)s, is_paused_upon_creation: false}
stage_transfers:
  - {name: current_only, can_access_historical_data: false}
  - {name: behind_it, transfer_order_number: 2}
  - {name: any_date, depends_on: []}
""",
    "turns": """
dag: {max_active_runs: 4}
stage_transfers:
  - {name: one, python_callable: hold, can_process_be_parallelized: false}
  - {name: two, python_callable: hold, can_process_be_parallelized: false}
  - {name: beside}
""",
    "late": """
pipeline_metadata: {pipeline_id: late_orders}
dag: {dag_id: late, deadline: 6s}
defaults: {max_retry_attempts: 0, audit_enabled: false, transfer_process_email_alerts: [late@example.com]}
stage_transfers:
  - {name: slow, python_callable: hold, operator_args: {seconds: 30}, estimated_duration: 3s}
  - {name: in_time, estimated_duration: 1h}
""",
}
FUNCTIONS = """
import time
from pathlib import Path

TARGET = Path(__file__).with_name("target.txt")

def load(ti):
    TARGET.touch()
    if ti.task_id == "loads_again" and ti.try_number > 1:
        TARGET.write_text(TARGET.read_text() + "1000000\\n")
        return {"records_succeeded": 1_000_000, "records_failed": 0}
    if ti.task_id == "loads_again":
        TARGET.write_text(TARGET.read_text() + "700000\\n")
    return {"records_succeeded": 700_000, "records_failed": 300_000}

def undo():
    TARGET.write_text("")

def counts_of(ti):
    return ti.xcom_pull(task_ids=["goes_on", "loads_again"], key="pipetrack")

def hold(seconds=4):
    time.sleep(seconds)
"""
LOADER = "# Airflow Dag loader\nfrom airflow_provider_pipetrack import load_pipelines\nload_pipelines(globals())\n"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def runs(airflow_stack, mails_of_stack) -> dict[str, str]:
    """Every pipeline, run once; ``turns`` twice at the same time."""
    folder = airflow_stack.dags / "scenarios"
    folder.mkdir()
    today = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    values = {"home": airflow_stack.home, "connection": TRACKING, "start": (today - 10 * DAY).date().isoformat()}
    (folder / "scenario_functions.py").write_text(FUNCTIONS)
    for name, text in PIPELINES.items():
        quick = "" if "defaults:" in text else QUICK
        functions = "user_functions: scenario_functions.py\n" if not quick else ""
        (folder / f"{name}.yaml").write_text(quick + functions + text % values)
    (folder / "load_scenarios.py").write_text(LOADER)
    found = {}
    for name in PIPELINES:
        airflow_stack.wait_dag(name, timeout=180)
        airflow_stack.unpause(name)
    for name in ("late", "turns", *(name for name in PIPELINES if name not in {"late", "turns", "dates"})):
        found[name] = airflow_stack.trigger(name)
    found["turns again"] = airflow_stack.trigger("turns")
    found["backfill"] = backfill(airflow_stack, "dates", today - 5 * DAY)
    found["dates"] = airflow_stack._wait("the scheduled run", lambda: scheduled_run(airflow_stack, "dates"), 120)
    for name, run_id in found.items():
        dag_id = {"turns again": "turns", "backfill": "dates"}.get(name, name)
        airflow_stack.wait_run(dag_id, run_id, timeout=300)
    return found


def backfill(stack, dag_id: str, day: datetime) -> str:
    """Start a backfill of one day and return its run's id."""
    body = {"dag_id": dag_id, "from_date": day.isoformat(), "to_date": day.isoformat(), "max_active_runs": 1}

    def accepted() -> bool:
        answer = stack._request("POST", "/api/v2/backfills", json=body)
        if answer.status_code == 503:  # Airflow's SQLite was busy
            return False
        answer.raise_for_status()
        return True

    stack._wait("the backfill to be accepted", accepted, 60)

    def run_id() -> str | None:
        return next((r["dag_run_id"] for r in runs_of(stack, dag_id) if r["run_type"] == "backfill"), None)

    return stack._wait("the backfill's run", run_id, 120)


def scheduled_run(stack, dag_id: str) -> str | None:
    return next((r["dag_run_id"] for r in runs_of(stack, dag_id) if r["run_type"] == "scheduled"), None)


def runs_of(stack, dag_id: str) -> list[dict]:
    answer = stack._request("GET", f"/api/v2/dags/{dag_id}/dagRuns")
    answer.raise_for_status()
    return answer.json()["dag_runs"]


@pytest.fixture(scope="module")
def attempts(airflow_stack, runs):
    """Return the records of a pipeline's run, in the order of their attempts, once the run's end has closed them."""

    def of(name: str, run: str = "") -> list[dict]:
        query = "SELECT * FROM pipeline_tracking WHERE dag_id = ? AND run_id = ? ORDER BY task_id, retry_attempt_number"

        def closed() -> list[dict] | None:
            with closing(sqlite3.connect(airflow_stack.home / "pipetrack" / "tracking.db")) as connection:
                connection.row_factory = sqlite3.Row
                found = [dict(row) for row in connection.execute(query, (name, runs[run or name]))]
            is_open = any(r["transfer_status"] in {"pending", "in_progress"} and not r["decision"] for r in found)
            return None if is_open or not found else found

        return airflow_stack._wait(f"the records of {name}", closed, 60)

    return of


def test_a_pipeline_with_a_new_stage_is_tracked_apart(attempts, runs, airflow_stack):
    old, new = attempts("scenario_old"), attempts("scenario_new")
    assert {record["pipeline_id"] for record in old} == {"shop_v1"}
    assert {record["pipeline_id"] for record in new} == {"shop_v2"}
    assert [record["task_id"] for record in old] == ["s1", "s2"]
    assert [record["task_id"] for record in new] == ["s1", "s2", "s_new"]
    assert {record["transfer_status"] for record in old + new} == {"completed"}


def test_partial_data_goes_on_or_is_rolled_back_and_loaded_again(attempts, airflow_stack, runs):
    found = {(r["task_id"], r["retry_attempt_number"]): r for r in attempts("scenario_partial")}
    goes_on = found["goes_on", 0]
    assert (goes_on["transfer_status"], goes_on["is_partial"]) == ("completed", 1)
    assert (goes_on["records_succeeded"], goes_on["records_failed"]) == (700_000, 300_000)
    assert goes_on["decision"] == "partial data accepted: 700,000 of 1,000,000 records"
    first, second = found["loads_again", 0], found["loads_again", 1]
    assert first["decision"] == "partial data refused: 700,000 of 1,000,000 records; rolled back"
    assert (first["transfer_status"], first["is_partial"]) == ("failed", 1)
    assert (second["transfer_status"], second["is_partial"], second["records_succeeded"]) == ("completed", 0, 1_000_000)
    target = airflow_stack.dags / "scenarios" / "target.txt"
    assert target.read_text() == "1000000\n", "nothing of the first attempt is left"
    assert found["after", 0]["transfer_status"] == "completed"


def test_xcom_carries_the_counts(airflow_stack, runs):
    path = (
        f"/api/v2/dags/scenario_partial/dagRuns/{runs['scenario_partial']}/taskInstances/after/xcomEntries/return_value"
    )
    answer = airflow_stack._request("GET", path + "?stringify=false")
    answer.raise_for_status()
    goes_on, loads_again = answer.json()["value"]
    assert (goes_on["records_succeeded"], goes_on["records_failed"], goes_on["is_partial"]) == (700_000, 300_000, True)
    assert (loads_again["records_succeeded"], loads_again["is_partial"]) == (1_000_000, False)


def test_a_way_around_a_stage_does_not_wait_for_it(attempts, airflow_stack):
    answer = airflow_stack._request("GET", "/api/v2/dags/scenario_bypass/tasks/fill2")
    answer.raise_for_status()
    assert answer.json()["downstream_task_ids"] == ["through"]
    found = {record["task_id"]: record for record in attempts("scenario_bypass")}
    assert {record["transfer_status"] for record in found.values()} == {"completed"}
    ended = {name: record["transfer_end_timestamp"] for name, record in found.items()}
    started = {name: record["transfer_start_timestamp"] for name, record in found.items()}
    assert started["around"] >= ended["fill1"]
    assert started["through"] >= ended["fill2"]
    assert started["serve"] >= max(ended["around"], ended["through"])


def test_several_storages_hold_the_same(airflow_stack, runs, postgres_of_stack):
    home = airflow_stack.home
    found = []
    for place in (f"sqlite||{home}/mirror.db", f"local_file||{home}/mirror.json"):
        with TrackingStore([place], journal_dir=home / "elsewhere") as store:
            found.append(store.read_run("scenario_storages", runs["scenario_storages"]).records)
    (in_postgres,) = postgres_of_stack.run("SELECT transfer_status, end_key FROM public.mirror")
    assert [[(r["transfer_status"], r["end_key"]) for r in records] for records in found] == [[in_postgres]] * 2
    assert in_postgres[0] == "completed"


def test_a_backfill_skips_what_can_only_load_the_present(attempts, airflow_stack, runs):
    states = {ti["task_id"]: ti["state"] for ti in airflow_stack.task_instances("dates", runs["backfill"])}
    assert states == {"current_only": "skipped", "behind_it": "skipped", "any_date": "success"}
    found = {record["task_id"]: record for record in attempts("dates", "backfill")}
    skipped = found["current_only"]
    assert (skipped["transfer_status"], skipped["decision"]) == (
        "pending",
        "skipped: can_access_historical_data is false and this run is a backfill",
    )
    assert skipped["transfer_start_timestamp"] is None
    assert found["behind_it"]["decision"] == "skipped before it began"
    assert found["any_date"]["transfer_status"] == "completed"


def test_the_run_of_today_skips_nothing(attempts, airflow_stack, runs):
    assert {ti["state"] for ti in airflow_stack.task_instances("dates", runs["dates"])} == {"success"}
    assert {record["transfer_status"] for record in attempts("dates")} == {"completed"}


def test_serial_transfers_never_run_at_once_in_a_run_or_in_two(attempts):
    both = attempts("turns") + attempts("turns", "turns again")
    assert {record["transfer_status"] for record in both} == {"completed"}
    for name in ("one", "two"):
        spans = [(r["transfer_start_timestamp"], r["transfer_end_timestamp"]) for r in both if r["task_id"] == name]
        assert len(spans) == 2
        assert not overlap(*spans)
    for run in (attempts("turns"), attempts("turns", "turns again")):
        spans = [(r["transfer_start_timestamp"], r["transfer_end_timestamp"]) for r in run if r["task_id"] != "beside"]
        assert not any(overlap(*pair) for pair in combinations(spans, 2))


def overlap(first: tuple[str, str], second: tuple[str, str]) -> bool:
    return first[0] < second[1] and second[0] < first[1]


def test_people_are_told_while_a_transfer_is_late_and_when_its_run_is(attempts, runs, mails_of_stack):
    (slow,) = [record for record in attempts("late") if record["task_id"] == "slow"]
    prefix = "[pipetrack] late_orders: "

    def ours() -> dict[str, object]:
        found = [mail for _, mail in mails_of_stack.mails if mail["Subject"].startswith(prefix)]
        return {mail["Subject"].removeprefix(prefix): mail for mail in found}

    late = ["slow takes longer than estimated"]
    if AIRFLOW >= (3, 2):
        late.insert(0, f"Run {runs['late']} of late has not ended in time")
    with mails_of_stack.arrived:
        mails_of_stack.arrived.wait_for(lambda: len(ours()) >= len(late), 60)
    assert sorted(ours()) == late
    sent = ours()["slow takes longer than estimated"]["Date"]
    if sent is not None:
        assert sent.datetime < datetime.fromisoformat(slow["transfer_end_timestamp"])


def test_a_deadline_makes_no_new_version_of_a_dag_at_every_parse(airflow_stack, runs):
    answer = airflow_stack._request("GET", "/api/v2/dags/late/dagVersions")
    answer.raise_for_status()
    assert answer.json()["total_entries"] == 1
