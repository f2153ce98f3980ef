"""Every number on a page leads to just what makes it up."""

from __future__ import annotations

import csv
import io
import re
from datetime import datetime, timedelta, timezone
from urllib.parse import urljoin

import pytest

from airflow_provider_pipetrack import TrackingStore
from tests.tracking_history import NOW, Run, failed_run, good_run, overdue_run
from tests.unit.ui.conftest import filled_store

LONG_AGO, LATELY = NOW - timedelta(hours=2), NOW - timedelta(minutes=28)


def whole_run(pipeline_id, run_id, began, **texts):
    run = Run(pipeline_id, run_id, began, **texts)
    for after, name in enumerate(("load", "clean", "publish")):
        run.end(name, after)
    return run


def started_run(pipeline_id, run_id, began):
    run = Run(pipeline_id, run_id, began)
    run.start("load")
    return run


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """A pipeline in each state, and of some states two."""
    now = datetime.now(timezone.utc)  # the tests before may have taken longer than what runs is estimated to take
    runs = [
        whole_run("whole", "one", LONG_AGO),
        whole_run("more", "one", LONG_AGO),
        good_run("partly", "one", LONG_AGO),
        failed_run("broken", "one", LONG_AGO),
        overdue_run("late", "one", LATELY),
        started_run("running", "one", now),
        Run("waiting", "one", now),
    ]
    with filled_store(tmp_path_factory.mktemp("states"), runs) as store:
        yield store


@pytest.fixture
def client(visitor, states):
    return visitor(states, "whole", "more", "partly", "broken", "late", "running", "waiting")


def linked(client, path, section=None):
    """Return the links of a page, or of a section of it, each with what is written on it."""
    answer = client.get(path)
    text = answer.text.split(f'id="{section}" data-live', 1)[-1].split("</section>")[0] if section else answer.text
    found = re.findall(r'<a href="([^"]*)"[^>]*>(.*?)</a>', text, re.DOTALL)
    return [
        (urljoin(str(answer.url), href.replace("&amp;", "&")), re.sub("<[^>]*>", "", words)) for href, words in found
    ]


def rows(client, url, table):
    """Return the rows of a table on a page, as texts."""
    answer = client.get(url)
    assert answer.status_code == 200, url
    section = answer.text.split(f'id="{table}', 1)[-1].split("</section>")[0]
    found = re.findall(r"<tr data-key=.*?</tr>", section, re.DOTALL)
    return [re.sub("<[^>]*>", " ", row) for row in found]


def test_each_number_of_the_overview_leads_to_just_its_pipelines(client):
    numbers = [link for link in linked(client, "", "glance") if "status=" in link[0]]
    told = {words[2:].strip(): (int(words[0]), url) for url, words in numbers}
    assert {name[1:]: number for name, (number, _) in told.items()} == {
        "completed": 2, "partial": 1, "failed": 1, "overdue": 1, "running": 1, "pending": 1,
    }  # fmt: skip
    for name, (number, url) in told.items():
        found = rows(client, url, "pipelines")
        assert len(found) == number, name
        assert all(name[1:] in row for row in found), name


def test_each_number_of_a_run_leads_to_just_its_transfers(client, read):
    for pipeline in ("broken", "partly", "late"):
        url = f"p/{pipeline}/r/one"
        told = [(words, link) for link, words in linked(client, url, "head") if "/transfers?" in link]
        completed = int(re.search(r"(\d+) of \d+ transfers completed", read(client, url).text)[1])
        assert told[0][0] == str(completed)
        assert len(told) > 1 or pipeline == "late", told
        for words, link in told:
            assert len(rows(client, link, "transfers")) == int(words.split()[0]), (words, link)


def test_audits_that_stopped_a_run_lead_to_just_their_transfers(visitor, tmp_path):
    run = Run("orders", "one", LONG_AGO)
    for name in ("load", "clean"):
        run.end(name)
        run.audit(name, "mismatched", 2, audit_ended="failed")
    run.end("publish", status="failed")
    with filled_store(tmp_path, [run]) as store:
        client = visitor(store, "orders")
        (link,) = [link for link, words in linked(client, "p/orders/r/one", "head") if words == "2 audits failed"]
        assert len(rows(client, link, "transfers")) == 2


def test_audits_of_a_hand_written_dag_are_counted_and_shown(visitor, tmp_path, read):
    run = Run("orders", "one", LONG_AGO)
    for name, result in (("clean", "matched"), ("publish", "mismatched")):
        run.end(name)
        run.audit(name, result, 2, audit_ended="passed")
    with filled_store(tmp_path, [run]) as store:
        client = visitor(store, "orders")
        numbers = [told for told in counted(client, "", "pipelines") if "audit_result" in told[0]]
        assert [(len(rows(client, link, "transfers")), number) for link, number in numbers] == [(1, 1), (3, 3)], (
            "load has one in its file"
        )
        assert "1 of 3 matched" in read(client, "runs").text
        page = read(client, "p/orders/t/publish?run_id=one").text
    assert "Audit ≠mismatched" in page
    assert '"rows": 700' in page


