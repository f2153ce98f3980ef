"""Texts that want to be more than texts, and storages that are away while somebody looks."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
import time

import pytest
from fastapi import HTTPException
from fastapi.testclient import TestClient

from airflow_provider_pipetrack import StorageAdapter, TrackingStore
from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.ui import asking
from tests.tracking_history import NOW, failed_run, good_run
from tests.unit.ui.conftest import filled_store

HOSTILE = {
    "html": "</td></table><h1>owned</h1><img src=x onerror=alert(1)>",
    "script": "<script>alert(document.cookie)</script>",
    "quotes": "\"' onmouseover='alert(1)' \"><svg/onload=alert(1)>",
    "template": "{{ 7 * 7 }}{% raw %}${7*7}",
    "right to left": "\u202eשלום\u2066 evil",
    "long": "x" * 10_000,
    "lines": "one\r\ntwo\x0b\x1b[31m",
    "path": "../../..//..\\%2e%2e/~1?a=b&c#d;",
    "dots": "..",
    "formula": '=HYPERLINK("http://example.invalid","x")',
    "link": "javascript:alert(1)",
}


@pytest.fixture(scope="module", params=HOSTILE.values(), ids=HOSTILE.keys())
def hostile(request, tmp_path_factory):
    """A store in which every text of the user's own is hostile."""
    text = request.param
    runs = [
        good_run(text, text, NOW, dag_id="dag", stage=text, load=text),
        failed_run(text, "second", NOW, dag_id="dag", stage=text, clean=text),
    ]
    with filled_store(tmp_path_factory.mktemp("hostile"), runs) as store:
        yield text, store


def addresses(text: str) -> list[str]:
    from airflow_provider_pipetrack.ui.paths import link

    return [
        "",
        "runs",
        "transfers",
        "attention",
        "audits",
        "ready",
        link("", "ready", stage=text, pipeline_id=text),
        link("", "p", text, dag_id="dag"),
        link("", "p", text, "r", text, dag_id="dag"),
        link("", "p", text, "r", "second", dag_id="dag"),
        link("", "p", text, "t", text, dag_id="dag", run_id=text),
        link("", "transfers", search=text[:1000], stage=text),
    ]


def test_hostile_texts_stay_texts(hostile, visitor, read):
    text, store = hostile
    client = visitor(store, "dag")
    for path in addresses(text):
        page = read(client, path)
        tags = {tag for tag, _ in page.tags}
        assert not tags & {"img", "iframe", "object", "embed", "h6"}
        scripts = [attrs for tag, attrs in page.tags if tag == "script"]
        assert len(scripts) == 1
        assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
        assert not [link for link in page.links if link.lower().startswith("javascript:")]
        # A template that were filled in would stand there no more.
        assert text != HOSTILE["template"] or not re.search(r"(?<![\d:.])49(?![\d:.])", page.text)


def test_hostile_texts_can_be_walked_to(hostile, visitor, read):
    from urllib.parse import urljoin

    text, store = hostile
    client = visitor(store, "dag")
    overview = client.get("")
    links = {link for link in read(client, "").links if link.startswith("./p/")}
    assert links
    for link in links:
        found = client.get(urljoin(str(overview.url), link))
        assert found.status_code == 200
        assert "There is no record" not in found.text


def test_a_long_text_is_cut_in_lists_and_whole_on_its_page(hostile, visitor):
    text, store = hostile
    # Beside its links, which must have all of it.
    shown = re.sub(r'(href|title)="[^"]*"', "", visitor(store, "dag").get("attention").text)
    assert len(shown) < 8_000
    assert text not in shown or len(text) < 200


def test_a_spreadsheet_gets_no_formula(hostile, visitor):
    text, store = hostile
    exported = visitor(store, "dag").get("runs?export=runs").text
    assert not [line for line in exported.splitlines() if line.startswith(("=", "+", "@"))]
    if text == HOSTILE["formula"]:
        assert "\"'=HYPERLINK" in exported


class Refusing(StorageAdapter):
    """A storage that is away, or hangs."""

    seconds = 0.0

    def read_tracking_records(self, pipeline_id):
        time.sleep(self.seconds)
        raise StorageError("refusing", "connection refused, password=hunter2")


@pytest.fixture
def away(tmp_path):
    Refusing.seconds = 0.0
    with TrackingStore(["refusing||x"], journal_dir=tmp_path, adapters={"refusing": Refusing}) as store:
        yield store


