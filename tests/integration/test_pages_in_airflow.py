"""The pages inside Airflow's own api-server application, with its own login."""

from __future__ import annotations

import asyncio
import csv
import json
import logging
import re
import runpy
from collections.abc import Iterator
from datetime import timedelta

import pytest

from airflow_provider_pipetrack import TrackingStore, settings
from airflow_provider_pipetrack.config import StageTransfer
from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.openness import OVERRULED, SET_TO_SUCCESS
from airflow_provider_pipetrack.tracking.describe import Content, Described, pending_change, start_change
from airflow_provider_pipetrack.ui import acceptance, airflow_says, asking, tables
from airflow_provider_pipetrack.ui.paths import attempts_link, run_link
from tests.tracking_history import NOW, Run

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
        patch.setattr(asking, "_CHAINS_AGE", 0.0)  # what tests before these have left is no reason to miss what is new
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
        await asyncio.sleep(60)

    monkeypatch.setattr(airflow_says, "_task_instances", never)
    monkeypatch.setattr(airflow_says, "LIMIT", 0.2)
    page = opened(
        airflow, token, run_link("", {"pipeline_id": "left open", "run_id": left_open, "dag_id": "left_open"})
    )
    assert "Airflow says" not in page
    assert "running" in page


#: What somebody does in Airflow's pages, as its event log has it: the event, the run, the task, who, and what.
DONE = [
    ("patch_task_instance", "overruled", "load__audit", "grace", {"new_state": "failed"}),
    ("patch_task_instance", "overruled", "load__audit", "ada", {"new_state": "success", "method": "PATCH"}),
    ("patch_task_instance", "overruled", "clean", "linus", {"new_state": "success"}),
    ("running", "overruled", "load__audit", "airflow", {"new_state": "success"}),
    ("patch_dag_run", "whole", None, "edsger", {"state": "success"}),
    (
        "bulk_task_instances",
        "several",
        None,
        "barbara",
        {
            "actions": [
                {"action": "delete", "entities": ["clean"]},
                {"action": "update", "entities": [{"task_id": "load", "new_state": "success"}]},
            ]
        },
    ),
    ("patch_task_instance", "unknown", "load__audit", "mallory", None),
    ("patch_task_instance", "mapped", "load", "donald", {"new_state": "success", "map_index": "0"}),
    ("patch_task_instance", "mapped", "load", "leslie", {"new_state": "success", "map_index": "1"}),
]
BEGAN = NOW - timedelta(hours=1)
#: What happens in a run before and long after: Airflow notes it, also where it then refuses it.
BEFORE = [("patch_task_instance", "overruled", "load__audit", "grace", {"new_state": "failed"})] * 100
AFTER = [("patch_task_instance", "overruled", "load__audit", "mallory", {"new_state": "success"})]


def overruled(run_id: str) -> Run:
    run = Run("orders", run_id, BEGAN)
    run.end("load")
    run.audit("load", "mismatched", 2, audit_ended="passed", audit_task="load__audit", warning=OVERRULED)
    return run


def mapped(run_id: str, index: int) -> Run:
    run = Run("orders", run_id, BEGAN)
    run.index = index
    run.end("load", decision=SET_TO_SUCCESS)
    return run


@pytest.fixture(scope="module")
def accepted(airflow, airflow_home) -> Iterator[None]:
    """Records of audits that were accepted, of a Dag that Airflow knows, and what it knows of who did that."""
    from airflow.models import DagModel, Log
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    several = Run("orders", "several", BEGAN)
    several.end("load", decision=SET_TO_SUCCESS)
    warned = Run("orders", "warned", BEGAN)
    warned.end("load")
    warned.audit("load", "mismatched", 2, audit_ended="passed")
    runs = [
        *map(overruled, ("overruled", "whole", "unknown", "nobody")),
        several,
        warned,
        mapped("mapped", 0),
        mapped("mapped", 1),
    ]
    for left in settings.chains_dir().glob("*.json"):  # by tests before these: only so many are asked
        left.unlink()
    with TrackingStore.from_settings() as store:
        store.submit([change for run in runs for change in run.changes], durable=True)
        assert store.flush(30)
    with create_session() as session:
        session.add(DagBundleModel(name="files"))
        session.flush()
        session.add(DagModel(dag_id="orders", bundle_name="files", fileloc="/dags/orders.py"))
        moments = [(BEGAN - timedelta(minutes=5), BEFORE), (BEGAN, DONE), (NOW, AFTER)]
        for begin, done in moments:
            for number, (event, run_id, task_id, owner, extra) in enumerate(done):
                told = json.dumps(extra) if extra else "no json"
                entry = Log(event=event, dag_id="orders", run_id=run_id, task_id=task_id, owner=owner, extra=told)
                entry.dttm = begin + timedelta(seconds=number)
                session.add(entry)
                session.flush()  # so that those before come first in Airflow's own order, too
    yield
    with create_session() as session:
        session.execute(delete(Log).where(Log.dag_id == "orders"))
        session.execute(delete(DagModel).where(DagModel.dag_id == "orders"))
        session.execute(delete(DagBundleModel).where(DagBundleModel.name == "files"))
    for file in (airflow_home / "pipetrack").glob("tracking.db*"):
        file.unlink()