#: What counts transfers or attempts, after the sign of its state; numbers of records are greater.
COUNTS = re.compile(r"[^\w ]?(?:last )?(\d{1,2})(?: (?!(?:d|h|min|s)\b)[a-z ]+)?")


def counted(client, page, table=None, lists=("transfers", "attempts")):
    """Return the links of numbers that count rows of a list, each with how many those are."""
    for link, words in linked(client, page, table):
        told = COUNTS.fullmatch(words)
        if told and any(f"/{name}?" in link or link.endswith(f"#{name}") for name in lists):
            yield link, int(told[1])


@pytest.mark.parametrize(("page", "table"), [("", "pipelines"), ("runs", "runs"), ("ready", "readiness")])
def test_numbers_of_tables_lead_to_what_makes_them_up(client, page, table):
    numbers = [*counted(client, page, table)]
    assert len(numbers) >= 12
    for link, told in numbers:
        assert len(rows(client, link, "transfers")) == told, link


def test_numbers_of_a_run_with_transfers_of_all_kinds_lead_each_to_its_own(visitor, tmp_path):
    run = Run("orders", "one", LATELY)
    run.end("load")
    run.audit("load", "matched", 2)
    run.start("clean")
    with filled_store(tmp_path, [run]) as store:
        client = visitor(store, "orders")
        for page, table in (("", "pipelines"), ("runs", "runs"), ("p/orders", "runs")):
            told = [words for link, words in linked(client, page, table) if "/transfers?" in link]
            assert told[:6] == ["1 completed", "1 running", "1 pending", "1 not run", "1", "1"]
            for link, number in counted(client, page, table):
                assert len(rows(client, link, "transfers")) == number, link
        told = {words: link for link, words in linked(client, "p/orders/r/one", "head")}
        assert len(rows(client, told["3 transfers"], "transfers")) == 3
        page = client.get(told["3 transfers"]).text
        assert '<option value="to_run" selected>all but not run</option>' in page


def test_a_disabled_transfer_is_not_among_those_that_fill_a_stage(visitor, tmp_path):
    with filled_store(tmp_path, [whole_run("orders", "one", LONG_AGO, stage="everything")]) as store:
        client = visitor(store, "orders")
        numbers = [*counted(client, "ready", "readiness")]
        assert [number for _, number in numbers] == [3, 3]
        for link, told in numbers:
            assert len(rows(client, link, "transfers")) == told, link
        (link,) = [link for link, words in linked(client, "ready?stage=everything", "answer") if "records" in words]
        assert len(rows(client, link, "transfers")) == 4


def test_a_stage_that_is_described_over_several_lines_leads_to_its_transfers(visitor, tmp_path):
    with filled_store(tmp_path, [whole_run("orders", "one", LONG_AGO, stage="warehouse:\n  orders\n")]) as store:
        client = visitor(store, "orders")
        numbers = [*counted(client, "ready", "readiness")]
        assert numbers
        for link, told in numbers:
            assert len(rows(client, link, "transfers")) == told, link


def test_two_pipelines_of_one_dag_are_counted_each_for_itself(visitor, tmp_path, read):
    apart = {name: f"{name}_of_b" for name in ("load", "clean", "publish", "archive")}
    runs = [
        whole_run("a", "one", LONG_AGO, dag_id="both"),
        failed_run("b", "one", LONG_AGO, dag_id="both", **apart),
    ]
    with filled_store(tmp_path, runs) as store:
        client = visitor(store, "both")
        for page, table in (
            ("", "pipelines"),
            ("runs", "runs"),
            ("p/a?dag_id=both", "runs"),
            ("p/b?dag_id=both", "runs"),
        ):
            numbers = [*counted(client, page, table)]
            assert numbers, page
            for link, told in numbers:
                assert len(rows(client, link, "transfers")) == told, (page, link)
        assert "3 of 3 transfers completed, 1 not run" in read(client, "p/a/r/one?dag_id=both").text
        assert "1 of 2 transfers completed, 1 failed, 2 not run" in read(client, "p/b/r/one?dag_id=both").text
        assert {link for link, words in linked(client, "p/a?dag_id=both", "runs") if words == "one"} == {
            "http://test/pipetrack/p/a/r/one?dag_id=both"
        }


def test_numbers_of_what_fails_and_what_is_slow_lead_to_the_attempts(visitor, tmp_path):
    runs = [good_run("orders", f"r{day}", NOW - timedelta(days=day)) for day in range(4)]
    for run in runs[:2]:
        run.end("publish", 40, 30, attempt=2)
    with filled_store(tmp_path, runs) as store:
        client = visitor(store, "orders")
        for window, failed, longer in (("", 4, 2), ("?since=36h", 2, 2), ("?until=36h", 2, 0)):
            for table, told in (("flaky", failed), ("slow", longer)):
                numbers = [*counted(client, f"p/orders{window}", table)]
                assert [number for _, number in numbers][:1] == ([told] if told else [])
                for link, number in numbers:
                    assert len(rows(client, link, "attempts")) == number, link
            for link, number in counted(client, f"p/orders{window}", "head"):
                assert len(rows(client, link, "attempts")) == number, link


