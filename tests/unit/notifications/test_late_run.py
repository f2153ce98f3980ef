"""A run that has not ended in time is told as a run: whose it is, what is left of it, and where it is."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.config import StageTransfer
from airflow_provider_pipetrack.notifications.alerts import raise_alert
from airflow_provider_pipetrack.notifications.late_run import tell_late_run
from airflow_provider_pipetrack.notifications.message import compose
from airflow_provider_pipetrack.notifications.targets import AlertKind, AlertTargets
from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.describe import Content, Described, Outcome, end_change, pending_change
from airflow_provider_pipetrack.tracking.describe import start_change as start
from airflow_provider_pipetrack.tracking.store import TrackingStore

AIRFLOW = "https://airflow.example.com/base/dags/orders/runs"
RUN = "manual__2026-01-31T00:00:00+00:00"


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    with TrackingStore.from_settings() as made:
        yield made


def described(name, owner, **more):
    people = {"transfer_process_owner_name": owner, "transfer_process_email_alerts": ("a@b.c",)}
    content = Content("orders", stage_i_details="shop", stage_i_plus_1_details=name)
    return Described(StageTransfer(name=name, **people, **more), content)


def begun(name, owner, run_id=RUN):
    return start(
        described(name, owner), RecordKey("orders", run_id, name), started=utc_now() - timedelta(hours=1),
        operator="x.Y", log_url=f"{AIRFLOW}/{run_id}/tasks/{name}?try_number=1",
    )  # fmt: skip


def write(store, *changes):
    store.submit(list(changes), durable=False)
    store.flush()


def told(run_id=RUN):
    asyncio.run(tell_late_run({"dag_run": {"dag_id": "orders", "dag_run_id": run_id}, "deadline": {}}, 3600.0))
    waiting = [json.loads(path.read_text()) for path in (settings.alerts_dir() / "waiting").glob("*.json")]
    return [compose(AlertKind(alert["kind"]), alert["record"]) for alert in waiting]


def test_it_says_whose_it_is_what_is_left_and_where(store):
    done = begun("done", "shop_team")
    idle = pending_change(described("idle", "idle_team", transfer_enabled=False), RecordKey("orders", RUN, "idle"))
    write(
        store, begun("slow", "crm_team"), done, end_change(done, Outcome("completed", ended=utc_now()), by="task"),
        pending_change(described("waits", "mart_team"), RecordKey("orders", RUN, "waits")), idle,
    )  # fmt: skip
    (message,) = told()
    assert message.subject == f"[pipetrack] orders: Run {RUN} of orders has not ended in time"
    lines = [line for line in message.text.splitlines() if line and not line.startswith("Started: ")]
    left = {"slow (shop -> slow)", "waits (shop -> waits)"}
    (decision,) = (line for line in lines if line.startswith("Decision: 1 of 3 transfers are completed; left: "))
    assert set(decision.partition("left: ")[2].split(", ")) == left
    (owner,) = (line for line in lines if line.startswith("Owner: "))
    assert set(owner.removeprefix("Owner: ").split(", ")) == {"crm_team", "mart_team"}
    assert [line for line in lines if line not in (decision, owner)] == [
        f"Run {RUN} of orders has not ended in time.",
        "Pipeline: orders",
        f"Dag and run: orders, {RUN}",
        "Deadline: 1h",
        "Run in Airflow: https://airflow.example.com/base/dags/orders/runs/manual__2026-01-31T00%3A00%3A00%2B00%3A00",
    ]


def test_one_that_has_not_begun_is_told_by_what_is_known_of_the_one_before(store):
    write(store, begun("slow", "crm_team", run_id="earlier"))
    (message,) = told("new")
    assert "Owner: crm_team\nDecision: 0 of 0 transfers are completed\n" in message.text
    assert message.text.endswith(f"\nRun in Airflow: {AIRFLOW}/new\n")


def test_a_transfer_that_is_named_like_its_dag_is_told_beside_its_run(store):
    change = begun("orders", "crm_team")
    write(store, change)
    raise_alert(AlertTargets(("a@b.c",)), "overdue", change.columns)
    assert sorted(message.subject for message in told()) == [
        f"[pipetrack] orders: Run {RUN} of orders has not ended in time",
        "[pipetrack] orders: orders takes longer than estimated",
    ]
