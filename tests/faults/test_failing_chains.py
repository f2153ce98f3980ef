"""Storages that fail in each way, alone and in pairs: the write is safe and soon done, and all is there once in the end."""

from __future__ import annotations

import itertools
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest

from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.tracking import breaker as breaker_module
from airflow_provider_pipetrack.tracking.journal import undelivered
from airflow_provider_pipetrack.tracking.leg import Leg
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.faulty_proxy import FaultyProxy, faulty_proxy
from tests.postgres_server import DATABASE, postgres  # noqa: F401  a fixture
from tests.storage_servers import (
    environment,
    free_port,
    mongo,  # noqa: F401  fixtures
    s3,  # noqa: F401
    s3_address,
    s3_connection,
    snowflake,  # noqa: F401
    snowflake_connection,
)

DEADLINE = 1.6
WRITES = 3


class Fault(Enum):
    """What happens to a location."""

    REFUSED = "refused"
    HUNG = "hung"
    RESET = "reset"
    SLOW = "slow"
    LOST_ANSWER = "lost answer"


@dataclass(frozen=True)
class Place:
    """A location behind a proxy.

    :param conn_id: its Airflow connection; ``connection`` makes that for a port.
    :param commits: bytes of a request that makes the server commit; None where nobody can read along, and each request
        commits.
    """

    text: str
    proxy: FaultyProxy
    conn_id: str
    connection: Callable[[int], dict[str, Any]]
    commits: bytes | None

    def suffer(self, fault: Fault, leg: Leg) -> None:
        if fault is Fault.LOST_ANSWER:
            # On a connection that is open: else the answer to its login would be the one that is lost.
            leg.call(lambda adapter: adapter.check(), 20.0)
            self.proxy.lose_answer_to, self.proxy.answers_left = self.commits, None if self.commits else 0
            return
        self.proxy.mode = {Fault.HUNG: "hang", Fault.RESET: "reset", Fault.SLOW: "slow"}.get(fault, "pass")
        self.proxy.delay = 0.03
        self._lead_to(free_port() if fault is Fault.REFUSED else self.proxy.port)
        self.proxy.drop_all()

    def recover(self) -> None:
        self.proxy.mode, self.proxy.lose_answer_to, self.proxy.answers_left = "pass", None, None
        self._lead_to(self.proxy.port)
        self.proxy.drop_all()

    def _lead_to(self, port: int) -> None:
        os.environ[f"AIRFLOW_CONN_{self.conn_id.upper()}"] = json.dumps(self.connection(port))


