"""Each page answers its question from the records, and says what to do where there are none."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from urllib.parse import quote, urljoin

import pytest
from click.testing import CliRunner

from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.config import PipelineConfig
from airflow_provider_pipetrack.records.configs import ConfigVersion
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.records.queries import QUESTIONS
from airflow_provider_pipetrack.tracking.configs import keep_config
from airflow_provider_pipetrack.tracking.questions import Questions
from airflow_provider_pipetrack.ui import catalog, overview, runs, tables
from airflow_provider_pipetrack.ui.catalog import PIPELINES
from tests.tracking_history import NOW, ORDERS, Run, good_run
from tests.unit.ui.conftest import filled_store

FAILED_RUN = f"scheduled__{(NOW - timedelta(days=1)).isoformat()}"
PAGES = (
    "",
    "runs",
    "transfers",
    "attention",
    "ready",
    "ready?stage=staging",
    "audits",
    "health",
    "p/orders",
    "p/orders/t/clean",
    "p/finance/r/manual__finance",
    "p/customers/r/manual__1",
    "p/customers/t/load?run_id=manual__1",
)
#: At the two ends of what a date can be, of which all but one have no end, or no moment in UTC.
ODD_MOMENTS = (
    "0001-01-01",
    "9999-12-31",
    "9999-12-31T23:59:59.999999-01:00",
    "0001-01-01T00:00:00+14:00",
)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    from airflow_provider_pipetrack import TrackingStore

    folder = tmp_path_factory.mktemp("empty")
    with TrackingStore([f"sqlite||{folder / 'tracking.db'}||t"], journal_dir=folder / "journal") as store:
        store.legs[0].call(lambda adapter: adapter.prepare(), 10)
        yield store


def test_the_overview_says_what_is_wrong_and_whose_it_is(client, read):
    page = read(client, "")
    assert "1 ✗failed" in page.text
    assert "1 ◔overdue" in page.text
    assert "failed (attempt 3 of 3) orders clean" in page.text
    assert "CRMError: CRM said no" in page.text
    assert re.search(
        r"overdue by \d+ min( \d+ s)? finance load manual__finance runs for \d+ min( \d+ s)?, estimate 10 min shop_team",
        page.text,
    )


def test_the_overview_shows_the_last_runs_of_each_pipeline_as_a_strip(client):
    text = client.get("").text
    strip = text.split('<ul class="strip">')[-1].split("</ul>")[0]
    assert strip.count("<li>") == 10
    assert strip.rstrip().rpartition("<li>")[2].count("✗") == 1


def test_a_pipeline_shows_its_stages_its_runs_and_where_it_hurts(client, read):
    page = read(client, "p/orders")
    assert "✗failed · last run began 1 d ago, version 7, owned by shop_team" in page.text
    labels = [attrs["aria-label"] for tag, attrs in page.tags if tag == "a" and attrs.get("aria-label")]
    assert "clean: failed, owner shop_team" in labels
    assert "publish: not run, owner shop_team" in labels
    assert "clean 56 % 14 25 " in page.text
    assert "None took longer than estimated." in page.text


def test_a_pipeline_says_first_where_it_hurts_lately(visitor, tmp_path, read):
    runs = [good_run("orders", f"r{day}", NOW - timedelta(days=day)) for day in (1, 2, 40)]
    runs[1].end("publish", 40, 14, attempt=2)
    runs[2].end("load", 40, 90, attempt=2, status="failed")
    with filled_store(tmp_path, runs) as store:
        client = visitor(store, "orders")
        head = client.get("p/orders").text.split("<h2")[0]
        assert head.count("#attempts") == 3
        told = "In the last 30 days clean failed most often, 2 times in 4 attempts; publish took longest beside its estimate"
        page = read(client, "p/orders")
        assert f"{told}, 1.5 times." in page.text
        assert "Transfers that failed in the last 30 days 1 CSV" in page.text
        assert len(exported(client, "p/orders?export=flaky")) == 1
        sorted_otherwise = read(client, "p/orders?flaky.sort=task_id&slow.sort=-longest_seconds")
        assert f"{told}, 1.5 times." in sorted_otherwise.text
        page = read(client, "p/orders?since=60d")
        assert "In this time clean failed most often, 3 times in 6 attempts" in page.text
        assert "Transfers that failed 2 CSV" in page.text
        assert "days" not in read(client, "p/orders?until=20d").text.replace("distance", "")


def test_a_pipeline_that_did_well_says_so(visitor, tmp_path, read):
    run = Run("orders", "one", NOW)
    run.end("load")
    with filled_store(tmp_path, [run]) as store:
        page = read(visitor(store, "orders"), "p/orders")
    assert "In the last 30 days no attempt failed, and nothing took longer than estimated." in page.text


def test_a_run_says_why_it_stopped_and_what_is_affected_downstream(client, read):
    page = read(client, f"p/orders/r/{FAILED_RUN}")
    assert "✗clean (attempt 3 of 3): CRMError: CRM said no" in page.text
    assert "Affected downstream: publish (upstream failed: clean)" in page.text
    assert "archive (disabled)" not in page.text


def test_the_questions_of_pages_share_a_thread(client, mocker):
    begun = mocker.spy(threading, "Thread")
    for path in ("p/orders/t/clean", f"p/orders/r/{FAILED_RUN}", "runs"):
        assert client.get(path).status_code == 200
    assert [call.kwargs["name"] for call in begun.call_args_list].count("pipetrack: page") == 1


@pytest.mark.parametrize("fails", [True, False])
def test_it_is_asked_why_a_run_stopped_when_something_failed(visitor, tmp_path, mocker, fails):
    run = Run("orders", "one", NOW - timedelta(hours=1))
    run.end("load", 0, 5, **({"status": "failed", "error_message": "no"} if fails else {}))
    asked = mocker.spy(Questions, "ask")
    with filled_store(tmp_path, [run]) as store:
        assert visitor(store, "orders").get("p/orders/r/one").status_code == 200
    assert ("attention" in [call.args[1] for call in asked.call_args_list]) is fails


STOPPED = [
    (
        {"result": "mismatched", "difference": 3, "audit_ended": "failed"},
        "≠load (audit load__audit): mismatched, rows: 700, difference: 3",
    ),
    (
        {"result": "pending", "error": "ValueError: the source is gone", "audit_ended": "failed"},
        "✗load (audit load__audit): no answer: ValueError: the source is gone",
    ),
]


@pytest.mark.parametrize(("audit", "words"), STOPPED)
def test_a_run_that_its_audit_stopped_has_failed_everywhere(visitor, tmp_path, read, monkeypatch, audit, words):
    run = Run("orders", "one", NOW - timedelta(hours=1))
    run.end("load", 0, 5)
    run.audit("load", after=6, audit_task="load__audit", **audit)
    for name in ("clean", "publish"):
        run.stop(name, "not run: an upstream failed", 7)
    with filled_store(tmp_path, [run]) as store:
        client = visitor(store, "orders")
        page = read(client, "p/orders/r/one").text
        assert "✗failed · 1 of 1 transfer completed, 1 audit failed, 3 not run" in page
        assert f"Why it stopped {words}" in page
        assert "Affected downstream: clean (not run: an upstream failed), publish" in page
        overview = read(client, "").text
        assert "1 ✗failed" in overview
        assert "✓completed" not in overview
        assert "failed, began" in overview
        assert "Nothing needs attention" not in overview
        assert "✗failed" in read(client, "runs?status=failed").text
        (row,) = client.get("api/v1/runs").json()["rows"]
        assert (row["state"], row["failed"], row["audits_failed"]) == ("failed", 0, 1)
        assert row["failed_transfers"] == ["load"]
    location = f"sqlite||{tmp_path / 'tracking.db'}||pipeline_tracking"
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    said = CliRunner().invoke(main, ["status", "--output", "json", "--location", location])
    assert [pipeline["state"] for pipeline in json.loads(said.output)["pipelines"]] == ["failed"]


@pytest.mark.parametrize(
    ("audit", "words"),
    [
        ({"result": "mismatched", "audit_ended": "passed"}, "✓completed · 1 of 1 transfer completed"),
        ({"result": "mismatched"}, "✓completed · 1 of 1 transfer completed"),
        ({"result": "pending", "audit_ended": "passed", "warning": "not checked"}, "✓completed · 1 of 1"),
        ({"result": "pending", "audit_ended": "not yet"}, "▶running · 1 of 1 transfer completed"),
    ],
)
def test_an_audit_that_warns_or_waits_stops_no_run(visitor, tmp_path, read, audit, words):
    run = Run("orders", "one", NOW - timedelta(hours=1))
    run.end("load", 0, 5)
    run.audit("load", after=6, **audit)
    for name in ("clean", "publish"):
        run.stop(name, "skipped before it began", 7)
    with filled_store(tmp_path, [run]) as store:
        page = read(visitor(store, "orders"), "p/orders/r/one").text
    assert words in page
    assert "Why it stopped" not in page


def test_a_failure_is_shown_with_what_was_decided_about_it(visitor, tmp_path, read):
    run = Run("orders", "one", NOW - timedelta(hours=1))
    run.end(
        "load",
        0,
        5,
        status="failed",
        error_message="the shop is closed\nat line 7",
        decision="not rolled back: no function",
    )
    run.end("clean", 6, 5, status="failed", error_message="refused: partial data", decision="refused: partial data")
    with filled_store(tmp_path, [run]) as store:
        client = visitor(store, "orders")
        page = read(client, "p/orders/r/one").text
        rows = client.get("p/orders/r/one").text
    assert "load (attempt 1 of 3): the shop is closed; not rolled back: no function" in page
    assert "clean (attempt 1 of 3): refused: partial data Affected" in page
    assert "<small><bdi>the shop is closed</bdi></small><small><bdi>not rolled back: no function</bdi></small>" in rows
    assert rows.count("<small><bdi>refused: partial data</bdi></small>") == 1


def test_the_number_of_what_else_is_affected_opens_the_rest_of_it(visitor, tmp_path, read, monkeypatch):
    run = Run("orders", "one", NOW - timedelta(hours=1))
    run.end("load", 0, 5, status="failed", error_message="the shop is closed")
    for index in range(60):
        run.index = index
        run.stop("publish", "upstream failed: load", 7)
    run.index = -1
    run.stop("archive", "disabled", 7)
    with filled_store(tmp_path, [run]) as store:
        client = visitor(store, "orders")
        page = read(client, "p/orders/r/one")
        (told,) = re.findall(r"(\d+) more that are affected", page.text)
        (opened,) = re.findall(r'<details id="affected">.*?</details>', page.whole, re.DOTALL)
        assert len(re.findall("<a href=", opened)) == int(told) == 62 - 50, "60 indexes, and clean"
        assert "archive" not in opened
        assert "[59]" in opened
        assert "not looked at" not in page.text
        monkeypatch.setattr(runs, "_MOST_PENDING", 20)
        assert "Whether it affects more is not known: of all that is pending, " in read(client, "p/orders/r/one").text


def test_what_waits_behind_a_failure_is_affected_too(visitor, tmp_path, read):
    run = Run("orders", "one", NOW - timedelta(hours=1))
    run.end("load", 0, 5, status="failed", error_message="the shop is closed")
    with filled_store(tmp_path, [run]) as store:
        page = read(visitor(store, "orders"), "p/orders/r/one")
    assert "Affected downstream: clean (waits), publish (waits)" in page.text


def test_what_would_not_have_run_anyway_is_not_affected(visitor, tmp_path, read):
    run = Run("orders", "one", NOW - timedelta(hours=1))
    run.end("load", 0, 5, status="failed", error_message="the shop is closed")
    run.stop("clean", "removed from the Dag", 7)
    run.stop("publish", "skipped before it began", 7)
    with filled_store(tmp_path, [run]) as store:
        page = read(visitor(store, "orders"), "p/orders/r/one")
    assert "the shop is closed" in page.text
    assert "Affected downstream" not in page.text


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ({"status": "pending"}, "Started not yet Took –, estimate 10 min Audit not yet"),
        ({"status": "pending", "decision": "removed from the Dag"}, "Started no Took –, estimate 10 min Decision"),
        ({"status": "failed", "error_message": "failed before it began; Airflow says failed"}, "Started no Took"),
        ({"status": "completed", "decision": "set to success without running"}, "Started no Took"),
    ],
)
def test_what_did_not_run_is_not_said_to_be_still_to_start(visitor, tmp_path, read, outcome, words):
    run = Run("orders", "one", NOW - timedelta(hours=1))
    if len(outcome) > 1:
        run.close_unbegun("load", **outcome)
    with filled_store(tmp_path, [run]) as store:
        page = read(visitor(store, "orders"), "p/orders/t/load?run_id=one")
    assert words in page.text
    assert ("not yet" in page.text) == (len(outcome) == 1 or outcome["status"] == "completed")


FAILED_OF_WIDE = (500, 2103, 2104)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A run of 2,105 transfers, of which two have failed and one did at first."""

    def change(n, **columns):
        failed = n in FAILED_OF_WIDE
        started = NOW - timedelta(hours=1) + timedelta(seconds=n % 97)
        return change_from_record(
            {
                "dag_id": "orders",
                "run_id": "wide",
                "task_id": "load" if n < 2104 else "publish",
                "map_index": n if n < 2104 else -1,
                "transfer_order_number": 1.0 if n < 2104 else 2.0,
                "transfer_status": "failed" if failed else "completed",
                "transfer_start_timestamp": started,
                "transfer_end_timestamp": started + timedelta(seconds=n),
                "actual_seconds": float(n),
                "error_message": f"the shop has no page {n}" if failed else None,
                "transfer_process_owner_name": "shop" if n % 2 else "crm",
                **columns,
            }
        )

    changes = [*map(change, range(2105)), change(7, retry_attempt_number=1)]
    with filled_store(tmp_path_factory.mktemp("wide"), [SimpleNamespace(changes=changes)]) as store:
        yield store


