"""Secrets in addresses, as the errors of libraries have them, are not kept."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic

import pytest

from airflow_provider_pipetrack.attempts.errors import error_text
from airflow_provider_pipetrack.records.masking import without_secrets, without_secrets_of_addresses


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("401 for url: https://me:p@ss:w0rd@host/x", "401 for url: https://me:***@host/x"),
        ("postgres://:pw@h:5432/db failed", "postgres://:***@h:5432/db failed"),
        ("GET http://h/?page=2&api_key=abc123&x=1", "GET http://h/?page=2&api_key=***&x=1"),
        ("'https://h/a?X-Amz-Signature=0f0f&X-Amz-Date=1'", "'https://h/a?X-Amz-Signature=***&X-Amz-Date=1'"),
        ("(http://h:80/?access_token='t0k')", "(http://h:80/?access_token='t0k')"),
        ("http://host:8080/a@b and mail me@example.org", "http://host:8080/a@b and mail me@example.org"),
        ("unexpected token: <", "unexpected token: <"),
        ("no address: key=1 & token=2", "no address: key=1 & token=2"),
    ],
)
def test_passwords_and_keys_of_addresses_are_masked_and_nothing_else(text, kept):
    assert without_secrets_of_addresses(text) == kept


def test_an_error_as_it_is_recorded_has_no_password_of_an_address():
    error = RuntimeError("cannot reach https://me:hush@host/?token=abc")
    assert error_text(error, None) == "RuntimeError: cannot reach https://me:***@host/?token=***"


@pytest.mark.parametrize("name", ["password", "db_secret", "secret_token", "passwd"])
def test_a_secret_that_is_a_number_is_masked_too(name):
    assert without_secrets({name: 271828}) == {name: "***"}
    assert without_secrets({"each": [{name: 271828}]}) == {"each": [{name: "***"}]}


def test_where_no_secret_is_given_none_is_shown():
    assert without_secrets({"password": None, "token": ""}) == {"password": None, "token": ""}


def test_a_length_of_time_is_kept_in_seconds():
    assert without_secrets({"timeout": timedelta(minutes=5)}) == {"timeout": 300.0}


@pytest.mark.parametrize("piece", ["://a:", "://a:b@", "?a", "?key=", "&a.b-c", "a", "://"])
def test_long_texts_take_no_time(piece):
    text = (piece * 200_000)[:200_000]
    begun = monotonic()
    without_secrets_of_addresses(text)
    assert monotonic() - begun < 2
