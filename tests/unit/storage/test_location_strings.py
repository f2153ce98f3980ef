"""Location strings: what is understood, what is refused, and with which words."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pipetrack.errors import LocationError
from airflow_provider_pipetrack.storage.locations import FORMS, Location, masked, parse_location_string

KNOWN = ", ".join(FORMS)


@pytest.mark.parametrize(
    ("text", "kind", "conn_id", "parts"),
    [
        ("snowflake||DB||PUBLIC||T", "snowflake", None, ("DB", "PUBLIC", "T")),
        ("postgres||db||public||t", "postgres", None, ("db", "public", "t")),
        ("postgres@warehouse||db||public||t", "postgres", "warehouse", ("db", "public", "t")),
        ("local_postgres||db||public||t", "local_postgres", None, ("db", "public", "t")),
        ("mongodb||db||tracking", "mongodb", None, ("db", "tracking")),
        ("aws_s3||s3://bucket/some/prefix/", "aws_s3", None, ("s3://bucket/some/prefix/",)),
        ("aws_s3@lake||s3://bucket", "aws_s3", "lake", ("s3://bucket/",)),
        ("S3://Bucket/some/prefix", "aws_s3", None, ("s3://Bucket/some/prefix/",)),
        ("s3://bucket/some/prefix", "aws_s3", None, ("s3://bucket/some/prefix/",)),
        ("local_file||/var/tracking.json", "local_file", None, ("/var/tracking.json",)),
        ("sqlite||/var/t.db||tracking", "sqlite", None, ("/var/t.db", "tracking")),
        ("sqlite||/var/t.db", "sqlite", None, ("/var/t.db", "pipeline_tracking")),
        ("  sqlite || /var/with space/t.db || my table ", "sqlite", None, ("/var/with space/t.db", "my table")),
        ("snowflake.DB.SCH.T", "snowflake", None, ("DB", "SCH", "T")),
        ("snowflake.DB.T", "snowflake", None, ("DB", "PUBLIC", "T")),
        ("postgres.db.t", "postgres", None, ("db", "public", "t")),
        ("postgres@warehouse.db.sch.t", "postgres", "warehouse", ("db", "sch", "t")),
        ("mongodb.db.tracking", "mongodb", None, ("db", "tracking")),
        ('postgres||db||public||Größe "x"; DROP', "postgres", None, ("db", "public", 'Größe "x"; DROP')),
    ],
)
def test_a_location_that_is_understood(text, kind, conn_id, parts):
    location = parse_location_string(text)
    assert location == Location(kind, conn_id, parts, text)
    storage_type, details = location
    assert (storage_type, details) == (kind, "||".join(parts))


def test_a_name_is_the_full_form_and_means_the_same():
    for text in ("postgres.db.t", "sqlite||/var/t.db", "s3://bucket/x", "postgres@w||db||public||t"):
        name = parse_location_string(text).name
        assert parse_location_string(name).name == name
    assert parse_location_string("postgres.db.t").name == "postgres||db||public||t"


@pytest.mark.parametrize(
    ("text", "kind", "conn_id", "parts"),
    [
        ("custom_storage||anything||at all, even||", "custom_storage", None, ("anything", "at all, even", "")),
        ("custom_storage@c||x", "custom_storage", "c", ("x",)),
        ("custom_storage.a.b", "custom_storage", None, ("a", "b")),
        ("custom_storage", "custom_storage", None, ()),
        ("postgres||whatever", "postgres", None, ("whatever",)),
    ],
)
def test_parts_of_a_users_own_type_are_not_looked_at(text, kind, conn_id, parts):
    assert parse_location_string(text, {"custom_storage", "postgres"}) == Location(kind, conn_id, parts, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; write for example sqlite||/path/tracking.db"),
        ("  ", "is empty; write for example sqlite||/path/tracking.db"),
        (None, "is empty; write for example sqlite||/path/tracking.db"),
        (7, "is empty; write for example sqlite||/path/tracking.db"),
        ("sqlite||/a\n||t", "contains a line break or a NUL character"),
        ("sqlite||/a\0b||t", "contains a line break or a NUL character"),
        ("postgres@||a||b||c", "names no connection after postgres@"),
        (
            "postgre||a||b||c",
            (
                f"there is no storage type 'postgre' (did you mean 'postgres'?); known are {KNOWN}, "
                "and those of storage_adapters"
            ),
        ),
        (
            "POSTGRES||a||b||c",
            (
                f"there is no storage type 'POSTGRES' (did you mean 'postgres'?); known are {KNOWN}, "
                "and those of storage_adapters"
            ),
        ),
        ("zzz||a", f"there is no storage type 'zzz'; known are {KNOWN}, and those of storage_adapters"),
        ("/just/a/path", f"there is no storage type '/just/a/path'; known are {KNOWN}, and those of storage_adapters"),
        ("postgres||db||t", "expected postgres||database||schema||table"),
        ("postgres||db||public||t||more", "expected postgres||database||schema||table"),
        ("postgres||db||||t", "expected postgres||database||schema||table"),
        ("postgres.a", "expected postgres||database||schema||table"),
        ("postgres.a.b.c.d", "expected postgres||database||schema||table"),
        ("postgres@", "names no connection after postgres@"),
        ("postgres@.db.t", "names no connection after postgres@"),
        ("mongodb||db", "expected mongodb||database||collection"),
        ("mongodb.db.a.b", "expected mongodb||database||collection"),
        ("snowflake", "expected snowflake||database||schema||table"),
        ("local_file./tmp/x", "expected local_file||/path/of/a/file"),
        ("sqlite", "expected sqlite||/path/of/a/file||table"),
        ("sqlite||", "expected sqlite||/path/of/a/file||table"),
        ("sqlite||t.db", "the path 't.db' must be absolute; every process must find the same file"),
        ("local_file||~/x.json", "the path '~/x.json' must be absolute; every process must find the same file"),
        ("local_file||/tmp/", "'/tmp/' is a folder; name a file in it"),
        ("aws_s3||bucket/prefix", "expected aws_s3||s3://bucket/prefix/"),
        ("aws_s3||s3://", "expected aws_s3||s3://bucket/prefix/"),
        ("s3:///prefix", "expected aws_s3||s3://bucket/prefix/"),
        ("s3://a b/prefix", "expected aws_s3||s3://bucket/prefix/"),
        ("sqlite||/t.db||a\tb", "'a\\tb' cannot be the name of a table or database"),
        ("snowflake||db||public||" + "x" * 256, f"'{'x' * 40}' cannot be the name of a table or database"),
        (
            "postgres||db||public||" + "x" * 56,
            "the name of the table is too long: PostgreSQL cuts names at 63 bytes, of which pipetrack needs 8",
        ),
        (
            "local_postgres||db||public||" + "ü" * 28,
            "the name of the table is too long: PostgreSQL cuts names at 63 bytes, of which pipetrack needs 8",
        ),
    ],
)
def test_a_location_that_is_refused_says_why(text, message):
    with pytest.raises(LocationError) as raised:
        parse_location_string(text)
    assert raised.value.message == message
    assert str(raised.value) == f"tracking location {str(text)!r}: {message}"


ELSEWHERE = (
    "a location names no server and no user: put those into an Airflow connection, and name that, for example as "
    "postgres@my_connection||database||schema||table"
)


@pytest.mark.parametrize(
    ("text", "shown", "message"),
    [
        ("postgres://u:s3/cr@et@db:5432/x", "postgres://u:***@db:5432/x", f"is a URL, and {ELSEWHERE}"),
        ("mongodb+srv://u:s3cret@[::1]/x", "mongodb+srv://u:***@[::1]/x", f"is a URL, and {ELSEWHERE}"),
        ("sqlite:////x/y.db", "sqlite:////x/y.db", f"is a URL, and {ELSEWHERE}"),
        ("postgres||u:s3cret@h||p||t", "postgres||u:***@h||p||t", f"holds a password, and {ELSEWHERE}"),
        ("s3://k:s3cret@b/p", "s3://k:***@b/p", f"holds a password, and {ELSEWHERE}"),
        ("aws_s3||s3://k:s3cret@b/p", "aws_s3||s3://k:***@b/p", f"holds a password, and {ELSEWHERE}"),
        (
            "mine||h;password=s3cret",
            "mine||h;password=***",
            f"there is no storage type 'mine'; known are {KNOWN}, and those of storage_adapters",
        ),
    ],
)
def test_what_is_refused_is_shown_without_its_secret(text, shown, message):
    with pytest.raises(LocationError) as raised:
        parse_location_string(text)
    assert str(raised.value) == f"tracking location {shown!r}: {message}"


@pytest.mark.parametrize(
    ("details", "shown"),
    [
        ("db://u:s3cret@h/x", "db://u:***@h/x"),
        ("db://u:s3/cr@et@h/x", "db://u:***@h/x"),
        ("db://:s3|cret@h", "db://:***@h"),
        ("u:s3cret@h:1/x", "u:***@h:1/x"),
        ("h;Password = s3cret;x=1", "h;Password = ***;x=1"),
        ("password: 's3 cret', x", "password: ***, x"),
        ('{"access_token": "s3 cret", "x": 1}', '{"access_token": ***, "x": 1}'),
        ("https://h/?sig=s3cret&x=1", "https://h/?sig=***&x=1"),
        ("AccountKey=s3cret==;X-Amz-Signature=s3cret", "AccountKey=***;X-Amz-Signature=***"),
        ("Authorization: Bearer s3cret", "Authorization: Bearer ***"),
        ("Authorization: Basic czNjcmV0Og==", "Authorization: Basic ***"),
        ("basic rights on 5 tables", "basic rights on 5 tables"),
        ("api_key: s3cret", "api_key: ***"),
        ("{'account-key': 's3cret', 'x': 1}", "{'account-key': ***, 'x': 1}"),
        ("scott/s3cret@db:1521/x", "scott/***@db:1521/x"),
        ("/home/team/of@us/t.json", "/home/team/of@us/t.json"),
        ("host:5432/x", "host:5432/x"),
        ("https://host:8080/x?mode=fast", "https://host:8080/x?mode=fast"),
        ("somebody@host, tokens of 3, key: value", "somebody@host, tokens of 3, key: value"),
    ],
)
def test_secrets_in_a_users_own_location_are_masked(details, shown):
    assert masked(f"mine||{details}||t") == f"mine||{shown}||t"
    assert parse_location_string(f"mine||{details}||t", {"mine"}).name == f"mine||{shown}||t"


def test_a_postgres_table_may_be_as_long_as_its_history_leaves_room_for():
    assert parse_location_string("postgres||db||public||" + "x" * 55).parts[2] == "x" * 55


@given(st.text(max_size=60) | st.lists(st.sampled_from(["||", ".", "@", "s3://", "/", "a", *FORMS])).map("".join))
def test_any_text_is_a_location_or_a_location_error(text):
    try:
        location = parse_location_string(text)
    except LocationError:
        return
    assert location.type in FORMS
    assert all(location.parts)
    assert parse_location_string(location.name).parts == location.parts


@pytest.mark.parametrize(
    "piece", ["a-", "a:b,", '"k":"v",', "://u:", "password-", "x/", "bearer ", "k=", "pass=", "'", '"token', "|a:"]
)
def test_a_long_text_is_looked_through_at_once(piece):
    """A storage of a user's own repeats what a server answered; a task must not stand still over that."""
    text = piece * (200_000 // len(piece))
    began = time.process_time()
    masked(text)
    assert time.process_time() - began < 2
