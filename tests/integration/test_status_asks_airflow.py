"""``pipetrack status PIPELINE --airflow-url``: what Airflow has ended and no record says yet is shown as stale."""

from __future__ import annotations

import json
import re
import threading
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
import pytest
from click.testing import CliRunner

from airflow_provider_pipetrack.cli import airflow_rest
from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.records.handmade import change_from_record, change_of_record
from airflow_provider_pipetrack.records.merge import record_of
from airflow_provider_pipetrack.tracking.store import TrackingStore

BEGUN = datetime.now(timezone.utc) - timedelta(hours=1)
AWAY = "http://127.0.0.1:9"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A host that nobody has told where Airflow is."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("URL", "USER", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"PIPETRACK_AIRFLOW_{name}", raising=False)
    return tmp_path


def keep(*records):
    """Keep records that were last heard of an hour ago."""
    with TrackingStore.from_settings() as store:
        store.legs[0].adapter.prepare()
        for number, fields in enumerate(records):
            record = record_of(change_from_record({"pipeline_id": "orders", "run_id": "r/1", **fields}))
            moment = BEGUN - timedelta(minutes=number)
            started = None if fields["transfer_status"] == "pending" else moment
            record.update(transfer_start_timestamp=started, created_timestamp=moment, updated_timestamp=moment)
            store.legs[0].call(lambda adapter, record=record: adapter.apply([change_of_record(record)]), 30)


@pytest.fixture
def left_open(home):
    """A run in which one transfer is completed; Airflow has ended two more, and another runs."""
    keep(
        {"dag_id": "shop", "task_id": "extract", "transfer_status": "completed"},
        {"dag_id": "shop", "task_id": "load", "map_index": 2, "transfer_status": "in_progress"},
        {"dag_id": "shop", "task_id": "clean", "transfer_status": "in_progress"},
        {"dag_id": "shop", "task_id": "publish", "transfer_status": "pending"},
    )


def task(name, state, map_index=-1, try_number=1):
    ended = None if state == "running" else (BEGUN + timedelta(minutes=5)).isoformat().replace("+00:00", "Z")
    return {"task_id": name, "map_index": map_index, "state": state, "try_number": try_number, "end_date": ended}


TASKS = [
    task("extract", "success"),
    task("load", "failed", map_index=2),
    task("clean", "running"),
    task("publish", "upstream_failed", try_number=0),
]