@pytest.mark.parametrize(
    "path", ["", "runs", "p/orders", "p/orders/r/x", "p/orders/t/x", "ready?stage=x", "audits", "attention"]
)
def test_a_storage_that_is_away_is_named_and_the_page_answers(visitor, away, read, path):
    page = read(visitor(away, "orders"), path)
    assert "refusing||x could not be asked, so records may be missing here" in page.text
    assert "hunter2" not in page.text
    assert "Nothing needs attention" not in page.text
    assert "There is no record" not in page.text


def test_a_storage_that_hangs_holds_a_page_for_its_time_only(visitor, away, read, monkeypatch):
    Refusing.seconds = 5.0
    monkeypatch.setattr(asking, "PAGE_LIMIT", 0.5)
    client = visitor(away, "orders")
    before = time.monotonic()
    page = read(client, "p/orders")
    assert time.monotonic() - before < 3
    assert "tracking could not be asked, so records may be missing here: did not answer within 0.5 s" in page.text


def test_too_many_waiting_pages_are_turned_away_at_once(visitor, store, monkeypatch):
    monkeypatch.setattr(asking, "_TURN_LIMIT", 0.05)
    client = visitor(store, "orders")
    desk = client.app.routes[-1].app.state.desk
    for _ in range(asking.PAGES_AT_ONCE):
        desk.turn()
    answer = client.get("runs")
    assert answer.status_code == 503
    assert "Too many pages wait for the tracking storage. Try again in a moment." in answer.text
    assert answer.headers["retry-after"] == "5"


def test_pages_give_their_turn_back(visitor, store):
    client = visitor(store, "orders")
    for _ in range(3 * asking.PAGES_AT_ONCE):
        assert client.get("attention").status_code == 200
    assert client.get("p/nothing").status_code == 404
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(client.get("").status_code)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == [200] * 6


def test_downloads_that_stand_still_keep_nobody_from_asking(visitor, store):
    """A browser may pause one, and a laptop may fall asleep over it."""
    client = visitor(store, "orders")

    async def begun(goes_on: asyncio.Event) -> None:
        async def receive():
            await goes_on.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            if message["type"] == "http.response.body":
                await goes_on.wait()

        path = "/pipetrack/transfers"
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "root_path": "",
                 "query_string": b"export=transfers", "headers": [], "client": ("127.0.0.1", 1)}  # fmt: skip
        await client.app(scope, receive, send)

    async def one_more_reader() -> int:
        goes_on = asyncio.Event()
        downloads = [asyncio.create_task(begun(goes_on)) for _ in range(asking.PAGES_AT_ONCE)]
        await asyncio.sleep(1)
        try:
            return (await asyncio.to_thread(client.get, "runs")).status_code
        finally:
            goes_on.set()
            await asyncio.gather(*downloads)

    assert asyncio.run(one_more_reader()) == 200


def test_an_export_that_gets_no_turn_says_that_it_is_incomplete(visitor, store, monkeypatch):
    monkeypatch.setattr(asking, "PAGE_LIMIT", 0.05)
    client = visitor(store, "orders")
    desk = client.app.routes[-1].app.state.desk
    turns = [desk.turn() for _ in range(asking.PAGES_AT_ONCE)]
    asker = asking.Asker(desk, None, turn=turns[0])
    parts = asker.in_turns(iter(["one", "two"]), "too many")
    assert next(parts) == "one"
    desk.turn()
    assert list(parts) == ["too many"]
    turns[0].give_back()  # as the page does once more when it has ended
    with pytest.raises(HTTPException):
        desk.turn(0.05)


def test_a_file_that_is_damaged_while_the_page_is_open_is_said(visitor, tmp_path, read):
    with filled_store(tmp_path, [good_run("orders", "one", NOW)]) as store:
        client = visitor(store, "orders")
        assert "one" in read(client, "runs").text
        store.close_legs()
        with sqlite3.connect(tmp_path / "tracking.db") as connection:
            connection.execute("DROP TABLE pipeline_tracking")
            connection.execute("CREATE TABLE pipeline_tracking (other TEXT)")
        connection.close()
        assert "could not be asked" in read(client, "runs").text


def test_settings_that_cannot_be_understood_are_said(monkeypatch):
    from airflow_provider_pipetrack.ui import rights
    from airflow_provider_pipetrack.ui.app import build_app

    monkeypatch.setattr(rights, "readable_dags", lambda user: {"orders"})
    monkeypatch.setattr(rights, "may_see_health", lambda user: True)
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", "[1, 2]")
    answer = TestClient(build_app(login=lambda: "x")).get("/runs")
    assert answer.status_code == 503
    assert "[pipetrack] tracking_location" in answer.text
