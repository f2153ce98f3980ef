"""A record that is open although Airflow has decided is shown as stale, by whatever application the pages are in."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from airflow_provider_pipetrack.plugins.pipetrack import LazyApp
from airflow_provider_pipetrack.tracking.questions import Questions
from airflow_provider_pipetrack.ui.airflow_says import AIRFLOW_SAYS, compared, in_words
from airflow_provider_pipetrack.ui.app import build_app
from airflow_provider_pipetrack.ui.asking import Desk
from airflow_provider_pipetrack.ui.paths import link
from airflow_provider_pipetrack.ui.words import STALE, state_of
from tests.tracking_history import NOW

RUN = "manual__finance"


def row(status="in_progress", attempt=1, name="load", run_id="r", **more):
    return {"dag_id": "d", "run_id": run_id, "task_id": name, "map_index": -1, "transfer_status": status,
            "retry_attempt_number": attempt - 1, "decision": None, **more}  # fmt: skip


def task(state, try_number=1, name="load", ended=60.0):
    end = None if ended is None else (NOW - timedelta(seconds=ended)).isoformat().replace("+00:00", "Z")
    return {"task_id": name, "map_index": -1, "state": state, "try_number": try_number, "end_date": end}


@pytest.mark.parametrize(
    ("record", "said", "word"),
    [
        (row(), task("failed"), "Airflow says failed"),
        (row(), task("success"), "Airflow says success"),
        (row(), task("up_for_retry"), "Airflow says up_for_retry"),
        (row(), task("failed", ended=None), "Airflow says failed"),
        (row(), task("running", 2, ended=None), "Airflow is at attempt 2"),
        (row(), task("running", ended=None), None),
        (row(), task("failed", ended=5), None),
        (row(attempt=2), task("failed", 1), None),
        (row(), task("failed", name="other"), None),
        (row("pending"), task("upstream_failed", 0), "Airflow says upstream_failed"),
        (row("pending"), task("success", 0), "Airflow says success"),
        (row("pending", decision="disabled"), task("removed", 0), None),
        (row("completed"), task("failed"), None),
        (row("failed"), task("success"), None),
    ],
)
def test_only_what_airflow_has_ended_and_no_record_says_is_stale(record, said, word):
    (found,) = compared([record], lambda dag_id, run_id: [said], NOW)
    assert found.get(AIRFLOW_SAYS) == word
    assert found["decision"] == record["decision"], "the record itself stays as it is"
    assert in_words(found)["decision"] == (f"{word}; the record is not closed yet" if word else record["decision"])
    assert (state_of(found, NOW) == STALE) is bool(word)


def test_airflow_is_asked_only_about_runs_with_open_records_and_about_few():
    asked = []

    def airflow(*run):
        asked.append(run)
        return []

    rows = [row("completed", run_id="done"), *(row(run_id=f"r{n}") for n in range(9))]
    assert compared(rows, airflow, NOW) == rows
    assert asked == [("d", "r0"), ("d", "r1"), ("d", "r2")]
    assert compared(rows, None, NOW) == rows


@pytest.fixture
def mounted(store):
    """The pages in an application that answers as Airflow does, for a reader with a login; and who has asked it."""
    outer, asked, pages = FastAPI(root_path="/below"), [], LazyApp()
    pages._app = build_app(lambda: ({"finance"}, True), Desk(lambda: Questions(store)))

    @outer.get("/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances")
    def instances(dag_id: str, run_id: str, request: Request):
        asked.append((dag_id, run_id, request.headers.get("authorization"), request.headers.get("cookie")))
        return {"task_instances": [task("failed", name=name) for name in ("load", "clean", "publish", "extract")]}

    outer.mount("/pipetrack", pages)
    return TestClient(outer, base_url="http://test/below/pipetrack/"), asked


@pytest.mark.parametrize("login", [{"Authorization": "Bearer mine"}, {"Cookie": "_token=mine; other=1"}])
def test_the_readers_own_login_asks_once_for_a_page(mounted, monkeypatch, read, login):
    from airflow_provider_pipetrack.ui import rights

    monkeypatch.setattr(rights, "readable_dags", lambda user: user[0])
    monkeypatch.setattr(rights, "may_see_health", lambda user: user[1])
    client, asked = mounted
    client.headers.update(login)
    page = read(client, link("", "p", "finance", "r", RUN))
    # No cookie: Airflow would renew the login a second time.
    assert asked == [("finance", RUN, "Bearer mine", None)]
    assert "Airflow says failed; the record is not closed yet" in page.text
    assert "stale" in page.text
    read(client, "")
    read(client, "transfers")
    assert len(asked) == 1, "lists over many runs ask nothing"
    assert "Airflow says" in read(client, f"transfers?run_id={quote(RUN)}").text
    client.get(f"api/v1/transfers?run_id={quote(RUN)}")
    assert len(asked) == 2, "programs get the records as they are"