def test_the_stages_of_a_large_run_have_all_its_transfers(visitor, wide):
    stages = visitor(wide, "orders").get("p/orders").text.split('id="stages"', 1)[1].split("</section>")[0]
    assert re.findall('aria-label="([a-z]+: [^"]*)"', stages) == [
        "load: failed, owner crm",
        "publish: failed, owner crm",
    ]


def drawn(client, path):
    """Return the rows of a timeline as texts."""
    section = client.get(path).text.split('id="timeline"', 1)[1].split("</section>")[0]
    return [re.sub("<[^>]*>", " ", row) for row in re.findall(r"<tr data-key.*?</tr>", section, re.DOTALL)]


@pytest.mark.parametrize(
    ("location", "words"),
    [
        (None, "the places of this Airflow"),
        (["sqlite||/a||t", "local_file||/b"], "sqlite||/a||t, then local_file||/b"),
        ("snowflake||a||b||c", "snowflake||a||b||c"),
        (5, "5"),
        ({"type": "own"}, '{ "type": "own" }'),
    ],
)
def test_the_place_of_a_record_that_was_written_by_hand_is_shown_as_it_stands(visitor, tmp_path, read, location, words):
    record = {"pipeline_id": "hand", "transfer_unique_id": "load", "run_id": "one", "transfer_status": "completed"}
    change = change_from_record({**record, "tracking_location": location})
    with filled_store(tmp_path, [SimpleNamespace(changes=[change])]) as store:
        assert f"Kept in {words} " in read(visitor(store, "hand"), "p/hand/t/load").text


