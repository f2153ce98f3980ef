"""Nothing is answered without Airflow's login."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from airflow_provider_pipetrack.ui.app import build_app


@pytest.fixture(scope="module")
def stranger() -> TestClient:
    """Somebody without a login, at the pages as Airflow mounts them."""
    outer = FastAPI()
    outer.mount("/pipetrack", build_app())
    return TestClient(outer)


@pytest.mark.parametrize("path", ["", "static/pipetrack.css", "static/nothing", "no/such/page", "docs", "openapi.json"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_without_login_everything_is_refused(stranger, path, method):
    answer = stranger.request(method, f"/pipetrack/{path}")
    assert answer.status_code == 401
    assert "sqlite" not in answer.text


@pytest.mark.parametrize("token", ["", "rubbish", "a.b.c"])
def test_a_forged_token_is_refused(stranger, token, airflow_auth):
    for answer in (
        stranger.get("/pipetrack/", headers={"Authorization": f"Bearer {token}"}),
        stranger.get("/pipetrack/", headers={"Cookie": f"_token={token}"}),
    ):
        assert answer.status_code in {401, 403}


def test_the_refusal_says_what_to_do_and_needs_nothing_that_is_refused_too(stranger):
    answer = stranger.get("/pipetrack/no/such/page")
    assert "Log in there, then open this page again." in answer.text
    assert 'href="../../"' in answer.text


def test_a_program_is_refused_in_json(stranger):
    answer = stranger.get("/pipetrack/api/v1/runs")
    assert (answer.status_code, answer.json()) == (401, {"detail": "Not authenticated"})


def test_every_answer_forbids_what_comes_from_elsewhere(stranger):
    policy = stranger.get("/pipetrack/").headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "unsafe" not in policy