def test_averages_and_shares_lead_to_the_attempts_that_make_them_up(visitor, tmp_path):
    runs = [good_run("orders", f"r{day}", NOW - timedelta(days=day)) for day in range(4)]
    for run in runs[:2]:
        run.end("publish", 40, 30, attempt=2)
    runs[3].end("publish", 50, 1, attempt=2, status="failed")
    with filled_store(tmp_path, runs) as store:
        client = visitor(store, "orders")
        told = {words: rows(client, link, "attempts") for link, words in linked(client, "p/orders", "slow")}
        for words in ("2.5 times", "12 min 40 s", "30 min", "5 min"):
            assert len(told[words]) == 6, words
        assert "30 min" in told["30 min"][0]
        told = {words: rows(client, link, "attempts") for link, words in linked(client, "p/orders", "flaky")}
        assert len(told["50 %"]) == 8
        assert len(told["14 %"]) == 7


def test_numbers_of_a_transfer_lead_to_its_attempts(visitor, tmp_path):
    runs = [good_run("orders", f"r{day}", NOW - timedelta(days=day)) for day in range(4)]
    runs[0].end("publish", 40, 30, attempt=2)
    with filled_store(tmp_path, runs) as store:
        client = visitor(store, "orders")
        told = {words: link for link, words in linked(client, "p/orders/t/publish?run_id=r1", "durations")}
        for words in ("5 completed attempts", "4 min", "30 min"):
            assert len(rows(client, told[words], "attempts")) == 5, words
        assert "30 min" in rows(client, told["30 min"], "attempts")[0]
        (late,) = rows(client, told["1 attempt"], "attempts")
        assert "30 min" in late


def test_numbers_of_a_transfer_of_two_dags_lead_to_the_attempts_of_all(visitor, tmp_path):
    days = [LONG_AGO - timedelta(days=day) for day in range(4)]
    runs = [good_run("orders", f"r{at.day}", at, dag_id=dag) for at in days for dag in ("orders", "other")]
    with filled_store(tmp_path, runs) as store:
        client = visitor(store, "orders", "other")
        for page, told in (("p/orders/t/clean", [16, 8, 8]), ("p/orders/t/clean?dag_id=other", [8, 4, 4])):
            numbers = [*counted(client, page, "head")]
            assert [number for _, number in numbers] == told
            for link, number in numbers:
                assert len(rows(client, link, "attempts")) == number, link
        for page in ("p/orders", "p/orders?dag_id=other"):
            for table in ("flaky", "durations"):
                for link, number in counted(client, page, table):
                    assert len(rows(client, link, "attempts")) == number, link


def test_what_waits_leads_to_a_list_of_it(visitor, tmp_path, read, monkeypatch):
    (tmp_path / "file").write_text("")
    place = [f"sqlite||{tmp_path}/file/t.db||t"]
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    with TrackingStore(place, journal_dir=tmp_path / "journal") as store:
        store.submit(whole_run("other", "one", NOW).changes[:2], durable=True)
        store.flush(5)
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    with TrackingStore(place, journal_dir=tmp_path / "journal") as store:
        changes = whole_run("orders", "one", NOW).changes
        store.submit(changes, durable=True)
        store.flush(5)
        client = visitor(store, "orders", "other")
        (link,) = [link for link, words in linked(client, "", "glance") if "undelivered" in words]
        assert len(rows(client, link, "undelivered")) == len(changes)
        told = {words: link for link, words in linked(client, "health", "waiting")}
        assert told[f"{len(changes)} changes"] == link
        assert len(rows(client, told["2 changes"], "undelivered")) == 2
        assert len(rows(client, "undelivered?search=COMPLETED&task_id=load", "undelivered")) == 1
        page = read(client, "undelivered?undelivered.sort=-says")
        assert "pending task" in page.text
        assert f" {len(changes) + 2} CSV" in page.text
        answer = client.get("undelivered?export=undelivered&undelivered.sort=says")
        said = [row["says"] for row in csv.DictReader(io.StringIO(answer.text))]
        assert said == sorted(said)
        assert len(said) == len(changes) + 2
        strange = visitor(store, "orders")
        assert "2 changes of Dags that you may not read" in read(strange, "undelivered").text
        assert "elsewhere" not in "".join(rows(strange, "undelivered", "undelivered"))
        assert visitor(store, "orders", sees_health=False).get("undelivered").status_code == 403


def test_each_change_that_waits_is_known_by_itself_though_a_record_has_several(visitor, tmp_path):
    (tmp_path / "file").write_text("")
    place = [f"sqlite||{tmp_path}/file/t.db||t"]
    with TrackingStore(place, journal_dir=tmp_path / "journal") as store:
        changes = whole_run("orders", "one", NOW).changes
        store.submit(changes, durable=True)
        store.flush(5)
        keys = re.findall(r'<tr data-key="([^"]*)"', visitor(store, "orders").get("undelivered").text)
    assert len(keys) == len(set(keys)) == len(changes)