def test_of_many_attempts_of_a_run_it_is_said_how_many_are_shown_with_all_they_have(visitor, wide, read):
    page = read(visitor(wide, "orders"), "p/orders/t/load?run_id=wide")
    assert "The newest 20 of 2,105 attempts of this run" in page.text
    assert page.whole.count('<article class="attempt"') == 20


def test_a_large_run_names_its_failures(visitor, wide, read):
    page = read(visitor(wide, "orders"), "p/orders/r/wide").text
    for n in FAILED_OF_WIDE:
        assert f"(attempt 1): the shop has no page {n}" in page
    assert "load [2103] (attempt 1)" in page
    assert "more among" not in page


def test_a_large_run_is_drawn_page_by_page(visitor, wide, read):
    client = visitor(wide, "orders")
    page = read(client, "p/orders/r/wide")
    assert "1 to 100 of 2,105 CSV" in page.text
    assert "?timeline.page=2#timeline" in page.links
    names = [
        re.search(r"load \[\d+\]|publish", row)[0]
        for n in range(1, 23)
        for row in drawn(client, f"p/orders/r/wide?timeline.page={n}")
    ]
    assert len(names) == len({*names}) == 2105
    assert names[-1] == "publish", "its level is the second"
    texts = [read(client, f"p/orders/r/wide?timeline.page={n}").text for n in (1, 22)]
    axes = [re.search(r"When.*?Audit", text)[0].replace(" ▴", "") for text in texts]
    assert axes[0] == axes[1], "each page has the axis of the whole run"


