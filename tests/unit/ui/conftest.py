"""Airflow's login, and the pages for people with different rights, over a real store full of records."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from airflow_provider_pipetrack import TrackingStore
from airflow_provider_pipetrack.tracking.questions import Questions
from airflow_provider_pipetrack.ui import rights
from airflow_provider_pipetrack.ui.app import build_app
from airflow_provider_pipetrack.ui.asking import Desk
from tests.tracking_history import history


@pytest.fixture(scope="session")
def airflow_auth() -> Iterator[None]:
    """Airflow's default auth manager, as the api-server has it."""
    from airflow.api_fastapi import app

    app.create_auth_manager()
    yield
    app.purge_cached_app()


def filled_store(folder: Path, runs) -> TrackingStore:
    store = TrackingStore([f"sqlite||{folder / 'tracking.db'}||pipeline_tracking"], journal_dir=folder / "journal")
    store.submit([change for run in runs for change in run.changes], durable=True)
    assert store.flush(60)
    return store


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Iterator[TrackingStore]:
    """Records of three pipelines."""
    with filled_store(tmp_path_factory.mktemp("records"), history()) as store:
        yield store


@pytest.fixture
def visitor(monkeypatch) -> Callable[..., TestClient]:
    """Make somebody who is logged in: ``visitor(store, "orders", sees_health=False)`` may read one Dag."""
    monkeypatch.setattr(rights, "readable_dags", lambda user: user[0])
    monkeypatch.setattr(rights, "may_see_health", lambda user: user[1])

    def make(store: TrackingStore, *dag_ids: str, sees_health: bool = True) -> TestClient:
        outer = FastAPI()
        user = set(dag_ids), sees_health
        outer.mount("/pipetrack", build_app(login=lambda: user, desk=Desk(lambda: Questions(store))))
        return TestClient(outer, base_url="http://test/pipetrack/", follow_redirects=False)

    return make


@pytest.fixture
def client(visitor, store) -> TestClient:
    """Somebody who may read all Dags."""
    return visitor(store, "orders", "customers", "finance")


class _Page(HTMLParser):
    """A page as people read it: its texts, links and tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.whole = text
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._texts: list[str] = []
        self._skipped = 0
        self.feed(text)
        self.text = re.sub(r"\s+", " ", "".join(self._texts))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in {"td", "th", "p", "li", "h1", "h2", "dt", "dd", "option"}:
            self._texts.append(" ")

    def handle_data(self, data):
        self._texts.append(data)


@pytest.fixture
def read() -> Callable[..., _Page]:
    """Open a page and read it."""

    def open_page(client: TestClient, path: str, status: int = 200) -> _Page:
        answer = client.get(path)
        assert answer.status_code == status, answer.text[:2000]
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        return _Page(answer.text)

    return open_page
