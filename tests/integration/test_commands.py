"""The commands about what is tracked, as a person and as a program call them: words, JSON and exit codes."""

from __future__ import annotations

import fcntl
import functools
import json
import os
import pty
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.records.configs import ConfigVersion
from airflow_provider_pipetrack.records.handmade import change_from_record, change_of_record
from airflow_provider_pipetrack.records.merge import record_of
from airflow_provider_pipetrack.records.queries import QUESTIONS, by_hand
from airflow_provider_pipetrack.settings import default_location, host_name
from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.tracking.chains import remember_chain
from airflow_provider_pipetrack.tracking.journal import Journal
from airflow_provider_pipetrack.tracking.pool import get_store
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.airflow_versions import needs_provider_commands
from tests.integration.storage.worlds import world
from tests.postgres_server import CONN_ID, DATABASE
from tests.postgres_server import postgres as postgres  # a fixture
from tests.terminals import read_all
from tests.unit.tracking.test_users_storages import Storage

RECORD = {"pipeline_id": "orders", "dag_id": "orders", "run_id": "r1", "task_id": "load"}
RECORD_ID = "orders/r1/load/-1/1"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A host with nothing configured and nothing tracked."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def filled(home):
    with TrackingStore.from_settings() as store:
        store.legs[0].adapter.prepare()
        store.legs[0].call(lambda adapter: adapter.apply(world(datetime.now(timezone.utc))), 60)
    return home


