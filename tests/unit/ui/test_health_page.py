"""How the tracking is, on the overview and on its own page."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime, timezone

from airflow_provider_pipetrack import TrackingStore
from airflow_provider_pipetrack.notifications.outbox import Alert, Outbox
from airflow_provider_pipetrack.tracking.breaker import Breaker
from tests.tracking_history import NOW, good_run


def test_a_place_that_is_down_and_what_waits_for_it_is_said(visitor, tmp_path, read):
    (tmp_path / "shut").write_text("in the way")
    places = [f"sqlite||{tmp_path}/open/t.db||t", f"sqlite||{tmp_path}/shut/t.db||t"]
    with TrackingStore(places, mode="mirror", journal_dir=tmp_path / "journal") as store:
        store.submit(good_run("orders", "one", NOW).changes, durable=True)
        store.flush(20)
        page = read(visitor(store, "orders"), "health")
        overview = read(visitor(store, "orders"), "")
    assert "The tracking needs a look" in page.text
    assert "Every record is kept in all of these places." in page.text
    assert "✓up · sqlite||" in page.text
    assert "cannot be a folder" in page.text
    assert "Undelivered" in page.text
    assert "Tracking: ✓sqlite up · " in overview.text


def test_for_how_long_a_place_is_down_is_said(visitor, tmp_path, read):
    places = ["postgres||a||b||c", f"sqlite||{tmp_path}/t.db||t"]
    with TrackingStore(places, journal_dir=tmp_path / "journal") as store:
        store.submit(good_run("orders", "one", NOW).changes, durable=True)
        assert store.flush(20)
        breaker = Breaker(store.journal_folder / "breakers", store.legs[0].name)
        breaker.failed()
        state = json.loads(breaker.path.read_text())
        breaker.path.write_text(json.dumps({**state, "since": time.time() - 250}))
        client = visitor(store, "orders")
        assert "postgres left alone, down 4 min · ✓sqlite up" in read(client, "").text
        page = read(client, "health").text
        assert re.search(r"left alone, no answer since \S+ \S+ UTC \(4 min ago\) · postgres", page)
        (postgres, sqlite) = client.get("api/v1/health").json()["locations"]
    since = datetime.fromisoformat(postgres["since"].replace("Z", "+00:00"))  # as Python 3.10 reads it
    assert 250 <= (datetime.now(timezone.utc) - since).total_seconds() < 300
    assert sqlite["since"] is None


def test_a_tracking_that_is_well_says_so(client, read):
    page = read(client, "health")
    assert "The tracking is well" in page.text
    assert "Process kill ✓a killed process loses nothing" in page.text
    assert "0 changes" in page.text


def test_alerts_that_wait_are_said(client, read, monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path))
    box = Outbox(tmp_path / "_alerts")
    box.keep(Alert("1", "failed", {"record_id": "a"}, [{"to": ["a@example.com"]}], time.time() - 7200))
    assert "Alerts 1 alert to be sent, the oldest 2 h old Journal" in read(client, "health").text
    with box.taken("1") as alert:
        box.settle(alert, alert.deliveries, "could not be sent to <Pager>: gone")
    page = read(client, "health")
    assert "The tracking needs a look" in page.text
    assert "The last one that was tried could not be sent to <Pager>: gone" in page.text
    answered = client.get("api/v1/health").json()
    assert answered["is_well"] is False
    assert (answered["alerts"]["waiting"], round(answered["alerts"]["oldest_seconds"])) == (1, 7200)


def test_it_is_asked_once_for_many_readers(client, monkeypatch):
    from airflow_provider_pipetrack.ui import asking

    asked = []
    real = asking.health
    monkeypatch.setattr(asking, "health", lambda store: asked.append(1) or real(store))
    for _ in range(3):
        client.get("")
        client.get("health")
    assert len(asked) == 1