@pytest.mark.parametrize(
    ("order", "first"),
    [
        ("task_id", "load"),
        ("-task_id", "publish"),
        ("-transfer_order_number", "publish"),
        ("transfer_start_timestamp", "load [0]"),
        ("-actual_seconds", "publish"),
        ("actual_seconds", "load [0]"),
        ("-transfer_status", "failed"),
    ],
)
def test_a_timeline_is_sorted_by_its_heads_and_exported_in_that_order(visitor, wide, order, first):
    client = visitor(wide, "orders")
    path = f"p/orders/r/wide?timeline.sort={order}"
    row = drawn(client, path)[0]
    assert first in row
    rows = exported(client, f"{path}&export=timeline")
    assert len(rows) == 2105
    name, index = rows[0]["task_id"], rows[0]["map_index"]
    assert (f"{name} [{index}]" if index != "-1" else name) in row
    assert (
        f'href="?timeline.sort={order[1:] if order.startswith("-") else "-" + order}#timeline"' in client.get(path).text
    )


def test_a_timeline_is_filtered_in_the_address(visitor, wide, read):
    client = visitor(wide, "orders")
    failed = drawn(client, "p/orders/r/wide?status=failed")
    assert len(failed) == 3
    assert len(exported(client, "p/orders/r/wide?status=failed&export=timeline")) == 3
    page = read(client, "p/orders/r/wide?owner=shop").text
    assert "1 to 100 of 1,052 CSV" in page
    assert "2,102 of 2,105 transfers completed" in page, "what is said of the run is of all of it"
    assert "Why it stopped" in page
    assert "Nothing fits these filters. Clear them" in read(client, "p/orders/r/wide?owner=nobody").text


def test_earlier_attempts_are_drawn_beside_the_latest(visitor, wide):
    client = visitor(wide, "orders")
    (row,) = [row for row in drawn(client, "p/orders/r/wide?timeline.sort=actual_seconds") if "load [7]" in row]
    assert row.count("attempt 1: completed") == 1
    assert row.count("attempt 2: completed") == 1


def test_what_has_not_begun_stands_in_the_order_of_its_names(visitor, tmp_path):
    names = [f"step_{n}" for n in range(1, 12)]
    columns = {"dag_id": "orders", "run_id": "one", "transfer_order_number": 1.0, "transfer_status": "pending"}
    changes = [change_from_record({**columns, "task_id": name}) for name in names]
    with filled_store(tmp_path, [SimpleNamespace(changes=changes)]) as store:
        rows = drawn(visitor(store, "orders"), "p/orders/r/one")
    assert [re.search(r"step_\d+", row)[0] for row in rows] == names


def test_of_many_failures_some_are_named_and_the_others_counted(client, read, monkeypatch):
    monkeypatch.setattr(runs, "_MOST_STOPS", 0)
    page = read(client, f"p/orders/r/{FAILED_RUN}")
    assert "Why it stopped 1 more among all of this run that needs attention" in page.text
    (href,) = [link for link in page.links if "attention?" in link and "run_id=" in link]
    assert "✗failed (attempt 3 of 3)" in read(client, href.replace("../", "")).text


def test_a_run_is_drawn_with_attempts_estimates_and_partial_data(client, read):
    page = read(client, "p/customers/r/manual__1")
    bars = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("class") == "bars"]
    labels = [attrs["aria-label"] for attrs in bars]
    assert labels == [
        "attempt 1 of 3: partial, 4 min",
        "attempt 1 of 3: failed, 3 min; attempt 2 of 3: completed, 12 min",
        "attempt 1 of 3: completed, 4 min",
    ]
    assert [attrs["class"] for tag, attrs in page.tags if tag == "path"] == ["hatch", "cross"]
    assert "partial data accepted: 700 of 1,000 records" in page.text
    assert sum(attrs.get("class") == "estimate" for tag, attrs in page.tags if tag == "rect") == 3


def test_a_transfer_says_which_estimate_would_fit(client, read):
    page = read(client, "p/orders/t/clean")
    assert "Half of 11 completed attempts took up to 12 min, 19 of 20 up to 12 min, the longest 12 min." in page.text
    assert "The estimate is 20 min; none took longer. An estimate of 13 min 12 s would fit." in page.text
    assert (
        sum(attrs.get("class", "").startswith("point") for tag, attrs in page.tags if tag in {"circle", "path"}) == 25
    )


def test_an_estimate_that_was_changed_is_told_as_it_is_now(visitor, tmp_path, read):
    runs = [Run("orders", f"r{n}", NOW - timedelta(hours=9 - n)) for n in range(4)]
    for run in runs:
        if run is runs[-1]:
            longer = PipelineConfig.from_text(ORDERS.replace("10m", "30m"), "orders.yaml").stage_transfers
            run.transfers = {transfer.name: transfer for transfer in longer}
        run.end("load", 1, 12)
    with filled_store(tmp_path, runs) as store:
        page = read(visitor(store, "orders"), "p/orders/t/load")
    assert "The estimate is 30 min; 3 attempts took longer than was estimated then." in page.text
    assert "estimate 30 min" in page.text.split("What it takes", 1)[1].split("The latest attempt")[0]


def test_a_transfer_of_one_run_shows_its_attempts_with_all_they_have(client, read):
    page = read(client, "p/customers/t/load?run_id=manual__1")
    assert "Attempts of this run" in page.text
    assert "Decision partial data accepted: 700 of 1,000 records" in page.text
    assert "alone within its level" not in page.text
    assert '"rows": 700' in page.text
    began = (NOW - timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S UTC")
    assert re.search(r"Started [\w ]+ ago Ended [\w ]+ ago, said by task Took 4 min", page.text)
    assert began in [attrs["title"] for tag, attrs in page.tags if tag == "time"]
    assert "Kept in sqlite||/data/tracking.db||t" in page.text
    assert "Only attempts of one run are listed. Show all runs" in page.text


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        (
            "stage=production&pipeline_id=customers",
            "Yes. production: ✓ready by customers: stage 'production' has its data, 'publish' ended last",
        ),
        (
            "stage=staging&pipeline_id=customers",
            "Not yet. staging: ◐partial by customers: transfer 'load' delivered a part of its data",
        ),
        ("stage=staging&pipeline_id=orders", "Not yet. staging: ≠mismatched by orders"),
        ("stage=staging", "Not yet. staging: ▶running by finance"),
        ("stage=moon", "No. None of the newest 1,000 runs has brought data to moon."),
        (
            "stage=staging&date=2001-02-03",
            "Not yet. staging, data of 2001-02-03: –no data by finance: no run of pipeline 'finance' has a transfer",
        ),
    ],
)
def test_readiness_is_answered_in_a_word_and_with_its_reasons(client, read, query, answer):
    assert answer in read(client, f"ready?{query}").text


