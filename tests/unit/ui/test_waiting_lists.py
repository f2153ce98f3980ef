"""The lists behind the numbers of the health page: what is owed, and which alerts are not sent."""

from __future__ import annotations

import csv
import io
import os
import re
import time
from datetime import datetime, timezone

import pytest

from airflow_provider_pipetrack import TrackingStore
from airflow_provider_pipetrack.notifications.outbox import KEPT_FOR, Alert, Outbox
from airflow_provider_pipetrack.tracking import owed
from airflow_provider_pipetrack.tracking.losses import LOSSES, counter_of, list_of
from airflow_provider_pipetrack.ui.catalog import ALERTS, LOST, OWED
from tests.tracking_history import NOW, Run
from tests.unit.ui.test_numbers import linked, rows, whole_run

MAILS = [{"to": ["ada@example.com", "bob@example.com"]}]


def exported(client, path):
    lines = [line for line in client.get(path).text.splitlines() if not line.startswith("#")]
    return [*csv.DictReader(io.StringIO("\n".join(lines)))]


@pytest.fixture
def indebted(tmp_path):
    """A store whose first location is down, so that the second holds what both should."""
    (tmp_path / "file").write_text("in the way")
    places = [f"sqlite||{tmp_path}/file/t.db||t", f"sqlite||{tmp_path}/t.db||t"]
    with TrackingStore(places, journal_dir=tmp_path / "journal") as store:
        for name in ("orders", "secret"):
            store.submit(whole_run(name, "one", NOW).changes, durable=True)
        assert store.flush(20)
        yield store


def test_what_a_place_holds_and_another_lacks_leads_to_a_list_of_it(visitor, indebted, read):
    client = visitor(indebted, "orders", "secret")
    ((link, words),) = [one for one in linked(client, "health", "locations") if "/owed?" in one[0]]
    listed = rows(client, link, "owed")
    assert words == f"{len(listed)} records"
    assert {row["pipeline_id"] for row in exported(client, f"{link}&export=owed")} == {"orders", "secret"}
    assert all(indebted.legs[0].name in row["lacked_by"] for row in exported(client, f"{link}&export=owed"))
    page = read(client, link)
    assert "brought there by the maintenance Dag or by pipetrack reconcile" in page.text
    assert "could not be asked" in page.text, "the place that lacks them is down"
    assert f"# incomplete: {indebted.legs[0].name}" in client.get("owed?export=owed").text
    assert len(rows(client, "owed?search=load&pipeline_id=orders", "owed")) == 1
    assert rows(client, "owed?location=elsewhere", "owed") == []
    names = [row["task_id"] for row in exported(client, "owed?export=owed&owed.sort=-task_id")]
    assert names == sorted(names, reverse=True)
    for column in OWED.columns:
        head = f'aria-sort="descending"><a href="?owed.sort={column.sort}#'
        assert head in client.get(f"owed?owed.sort=-{column.sort}").text, column.title


def test_what_is_owed_of_other_dags_is_only_counted(visitor, indebted, read):
    client = visitor(indebted, "orders")
    number = len(rows(visitor(indebted, "orders", "secret"), "owed", "owed"))
    assert 0 < len(rows(client, "owed", "owed")) < number
    page = read(client, "owed")
    assert f"{number - len(rows(client, 'owed', 'owed'))} records of Dags that you may not read" in page.text
    assert "secret" not in page.whole + client.get("owed?export=owed").text
    none = read(visitor(indebted), "owed").text
    assert "Nothing was found, as far as could be asked" in none
    assert visitor(indebted, "orders", sees_health=False).get("owed").status_code == 403


def test_of_very_much_that_is_owed_the_rest_is_said(visitor, indebted, read, monkeypatch):
    client = visitor(indebted, "orders", "secret")
    number = len(rows(client, "owed", "owed"))
    monkeypatch.setattr(owed, "MOST_OWED", 3)
    assert len(rows(client, "owed", "owed")) == 3
    assert f"holds {number - 3} records more, which are not listed" in read(client, "owed").text


def test_nothing_owed_says_so(client, read):
    page = read(client, "owed")
    assert "Nothing is owed: every record stands in all places that it is meant for." in page.text
    assert "reconcile" not in page.text