@pytest.fixture(autouse=True)
def loaded(monkeypatch):
    """Clients are loaded before time is taken, and a location that is back is tried at once."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    monkeypatch.setattr(breaker_module, "FIRST_PAUSE", 0.0)
    return PostgresHook


@pytest.fixture
def place_of(request):
    """A function that makes an empty location of a type, behind a proxy."""
    with ExitStack() as stack:

        def make(kind: str) -> Place:
            name = f"t{uuid.uuid4().hex[:12]}"
            conn_id = f"pipetrack_{name}"
            server = request.getfixturevalue({"mongodb": "mongo", "aws_s3": "s3"}.get(kind, kind))
            if None in (server if isinstance(server, tuple) else [server]):
                pytest.skip("a server that is not on this machine is not tormented")
            upstream, connection, details, commits = SERVERS[kind](server, name)
            proxy = stack.enter_context(faulty_proxy(upstream))
            stack.enter_context(environment(conn_id, connection(proxy.port)))
            return Place(f"{kind}@{conn_id}||{details}", proxy, conn_id, connection, commits)

        yield make


def _postgres(server, name):
    def connection(port: int) -> dict[str, Any]:
        return {"conn_type": "postgres", "host": "127.0.0.1", "port": port, "login": "postgres", "password": "unasked"}

    return f"{server.folder}/.s.PGSQL.5432", connection, f"{DATABASE}||public||{name}", b"COMMIT\0"


def _mongodb(port, name):
    def connection(port: int) -> dict[str, Any]:
        return {"conn_type": "mongo", "host": "127.0.0.1", "port": port}

    return ("127.0.0.1", port), connection, f"pipetrack||{name}", b"update"


def _aws_s3(bucket, name):
    return s3_address(), s3_connection, f"s3://{bucket}/{name}/", b"record_id"


def _snowflake(server, name):
    database, port = server
    return ("127.0.0.1", port), snowflake_connection, f"{database}||public||{name}", None


SERVERS = {"postgres": _postgres, "aws_s3": _aws_s3, "mongodb": _mongodb, "snowflake": _snowflake}


def record(number: int) -> dict:
    return {
        "pipeline_id": "orders",
        "transfer_unique_id": f"t{number}",
        "transfer_status": "completed",
        "records_succeeded": number,
    }


def write_all(store: TrackingStore) -> None:
    for number in range(WRITES):
        started = time.monotonic()
        assert store.write_tracking_record(record(number)) is True
        assert time.monotonic() - started < DEADLINE + 1.5, "a write waits for its deadline and no longer"


def heal_and_check(locations: list[str], folder, first: str) -> int:
    """Reconcile once all is well, compare the first location with what was promised, and return how many it has."""
    with TrackingStore(locations, journal_dir=folder, deadline=20.0) as store:
        summary = store.reconcile()
        assert (summary.waiting, summary.still_owed, summary.dead, summary.unreachable) == (0, 0, 0, {})
        assert not list(undelivered(store.journal_folder))
        again = store.reconcile()
        assert (again.drained, again.healed) == (0, 0)
    with TrackingStore([first], journal_dir=folder / "of-the-reader", deadline=20.0) as reader:
        found = sorted(reader.read_tracking_records("orders"), key=lambda one: one["records_succeeded"])
        assert [one["transfer_unique_id"] for one in found] == [f"t{number}" for number in range(WRITES)]
        assert [{**one, **record(number)} for number, one in enumerate(found)] == found
        for one in found:
            assert len(reader.history(one["record_id"])) == 1, "a change that was repeated counts once"
    return len(found)


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
@pytest.mark.parametrize("kind", SERVERS)
def test_a_storage_that_fails_alone(kind, fault, place_of, tmp_path):
    place = place_of(kind)
    _prepare([place.text], tmp_path)
    with TrackingStore([place.text], journal_dir=tmp_path / "j", deadline=DEADLINE) as store:
        place.suffer(fault, store.legs[0])
        write_all(store)
        waiting = len(list(undelivered(store.journal_folder)))
        assert fault is Fault.SLOW or waiting == WRITES, "what was not confirmed waits in the journal"
    place.recover()
    # Snowflake's client logs in again on its own, so that what was given up may arrive after all.
    if fault is Fault.LOST_ANSWER or (fault is Fault.HUNG and kind != "snowflake"):
        with TrackingStore([place.text], journal_dir=tmp_path / "of-the-looker", deadline=20.0) as store:
            there = len(store.read_tracking_records("orders"))
        assert bool(there) is (fault is Fault.LOST_ANSWER), "only the answer was lost"
    heal_and_check([place.text], tmp_path / "j", place.text)


def _pairs() -> Iterator[Any]:
    """Yield each fault with each fault, on types of storages and with an end of the chain that change from pair to pair.

    The type of the first goes with the second's fault and the other way round. So each type stands before each type,
    and meets each fault both as the first and as the second.
    """
    types = list(SERVERS)
    for (i, first), (j, second) in itertools.product(enumerate(Fault), enumerate(Fault)):
        one, other = types[j % len(types)], types[i % len(types)]
        last = (None, "sqlite", "local_file")[(i + j) % 3]
        name = f"{one} {first.value}, {other} {second.value}, then {last or 'the journal alone'}"
        yield pytest.param(((one, first), (other, second)), last, id=name)


@pytest.mark.parametrize(("pair", "last"), list(_pairs()))
def test_two_storages_that_fail_each_in_its_way(pair, last, place_of, tmp_path, monkeypatch):
    monkeypatch.setattr(breaker_module, "FIRST_PAUSE", 15.0)  # as it is in life: only the first write pays
    places = [place_of(kind) for kind, _ in pair]
    locations = [place.text for place in places]
    _prepare(locations, tmp_path)
    if last:
        locations.append(f"{last}||{tmp_path}/last" + ("||t" if last == "sqlite" else ""))
    with TrackingStore(locations, journal_dir=tmp_path / "j", deadline=DEADLINE) as store:
        for place, (_, fault), leg in zip(places, pair, store.legs, strict=False):
            place.suffer(fault, leg)
        write_all(store)
    for place in places:
        place.recover()
    assert heal_and_check(locations, tmp_path / "j", locations[0]) == WRITES


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.value)
@pytest.mark.parametrize("mode", ["fallback", "mirror"])
def test_a_first_storage_that_fails_before_one_that_does_not(mode, fault, place_of, tmp_path):
    place = place_of("postgres")
    second = f"sqlite||{tmp_path}/b.db||t"
    _prepare([place.text], tmp_path)
    with TrackingStore([place.text, second], mode=mode, journal_dir=tmp_path / "j", deadline=DEADLINE) as store:
        place.suffer(fault, store.legs[0])
        write_all(store)
        store.flush(10.0)
        assert len(store.read_tracking_records("orders")) == WRITES
    place.recover()
    heal_and_check([place.text, second], tmp_path / "j", place.text)


def test_a_snowflake_whose_login_takes_long_is_not_passed_over(place_of, tmp_path):
    place = place_of("snowflake")
    others = [f"sqlite||{tmp_path}/{name}.db||t" for name in "bcd"]
    _prepare([place.text], tmp_path)
    place.proxy.mode, place.proxy.delay = "slow", 0.1
    with TrackingStore([place.text, *others], journal_dir=tmp_path / "j", deadline=DEADLINE) as store:
        started = time.monotonic()
        assert store.submit([change_from_record({**record(0), "transfer_status": "in_progress"})], durable=False)
        while list(undelivered(store.journal_folder)) and time.monotonic() - started < 20.0:
            time.sleep(0.02)
        assert time.monotonic() - started > DEADLINE / 4, "the login is shorter than its share of the deadline"
        opened = store.legs[0].adapter._connection
        place.proxy.mode = "pass"
        assert store.write_tracking_record(record(0)) is True
        assert not list(undelivered(store.journal_folder))
        assert store.legs[0].adapter._connection is opened is not None, "the end has to log in again"
        assert not any(leg.adapter.is_here() for leg in store.legs[1:]), "it went to another location"
        (found,) = store.read_tracking_records("orders")
        assert found["transfer_status"] == "completed"


def _prepare(locations: list[str], tmp_path) -> None:
    """Make the tables while all is well."""
    with TrackingStore(locations, journal_dir=tmp_path / "of-the-maker", deadline=20.0) as store:
        for leg in store.legs:
            leg.adapter.load()
            leg.adapter.prepare()