class Airflow(ThreadingHTTPServer):
    """Answers as Airflow's REST API does, in pages, and keeps what it was asked.

    :ivar runs: the task instances of each run, by its Dag and id; a number in their place is a status that it answers.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.runs = {("shop", "r/1"): TASKS}
        self.asked, self.logins = [], 0
        self.hangs, self.closed = False, threading.Event()


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self):
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.logins += 1
        right = given == {"username": "ada", "password": "lovelace"}
        self._answer(201 if right else 401, {"access_token": "hers"} if right else {"detail": "Invalid credentials"})

    def do_GET(self):
        address = urlsplit(self.path)
        *_, dag_id, _, run_id, _ = map(unquote, address.path.split("/"))
        query = parse_qs(address.query)
        self.server.asked.append((dag_id, run_id, query))
        if self.server.hangs:
            self.server.closed.wait(30)
            return
        if self.headers["Authorization"] not in ("Bearer hers", "Bearer given"):
            self._answer(401, {"detail": "Invalid JWT token"})
            return
        tasks = self.server.runs.get((dag_id, run_id), 404)
        if isinstance(tasks, int):
            self._answer(tasks, {"detail": "no"})
            return
        (offset,), (limit,) = query["offset"], query["limit"]
        page = tasks[int(offset) : int(offset) + int(limit)]
        self._answer(200, {"task_instances": page, "total_entries": len(tasks)})

    def _answer(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def airflow():
    with Airflow() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.closed.set()
        server.shutdown()


def status(*arguments: str):
    shown = CliRunner().invoke(main, ["status", *arguments])
    assert "Traceback" not in shown.output
    return shown


def of_json(*arguments: str):
    shown = status("orders", *arguments, "--output", "json")
    return shown.exit_code, json.loads(shown.stdout), shown.stderr


def said(answer):
    return {row["task_id"]: row["airflow_says"] for row in answer["transfers"] if "airflow_says" in row}


def login(airflow):
    return "--airflow-url", airflow.url, "--airflow-user", "ada", "--airflow-password", "lovelace"


def test_people_see_what_airflow_has_ended_as_stale_and_why(left_open, airflow):
    shown = status("orders", *login(airflow))
    assert (shown.exit_code, shown.stderr) == (0, "")
    lines = {line.split()[1]: line for line in shown.stdout.splitlines() if line.startswith("│")}
    assert "stale" in lines["load[2]"]
    assert "stale" in lines["publish"]
    assert "in_progress" in lines["clean"]
    assert "completed" in lines["extract"]
    assert shown.stdout.count("Airflow says") == 2
    assert "Airflow says failed" in lines["load[2]"]
    assert "record is not closed yet" in " ".join(shown.stdout.split())
    assert airflow.logins == 1
    ((dag_id, run_id, query),) = airflow.asked
    assert (dag_id, run_id, query["order_by"]) == ("shop", "r/1", ["-start_date"])
    assert "running" in query["state"]
    assert "queued" not in query["state"]


def test_programs_get_airflows_word_beside_the_records_as_they_are(left_open, airflow):
    _, before, _ = of_json()
    code, answer, errors = of_json(*login(airflow))
    assert (code, errors) == (0, "")
    assert said(answer) == {"load": "Airflow says failed", "publish": "Airflow says upstream_failed"}
    for row in answer["transfers"]:
        row.pop("airflow_says", None)
    assert answer == before


def test_the_environment_says_where_airflow_is(left_open, airflow, monkeypatch):
    monkeypatch.setenv("PIPETRACK_AIRFLOW_URL", f"{airflow.url}/")
    monkeypatch.setenv("PIPETRACK_AIRFLOW_TOKEN", "given")
    assert said(of_json()[1]).keys() == {"load", "publish"}
    assert airflow.logins == 0


def test_what_began_long_before_is_found_behind_the_first_page(left_open, airflow):
    airflow.runs["shop", "r/1"] = [task("other", "success", index) for index in range(130)] + TASKS
    assert said(of_json(*login(airflow))[1]).keys() == {"load", "publish"}
    assert [query["offset"] for _, _, query in airflow.asked] == [["0"], ["100"]]


def test_a_run_of_any_size_costs_a_few_pages(left_open, airflow):
    airflow.runs["shop", "r/1"] = [task("other", "success", index) for index in range(5000)] + TASKS
    assert said(of_json(*login(airflow))[1]) == {}
    assert len(airflow.asked) == 10


def test_without_an_address_nobody_is_asked(left_open, mocker):
    asked = mocker.spy(httpx, "request")
    assert of_json()[0] == 0
    assert asked.call_count == 0


def test_nobody_is_asked_about_what_is_closed_or_about_all_pipelines(home, airflow):
    keep({"dag_id": "shop", "task_id": "load", "transfer_status": "completed"})
    assert status("orders", *login(airflow)).exit_code == 0
    keep({"dag_id": "shop", "task_id": "clean", "transfer_status": "in_progress"})
    assert status(*login(airflow)).exit_code == 0
    assert (airflow.logins, airflow.asked) == (0, [])


def test_of_many_runs_the_newest_three_are_asked_about_and_one_that_is_refused_stops_no_other(home, airflow):
    keep(*({"dag_id": f"d{n}", "task_id": "load", "transfer_status": "in_progress"} for n in range(5)))
    airflow.runs = {(f"d{n}", "r/1"): [task("load", "failed")] for n in range(5)} | {("d0", "r/1"): 403}
    code, answer, errors = of_json(*login(airflow))
    assert [dag_id for dag_id, *_ in airflow.asked] == ["d0", "d1", "d2"]
    assert (code, said(answer)) == (0, {})
    assert [len(said(other)) for other in answer["others"]] == [1, 1, 0, 0]
    assert errors == f"Not asked: Airflow at {airflow.url} refuses this login (403)\n"


def test_a_run_that_airflow_does_not_know_is_as_its_records_are(left_open, airflow):
    airflow.runs = {}
    code, answer, errors = of_json(*login(airflow))
    assert (code, said(answer), errors) == (0, {}, "")
    assert len(airflow.asked) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--airflow-url", AWAY, "--airflow-user", "ada", "--airflow-password", "lovelace"], "cannot be reached"),
        (["--airflow-url", AWAY, "--airflow-token", "given"], "cannot be reached"),
        (["--airflow-url", "HERE", "--airflow-user", "ada", "--airflow-password", "wrong"], "refuses this login (401)"),
        (["--airflow-url", "HERE", "--airflow-token", "old"], "refuses this login (401)"),
        (["--airflow-url", "HERE"], "Airflow wants a login: give PIPETRACK_AIRFLOW_USER"),
    ],
)
def test_an_airflow_that_gives_no_answer_is_named_and_the_records_are_shown(left_open, airflow, arguments, words):
    before = of_json()[1]
    code, answer, errors = of_json(*(argument.replace("HERE", airflow.url) for argument in arguments))
    assert (code, answer) == (0, before)
    assert errors.startswith("Not asked: ")
    assert words in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    "odd",
    [
        None,
        "load",
        {"task_id": "load"},
        {"map_index": None},
        {"try_number": None},
        {**TASKS[1], "task_id": []},
        {"state": 5},
        {"end_date": "yesterday"},
        {"end_date": "2026-01-01T00:00:00"},
        {"end_date": 5},
    ],
)
def test_task_instances_that_are_none_are_named_and_the_records_are_shown(left_open, airflow, odd):
    before = of_json()[1]
    whole = TASKS[1] if isinstance(odd, dict) and "task_id" not in odd else {}
    airflow.runs["shop", "r/1"] = [{**whole, **odd} if isinstance(odd, dict) else odd]
    code, answer, errors = of_json(*login(airflow))
    assert (code, answer) == (0, before)
    assert errors.startswith(f"Not asked: What answers at {airflow.url} is no Airflow as this version knows it: ")
    assert len(errors.splitlines()) == 1


def test_an_airflow_that_hangs_costs_one_limit_of_time(home, airflow, monkeypatch):
    keep(*({"dag_id": f"d{n}", "task_id": "load", "transfer_status": "in_progress"} for n in range(3)))
    monkeypatch.setattr(airflow_rest, "TIMEOUT", 0.3)
    airflow.hangs = True
    code, _, errors = of_json("--airflow-url", airflow.url, "--airflow-token", "given")
    assert (code, len(airflow.asked)) == (0, 1)
    assert "cannot be reached: ReadTimeout" in errors


def test_a_run_that_goes_on_says_what_it_takes_so_far(home):
    keep({"dag_id": "shop", "task_id": "load", "transfer_status": "in_progress"})
    shown = CliRunner().invoke(main, ["status", "orders"])
    assert re.search(r"│ 1h\S* so far ", shown.stdout), shown.stdout
