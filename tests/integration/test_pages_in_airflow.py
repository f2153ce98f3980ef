"""The pages inside Airflow's own api-server application, with its own login."""

from __future__ import annotations

import json
import logging
import runpy
from collections.abc import Iterator
from datetime import timedelta

import pytest

from airflow_provider_pipetrack import TrackingStore
from airflow_provider_pipetrack.config import StageTransfer
from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.describe import Content, Described, pending_change, start_change
from airflow_provider_pipetrack.ui import airflow_says
from airflow_provider_pipetrack.ui.paths import attempts_link, run_link

pytestmark = pytest.mark.timeout(300)
PASSWORDS = {"ada": "first-Passw0rd"}


@pytest.fixture(scope="module")
def airflow(airflow_home) -> Iterator:
    """Airflow's api-server application, in this process."""
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from fastapi.testclient import TestClient

    with pytest.MonkeyPatch.context() as patch:
        passwords = airflow_home / "passwords.json"
        passwords.write_text(json.dumps(PASSWORDS))
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "ada:viewer")
        with TestClient(create_app(apps="core")) as client:
            yield client
        purge_cached_app()


@pytest.fixture(scope="module")
def token(airflow) -> str:
    answer = airflow.post("/auth/token", json={"username": "ada", "password": PASSWORDS["ada"]})
    assert answer.status_code == 201, answer.text
    return answer.json()["access_token"]


def test_the_pages_are_closed_to_strangers(airflow):
    assert airflow.get("/pipetrack/").status_code == 401


@pytest.mark.parametrize("way", ["header", "cookie"])
def test_they_open_with_airflows_login(airflow, token, way):
    headers = {"Authorization": f"Bearer {token}"} if way == "header" else {"Cookie": f"_token={token}"}
    answer = airflow.get("/pipetrack/", headers=headers)
    assert answer.status_code == 200
    assert "tracking.db" in answer.text


def test_airflow_links_to_them(airflow, token):
    answer = airflow.get("/api/v2/plugins", headers={"Authorization": f"Bearer {token}"})
    found = next(plugin for plugin in answer.json()["plugins"] if plugin["name"] == "pipetrack")
    assert {"href": "pipetrack/", "destination": "nav"}.items() <= found["external_views"][0].items()


#: Untracked, so that nobody closes the records that are written for it here.
FAILING = """
from airflow.sdk import DAG, task

with DAG("left_open", schedule=None) as dag:
    @task
    def broken():
        raise ValueError("killed, as far as its record knows")

    @task
    def good():
        pass

    @task
    def behind():
        pass

    broken() >> behind()
    good()
"""


@pytest.fixture(scope="module")
def left_open(airflow_home) -> str:
    """A run that Airflow has ended, with records that say that its tasks run or wait."""
    path = airflow_home / "dags" / "left_open.py"
    path.write_text(FAILING)
    logging.disable(logging.CRITICAL)
    try:
        run = runpy.run_path(str(path))["dag"].test()
    finally:
        logging.disable(logging.NOTSET)
    began = utc_now() - timedelta(minutes=1)

    def begun(name, attempt=1):
        described = Described(StageTransfer(name=name), Content("left open"))
        key = RecordKey("left_open", run.run_id, name, -1, attempt)
        return start_change(described, key, started=began, operator="x.Y", log_url=None)

    waits = pending_change(
        Described(StageTransfer(name="behind"), Content("left open")), RecordKey("left_open", run.run_id, "behind")
    )
    with TrackingStore.from_settings() as store:
        store.submit([begun("broken"), begun("good", attempt=2), waits], durable=True)
        assert store.flush(30)
    return str(run.run_id)


def opened(airflow, token, link) -> str:
    answer = airflow.get(f"/pipetrack/{link}", headers={"Cookie": f"_token={token}"})
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_record_that_is_open_though_airflow_has_ended_its_task_is_stale(airflow, token, left_open, monkeypatch):
    about = {"pipeline_id": "left open", "run_id": left_open, "dag_id": "left_open"}
    page = opened(airflow, token, run_link("", about))
    assert "Airflow says" not in page, "it has ended just now, so that its own word may be on its way"
    monkeypatch.setattr(airflow_says, "_GRACE", timedelta(0))
    page = opened(airflow, token, run_link("", about))
    for state in ("failed", "upstream_failed"):
        # Once beside its bar, once in the table of attempts.
        assert page.count(f"Airflow says {state}; the record is not closed yet") == 2
    assert "Airflow says success" not in page, "of an attempt that Airflow does not know yet it says nothing"
    row = {**about, "task_id": "broken", "map_index": -1}
    of_task = opened(airflow, token, attempts_link("", row))
    assert "Airflow says failed; the record is not closed yet" in of_task
    assert of_task.count("stale") >= 2
    with TrackingStore.from_settings() as store:
        assert {r["transfer_status"] for r in store.read_run("left_open", left_open).records} == {
            "in_progress",
            "pending",
        }
    assert "Airflow says" not in opened(airflow, token, "transfers"), "Airflow is not asked about many runs"


def test_an_airflow_that_does_not_answer_leaves_the_page_as_the_records_are(airflow, token, left_open, monkeypatch):
    async def never(*asked):
        await airflow_says.asyncio.sleep(60)

    monkeypatch.setattr(airflow_says, "_task_instances", never)
    monkeypatch.setattr(airflow_says, "LIMIT", 0.2)
    page = opened(
        airflow, token, run_link("", {"pipeline_id": "left open", "run_id": left_open, "dag_id": "left_open"})
    )
    assert "Airflow says" not in page
    assert "running" in page