def run(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


def test_a_host_without_records_says_so(home):
    shown = run("status")
    assert shown.exit_code == 3
    assert shown.stderr == (
        f"Not asked: sqlite||{home}/pipetrack/tracking.db||pipeline_tracking: "
        f"not visible here: this host ({host_name()}) has no such file; it is another host's, or nothing was recorded yet\n"
    )
    assert shown.stdout == ""


def test_init_makes_tables_and_can_be_repeated(home):
    location = f"sqlite||{home}/new/tracking.db||mine"
    for _ in range(2):
        shown = run("init", location)
        assert (shown.exit_code, shown.output) == (0, f"{location}: ready\n")
    tables = sqlite3.connect(home / "new" / "tracking.db").execute(
        "SELECT name FROM sqlite_master WHERE type = 'table'"
    )
    assert sorted(name for (name,) in tables) == ["mine", "mine_configs", "mine_history"]


def test_init_gives_an_older_table_what_it_lacks(home):
    location = f"sqlite||{home}/old.db||mine"
    run("init", location)
    database = sqlite3.connect(home / "old.db")
    for index in ("unsettled_2", "decided", "owed"):
        database.execute(f"DROP INDEX mine_{index}")
    database.execute("CREATE INDEX mine_unsettled ON mine (updated_timestamp) WHERE transfer_status = 'failed'")
    for column in ("owed", "closed_by", "records_failed"):
        database.execute(f"ALTER TABLE mine DROP COLUMN {column}")
    database.execute("DROP TABLE mine_configs")
    database.commit()
    shown = run("init", location)
    assert (
        shown.output
        == f"{location}: ready; added column records_failed of mine, column closed_by of mine, column owed of mine\n"
    )
    with TrackingStore([location]) as store:
        assert store.write_tracking_record(RECORD)
        assert store.read_tracking_records("orders")[0]["owed"] == []
    indexes = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    assert {"mine_unsettled_2", "mine_decided", "mine_owed"} <= indexes
    assert "mine_unsettled" not in indexes
    assert run("init", location).output == f"{location}: ready\n"


def test_init_upgrades_postgres_too(home, postgres, place_name):
    location = f"postgres@{CONN_ID}||{DATABASE}||public||{place_name}"
    assert run("init", location).output == f"{location}: ready\n"
    postgres.run(f"DROP INDEX {place_name}_unsettled_2")
    postgres.run(f"CREATE INDEX {place_name}_unsettled ON {place_name} (updated_timestamp)")
    assert run("init", location).output == f"{location}: ready\n"
    indexes = {name for (name,) in postgres.run(f"SELECT indexname FROM pg_indexes WHERE tablename = '{place_name}'")}
    assert f"{place_name}_unsettled_2" in indexes
    assert f"{place_name}_unsettled" not in indexes
    postgres.run(f"ALTER TABLE {place_name} DROP COLUMN decision")
    postgres.run(f"DROP TABLE {place_name}_configs")
    assert run("init", location).output == f"{location}: ready; added column decision of {place_name}\n"
    postgres.run(f"CREATE TABLE {place_name}x (a int)")
    refused = run("init", f"{location}x")
    assert refused.exit_code == 3
    assert f"the table '{place_name}x' is there, but is none of pipetrack's: it has no record_id" in refused.stderr


@pytest.fixture
def place_name(request):
    return f"cli_{abs(hash(request.node.nodeid)) % 10**8}"


def test_a_table_of_somebody_else_is_left_alone(home):
    database = sqlite3.connect(home / "other.db")
    database.execute("CREATE TABLE mine (a)")
    shown = run("init", f"sqlite||{home}/other.db||mine")
    assert shown.exit_code == 3
    assert "Traceback" not in shown.output


def test_status_shows_pipelines_and_what_needs_attention(filled):
    shown = run("status")
    assert shown.exit_code == 0
    for text in ("billing", "scheduled__9", "0/5", "Needs attention: 3", "100% broken", "stale"):
        assert text in shown.output
    answered = json.loads(run("status", "--output", "json").output)
    assert [row["pipeline_id"] for row in answered["pipelines"]] == ["billing", "orders"]
    assert len(answered["attention"]) == 3
    assert answered["pipelines"][0]["began_at"] == "2026-03-10T12:00:00+00:00"
    one = json.loads(run("status", "--limit", "1", "--output", "json").output)
    assert (len(one["pipelines"]), one["pipelines_total"]) == (1, 2)
    assert (len(one["attention"]), one["attention_total"]) == (1, 3)


def test_status_of_a_pipeline_shows_its_last_run(filled):
    shown = run("status", "orders")
    for text in ("load[1]", "disabled", "publish_team", "5m3s"):
        assert text in shown.output
    answered = json.loads(run("status", "orders", "--output", "json").output)
    assert (answered["run"]["run_id"], len(answered["transfers"]), answered["others"]) == ("scheduled__2", 4, [])
    unknown = run("status", "nope")
    assert (unknown.exit_code, unknown.stderr) == (1, "There is no record of a pipeline 'nope'.\n")


def test_status_of_a_pipeline_of_several_dags_shows_each(home):
    with TrackingStore.from_settings() as store:
        for dag_id in ("orders_eu", "orders_us"):
            store.write_tracking_record({**RECORD, "dag_id": dag_id})
    shown = run("status", "orders").stdout
    assert shown.index("Last run of Dag orders_us") < shown.index("Last run of Dag orders_eu")
    assert shown.count("Transfers") == 2
    assert "1 of 2 Dags; --limit shows more" in run("status", "orders", "--limit", "1").stdout
    answered = json.loads(run("status", "orders", "--output", "json").stdout)
    one = json.loads(run("status", "orders", "--limit", "1", "--output", "json").stdout)
    assert (one["others"], one["dags_total"]) == ([], 2)
    found = [answered, *answered["others"]]
    assert [(one["run"]["dag_id"], one["transfers"][0]["dag_id"]) for one in found] == [
        ("orders_us", "orders_us"),
        ("orders_eu", "orders_eu"),
    ]


def test_ready_is_an_exit_code(filled):
    yes, no = (
        run("ready", "orders", "stage of publish", "2026-03-01"),
        run("ready", "orders", "stage of publish", "2026-03-02"),
    )
    assert (yes.exit_code, no.exit_code) == (0, 1)
    assert yes.output == "ready: stage 'stage of publish' has its data, 'publish' ended last (run scheduled__0)\n"
    assert no.output == "not ready: the audit of transfer 'publish' found a mismatch (run scheduled__1)\n"
    partial = ("ready", "orders", "stage of publish", "2026-03-03")
    assert (run(*partial).exit_code, run(*partial, "--accept-partial").exit_code) == (1, 0)
    assert json.loads(run(*partial, "--output", "json").output)["state"] == "partial"
    assert run("ready", "orders", "stage of publish", "soon").exit_code == 2
    without_end = run("ready", "orders", "stage of publish", "9999-12-31")
    assert (without_end.exit_code, "expected a day from 0001-01-01 to 9999-12-30" in without_end.output) == (2, True)


def test_history_says_who_changed_what_and_why(home):
    with TrackingStore.from_settings() as store:
        store.write_tracking_record({**RECORD, "config_hash": "c0ffee"})
        store.update_tracking_record(RECORD_ID, {"transfer_status": "in_progress"})
        store.update_tracking_record(RECORD_ID, {"transfer_status": "failed", "error_message": "no disk"})
    shown = run("history", RECORD_ID)
    assert shown.exit_code == 0
    events = json.loads(run("history", RECORD_ID, "--output", "json").output)
    assert [(e["changed_by"], e["status_before"], e["status_after"], e["why"], e["counted"]) for e in events] == [
        ("user", None, "pending", None, True),
        ("user", "pending", "in_progress", None, True),
        ("user", "in_progress", "failed", "no disk", True),
    ]
    assert events[0]["config_hash"] == "c0ffee"
    assert "no disk" in shown.output


def test_history_says_how_a_record_is_named_to_who_names_half_of_one(home):
    with TrackingStore.from_settings() as store:
        store.write_tracking_record(RECORD)
    half, nobody = run("history", "a/r/nothing"), run("history", "nobody")
    how = " A record is named whole: dag_id/run_id/name/map_index/attempt"
    assert (half.exit_code, half.stderr) == (1, f"No configuration of a pipeline 'a/r/nothing' has been kept.{how}\n")
    assert (nobody.exit_code, nobody.stderr) == (1, "No configuration of a pipeline 'nobody' has been kept.\n")


def test_a_storage_without_history_says_so(home):
    location = f"local_file||{home}/records.json"
    with TrackingStore([location]) as store:
        store.write_tracking_record(RECORD)
    shown = run("history", RECORD_ID, "--location", location)
    assert shown.exit_code == 1
    assert shown.stderr == f"No history is kept in {location}: such a storage keeps only the latest state.\n"
    run("status", "--location", f"sqlite||{home}/a.db||t")
    with TrackingStore([f"sqlite||{home}/a.db||t"]) as store:
        store.write_tracking_record(RECORD)
    unknown = run("history", "a/r/nothing/-1/1", "--location", f"sqlite||{home}/a.db||t")
    assert (unknown.exit_code, unknown.stderr) == (
        1,
        f"There is no record 'a/r/nothing/-1/1' in sqlite||{home}/a.db||t.\n",
    )


def test_a_file_that_nobody_has_written_yet_is_no_reason_to_doubt_the_others(home):
    place, none_yet = f"sqlite||{home}/a.db||t", f"sqlite||{home}/none-yet.db||t"
    with TrackingStore([place]) as store:
        store.write_tracking_record(RECORD)
    chain = ("--location", place, "--location", none_yet)
    shown = run("history", "a/r/nothing/-1/1", *chain)
    assert shown.exit_code == 1
    assert f"There is no record 'a/r/nothing/-1/1' in {place}.\n" in shown.stderr
    assert f"Not asked: {none_yet}: not visible here" in shown.stderr
    shown = run("status", "nobody", *chain)
    assert (shown.exit_code, "There is no record of a pipeline 'nobody'." in shown.stderr) == (1, True)


def test_history_does_not_say_that_there_is_none_where_a_location_could_not_be_asked(home):
    place, gone = f"sqlite||{home}/a.db||t", f"sqlite||{home}/shut/gone.db||t"
    (home / "shut").write_text("in the way")
    with TrackingStore([place]) as store:
        store.write_tracking_record(RECORD)
        version = ConfigVersion("c0ffee", "orders", "orders", "1", [], {}, datetime.now(timezone.utc))
        store.legs[0].call(lambda adapter: adapter.keep_config(version), 30)
    chain = ("--location", place, "--location", gone)
    assert run("history", RECORD_ID, *chain).exit_code == run("history", "orders", *chain).exit_code == 0
    for asked, words in [
        (
            ["a/r/nothing/-1/1"],
            "No change of a record 'a/r/nothing/-1/1' was found, but not every location could be asked.",
        ),
        (["nobody"], "No configuration of a pipeline 'nobody' was found, but not every location could be asked."),
        (["orders", "--config", "bad"], "known are c0ffee, but not every location could be asked."),
    ]:
        shown = run("history", *asked, *chain)
        assert (shown.exit_code, words in shown.stderr) == (3, True), shown.stderr
        assert f"Not asked: {gone}: " in shown.stderr
        assert run("history", *asked, "--location", place).exit_code == 1
    as_json = run("history", "a/r/nothing/-1/1", *chain, "--output", "json")
    assert (as_json.exit_code, json.loads(as_json.stdout)) == (3, [])


def test_history_names_the_chains_that_it_leaves_out(home):
    with TrackingStore.from_settings() as store:
        store.write_tracking_record(RECORD)
    remember_chain({"locations": ["custom||x"], "mode": "fallback", "connections": {}, "adapters": {}})
    shown, unknown = run("history", RECORD_ID), run("history", "orders/r1/nothing/-1/1")
    assert (shown.exit_code, unknown.exit_code) == (0, 3)
    for answer in (shown, unknown, run("history", "orders")):
        assert "Not asked: custom||x: " in answer.stderr


def test_queries_are_listed_shown_and_asked(filled):
    assert [row["name"] for row in json.loads(run("queries", "list", "--output", "json").output)] == list(QUESTIONS)
    assert "Transfers whose attempts have failed, and how often." in run("queries", "list").output
    assert run("queries", "show", "overdue").output.endswith("ORDER BY overdue_seconds DESC NULLS LAST, record_id;\n")
    asked = run("queries", "run", "open_failures", "--where", "owner=money_team", "--output", "json")
    assert [row["task_id"] for row in json.loads(asked.output)["rows"]] == ["pay"]
    for name in QUESTIONS:
        shown = run("queries", "run", name, "--limit", "2")
        assert shown.exit_code == 0
        assert shown.output.strip().endswith(("row", "rows"))
        told = "Only the newest" in shown.output
        assert told == (name in ("slow", "flaky", "readiness")), name
    nothing = run("queries", "run", "attempts", "--where", "pipeline_id=nothing")
    assert (nothing.exit_code, nothing.output) == (0, "0 of 0 rows\n")
    assert "Only the newest" not in run("queries", "run", "slow", "--where", "pipeline_id=orders").output
    bounded = json.loads(run("queries", "run", "readiness", "--output", "json").output)["bounds"]
    assert bounded == {"newest": 100}
    assert "Only the newest 1,000 runs" in run("queries", "run", "runs", "--order-by", "state").output
    assert "Only the newest 50,000 records" in run("queries", "run", "transfers", "--where", "search=o").output
    assert "1 of 2 rows" in run("queries", "run", "runs", "--where", "since=2026-03-03", "--limit", "1").output


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_sql_of_a_question_runs_by_hand(filled, question):
    database = sqlite3.connect(filled / "pipetrack" / "tracking.db")
    rows = database.execute(by_hand(question, "sqlite", "pipeline_tracking")).fetchall()
    answered = json.loads(run("queries", "run", question, "--limit", "1000", "--output", "json").output)
    assert len(rows) == answered["total"] > 0


def test_the_sql_of_every_question_runs_by_hand_in_postgres(home, postgres, place_name):
    with TrackingStore([f"postgres@{CONN_ID}||{DATABASE}||public||{place_name}"]) as store:
        store.legs[0].call(lambda adapter: adapter.apply(world(datetime.now(timezone.utc))), 60)
    for question in QUESTIONS:
        assert postgres.run(by_hand(question, "postgres", place_name))


def test_reconcile_brings_home_and_says_what_is_left(home):
    first, second = f"sqlite||{home}/down/a.db||t", f"sqlite||{home}/b.db||t"
    (home / "down").write_text("in the way")
    chain = ("--location", first, "--location", second)
    with TrackingStore([first, second]) as store:
        store.write_tracking_record(RECORD)
    waiting = run("reconcile", *chain)
    assert waiting.exit_code == 1
    assert waiting.stdout == "1 record still owed\n"
    assert f"Not asked: {first}" in waiting.stderr
    (home / "down").unlink()
    healed = run("reconcile", *chain)
    assert (healed.exit_code, healed.stdout) == (0, "1 record brought home\n")
    assert run("reconcile").stdout == "nothing to do\n"
    assert json.loads(run("reconcile", "--full", "--output", "json").output)["still_owed"] == 0


def test_a_location_that_is_gone_for_good_is_retired(home, monkeypatch):
    gone, kept = f"sqlite||{home}/gone/a.db||t", f"sqlite||{home}/b.db||t"
    (home / "gone").write_text("in the way")
    with monkeypatch.context() as earlier:
        earlier.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", json.dumps([gone, kept]))
        get_store((gone, kept), mode="fallback", connections={}, adapters={}).write_tracking_record(RECORD)
        in_use = run("reconcile", "--retire", gone)
        assert in_use.exit_code == 2
        assert "this location is in use" in in_use.stderr
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", kept)
    assert run("reconcile").exit_code == 1
    told = run("reconcile", "--location", kept)
    assert f"1 record owed to {gone}, which no chain of this host has" in told.stderr
    assert run("reconcile", "--retire", gone, "--watch").exit_code == 2
    retired = run("reconcile", "--retire", gone)
    assert (retired.exit_code, retired.stdout) == (0, "1 debt to a retired location dropped\n")
    # The file of a pipeline may still name it, which only its use can tell.
    assert retired.stderr.startswith(f"{gone} was used on this host ")
    assert "Pipeline files are not read here: take it out of each that names it" in retired.stderr
    assert run("reconcile").stdout == "nothing to do\n"
    again = run("reconcile", "--retire", gone)
    assert again.exit_code == 0
    assert f"Nothing was owed to {gone}" in again.stderr
    assert "was used on this host" not in again.stderr
    assert [record["owed"] for record in TrackingStore([kept]).read_tracking_records("orders")] == [[]]


@pytest.mark.parametrize("full", [(), ("--full",)])
def test_reconcile_says_when_a_location_did_not_answer_although_nothing_is_left(home, full):
    place, gone = f"sqlite||{home}/a.db||t", f"sqlite||{home}/shut/gone.db||t"
    (home / "shut").write_text("in the way")
    run("init", place)
    shown = run("reconcile", *full, "--location", place, "--location", gone)
    assert (shown.exit_code, shown.stdout) == (3, "")
    assert f"Not asked: {gone}: " in shown.stderr
    (home / "shut").unlink()
    none_yet = run("reconcile", *full, "--location", place, "--location", gone)
    assert (none_yet.exit_code, none_yet.stdout) == (0, "nothing to do\n")


class Simple(Storage, StorageAdapter):
    """A storage with no more than the three methods."""


def test_a_storage_that_can_list_nothing_is_no_failure_of_a_full_pass(home):
    adapters = {"simple": f"{__name__}.Simple"}
    remember_chain({"locations": ["simple||x"], "mode": "fallback", "connections": {}, "adapters": adapters})
    run("init", default_location())
    shown = run("reconcile", "--full")
    assert (shown.exit_code, shown.stdout) == (0, "nothing to do\n")
    assert shown.stderr == "Not asked: simple||x: cannot list its records, so nothing is compared with it\n"


@pytest.mark.parametrize("full", [(), ("--full",)])
def test_reconcile_of_several_chains_names_what_it_sets_aside_and_counts_it_once(home, full):
    with TrackingStore.from_settings() as store, TrackingStore([f"sqlite||{home}/own.db||t"]) as own:
        assert store.write_tracking_record(RECORD)
        assert own.write_tracking_record(RECORD)
        journal = Journal(store.journal_folder)
        journal.append(b"no entry", durable=True)
        journal.close()
    shown = run("reconcile", *full)
    assert (shown.exit_code, shown.stdout) == (1, "1 dead letter\n")


def test_reconcile_takes_back_what_only_a_log_has(home, caplog):
    (home / "down").write_text("in the way")
    with TrackingStore([f"sqlite||{home}/down/a.db||t"], journal_dir=home / "down") as store:
        assert not store.write_tracking_record(RECORD)
        assert not store.write_tracking_record({**RECORD, "run_id": 'said "so"'})
    first, second = [line for line in caplog.messages if "Keep this line" in line]
    log = home / "attempt=1.log"
    log.write_text(f"a line\n[2026-01-31] ERROR - {first}\n" + json.dumps({"event": second, "level": "error"}) + "\n")
    for _ in range(2):
        shown = run("reconcile", "--from-log", str(log))
        assert (shown.exit_code, shown.stdout) == (0, "nothing to do\n")
        assert f"{log}: 2 changes taken back" in shown.stderr
    with TrackingStore.from_settings() as store:
        assert [record["run_id"] for record in store.read_tracking_records("orders")] == ["r1", 'said "so"']


def test_reconcile_adopts_no_host_that_is_not_there(home):
    shown = run("reconcile", "--adopt", "gone")
    assert shown.exit_code == 2
    assert "gone" in shown.stderr
    assert "Traceback" not in shown.output


def test_doctor_says_what_holds(filled):
    shown = run("doctor")
    assert shown.exit_code == 0
    assert "No tracking_location is set: records are in SQLite under AIRFLOW_HOME" in shown.output
    assert "NO   after host loss: every location is on this host" in shown.output
    answered = json.loads(run("doctor", "--output", "json").output)
    assert (answered["is_well"], answered["nothing_configured"]) == (True, True)
    down = run("doctor", "--location", "postgres||a||b||c")
    assert down.exit_code == 1
    assert "there is no such Airflow connection" in down.output


def test_doctor_says_since_when_a_location_is_down(filled, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_DEFAULT", "postgres://nobody:unasked@127.0.0.1:1/db")
    places = ("--location", "postgres||a||b||c", "--location", f"sqlite||{filled}/t.db||t")
    run("doctor", *places)
    shown = run("doctor", *places)
    assert "down since" in shown.output
    first, second = json.loads(run("doctor", "--output", "json", *places).output)["locations"]
    assert datetime.now(timezone.utc) - datetime.fromisoformat(first["since"]) < timedelta(minutes=1)
    assert second["since"] is None


def test_doctor_says_which_file_counts_what_was_lost_and_when_it_may_go(filled):
    with TrackingStore.from_settings() as store:
        counter = store.journal_folder / "lost"
    counter.parent.mkdir(parents=True, exist_ok=True)
    counter.write_bytes(b"..")
    shown = run("doctor")
    assert shown.exit_code == 1
    assert "2 records could not be kept anywhere: give task logs with 'pipetrack could not keep' to" in shown.output
    assert f"then remove {counter}, which counts them" in shown.output
    counter.with_suffix(".ndjson").write_bytes(b"")
    shown = run("doctor")
    assert f"2 records could not be kept anywhere: give {counter}.ndjson, which lists them, or" in shown.output
    assert f"to reconcile --from-log, then remove it and {counter}, which counts them" in shown.output
    counter.unlink()
    assert run("doctor").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["status", "--location", "postgrs||a||b||c"], 2, "there is no storage type 'postgrs' (did you mean 'postgres'?)"),
        (["init", "postgres||a||b||c"], 3, "there is no such Airflow connection"),
        (["init"], 2, "Missing argument 'LOCATION...'"),
        (["queries", "run", "slwo"], 2, "there is no question 'slwo' (did you mean 'slow'?)"),
        (["queries", "run", "runs", "--where", "ownr=x"], 2, "there is no filter of runs 'ownr' (did you mean 'owner'?)"),
        (["queries", "run", "runs", "--where", "x"], 2, "expected FILTER=VALUE"),
        (["queries", "run", "runs", "--where", "map_index=x"], 2, "expected a whole number"),
        (["queries", "run", "runs", "--where", "since=soon"], 2, "expected a day or a moment such as 2026-03-01T12:00"),
        (
            ["queries", "run", "runs", "--where", "until=0001-01-01T00:00+14:00"],
            2,
            "expected a day or a moment such as 2026-03-01T12:00",
        ),
        (["queries", "show", "slow", "--dialect", "postgers"], 2, "did you mean 'postgres'?"),
        (["reconcile", "--airflow-url", "http://127.0.0.1:9"], 2, "Airflow wants a login"),
        (["reconcile", "--airflow-url", "http://127.0.0.1:9", "--airflow-user", "a", "--airflow-password", "b"], 3,
         "Airflow at http://127.0.0.1:9 cannot be reached"),
    ],
)  # fmt: skip
def test_a_mistake_gets_a_sentence_and_no_traceback(home, arguments, code, words):
    shown = run(*arguments)
    assert (shown.exit_code, words in shown.stderr) == (code, True), shown.stderr
    assert "Traceback" not in shown.output
    assert shown.exception is None or isinstance(shown.exception, SystemExit)