def bounded_to(monkeypatch, question, **bounds):
    """Let a question that nobody narrows look at less."""
    smaller = replace(QUESTIONS[question], bounds=bounds)
    monkeypatch.setattr("airflow_provider_pipetrack.records.queries.asked.QUESTIONS", {**QUESTIONS, question: smaller})


def test_readiness_without_a_question_is_of_the_newest_runs_and_says_so(client, read, monkeypatch):
    bounded_to(monkeypatch, "readiness", newest=2)
    page = read(client, "ready")
    assert "Out of the newest 2 runs. A pipeline, a Dag or a time since when finds older ones." in page.text
    runs = {link for link in page.links if "/r/" in link}
    assert {link.rsplit("/", 1)[-1] for link in runs} == {"manual__finance", "manual__1"}
    for narrowed in ("ready?pipeline_id=orders", "ready?stage=staging", "ready?since=30d"):
        assert "of the newest" not in read(client, narrowed).text


@pytest.mark.parametrize(
    ("path", "question", "bounds", "told"),
    [
        ("transfers?transfers.sort=-actual_seconds", "transfers", {"newest_records": 3}, "the newest 3 records"),
        ("transfers?search=o", "transfers", {"newest_records": 3}, "the newest 3 records"),
        ("transfers?search=nowhere", "transfers", {"newest_records": 3}, "the newest 3 records"),
        ("runs?runs.sort=state", "runs", {"newest": 2}, "the newest 2 runs"),
    ],
)
def test_what_no_index_sorts_or_finds_is_of_the_newest_and_says_so(
    client, read, monkeypatch, path, question, bounds, told
):
    bounded_to(monkeypatch, question, **bounds)
    (number,) = bounds.values()
    page = read(client, path)
    assert f"of {told}" in page.text
    rows = client.get(f"{path}&export={question}").text.splitlines()
    assert rows[-1] == f"# only {told} were looked at"
    assert len(rows) - 2 <= number
    (name,) = path.split("?")[:1]
    for narrowed in (f"{path}&pipeline_id=orders", f"{path}&since=3000d", name):
        assert told not in read(client, narrowed).text
        assert told not in client.get(f"{narrowed}{'&' if '?' in narrowed else '?'}export={question}").text


def test_a_stage_of_many_pipelines_is_answered_for_some_of_them(client, read, monkeypatch):
    monkeypatch.setattr("airflow_provider_pipetrack.ui.readiness.MOST_ANSWERS", 1)
    page = read(client, "ready?stage=production")
    assert "2 more pipelines bring data to this stage. Name a pipeline to ask about it." in page.text
    assert "Yes." not in page.text
    assert "more pipeline" not in read(client, "ready?stage=production&pipeline_id=orders").text


def test_the_stages_that_pipelines_fill_are_offered(client, read):
    page = read(client, "ready")
    offered = [attrs["value"] for tag, attrs in page.tags if tag == "option" and "value" in attrs]
    assert [text for text in offered if text in {"staging", "clean", "production", "archive"}] == [
        "clean",
        "production",
        "staging",
    ]
    (stage,) = [attrs for tag, attrs in page.tags if tag == "input" and attrs["name"] == "stage"]
    assert stage["list"] == "known-stage"


def test_the_audit_trail_says_what_was_found_and_decided(client, read):
    page = read(client, "audits?audit_result=mismatched")
    assert "≠mismatched the pipeline file (on_mismatch: warn) of shop_team orders load" in page.text
    assert '"difference": 3' in page.text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "No pipeline has left a record yet. Put a pipeline file into the dags folder, or use TrackedOperator"),
        ("runs", "No run has left a record yet. Start a Dag in Airflow;"),
        ("transfers", "No transfer has left a record yet. Start a Dag in Airflow;"),
        ("attention", "Nothing needs attention: whatever failed for good has completed since"),
        ("ready", "No run has filled a stage yet. Start a Dag in Airflow;"),
        ("audits", "Nothing has been audited or decided yet. Give a transfer of a pipeline file an audit"),
    ],
)
def test_an_empty_page_says_what_to_do_next(visitor, empty_store, read, path, words):
    assert words in read(visitor(empty_store, "orders"), path).text


def test_filters_that_nothing_fits_can_be_taken_away(client, read):
    assert "Nothing fits these filters. Clear them" in read(client, "runs?owner=nobody").text


@pytest.mark.parametrize("path", ["p/nothing", "p/nothing/r/x", "p/orders/r/x", "p/orders/t/x"])
def test_what_does_not_exist_says_so(client, read, path):
    assert "There is no record of this" in read(client, path, 404).text


@pytest.mark.parametrize("path", PAGES)
def test_every_link_is_relative_and_leads_somewhere(client, path):
    answer = client.get(path)
    from tests.unit.ui.conftest import _Page

    page = _Page(answer.text)
    links = {link.split("#")[0] for link in page.links if not link.startswith("http://localhost/dags")}
    links |= {
        attrs[name]
        for tag, attrs in page.tags
        for name in ("src", "href")
        if tag in {"link", "script"} and name in attrs
    }
    assert links
    for link in sorted(links - {""})[:40]:
        assert not link.startswith(("/", "http")), link
        if "../dags/" in link:
            assert urljoin(str(answer.url), link).startswith("http://test/dags/"), link
            continue  # Airflow's own page
        found = client.get(urljoin(str(answer.url), link))
        assert found.status_code == 200, link
        assert str(found.url).startswith("http://test/pipetrack/")