@pytest.fixture
def box(monkeypatch, tmp_path):
    """Alerts of this host: two that wait, one of which was tried, two that were given up, one of a Dag unread."""
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path))
    box = Outbox(tmp_path / "_alerts")

    def keep(name, kind, deliveries, age, **columns):
        of = {"dag_id": "orders", "run_id": "one", "task_id": "load", "map_index": -1, "retry_attempt_number": 1}
        box.keep(Alert(name, kind, {"record_id": name, **of, **columns}, deliveries, time.time() - age))

    keep("young", "failed", MAILS, 60, retry_attempt_number=2)
    pager = {"notifier": "shop.Pager", "kwargs": {"token": "s3cret"}}
    keep("tried", "rollback_owed", [*MAILS, pager], 7200)
    keep("gone", "mismatched", [pager], KEPT_FOR + 60, pipeline_id="shop")
    keep("late", "overdue", MAILS, KEPT_FOR + 90, task_id="", retry_attempt_number=0)
    keep("hidden", "failed", [{"to": ["eve@example.com"]}], 30, dag_id="secret")
    for name in ("tried", "gone", "late"):
        with box.taken(name) as alert:
            box.settle(alert, alert.deliveries[-1:], "could not be sent to <Pager>: gone")
    return box


def test_alerts_that_are_not_sent_lead_to_a_list_of_them(client, read, box):
    told = {words: link for link, words in linked(client, "health", "waiting") if "/alerts?" in link}
    assert [*told] == ["3 alerts", "2"]
    assert len(rows(client, told["3 alerts"], "alerts")) == 2
    assert "1 alert of Dags that you may not read" in read(client, told["3 alerts"]).text
    assert len(rows(client, told["2"], "alerts")) == 2
    assert "Dags that you may not read" not in read(client, told["2"]).text
    page = read(client, "alerts")
    assert "tried again by the maintenance Dag or pipetrack reconcile on this host" in page.text
    assert f"{client.get('alerts').text.count('<tr data-key')} CSV" in page.text
    listed = [re.sub(r"\s+", " ", row) for row in rows(client, "alerts", "alerts")]
    assert [row.split(" orders ")[0].split(" shop ")[0].split(" ago ")[-1].strip() for row in listed] == [
        "failed ○ waiting",
        "rollback owed ○ waiting",
        "mismatched ✗ given up",
        "overdue ✗ given up",
    ]
    assert "load one 2" in listed[1]
    assert "load" not in listed[3]
    assert "<Pager>" not in page.whole


def test_alerts_say_whom_they_have_still_to_reach_and_no_secret(client, box):
    (young, tried, gone, late) = exported(client, "alerts?export=alerts")
    assert (young["to"], young["tries"], young["next_try_at"]) == ("ada@example.com, bob@example.com", "0", "")
    assert (tried["to"], tried["tries"]) == ("shop.Pager", "1")
    assert datetime.fromisoformat(tried["next_try_at"]) > datetime.now(timezone.utc)
    assert (gone["pipeline_id"], gone["next_try_at"]) == ("shop", "")
    assert (late["task_id"], late["error"]) == ("", "could not be sent to <Pager>: gone")
    whole = client.get("alerts").text + client.get("alerts?export=alerts").text
    assert "s3cret" not in whole
    assert "eve@" not in whole


def test_alerts_are_sorted_and_filtered_by_the_address(client, visitor, store, box):
    assert [row["alert_id"] for row in exported(client, "alerts?export=alerts&alerts.sort=-tries")][-1] == "young"
    assert len(rows(client, "alerts?kind=failed", "alerts")) == 1
    assert len(rows(client, "alerts?search=BOB@", "alerts")) == 2
    assert len(rows(client, "alerts?search=gone&sending=waiting", "alerts")) == 1
    assert "kind=&#39;odd&#39; was left out" in client.get("alerts?kind=odd").text
    for column in ALERTS.columns:
        head = f'aria-sort="descending"><a href="?alerts.sort={column.sort}#'
        assert head in client.get(f"alerts?alerts.sort=-{column.sort}").text, column.title
    assert visitor(store, "orders", sees_health=False).get("alerts").status_code == 403


def test_a_list_of_which_nothing_may_be_read_does_not_say_that_nothing_waits(visitor, store, read, box):
    page = read(visitor(store), "alerts").text
    assert "Nothing here is of a Dag that you may read." in page
    assert "5 alerts of Dags that you may not read" in page
    assert "Everybody was told" not in page