def test_setting_mistakes_get_a_sentence_too(home, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__MODE", "both")
    for command in ("status", "reconcile", "doctor"):
        shown = run(command)
        assert shown.exit_code == 2
        assert "[pipetrack] mode = 'both': expected fallback or mirror" in shown.stderr


def test_chains_that_pipelines_have_used_are_asked_too(filled):
    own, gone = f"sqlite||{filled}/own.db||t", f"sqlite||{filled}/gone.db||t"
    with TrackingStore([own]) as store:
        store.write_tracking_record({**RECORD, "pipeline_id": "elsewhere", "dag_id": "elsewhere"})
    for chain in ([own], [gone], ["custom||postgres://me:hush@host/db"]):
        remember_chain({"locations": chain, "mode": "fallback", "connections": {}, "adapters": {}})
    shown = run("status")
    assert shown.exit_code == 0
    assert "elsewhere" in shown.stdout
    assert "orders" in shown.stdout
    assert f"Not asked: {gone}: not visible here" in shown.stderr
    assert "Not asked: custom||postgres://me:***@host/db: " in shown.stderr
    assert "there is no storage type 'custom'" in shown.stderr
    assert "hush" not in shown.output
    answered = json.loads(run("status", "elsewhere", "--output", "json").stdout)
    assert own in answered["sources"]
    assert [row["task_id"] for row in answered["transfers"]] == ["load"]
    unknown = run("status", "nope")
    assert unknown.exit_code == 3
    assert "No record of a pipeline 'nope' was found, but not every location could be asked." in unknown.stderr
    assert run("history", "elsewhere/r1/load/-1/1").exit_code == 0
    assert "┃ chain ┃ location" in run("doctor").stdout
    assert not (filled / "gone.db").exists(), "asking makes no file"
    places = json.loads(run("doctor", "--output", "json").stdout)["locations"]
    assert {place["name"]: place["state"] for place in places[1:]} == {gone: "not visible here", own: "up"}


@needs_provider_commands
def test_airflow_has_the_same_commands(filled):
    called = [sys.executable, "-m", "airflow", "pipetrack", "queries", "run", "runs", "--where", "dag_id=orders"]
    done = subprocess.run([*called, "--output", "json"], capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout[done.stdout.index("{") :])["total"] == 3


def test_a_watch_goes_on_when_airflow_does_not_answer_and_ends_when_it_is_told(home):
    called = [sys.executable, "-m", "airflow_provider_pipetrack.cli.main", "reconcile", "--watch", "--interval", "1"]
    airflow = ["--airflow-url", "http://127.0.0.1:9", "--airflow-user", "a", "--airflow-password", "b"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Whoever runs the tests in the background lets them ignore the signal, and what they start.
    heeded = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen([*called, *airflow], **streams, preexec_fn=heeded) as watching:  # noqa: PLW1509
        said = [watching.stderr.readline() for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        out, errors = watching.communicate(timeout=60)
    assert all(line.startswith("Not asked: Airflow at http://127.0.0.1:9 cannot be reached: ") for line in said)
    assert (watching.returncode, out, "Traceback" in errors) == (0, "", False)


@pytest.fixture
def left_open(home):
    """An attempt that was left open an hour ago."""
    begun = datetime.now(timezone.utc) - timedelta(hours=1)
    record = record_of(change_from_record({**RECORD, "transfer_status": "in_progress"}))
    record.update(transfer_start_timestamp=begun, created_timestamp=begun, updated_timestamp=begun)
    with TrackingStore.from_settings() as store:
        store.legs[0].call(lambda adapter: adapter.apply([change_of_record(record)]), 30)


class _NoAirflow(BaseHTTPRequestHandler):
    """Lets nobody in who has the token "old", and greets everybody else."""

    def do_GET(self):
        self.send_response(401 if self.headers["Authorization"] == "Bearer old" else 200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        pass


@pytest.fixture
def no_airflow():
    with ThreadingHTTPServer(("127.0.0.1", 0), _NoAirflow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("is_up", "token", "words"),
    [
        (False, "t", "cannot be reached"),
        (True, "old", "refuses this login (401)"),
        (True, "t", "gives no task_instances"),
    ],
)
def test_reconcile_with_a_token_says_when_airflow_gave_no_answer(left_open, no_airflow, is_up, token, words):
    url = no_airflow if is_up else "http://127.0.0.1:9"
    asked = run("reconcile", "--airflow-url", url, "--airflow-token", token, "--output", "json")
    assert (asked.exit_code, json.loads(asked.stdout)["closed"]) == (3, 0)
    assert "Not asked: " in asked.stderr
    assert words in asked.stderr


def test_reconcile_says_what_it_did_although_airflow_does_not_answer(home):
    airflow = ("--airflow-url", "http://127.0.0.1:9", "--airflow-user", "a", "--airflow-password", "b")
    asked = run("reconcile", *airflow, "--output", "json")
    assert asked.exit_code == 3
    told = json.loads(asked.stdout)
    assert (told["closed"], told["alerts"]) == (None, {"sent": 0, "waiting": 0, "given_up": 0})
    assert run("reconcile", *airflow).stdout == "nothing to do\n"


@pytest.mark.parametrize(("width", "is_table"), [(70, False), (160, True)])
def test_a_table_that_does_not_fit_becomes_paragraphs(filled, width, is_table):
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
    called = [sys.executable, "-m", "airflow_provider_pipetrack.cli.main", "status"]
    done = subprocess.Popen(called, stdout=terminal, stderr=terminal, env={**environment, "TERM": "xterm"})
    os.close(terminal)
    text = read_all(controller)
    assert done.wait(60) == 0
    assert ("┏" in text) is is_table
    assert max(map(len, text.splitlines())) <= width
    assert "orders" in text
    assert ("state in_progress" in text) is not is_table