def test_tables_sort_and_page_in_the_address(client, read):
    ascending = read(client, "transfers?transfers.sort=actual_seconds&transfers.page=2")
    assert "51 to 64 of 64" in ascending.text
    assert [attrs["aria-sort"] for tag, attrs in ascending.tags if tag == "th" and "aria-sort" in attrs] == [
        "ascending"
    ]
    assert "?transfers.sort=-actual_seconds#transfers" in ascending.links
    first = read(client, "runs?runs.sort=pipeline_id")
    assert first.text.index("customers") < first.text.index("finance") < first.text.index("orders")


PAGES_OF = {
    "PIPELINES": "",
    "RUNS": "runs",
    "TRANSFERS": "transfers",
    "ATTEMPTS": "p/orders/t/clean",
    "ATTENTION": "attention",
    "READINESS": "ready",
    "AUDITS": "audits",
    "FLAKY": "p/orders",
    "SLOW": "p/orders",
}


def test_every_column_that_a_database_can_sort_by_has_a_link_that_does(client):
    known = [getattr(catalog, name) for name in PAGES_OF]
    unsorted = {(table.key, column.title) for table in known for column in table.columns if column.sort is None}
    assert unsorted == {("audits", "Evidence")}, "which each check writes as it likes"
    for table in known:
        for name in {column.sort for column in table.columns} - {None}:
            answer = client.get(f"{PAGES_OF[table.key.upper()]}?{table.key}.sort=-{name}")
            assert answer.status_code == 200, (table.key, name)
            if table.key != "slow":  # nothing is
                assert f'aria-sort="descending"><a href="?{table.key}.sort={name}#' in answer.text, (table.key, name)


def order_of(client, path, column):
    """Return the texts of a column of the first table of a page, from top to bottom."""
    text = client.get(path).text
    cells = re.findall(f'<td data-title="{column}".*?</td>', text, re.DOTALL)
    return [re.sub("<[^>]*>", "", cell).strip() for cell in cells]


def test_runs_are_sorted_by_what_they_took_or_take_so_far(client):
    longest = order_of(client, "runs?runs.sort=-took_seconds", "Took")
    assert "34 min" in longest[:2]
    assert any(text.endswith("so far") for text in longest[:2])
    assert set(longest[2:]) == {"27 min"}
    assert 'title="Sort by what it took, or takes so far"' in client.get("runs").text
    shortest = client.get("api/v1/runs?order_by=took_seconds").json()["rows"]
    assert {row["run_id"] for row in shortest[-2:]} == {"manual__finance", FAILED_RUN}


def three_pipelines():
    """Pipelines whose names, owners, failures and next runs are each in another order."""
    for name, owner, failed in (("a", "zoe", 1), ("b", "ada", 3), ("c", "mia", 0)):
        for number in range(4):
            began = NOW - timedelta(hours=8 - number)
            run = Run(name, f"r{number}", began, config_hash=f"{name}-1")
            run.end("load", status="failed" if number < failed else "completed")
            run.changes = [
                replace(change, columns={**change.columns, "transfer_process_owner_name": owner})
                if "transfer_process_owner_name" in change.columns
                else change
                for change in run.changes
            ]
            yield run


def test_pipelines_are_sorted_by_their_owner_by_their_last_runs_and_by_their_next(visitor, tmp_path, monkeypatch):
    schedules = {"a": "7h", "b": None, "c": "6h"}
    with filled_store(tmp_path, three_pipelines()) as store:
        for name, schedule in schedules.items():
            config = {"dag": {"schedule": schedule}, "stage_transfers": []}
            keep_config(store, ConfigVersion(f"{name}-1", name, name, "7", [], config, NOW))
        client = visitor(store, "a", "b", "c")
        for name, ascending in (("first_owner", "bca"), ("failures", "cab"), ("next_run_at", "cab")):
            path = f"?pipelines.sort={name}"
            assert order_of(client, path, "Pipeline") == [*ascending], name
            rows = exported(client, f"{path}&export=pipelines")
            assert [row["pipeline_id"] for row in rows] == [*ascending]
        assert order_of(client, "?pipelines.sort=-next_run_at", "Pipeline") == ["a", "c", "b"], "none comes last"
        monkeypatch.setattr(overview.catalog, "PIPELINES", replace(PIPELINES, size=2))
        assert order_of(client, "?pipelines.sort=-failures&pipelines.page=2", "Pipeline") == ["c"]
        assert 'title="Sort by how many of these runs failed"' in client.get("").text


def test_runs_with_most_failures_come_first(client, read):
    page = read(client, "runs")
    assert "?runs.sort=-failed#runs" in page.links
    assert "failed" in read(client, "runs?runs.sort=-failed").text.split("Version", 1)[1].split("completed")[0]


def test_a_page_behind_the_last_shows_the_last(client, read):
    assert "51 to 64 of 64" in read(client, "transfers?transfers.page=999").text


def test_filters_stand_in_the_address_and_in_the_form(client, read):
    page = read(client, "transfers?status=failed&owner=shop_team&search=crm")
    assert "1 CSV" in page.text
    values = {attrs["name"]: attrs.get("value") for tag, attrs in page.tags if tag == "input"}
    assert (values["owner"], values["search"]) == ("shop_team", "crm")
    assert [a["value"] for tag, a in page.tags if tag == "option" and "selected" in a] == ["failed"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("status=bar", "status='bar' was left out: expected pending, in_progress, completed, failed"),
        ("since=tomorrow", "since='tomorrow' was left out: expected a date (2025-01-31), a time (2025-01-31T06:00)"),
        ("map_index=%7BMAP_INDEX%7D", "map_index='{MAP_INDEX}' was left out: expected a number"),
    ],
)
def test_an_odd_filter_is_named_and_left_out(client, read, query, words):
    path = "p/orders/t/clean" if "map_index" in query else "runs"
    assert words in read(client, f"{path}?{query}").text


