"""A task whose Dag its worker does not find at first: Airflow puts it off, and it begins later as any other."""

from __future__ import annotations

import pytest

from airflow_provider_pipetrack import TrackingStore

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PIPELINE = """
user_functions: late_functions.py
defaults: {audit_enabled: false, max_retry_attempts: 0, tracking_location: ["sqlite||%(folder)s/late.db"]}
stage_transfers:
  - {name: half, python_callable: half}
  - {name: insists, python_callable: works, transfer_order_number: 2, upstream_completion_required: true}
  - {name: only_today, python_callable: works, transfer_order_number: 2, can_access_historical_data: false}
"""
# Where a task starts, the file of functions cannot be read, as on a disk that is away for a while.
FUNCTIONS = """
from pathlib import Path
from airflow.sdk import get_parsing_context

if get_parsing_context().task_id in ("insists", "only_today") and not Path("%(flag)s").exists():
    raise OSError("the disk is away")

def half():
    return {"records_succeeded": 5, "records_failed": 5}

def works():
    return "done"
"""
LOADER = "# Airflow Dag loader\nfrom airflow_provider_pipetrack import load_pipelines\nload_pipelines(globals())\n"


def test_a_task_that_was_put_off_is_refused_and_skipped_as_any_other(airflow_stack):
    folder, flag = airflow_stack.dags / "late", airflow_stack.home / "disk is back"
    folder.mkdir()
    (folder / "late_functions.py").write_text(FUNCTIONS % {"flag": flag})
    (folder / "late_files.yaml").write_text(PIPELINE % {"folder": airflow_stack.home})
    (folder / "load_late.py").write_text(LOADER)
    airflow_stack.wait_dag("late_files", timeout=120)
    airflow_stack.unpause("late_files")
    run_id = airflow_stack.trigger("late_files", logical_date="2026-01-01T00:00:00Z")

    def states():
        return {ti["task_id"]: ti["state"] for ti in airflow_stack.task_instances("late_files", run_id)}

    def are_put_off():
        found = states()
        return {found["insists"], found["only_today"]} == {"up_for_reschedule"}

    airflow_stack._wait("both to be put off", are_put_off, 120)
    flag.touch()
    assert airflow_stack.wait_run("late_files", run_id, timeout=240) == "failed", airflow_stack.logs()
    assert states() == {"half": "success", "insists": "failed", "only_today": "skipped"}
    with TrackingStore([f"sqlite||{airflow_stack.home}/late.db"]) as store:
        records = {record["task_id"]: record for record in store.read_run("late_files", run_id).records}
    assert "upstream 'half' delivered partial data" in records["insists"]["error_message"]
    assert records["only_today"]["decision"].startswith("skipped: can_access_historical_data is false")