WHO = {
    "overruled": "ada, in Airflow",
    "whole": "edsger, in Airflow",
    "several": "barbara, in Airflow",
    "unknown": "somebody in Airflow",
    "nobody": "somebody in Airflow",
    "warned": "the pipeline file (on_mismatch: warn) of shop_team",
}


@pytest.mark.usefixtures("accepted")
def test_the_audit_trail_says_who_accepted_what(airflow, token):
    def told(**headers):
        found = {}
        for run_id in WHO:
            # Of this run: other tests have left many audits behind.
            text = airflow.get(f"/pipetrack/audits?run_id={run_id}&pipeline_id=orders", headers=headers).text
            words = re.sub("<[^>]*>", "|", "".join(re.findall(r"<tr data-key.*?</tr>", text, re.DOTALL)))
            found[run_id] = next((who for who in WHO.values() if f"|{who}|" in words), words)
        return found

    assert told(Authorization=f"Bearer {token}") == WHO
    assert told(Cookie=f"_token={token}") == WHO
    page = airflow.get("/pipetrack/p/orders/t/load?run_id=overruled", headers={"Authorization": f"Bearer {token}"})
    assert "<dt>Accepted by</dt><dd><bdi>ada, in Airflow</bdi></dd>" in page.text


def trail(airflow, token, query) -> tuple[dict[str, str], str]:
    """Return who accepted what as the CSV says it, by run, and what it says of itself."""
    text = airflow.get(f"/pipetrack/audits?{query}&export=audits", headers={"Authorization": f"Bearer {token}"}).text
    lines = text.splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith(('"#', "#")))
    remarks = " ".join(line for line in lines if line.startswith(('"#', "#")))
    return {row["run_id"]: row["accepted_by"] for row in rows if row["accepted_by"]}, remarks


@pytest.mark.usefixtures("accepted")
def test_the_csv_of_the_audit_trail_says_who_accepted_what(airflow, token):
    told = [trail(airflow, token, f"run_id={run_id}&pipeline_id=orders") for run_id in WHO]
    assert {run_id: who for found, _ in told for run_id, who in found.items()} == WHO
    assert {remarks for _, remarks in told} == {""}


@pytest.mark.usefixtures("accepted")
def test_beyond_some_runs_the_csv_says_of_whom_airflow_was_not_asked(airflow, token, monkeypatch):
    monkeypatch.setattr(acceptance, "_MOST_RUNS_EXPORTED", 2)
    monkeypatch.setattr(tables, "_EXPORTED_AT_ONCE", 1)
    found, remarks = trail(airflow, token, "pipeline_id=orders&search=load&audits.sort=run_id")
    by_hand = {run_id: who for run_id, who in found.items() if who.startswith("somebody") or "in Airflow" in who}
    not_asked = [run_id for run_id, who in by_hand.items() if who == "somebody in Airflow (not asked who)"]
    assert len(by_hand) - len(not_asked) == 2
    assert f"# accepted_by: who set {len(not_asked)} records to success was not asked" in remarks
    assert found["warned"] == WHO["warned"]


@pytest.mark.usefixtures("accepted")
def test_an_airflow_that_does_not_answer_in_time_is_no_somebody(airflow, token, monkeypatch):
    monkeypatch.setattr(asking, "_AIRFLOW_LIMIT", 0.0)
    found, remarks = trail(airflow, token, "run_id=overruled&pipeline_id=orders")
    assert found == {"overruled": "somebody in Airflow (not asked who)"}
    assert "# accepted_by: who set 1 record to success was not asked" in remarks


@pytest.mark.usefixtures("accepted")
def test_each_index_of_a_mapped_transfer_was_set_to_success_by_its_own_person(airflow, token):
    headers = {"Authorization": f"Bearer {token}"}
    for index, who in enumerate(("donald", "leslie")):
        page = airflow.get(f"/pipetrack/p/orders/t/load?run_id=mapped&map_index={index}", headers=headers)
        assert f"<dt>Accepted by</dt><dd><bdi>{who}, in Airflow</bdi></dd>" in page.text


@pytest.mark.usefixtures("accepted")
def test_who_may_not_read_airflows_audit_log_is_told_of_somebody(airflow, token, monkeypatch):
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    may = SimpleAuthManager.is_authorized_dag

    def but_no_audit_log(self, *, access_entity=None, **more):
        return access_entity != DagAccessEntity.AUDIT_LOG and may(self, access_entity=access_entity, **more)

    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", but_no_audit_log)
    address = "/pipetrack/audits?run_id=overruled&pipeline_id=orders"
    text = airflow.get(address, headers={"Authorization": f"Bearer {token}"}).text
    assert "somebody in Airflow" in text
    assert "ada, in Airflow" not in text