@pytest.mark.parametrize(
    "query",
    ["runs.page=-1", "runs.page=x", "runs.page=99999999999999999999", "runs.sort=drop%20table", "runs.sort=-", "a=b&a=c",
     "search=%00", "search=%ff%fe", "search=%25_%27%22;--", "since=99999999d", "until=9999-12-31", "export=nothing",
     "search=" + "x" * 10_000],
)  # fmt: skip
def test_no_address_breaks_a_page(client, query):
    assert client.get(f"runs?{query}").status_code == 200


@pytest.mark.parametrize("path", [*(page for page in PAGES if page != "health"), "dag", "dag_run", "task"])
@pytest.mark.parametrize("name", ["date", "since", "until"])
@pytest.mark.parametrize("moment", ODD_MOMENTS)
def test_no_date_breaks_a_page(client, path, name, moment):
    answer = client.get(f"{path}{'&' if '?' in path else '?'}{name}={quote(moment)}")
    assert answer.status_code == 200, answer.text
    if f'name="{name}"' in answer.text and moment != "0001-01-01":
        assert f"{name}=&#39;{moment}&#39; was left out: expected a date (2025-01-31)" in answer.text


@pytest.mark.parametrize("path", ["runs", "transfers", "transfers?every_attempt=true", "readiness?stage=staging"])
@pytest.mark.parametrize("name", ["date", "since", "until"])
@pytest.mark.parametrize("moment", ODD_MOMENTS)
def test_no_date_breaks_the_api(client, path, name, moment):
    answer = client.get(f"api/v1/{path}{'&' if '?' in path else '?'}{name}={quote(moment)}")
    known = (name == "date") == path.startswith("readiness")
    assert answer.status_code == (200 if known and moment == "0001-01-01" else 422)
    assert "expected a da" in answer.text or not known or answer.status_code == 200


@pytest.mark.parametrize(("path", "key"), [("", "pipelines"), ("", "attention"), ("attention", "attention")])
def test_every_table_is_exported_as_csv(client, path, key):
    answer = client.get(f"{path}?export={key}")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="{key}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 3
    assert {"pipeline_id", "dag_id", "run_id"} <= set(rows[0])


def exported(client, address):
    return list(csv.DictReader(io.StringIO(client.get(address).text)))


def test_an_export_has_the_rows_of_the_table_it_stands_beside(client, read):
    assert "clean 56 % 14 25 " in read(client, "p/orders?status=completed").text
    assert exported(client, "p/orders?status=completed&export=flaky") == exported(client, "p/orders?export=flaky") != []
    assert exported(client, "?status=completed&export=attention") == exported(client, "attention?export=attention")
    assert {row["transfer_process_owner_name"] for row in exported(client, "?owner=nobody&export=attention")} == set()


def test_all_that_needs_attention_is_shown_with_the_filters_of_the_overview(client, read, monkeypatch):
    monkeypatch.setattr(overview, "_FEW", replace(overview._FEW, size=1))
    links = read(client, "?search=o&status=failed").links
    assert "./attention?search=o" in links, links


def test_what_a_later_run_has_completed_is_shown_when_it_is_asked_for(visitor, tmp_path, read):
    failed = Run("orders", "old", NOW - timedelta(days=300))
    failed.end("load", 0, 5, status="failed", error_message="the shop is closed")
    with filled_store(tmp_path, [failed, good_run("orders", "new", NOW - timedelta(days=1))]) as store:
        client = visitor(store, "orders")
        for path in ("", "attention"):
            assert "Nothing needs attention" in read(client, path).text
        assert "the shop is closed" in read(client, "attention?include_recovered=shown").text
        assert "the shop is closed" in read(client, "p/orders/r/old").text


def test_an_export_says_where_it_was_cut(client, monkeypatch):
    monkeypatch.setattr(tables, "MOST_EXPORTED", 4)
    monkeypatch.setattr(tables, "_EXPORTED_AT_ONCE", 2)
    rows = list(csv.reader(io.StringIO(client.get("transfers?export=transfers&pipeline_id=orders").text)))
    assert len(rows) == 1 + 4 + 1
    assert rows[-1] == ["# incomplete: only the first 4 rows; pipetrack export writes all"]


def test_a_stage_that_was_filled_before_the_last_run_is_still_known(visitor, tmp_path, read):
    runs = [good_run("orders", f"r{day}", NOW - timedelta(days=day), stage=f"crm.day{day}") for day in (2, 1)]
    with filled_store(tmp_path, runs) as store:
        visited = visitor(store, "orders")
        assert "Not yet. crm.day1: ◐partial by orders" in (page := read(visited, "ready?stage=crm.day1").text), page
        page = read(visited, "ready?stage=crm.day2").text
        assert "Not yet. crm.day2: ◐partial by orders" in page, page
        assert [one["run_id"] for one in visited.get("api/v1/readiness?stage=crm.day2").json()["pipelines"]] == ["r2"]


def test_an_export_has_the_filter_and_the_order_of_the_page(client):
    answer = client.get("transfers?export=transfers&pipeline_id=orders&transfers.sort=-actual_seconds")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["pipeline_id"] for row in rows} == {"orders"}
    assert len(rows) == 48
    took = [float(row["actual_seconds"]) for row in rows if row["actual_seconds"]]
    assert took == sorted(took, reverse=True)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("dag?dag_id=orders", "./p/orders"),
        ("dag_run?dag_id=customers&run_id=manual__1", "./p/customers/r/manual__1"),
        (
            "task?dag_id=customers&run_id=manual__1&task_id=load&map_index=%7BMAP_INDEX%7D",
            "./p/customers/t/load?run_id=manual__1",
        ),
        (
            "task?dag_id=customers&run_id=manual__1&task_id=load__audit&map_index=-1",
            "./p/customers/t/load?run_id=manual__1",
        ),
    ],
)
def test_airflows_own_pages_lead_to_the_right_page(client, path, target):
    answer = client.get(path)
    assert (answer.status_code, answer.headers["location"]) == (302, target)


