"""The pages inside Airflow's own api-server application, with its own login."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.timeout(300)
PASSWORDS = {"ada": "first-Passw0rd"}


@pytest.fixture(scope="module")
def airflow(airflow_home) -> Iterator:
    """Airflow's api-server application, in this process."""
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from fastapi.testclient import TestClient

    with pytest.MonkeyPatch.context() as patch:
        passwords = airflow_home / "passwords.json"
        passwords.write_text(json.dumps(PASSWORDS))
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "ada:viewer")
        with TestClient(create_app(apps="core")) as client:
            yield client
        purge_cached_app()


@pytest.fixture(scope="module")
def token(airflow) -> str:
    answer = airflow.post("/auth/token", json={"username": "ada", "password": PASSWORDS["ada"]})
    assert answer.status_code == 201, answer.text
    return answer.json()["access_token"]


def test_the_pages_are_closed_to_strangers(airflow):
    assert airflow.get("/pipetrack/").status_code == 401


@pytest.mark.parametrize("way", ["header", "cookie"])
def test_they_open_with_airflows_login(airflow, token, way):
    headers = {"Authorization": f"Bearer {token}"} if way == "header" else {"Cookie": f"_token={token}"}
    answer = airflow.get("/pipetrack/", headers=headers)
    assert answer.status_code == 200
    assert "tracking.db" in answer.text


def test_airflow_links_to_them(airflow, token):
    answer = airflow.get("/api/v2/plugins", headers={"Authorization": f"Bearer {token}"})
    found = next(plugin for plugin in answer.json()["plugins"] if plugin["name"] == "pipetrack")
    assert {"href": "pipetrack/", "destination": "nav"}.items() <= found["external_views"][0].items()
