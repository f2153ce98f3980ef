"""Pipeline files without any Python file, while Airflow runs: added, edited, broken, mended, removed."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.e2e.conftest import PIPELINES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

GOOD = "user_functions: bundled_functions.py\nstage_transfers:\n  - {name: load, python_callable: load, audit_enabled: false}\n"
MORE = GOOD + "  - {name: publish, audit_enabled: false, transfer_order_number: 2}\n"
BROKEN = "stage_transfers:\n  - {name: oops, retry_dellay: 5m}\n"
MESSAGE = "{file}:2:18: stage_transfers[0].retry_dellay: there is no such key (did you mean 'retry_delay'?)"


def tasks_of(stack, dag_id: str) -> set[str]:
    answer = stack._request("GET", f"/api/v2/dags/{quote(dag_id)}/tasks")
    return {task["task_id"] for task in answer.json()["tasks"]} if answer.status_code == 200 else set()


def errors_of(stack) -> dict[str, str]:
    return {e["filename"]: e["stack_trace"] for e in stack.import_errors() if e["bundle_name"] == PIPELINES}


def is_stale(stack, dag_id: str) -> bool:
    return bool(stack._request("GET", f"/api/v2/dags/{quote(dag_id)}").json()["is_stale"])


def test_files_come_and_go_while_airflow_runs(airflow_stack):
    stack, folder = airflow_stack, airflow_stack.dags.parent / PIPELINES
    (folder / "deep").mkdir()
    functions = folder / "deep" / "bundled_functions.py"
    functions.write_text("def load(): return {'records_succeeded': 3, 'records_failed': 0}\n")
    edited, broken = folder / "deep" / "bundled.yaml", folder / "bundled_broken.yaml"

    edited.write_text(GOOD)
    stack.wait_dag("bundled", timeout=120)
    assert tasks_of(stack, "bundled") == {"load"}
    stack.unpause("bundled")
    assert stack.wait_run("bundled", stack.trigger("bundled"), timeout=180) == "success", stack.logs()

    edited.write_text(MORE)
    stack._wait("the edit to be seen", lambda: tasks_of(stack, "bundled") == {"load", "publish"}, 90)

    broken.write_text(BROKEN)
    found = stack._wait("the import error", lambda: errors_of(stack), 90)
    assert set(found) == {"bundled_broken.yaml.py"}
    assert found["bundled_broken.yaml.py"].strip().endswith(MESSAGE.format(file=broken))
    assert not is_stale(stack, "bundled")
    assert stack.wait_run("bundled", stack.trigger("bundled"), timeout=180) == "success", stack.logs()

    broken.write_text(BROKEN.replace("retry_dellay", "retry_delay"))
    stack.wait_dag("bundled_broken", timeout=90)
    stack._wait("the import error to go", lambda: not errors_of(stack), 90)

    broken.unlink()
    stack._wait("the Dag to go", lambda: is_stale(stack, "bundled_broken"), 90)
    assert not is_stale(stack, "bundled")
    assert not errors_of(stack)


def test_airflow_shows_the_files_text_as_code(airflow_stack):
    stack, folder = airflow_stack, airflow_stack.dags.parent / PIPELINES
    (folder / "shown.yaml").write_text("# what it is for\n" + BROKEN.replace("retry_dellay", "retry_delay"))
    stack.wait_dag("shown", timeout=120)
    answer = stack._request("GET", "/api/v2/dagSources/shown", headers={"Accept": "application/json"})
    lines = answer.json()["content"].splitlines()
    assert lines[1] == f"load_pipeline(globals(), '{folder}/shown.yaml', '{folder}')"
    assert "# # what it is for" in lines
    assert "#   - {name: oops, retry_delay: 5m}" in lines
    (folder / "shown.yaml").unlink()