def test_a_run_of_several_pipelines_leads_to_each_however_many_records_one_has(visitor, tmp_path, read):
    wide, narrow = (Run(name, "one", NOW - timedelta(hours=1), dag_id="both") for name in ("wide", "narrow"))
    for wide.index in range(100):
        wide.start("clean", 6)
        wide.start("publish", 7)
    with filled_store(tmp_path, [narrow, wide]) as store:
        page = read(visitor(store, "both"), "dag_run?dag_id=both&run_id=one")
    assert {"./p/wide/r/one?dag_id=both", "./p/narrow/r/one?dag_id=both"} <= {*page.links}


@pytest.mark.parametrize(
    "path", ["dag?dag_id=hand_made", "dag", "dag_run?dag_id=orders&run_id=x", "task?dag_id=orders&run_id=x&task_id=y"]
)
def test_what_is_not_tracked_says_how_it_would_be(client, read, path):
    assert "Nothing is tracked here yet" in read(client, path).text


def test_nobody_is_told_to_mend_an_address_that_airflow_has_written(client):
    answer = client.get("task?dag_id=orders&run_id=x&task_id=y&map_index=%7BMAP_INDEX%7D")
    assert "Nothing is tracked here yet" in answer.text
    assert "left out" not in answer.text


def test_a_pipeline_and_a_run_lead_to_airflows_own_pages(client, read):
    assert "../../dags/orders" in read(client, "p/orders").links
    assert "../../../../dags/customers/runs/manual__1" in read(client, "p/customers/r/manual__1").links


def test_a_list_shows_four_filters_and_the_others_when_they_are_used(client):
    plain, used = client.get("transfers").text, client.get("transfers?stage=staging").text
    assert "<details><summary>More filters</summary>" in plain
    assert "<details open><summary>More filters</summary>" in used
    assert "More filters" not in client.get("p/orders").text


def test_a_host_without_any_record_says_what_to_do(visitor, tmp_path, read):
    from airflow_provider_pipetrack import TrackingStore

    place = f"sqlite||{tmp_path}/none/tracking.db||t"
    with TrackingStore([place], journal_dir=tmp_path / "journal") as store:
        page = read(visitor(store, "orders"), "")
    assert f"This host has no {place} yet: the first record makes it." in page.text
    assert "could not be asked" not in page.text
    assert f"{PIPELINES.empty} {PIPELINES.hint}" in page.text


def test_what_could_not_be_asked_is_no_empty_answer(visitor, tmp_path, read):
    from airflow_provider_pipetrack import TrackingStore

    places = [f"sqlite||{tmp_path}/tracking.db||t", "postgres@nobody||d||public||t"]
    with TrackingStore(places, journal_dir=tmp_path / "journal") as store:
        store.legs[0].call(lambda adapter: adapter.prepare(), 10)
        page = read(visitor(store, "orders"), "runs")
    assert "postgres@nobody||d||public||t could not be asked" in page.text
    assert "Nothing was found, as far as could be asked; see above." in page.text


def test_nothing_needs_attention_only_where_everything_could_be_asked(visitor, tmp_path, read):
    from airflow_provider_pipetrack import TrackingStore

    good = good_run("orders", "one", NOW - timedelta(hours=1))
    places = [f"sqlite||{tmp_path}/tracking.db||t", "postgres@nobody||d||public||t"]
    with TrackingStore(places[:1], journal_dir=tmp_path / "journal") as store:
        store.submit(good.changes, durable=True)
        assert store.flush(60)
        assert "Nothing needs attention" in read(visitor(store, "orders"), "").text
    with TrackingStore(places, journal_dir=tmp_path / "journal") as store:
        page = read(visitor(store, "orders"), "")
    assert "postgres@nobody||d||public||t could not be asked" in page.text
    assert "Nothing needs attention" not in page.text
    assert "Nothing that needs attention was found, as far as could be asked; see above." in page.text


@pytest.mark.parametrize("page", ["p/orders", "p/orders/r/one", "p/orders/t/load"])
def test_filters_are_cleared_but_the_dag_stays_of_several_that_have_the_pipeline(visitor, tmp_path, page):
    runs = [good_run("orders", "one", NOW - timedelta(hours=1), dag_id=dag) for dag in ("orders", "other one")]
    with filled_store(tmp_path, runs) as store:
        client = visitor(store, "orders", "other one")
        text = client.get(f"{page}?dag_id=other+one&status=failed").text
        assert '<a href="?dag_id=other+one">Clear all</a>' in text
        assert '<a href="?">Clear all</a>' in client.get("transfers?dag_id=other+one").text
        assert "Clear all" not in client.get(f"{page}?dag_id=other+one").text


def test_a_pipeline_is_not_filtered_by_the_dag_that_its_own_links_name(visitor, tmp_path, read):
    run = Run("orders", "one", NOW - timedelta(hours=1), dag_id="other one")
    for after, name in enumerate(("load", "clean", "publish")):
        run.end(name, after)
    with filled_store(tmp_path, [run]) as store:
        page = read(visitor(store, "other one"), "p/orders?dag_id=other+one")
        assert "these filters" not in page.text
        assert "No attempt failed." in page.text


@pytest.mark.parametrize("query", ["status=failed", "since=2099-01-01", "status=failed&run_id=manual__1"])
def test_a_transfer_is_there_though_none_of_its_attempts_fits_the_filters(client, read, query):
    page = read(client, f"p/customers/t/load?{query}")
    assert "There is no record of this transfer" not in page.text
    assert "Nothing fits these filters." in page.text
    assert ("Attempts of this run" if "run_id" in query else "The latest attempt") in page.text
