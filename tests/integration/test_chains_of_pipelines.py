"""Pipelines that keep their records in chains of their own: two PostgreSQL databases and a SQLite file, seen together."""

from __future__ import annotations

import json
import os
import time

import pytest
from click.testing import CliRunner
from fastapi import FastAPI
from fastapi.testclient import TestClient

from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.tracking.chains import known_chains, remember_chain
from airflow_provider_pipetrack.tracking.pool import get_store
from airflow_provider_pipetrack.ui import rights
from airflow_provider_pipetrack.ui.app import build_app
from tests.integration.storage.conftest import black_hole as black_hole  # a fixture
from tests.postgres_server import postgres as postgres  # a fixture
from tests.tracking_history import NOW, Run, failed_run, good_run

DAGS = ("orders", "customers", "finance")


@pytest.fixture
def places(tmp_path, monkeypatch, postgres):
    """The location of each pipeline: ``orders`` and ``customers`` in databases of their own, ``finance`` in a file."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    found = {"finance": f"sqlite||{tmp_path}/finance.db||pipeline_tracking"}
    for name in ("orders", "customers"):
        database = f"{name}_{os.getpid()}_{time.monotonic_ns()}"
        postgres.run(f"CREATE DATABASE {database}")
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", postgres.connection(schema=database))
        found[name] = f"postgres@{name}||{database}||public||pipeline_tracking"
    return found


def write(run: Run, *chain: str) -> None:
    """Write the records of a run as its tasks do."""
    store = get_store(chain, mode="fallback", connections={}, adapters={})
    store.submit(run.changes, durable=True)
    assert store.flush(30)


@pytest.fixture
def filled(places):
    """One run of each pipeline, each in its place; a run of ``finance`` has its first transfer in ``orders``'."""
    write(good_run("orders", "one", NOW), places["orders"])
    write(failed_run("customers", "two", NOW), places["customers"])
    write(good_run("finance", "three", NOW), places["finance"])
    return places


@pytest.fixture
def visitor(monkeypatch):
    monkeypatch.setattr(rights, "readable_dags", lambda user: user)
    monkeypatch.setattr(rights, "may_see_health", lambda user: True)

    def make(*dag_ids: str) -> TestClient:
        outer = FastAPI()
        outer.mount("/pipetrack", build_app(login=lambda: set(dag_ids)))
        return TestClient(outer, base_url="http://test/pipetrack/", follow_redirects=False)

    return make