def test_a_damaged_alert_is_counted_on_both_pages(client, read, box, tmp_path):
    (tmp_path / "_alerts" / "given_up" / "torn.json").write_text("{")
    (tmp_path / "_alerts" / "given_up" / "listed.json").write_text("[1]")
    assert "4 given up" in read(client, "health").text
    page = read(client, "alerts?sending=given_up")
    assert "2 alerts of Dags that you may not read, or that Airflow no longer knows, or whose files are damaged" in (
        page.text
    )


def test_no_alerts_say_so(client, read, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path))
    assert "Everybody was told: no alert waits here, and none was given up." in read(client, "alerts").text


def test_several_changes_of_one_record_are_told_apart_when_the_page_renews_itself(visitor, tmp_path):
    (tmp_path / "file").write_text("")
    with TrackingStore([f"sqlite||{tmp_path}/file/t.db||t"], journal_dir=tmp_path / "journal") as store:
        store.submit(whole_run("orders", "one", NOW).changes, durable=True)
        store.flush(5)
        client = visitor(store, "orders")
        keys = re.findall(r'data-key="(\w+)"', client.get("undelivered").text)
        records = {row["record_id"] for row in exported(client, "undelivered?export=undelivered")}
        assert len({*keys}) == len(keys) > len(records)
        assert "by the maintenance Dag, or by pipetrack reconcile." in re.sub(
            "<[^>]*>", "", client.get("undelivered").text
        )


@pytest.fixture
def losing(tmp_path):
    """A store of whose host some changes could be kept nowhere, one of them not even in the list."""
    with TrackingStore([f"sqlite||{tmp_path}/t.db||t"], journal_dir=tmp_path / "journal") as store:
        for name in ("orders", "secret"):
            changes = whole_run(name, "one", NOW).changes[:2]
            LOSSES.log(changes, {"sqlite": "the disk <is> full"}, store.journal_folder)
        yield store


def test_what_was_lost_leads_to_a_list_of_it(visitor, losing, read):
    client = visitor(losing, "orders", "secret")
    ((link, words),) = [one for one in linked(client, "health", "waiting") if "/lost?" in one[0]]
    assert words == "4 records"
    assert len(rows(client, link, "lost")) == 4
    page = read(client, link)
    assert "pipetrack reconcile --from-log FILE takes back what such a file has" in page.text
    assert str(losing.journal_folder) in page.text
    assert "only counted" not in page.text
    found = exported(client, f"{link}&export=lost&pipeline_id=orders")
    assert {(row["pipeline_id"], row["process"]) for row in found} == {("orders", str(os.getpid()))}
    assert {row["reason"] for row in found} == {"sqlite: the disk <is> full"}
    assert "<is>" not in page.whole
    assert "4 lost" in read(client, "").text
    for column in LOST.columns:
        head = f'aria-sort="descending"><a href="?lost.sort={column.sort}#'
        assert head in client.get(f"lost?lost.sort=-{column.sort}").text, column.title


def test_what_was_lost_of_other_dags_is_only_counted(visitor, losing, read):
    page = read(visitor(losing, "orders"), "lost")
    assert "2 changes of Dags that you may not read" in page.text
    assert "secret" not in page.whole
    assert visitor(losing, "orders", sees_health=False).get("lost").status_code == 403


def test_of_what_was_lost_and_is_not_listed_the_number_is_said(visitor, losing, read):
    with counter_of(losing.journal_folder).open("ab") as file:
        file.write(b"...")
    client = visitor(losing, "orders", "secret")
    assert "3 changes more are only counted, and stand in logs alone" in read(client, "lost").text
    list_of(losing.journal_folder).unlink()
    page = read(client, "lost")
    assert "Which records these were is not listed; logs have them." in page.text
    assert "7 changes more are only counted" in page.text


def test_nothing_lost_says_so(client, read):
    page = read(client, "lost")
    assert "Nothing was lost: the journal or a location has kept all that was tracked here." in page.text
    assert "--from-log" not in page.text


def test_a_lost_change_leads_to_its_log_in_airflow(visitor, losing):
    run = Run("orders", "two", NOW)
    run.start("load")
    LOSSES.log(run.changes[-1:], {}, losing.journal_folder)
    page = visitor(losing, "orders").get("lost?run_id=two").text
    assert '/runs/two/tasks/load" data-airflow rel="noopener">' in page
