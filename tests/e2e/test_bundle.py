"""Pipeline files without any Python file, while Airflow runs: added, edited, broken, mended, removed."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.e2e.conftest import HAS_IMPORTERS, IMPORTED, PIPELINES

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

GOOD = "user_functions: bundled_functions.py\nstage_transfers:\n  - {name: load, python_callable: load, audit_enabled: false}\n"
MORE = GOOD + "  - {name: publish, audit_enabled: false, transfer_order_number: 2}\n"
BROKEN = "stage_transfers:\n  - {name: oops, retry_dellay: 5m}\n"
MENDED = BROKEN.replace("retry_dellay", "retry_delay")
MESSAGE = "{file}:2:18: stage_transfers[0].retry_dellay: there is no such key (did you mean 'retry_delay'?)"
#: The ending that Airflow knows a pipeline file by, in each bundle of them.
ENDINGS = {PIPELINES: ".yaml.py", **({IMPORTED: ".yaml"} if HAS_IMPORTERS else {})}


def tasks_of(stack, dag_id: str) -> set[str]:
    answer = stack._request("GET", f"/api/v2/dags/{quote(dag_id)}/tasks")
    return {task["task_id"] for task in answer.json()["tasks"]} if answer.status_code == 200 else set()


def errors_of(stack, bundle: str) -> dict[str, str]:
    return {e["filename"]: e["stack_trace"] for e in stack.import_errors() if e["bundle_name"] == bundle}


def is_stale(stack, dag_id: str) -> bool:
    return bool(stack._request("GET", f"/api/v2/dags/{quote(dag_id)}").json()["is_stale"])


@pytest.mark.parametrize("bundle", ENDINGS)
def test_files_come_and_go_while_airflow_runs(airflow_stack, bundle):
    stack, folder = airflow_stack, airflow_stack.dags.parent / bundle
    (folder / "deep").mkdir()
    functions = folder / "deep" / "bundled_functions.py"
    functions.write_text("def load(): return {'records_succeeded': 3, 'records_failed': 0}\n")
    dag_id, other = f"good_{bundle}", f"broken_{bundle}"
    edited, broken = folder / "deep" / f"{dag_id}.yaml", folder / f"{other}.yaml"

    edited.write_text(GOOD)
    stack.wait_dag(dag_id, timeout=120)
    assert tasks_of(stack, dag_id) == {"load"}
    stack.unpause(dag_id)
    assert stack.wait_run(dag_id, stack.trigger(dag_id), timeout=180) == "success", stack.logs()

    edited.write_text(MORE)
    stack._wait("the edit to be seen", lambda: tasks_of(stack, dag_id) == {"load", "publish"}, 90)

    broken.write_text(BROKEN)
    found = stack._wait("the import error", lambda: errors_of(stack, bundle), 90)
    assert set(found) == {f"{other}{ENDINGS[bundle]}"}
    (text,) = found.values()
    assert text.strip().endswith(MESSAGE.format(file=broken))
    assert not is_stale(stack, dag_id)
    assert stack.wait_run(dag_id, stack.trigger(dag_id), timeout=180) == "success", stack.logs()

    broken.write_text(MENDED)
    stack.wait_dag(other, timeout=90)
    stack._wait("the import error to go", lambda: not errors_of(stack, bundle), 90)

    edited.write_text(MORE.replace("name: publish,", "name: publish, retry_dellay: 5m,"))
    (text,) = stack._wait("the import error of a file that has worked", lambda: errors_of(stack, bundle), 90).values()
    assert f"{edited}:4:21: stage_transfers[1].retry_dellay: there is no such key" in text
    edited.write_text(MORE)
    stack._wait("that import error to go", lambda: not errors_of(stack, bundle), 90)
    assert stack.wait_run(dag_id, stack.trigger(dag_id), timeout=180) == "success", stack.logs()

    broken.unlink()
    stack._wait("the Dag to go", lambda: is_stale(stack, other), 90)
    assert not is_stale(stack, dag_id)
    assert not errors_of(stack, bundle)


@pytest.mark.parametrize("bundle", ENDINGS)
def test_airflow_shows_the_files_text_as_code(airflow_stack, bundle):
    stack, file = airflow_stack, airflow_stack.dags.parent / bundle / f"shown_{bundle}.yaml"
    text = "# what it is for\n" + MENDED
    file.write_text(text)
    stack.wait_dag(file.stem, timeout=120)
    answer = stack._request("GET", f"/api/v2/dagSources/{file.stem}", headers={"Accept": "application/json"})
    shown = answer.json()["content"].splitlines()
    if bundle == PIPELINES:
        assert shown[1] == f"load_pipeline(globals(), '{file}', '{file.parent}')"
        shown = [line.removeprefix("# ") for line in shown[5:]]
    assert shown == text.splitlines()
    file.unlink()
