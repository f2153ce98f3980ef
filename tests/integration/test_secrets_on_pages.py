"""A storage that refuses is named on the pages and in the API, without the secrets of its connection."""

from __future__ import annotations

import json

import pytest

from airflow_provider_pipetrack import TrackingStore
from tests.postgres_server import DATABASE, GUARDED_ROLE
from tests.postgres_server import postgres as postgres  # a fixture
from tests.unit.ui.conftest import visitor as visitor  # a fixture

PASSWORD, KEY_PASSWORD = "wrong-s3cret-Pa55", "0ther-s3cret-Pa55"
PLACE = f"postgres@pipetrack_refused||{DATABASE}||public||t"
EXTRA = json.dumps({"sslpassword": KEY_PASSWORD})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"extra": EXTRA}, "wrong user or password"),
        ({"extra": EXTRA, "host": "127.0.0.1", "port": 1}, "cannot be reached"),
        ({"extra": json.dumps({"api_token": KEY_PASSWORD})}, "the driver refuses it: "),
        ({"extra": EXTRA, "host": f"postgres://me:{PASSWORD}@nowhere.invalid/db"}, "cannot be reached"),
        ({"extra": json.dumps({"password": KEY_PASSWORD})}, "wrong user or password"),
    ],
    ids=["wrong", "nobody there", "unknown option", "address as host", "another password"],
)
def test_pages_and_api_say_who_refuses_and_no_secret(postgres, monkeypatch, visitor, tmp_path, fields, words):
    connection = {"login": GUARDED_ROLE, "password": PASSWORD, **fields}
    for name, text in postgres.environment("pipetrack_refused", **connection).items():
        monkeypatch.setenv(name, text)
    for number, path in enumerate(("", "health", "runs", "api/v1/health", "api/v1/runs")):
        # Each with a breaker of its own: who is left alone for a while is not asked for a reason.
        with TrackingStore([PLACE], journal_dir=tmp_path / str(number)) as store:
            answer = visitor(store, "orders").get(path)
        assert answer.status_code == 200
        assert words in answer.text, path
        assert PASSWORD not in answer.text, path
        assert KEY_PASSWORD not in answer.text, path
