"""A running Airflow with records, and a headless Chromium in front of it that may not leave this machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from airflow_provider_pipetrack import TrackingStore
from airflow_provider_pipetrack.records.configs import ConfigVersion
from airflow_provider_pipetrack.tracking.configs import keep_config
from demo.airflow_process import AirflowStack
from tests.browser.auth import LIMITED
from tests.tracking_history import NOW, good_run, history

REPO = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOSTILE = "<script>alert(1)</script>"
DAGS = ("orders", "customers", "finance")
PIPELINE = """
pipeline_metadata: {{pipeline_id: {dag}, pipeline_version: "7"}}
defaults: {{transfer_process_owner_name: shop_team, audit_enabled: false, estimated_duration: 10m}}
stage_transfers:
  - {{name: load, stage_i_details: shop, stage_i_plus_1_details: staging, transfer_order_number: 1}}
  - {{name: clean, stage_i_details: staging, stage_i_plus_1_details: clean, transfer_order_number: 2}}
  - {{name: publish, stage_i_details: clean, stage_i_plus_1_details: production, transfer_order_number: 3}}
"""
LOADER = "# Airflow Dag loader\nfrom airflow_provider_pipetrack import load_pipelines\nload_pipelines(globals())\n"


#: The screenshots that the documentation shows, and how much of each from the top, in pixels.
SHOTS = {
    "overview": 620,
    "overview-dark": 620,
    "airflow-run": 800,
    "airflow-task": 800,
    "pipeline": 640,
    "transfer": 800,
    "run-narrow": 844,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", metavar="FOLDER", help="write the documentation's screenshots into this folder")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowStack]:
    """Airflow with three Dags, each with records of some days, and one real run of one of them."""
    folder = tmp_path_factory.mktemp("airflow")
    dags = folder / "dags"
    dags.mkdir()
    for dag in DAGS:
        (dags / f"{dag}.yaml").write_text(PIPELINE.format(dag=dag))
    (dags / "load_pipelines.py").write_text(LOADER)
    tracking = folder / "home" / "pipetrack" / "tracking.db"
    env = {
        "PYTHONPATH": str(REPO),
        "AIRFLOW__CORE__AUTH_MANAGER": "tests.browser.auth.OneDagAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"admin:admin,{LIMITED}:viewer",
    }
    airflow = AirflowStack(home=folder / "home", dags=dags, env=env)
    # Before the run of the same Dag that failed, which nothing has made good since.
    earlier = NOW - timedelta(days=2, hours=1)
    records = [*history(), good_run(HOSTILE, "manual__hostile", earlier, dag_id="orders", stage=HOSTILE + "שלום")]
    with TrackingStore([f"sqlite||{tracking}||pipeline_tracking"], journal_dir=folder / "journal") as store:
        store.submit([change for run in records for change in run.changes], durable=True)
        assert store.flush(60)
        for dag in DAGS:
            config = {"dag": {"schedule": "25h"}, "stage_transfers": [{"name": "load", "pool": "shop_api"}]}
            keep_config(store, ConfigVersion(f"{dag}-7", dag, dag, "7", [], config, NOW))
    with airflow:
        for dag in DAGS:
            airflow.wait_dag(dag)
        yield airflow


@pytest.fixture(scope="session")
def real_run(stack: AirflowStack) -> str:
    """A run of the Dag ``customers`` that Airflow itself has run."""
    stack.unpause("customers")
    run_id = stack.trigger("customers")
    assert stack.wait_run("customers", run_id) == "success", stack.logs()
    return run_id


def password(stack: AirflowStack, user: str) -> str:
    return json.loads((stack.home / "passwords.json").read_text())[user]


def token(url: str, user: str, secret: str) -> str:
    answer = httpx.post(f"{url}/auth/token", json={"username": user, "password": secret}, timeout=30)
    answer.raise_for_status()
    return answer.json()["access_token"]


@pytest.fixture(scope="session")
def base_path_url(stack: AirflowStack) -> Iterator[str]:
    """A second api-server of the same Airflow, below a path, as behind a reverse proxy."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/deep/airflow"
    env = {**stack._env, "AIRFLOW__API__BASE_URL": url, "AIRFLOW__API__PORT": str(port)}
    command = [sys.executable, "-m", "airflow", "api-server", "--host", "127.0.0.1", "--port", str(port)]
    with (stack.home / "second.out").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if httpx.get(f"{url}/api/v2/monitor/health", timeout=5).status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.3)
        else:
            pytest.fail((stack.home / "second.out").read_text()[-3000:])
        yield url
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


class Watch:
    """What the browser has asked for and complained about."""

    def __init__(self) -> None:
        self.elsewhere: list[str] = []
        self.errors: list[str] = []

    def over(self, context: BrowserContext) -> None:
        context.on("request", lambda request: self._asked(request.url))
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        context.on("console", self._said)

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.hostname != "127.0.0.1":
            self.elsewhere.append(url)

    def _said(self, message) -> None:
        # Airflow's own pages complain too; ours may not.
        if message.type == "error" and "/pipetrack/" in (message.location or {}).get("url", "") + message.text:
            self.errors.append(message.text)


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Fails the test when a page has asked for anything off this machine, or when one of ours has made an error."""
    seen = Watch()
    yield seen
    assert seen.elsewhere == []
    assert seen.errors == []


@pytest.fixture
def visit(stack: AirflowStack, browser: Browser, watch: Watch) -> Iterator[Callable[..., Page]]:
    """Open a page below Airflow's address as somebody who is logged in; ``user=None`` is a stranger."""
    contexts = []

    def open_page(path: str, user: str | None = "admin", *, url: str | None = None, **options) -> Page:
        options.setdefault("viewport", {"width": 1280, "height": 800})
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(30_000)
        watch.over(context)
        where = url or stack.url
        if user is not None:
            cookie = {"name": "_token", "value": token(where, user, password(stack, user)), "url": stack.url}
            context.add_cookies([{**cookie, "url": where}])
        page = context.new_page()
        page.goto(f"{where}/{path}", wait_until="load")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def shoot(request: pytest.FixtureRequest) -> Callable[[Page, str], None]:
    """Write a screenshot where the option asks for one."""
    folder = request.config.getoption("--screenshots")

    def write(page: Page, name: str) -> None:
        if folder and name in SHOTS:
            Path(folder).mkdir(parents=True, exist_ok=True)
            shown = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": SHOTS[name]}
            page.screenshot(path=str(Path(folder) / f"{name}.png"), clip=shown)

    return write
