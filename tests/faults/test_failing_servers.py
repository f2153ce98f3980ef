"""A server that refuses, hangs, resets, is slow or loses its answer: an error in time, and nothing lost or twice."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

import pytest

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.merge import fold
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.registry import make_adapter
from airflow_provider_pipetrack.testing.events import attempt, facts
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.faulty_proxy import faulty_proxy
from tests.postgres_server import DATABASE
from tests.storage_servers import s3_address, s3_connection, snowflake_connection
from tests.threads import waiting

SECRET = "s3cret-Pa55word"
CONN_ID = "pipetrack_through_proxy"
#: What the adapter's own limits allow before the thread is given up, in seconds.
LIMIT = 30.0


def _postgres(request):
    server = request.getfixturevalue("postgres")
    table = f"t{uuid.uuid4().hex}"
    socket = str(next(Path(server.folder).glob(".s.PGSQL.*[0-9]")))
    return (
        socket,
        lambda port: server.connection(host="127.0.0.1", port=port, password=SECRET),
        f"{DATABASE}||public||{table}",
    )


def _mongodb(request):
    port = request.getfixturevalue("mongo")
    place = f"pipetrack_tests||t{uuid.uuid4().hex}"
    return (
        ("127.0.0.1", port),
        lambda port: {"conn_type": "mongo", "host": "127.0.0.1", "port": port, "extra": {"directConnection": True}},
        place,
    )


def _aws_s3(request):
    bucket = request.getfixturevalue("s3")
    return s3_address(), lambda port: s3_connection(port, password=SECRET), f"s3://{bucket}/{uuid.uuid4().hex}/"


def _snowflake(request):
    database, port = request.getfixturevalue("snowflake")
    place = f"{database}||public||t{uuid.uuid4().hex}"
    return ("127.0.0.1", port), lambda port: snowflake_connection(port, password=SECRET), place


SERVERS = {"postgres": _postgres, "mongodb": _mongodb, "aws_s3": _aws_s3, "snowflake": _snowflake}


#: After how many answers a connection is cut; the client of Snowflake tries for 15 s before it gives up.
CUTS = {"snowflake": range(1, 2)}


@pytest.fixture(params=SERVERS)
def kind(request):
    return request.param


@pytest.fixture
def through_proxy(kind, request, monkeypatch):
    """A proxy before the server of a storage, and the location that leads through it."""
    upstream, connection, details = SERVERS[kind](request)
    if not isinstance(upstream, str) and upstream[1] is None:
        pytest.skip("a server that is not on this machine is not tormented")
    with faulty_proxy(upstream) as proxy:
        made = connection(proxy.port)
        text = made if isinstance(made, str) else json.dumps(made)
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", text)
        yield proxy, f"{kind}@{CONN_ID}||{details}"


@pytest.fixture
def proxy(through_proxy):
    return through_proxy[0]


@pytest.fixture
def adapter(through_proxy):
    made = make_adapter(parse_location_string(through_proxy[1]), connections={}, adapters={})
    made.load()
    yield made
    made.abandon()


def failure(work) -> StorageError:
    """The error of ``work``, which must come in time and tell no secret."""
    started = time.monotonic()
    with pytest.raises(StorageError) as raised:
        work()
    assert time.monotonic() - started < LIMIT
    assert SECRET not in str(raised.value)
    return raised.value


def test_a_server_that_refuses(proxy, adapter):
    proxy.close()
    error = failure(lambda: adapter.apply(attempt()))
    assert error.transient
    assert f"connection {CONN_ID!r} cannot be reached: " in error.message


def test_a_server_that_resets_connections(kind, proxy, adapter):
    if kind == "snowflake":
        pytest.skip("its client tries to log in for 20 s; a leg of a chain gives it up sooner")
    proxy.mode = "reset"
    error = failure(lambda: adapter.apply(attempt()))
    assert error.transient
    assert f"connection {CONN_ID!r} cannot be reached: " in error.message


def test_a_server_that_never_answers_ends_by_the_clients_own_limits(proxy, adapter):
    proxy.mode = "hang"
    error = failure(lambda: adapter.apply(attempt()))
    assert error.transient
    assert f"connection {CONN_ID!r}" in error.message


def test_a_server_that_stops_answering_is_given_up_at_once(kind, proxy, adapter):
    adapter.apply(attempt(0))
    proxy.mode = "hang"
    writer, ended = waiting(lambda: adapter.apply(attempt(1)), 0.7)
    started = time.monotonic()
    adapter.abandon()
    assert time.monotonic() - started < 1.0, "nobody waits for what hangs"
    if kind == "snowflake":
        return  # its client tries again on new connections, until its own limits end it
    writer.join(5.0)
    assert not writer.is_alive(), "its socket was shut"
    assert isinstance(ended[0], StorageError)
    assert ended[0].transient


def test_a_slow_server_is_waited_for(proxy, adapter):
    proxy.mode, proxy.delay = "slow", 0.05
    adapter.apply(attempt())
    (record,) = adapter.read_tracking_records("orders")
    assert facts(record) == facts(fold(attempt()))


def test_a_server_that_commits_and_loses_its_answer_has_each_change_once(kind, proxy, adapter):
    cuts = CUTS.get(kind, range(8))
    adapter.apply(attempt(99))
    failed = 0
    for number in cuts:
        proxy.answers_left = number
        try:
            adapter.apply(attempt(number), owed=["another"])
        except StorageError as error:
            failed += 1
            assert error.transient, error
        proxy.answers_left = None
        proxy.drop_all()
        # What a journal does with a change that nobody has confirmed.
        again = make_adapter(parse_location_string(adapter.location), connections={}, adapters={})
        again.apply(attempt(number), owed=["another"])
        again.close()
    assert failed, "some answer was lost"
    found = {record["map_index"]: record for record in adapter.read_tracking_records("orders")}
    assert sorted(found) == [*cuts, 99]
    for number in cuts:
        assert facts(found[number]) == facts(fold(attempt(number)))
        history = adapter.history(found[number]["record_id"])
        assert [entry["event_id"] for entry in history] == [event.event_id for event in attempt(number)]
    assert {record["map_index"] for record in adapter.owed_records()} == set(cuts)


def test_a_chain_goes_on_to_its_next_location_and_heals_when_the_first_is_back(
    proxy, through_proxy, tmp_path, monkeypatch
):
    from airflow_provider_pipetrack.tracking import breaker

    monkeypatch.setattr(breaker, "FIRST_PAUSE", 0.0)
    chain = [through_proxy[1], f"sqlite||{tmp_path}/b.db"]
    with TrackingStore(chain[:1], journal_dir=tmp_path / "j", deadline=30.0) as store:
        assert store.write_tracking_record({"pipeline_id": "p", "transfer_unique_id": "a"})
    proxy.mode = "hang"
    proxy.drop_all()
    with TrackingStore(chain, journal_dir=tmp_path / "j", deadline=2.0) as store:
        for name in ("b", "c"):
            assert store.write_tracking_record({"pipeline_id": "p", "transfer_unique_id": name})
        reading = store.read("p")
        assert {record["transfer_unique_id"] for record in reading.records} == {"b", "c"}
        assert list(reading.unreachable) == chain[:1]
        proxy.mode = "pass"
        proxy.drop_all()
        assert store.reconcile().healed == 2
    with TrackingStore(chain[:1], journal_dir=tmp_path / "another") as store:
        assert {record["transfer_unique_id"] for record in store.read_tracking_records("p")} == {"a", "b", "c"}