def api(client, path):
    answer = client.get(f"api/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_pages_api_and_commands_show_all_of_them(filled, visitor):
    client = visitor(*DAGS)
    overview = client.get("").text
    for name in DAGS:
        assert f"p/{name}" in overview
        assert "load" in client.get(f"p/{name}").text
    answered = api(client, "pipelines")
    assert {row["pipeline_id"]: row["state"] for row in answered["rows"]} == {
        "orders": "completed",
        "customers": "failed",
        "finance": "completed",
    }
    assert (answered["total"], answered["unreachable"]) == (3, {})
    assert sorted(answered["sources"]) == sorted(filled.values())
    runs = [api(client, f"runs?order_by=pipeline_id&limit=1&offset={offset}") for offset in range(3)]
    assert [page["rows"][0]["pipeline_id"] for page in runs] == ["customers", "finance", "orders"]
    assert {page["total"] for page in runs} == {3}
    assert "customers" in client.get("attention").text
    assert "CRM said no" in client.get("p/customers/r/two").text
    assert api(client, "readiness?stage=production&pipeline_id=finance")["ready"] is True
    health = api(client, "health")
    assert [(place["name"], place["state"]) for place in sorted(health["locations"], key=lambda p: p["name"])] == [
        (name, "up") for name in sorted(filled.values())
    ]
    page = client.get("health").text
    assert all(name in page for name in filled.values())
    shown = CliRunner().invoke(main, ["status"])
    assert shown.exit_code == 0, shown.output
    assert all(name in shown.stdout for name in DAGS)
    one = json.loads(CliRunner().invoke(main, ["status", "customers", "--output", "json"]).stdout)
    assert one["run"]["state"] == "failed"
    assert CliRunner().invoke(main, ["ready", "finance", "production"]).exit_code == 0


def test_an_export_has_all_of_them_each_record_once(filled, tmp_path):
    write(good_run("orders", "one", NOW), filled["customers"])  # a copy, as a fallback has it
    done = CliRunner().invoke(main, ["export", str(tmp_path / "all"), "--output", "json"])
    assert done.exit_code == 0, done.output
    manifest = json.loads(done.stdout)
    assert sorted(manifest["chains"]) == sorted([place] for place in filled.values())
    assert manifest["unreachable"] == {}
    records = [json.loads(line) for line in (tmp_path / "all" / "records.ndjson").read_text().splitlines()]
    names = [record["record_id"] for record in records]
    assert {record["pipeline_id"] for record in records} == set(DAGS)
    assert len(names) == len(set(names)) == manifest["files"]["records.ndjson"]["rows"]
    done = CliRunner().invoke(
        main, ["export", str(tmp_path / "one"), "--location", filled["finance"], "--output", "json"]
    )
    assert json.loads(done.stdout)["chains"] == [[filled["finance"]]]
    assert '"pipeline_id":"orders"' not in (tmp_path / "one" / "records.ndjson").read_text()


def test_an_export_names_a_chain_once_that_pipelines_with_functions_of_their_own_share(filled, tmp_path):
    for number in range(2):
        functions = {"user_functions": str(tmp_path / f"functions_{number}.py")}
        remember_chain({**plain_chain(filled["finance"]), "adapters": functions})
    done = CliRunner().invoke(main, ["export", str(tmp_path / "all"), "--output", "json"])
    assert done.exit_code == 0, done.output
    assert sorted(json.loads(done.stdout)["chains"]) == sorted([place] for place in filled.values())


def plain_chain(text):
    return {"locations": [text], "mode": "fallback", "connections": {}, "adapters": {}}


def test_an_export_leaves_no_chain_out_and_says_which_it_could_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    texts = [f"sqlite||{tmp_path}/{number}.db||t" for number in range(12)]
    for number, text in enumerate(texts):
        write(good_run("orders", f"run{number}", NOW), text)
    done = CliRunner().invoke(main, ["export", str(tmp_path / "all"), "--output", "json"])
    manifest = json.loads(done.stdout)
    assert (done.exit_code, len(manifest["chains"]), manifest["unreachable"]) == (0, 12, {})
    (tmp_path / "3.db").unlink()
    monkeypatch.setattr("airflow_provider_pipetrack.tracking.pool._STORES", {})
    done = CliRunner().invoke(main, ["export", str(tmp_path / "less"), "--output", "json"])
    assert done.exit_code == 3
    assert list(json.loads((tmp_path / "less" / "manifest.json").read_text())["unreachable"]) == [texts[3]]


def test_rights_hold_in_all_of_them(filled, visitor):
    client = visitor("finance")
    assert [row["pipeline_id"] for row in api(client, "runs")["rows"]] == ["finance"]
    assert api(client, "runs")["total"] == 1
    assert api(client, "pipelines?pipeline_id=orders")["total"] == 0
    assert client.get("p/orders/r/one").status_code == 404
    for path in ("", "transfers", "attention", "audits"):
        assert "CRM said no" not in client.get(path).text


def test_a_run_whose_transfers_name_different_chains_is_one_run(places, visitor):
    run = good_run("orders", "one", NOW)
    for name, place in (("load", "orders"), ("clean", "customers"), ("publish", "finance"), ("archive", "finance")):
        part = Run("orders", "one", NOW)
        part.changes = [change for change in run.changes if change.record_id.split("/")[2] == name]
        write(part, places[place])
    client = visitor(*DAGS)
    (row,) = api(client, "runs")["rows"]
    assert (row["state"], row["transfers"], row["attempts"], row["audits_matched"]) == ("completed", 3, 5, 1)
    assert (row["records_succeeded"], row["records_failed"]) == (2100, 300)
    assert api(client, "runs")["total"] == api(client, "pipelines")["total"] == 1
    page = client.get("p/orders/r/one").text
    assert all(name in page for name in ("load", "clean", "publish"))
    page = client.get("p/orders/t/clean").text
    assert places["customers"] in api(client, "transfers?task_id=clean")["sources"]
    assert "the warehouse hung up" in page


def test_a_database_that_does_not_answer_hides_no_other(filled, visitor, monkeypatch, black_hole, postgres):
    hung = json.loads(postgres.connection(host="127.0.0.1", port=black_hole))
    monkeypatch.setenv("AIRFLOW_CONN_CUSTOMERS", json.dumps(hung))
    monkeypatch.setattr("airflow_provider_pipetrack.tracking.pool._STORES", {})
    client = visitor(*DAGS)
    begun = time.monotonic()
    answer = client.get("")
    took = time.monotonic() - begun
    assert answer.status_code == 200
    assert "p/orders" in answer.text
    assert "p/finance" in answer.text
    assert filled["customers"] in answer.text, "it is said who did not answer"
    assert took < 8
    begun = time.monotonic()
    answered = api(client, "runs")
    assert time.monotonic() - begun < 1, "it is left alone for a while"
    assert (answered["total"], list(answered["unreachable"])) == (2, [filled["customers"]])


def test_a_chain_that_comes_later_is_shown_without_a_restart(places, visitor, monkeypatch):
    monkeypatch.setattr("airflow_provider_pipetrack.ui.asking._CHAINS_AGE", 0.0)
    client = visitor(*DAGS)
    write(good_run("orders", "one", NOW), places["orders"])
    assert api(client, "runs")["total"] == 1
    write(good_run("customers", "two", NOW), places["customers"])
    assert api(client, "runs")["total"] == 2


def test_the_code_of_a_pipelines_own_storage_does_not_run_in_the_api_server(places, visitor, tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    (tmp_path / "own_storage.py").write_text(f"import pathlib\npathlib.Path({str(ran)!r}).touch()\nclass Own: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    write(good_run("orders", "one", NOW), places["orders"])
    monkeypatch.setattr("airflow_provider_pipetrack.tracking.pool._STORES", {})
    from airflow_provider_pipetrack.tracking.chains import remember_chain

    own = {"locations": ["own||x"], "mode": "fallback", "connections": {}, "adapters": {"own": "own_storage.Own"}}
    remember_chain(own)
    answered = api(visitor(*DAGS), "runs")
    assert answered["total"] == 1
    assert answered["unreachable"]["own||x"] == (
        "is a storage of a pipeline's own, whose code is not loaded here; `pipetrack status` shows it"
    )
    assert not ran.exists()


def test_only_so_many_are_asked_those_that_were_used_last(tmp_path, monkeypatch, visitor):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    texts = [f"sqlite||{tmp_path}/{number}.db||t" for number in range(12)]
    for number, text in enumerate(texts):
        write(good_run("orders", f"run{number}", NOW), text)
        (path,) = [p for p in (tmp_path / "pipetrack/journal/_chains").iterdir() if text in p.read_text()]
        os.utime(path, (number, number))
    assert [chain["locations"] for chain in known_chains()][0] == [texts[-1]]
    answered = api(visitor(*DAGS), "runs")
    assert answered["total"] == 10
    assert answered["unreachable"] == dict.fromkeys(texts[:2], "only the 10 chains that were used last are asked")


def test_an_api_server_that_shares_no_folder_shows_what_it_is_told(filled, visitor, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "another host"))
    assert api(visitor(*DAGS), "runs")["total"] == 0
    named = json.dumps([filled["orders"], [filled["customers"], f"sqlite||{tmp_path}/no.db||t"]])
    monkeypatch.setenv("AIRFLOW__PIPETRACK__ALSO_SHOWN", named)
    answered = api(visitor(*DAGS), "runs")
    assert sorted(row["pipeline_id"] for row in answered["rows"]) == ["customers", "orders"]
    assert sorted(answered["sources"]) == sorted([filled["orders"], filled["customers"]])
