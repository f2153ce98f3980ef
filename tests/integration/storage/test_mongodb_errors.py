"""What a person reads when MongoDB refuses: what happened, what to do, and never a password."""

from __future__ import annotations

import json
import os
import time
import uuid

import pytest

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.mongodb import MongoAdapter
from tests.storage_servers import MONGO_CONN_ID, free_port

CHANGE = change_from_record({"pipeline_id": "orders", "transfer_unique_id": "t1"})
SECRET = "s3cret-Pa55/word"


def adapter_for(text: str) -> MongoAdapter:
    location = parse_location_string(text)
    return MongoAdapter(location, location.conn_id)


def failure(text: str) -> StorageError:
    adapter = adapter_for(text)
    try:
        with pytest.raises(StorageError) as raised:
            adapter.apply([CHANGE])
    finally:
        adapter.close()
    assert SECRET not in str(raised.value)
    assert raised.value.location == text
    return raised.value


@pytest.fixture
def define(monkeypatch):
    """A function that defines the connection ``pipetrack_other``."""

    def connection(**fields) -> None:
        given = {"conn_type": "mongo", "host": "127.0.0.1", "login": "somebody", "password": SECRET, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_PIPETRACK_OTHER", json.dumps(given))

    return connection


def test_a_connection_that_is_not_defined():
    error = failure("mongodb@never_defined||db||tracking")
    assert error.message == (
        "connection 'never_defined': there is no such Airflow connection; define it, or name another under "
        "tracking.connections"
    )
    assert not error.transient


def test_a_connection_of_another_type(define):
    define(conn_type="postgres")
    error = failure("mongodb@pipetrack_other||db||tracking")
    assert "conn_type 'postgres' not allowed for MongoHook" in error.message
    assert not error.transient


def test_an_option_that_the_driver_does_not_take(define):
    define(extra={"w": -1, "journal": True})
    error = failure("mongodb@pipetrack_other||db||tracking")
    assert error.message.startswith("connection 'pipetrack_other': ")
    assert not error.transient


def test_a_server_that_is_not_there(define):
    define(port=free_port(), extra={"timeoutMS": 300})
    error = failure("mongodb@pipetrack_other||db||tracking")
    assert error.message.startswith("connection 'pipetrack_other' cannot be reached: ")
    assert "Connection refused" in error.message
    assert error.transient


def test_a_name_that_mongodb_does_not_take(mongo):
    error = failure(f"mongodb@{MONGO_CONN_ID}||a b$c||tracking")
    assert "a b$c.tracking does not take pipetrack's documents" in error.message
    assert not error.transient


def test_documents_of_somebody_else_in_the_collection_are_left_alone(mongo, place_of):
    adapter = place_of("mongodb").adapter()
    adapter.apply([CHANGE])
    foreign = {"_id": 7, "pipeline_id": "orders", "owed_count": 1, "transfer_unique_id": "t1"}
    adapter._records().insert_one(foreign)
    assert len(adapter.read_tracking_records("orders")) == 1
    assert len(adapter.read_unique("t1")) == 1
    assert adapter.owed_records() == []
    assert adapter._records().find_one({"_id": 7}) == foreign
    adapter.close()


def test_a_collection_that_takes_no_record_is_found_out_without_one(mongo, place_of):
    adapter = place_of("mongodb").adapter()
    adapter.apply([CHANGE])
    adapter.check_writing()
    assert adapter._history().count_documents({}) == adapter._records().count_documents({}) == 1
    adapter._records().create_index([("task_id", 1)], unique=True)
    adapter._records().insert_one({"_id": 7, "task_id": "trial"})
    with pytest.raises(StorageError, match="does not take pipetrack's documents") as raised:
        adapter.check_writing()
    assert not raised.value.transient
    adapter.close()


def test_a_thread_that_waits_for_a_hung_server_goes_on_when_it_is_abandoned(define, black_hole):
    import threading

    define(port=black_hole)
    adapter = adapter_for("mongodb@pipetrack_other||db||tracking")
    ended = threading.Event()

    def write() -> None:
        with pytest.raises(StorageError):
            adapter.apply([CHANGE])
        ended.set()

    threading.Thread(target=write, daemon=True).start()
    time.sleep(0.5)
    adapter.abandon()
    assert ended.wait(4.5), "the driver's own limits end it"


def test_much_that_has_waited_is_written_although_it_takes_longer_than_the_driver_allows_one_write(place_of, define):
    place_of("mongodb")
    known = json.loads(os.environ[f"AIRFLOW_CONN_{MONGO_CONN_ID.upper()}"])
    define(**{**known, "login": None, "password": None, "extra": {"timeoutMS": 2500}})
    adapter = adapter_for(f"mongodb@pipetrack_other||pipetrack_tests||tracking_{uuid.uuid4().hex}")
    changes = [change_from_record({"pipeline_id": "orders", "transfer_unique_id": f"t{n}"}) for n in range(3000)]
    adapter.apply(changes)
    assert len(adapter.inventory("", 5000)) == 3000
    assert adapter.history(changes[-1].record_id)
    adapter.close()


@pytest.mark.parametrize(
    ("said", "code"),
    [("Authentication failed.", 18), ("bad auth : Authentication failed.", 8000)],
    ids=["a server", "Atlas"],
)
def test_a_password_that_was_changed_is_asked_for_anew(place_of, said, code):
    from pymongo.errors import OperationFailure

    adapter = place_of("mongodb").adapter()
    adapter.apply([CHANGE])
    first = adapter._client
    with pytest.raises(StorageError, match="wrong user or password"), adapter._explaining():
        raise OperationFailure(said, code)
    adapter.check()
    assert adapter._client is not first
    adapter.close()


def test_what_is_given_up_between_two_portions_connects_no_more(place_of, monkeypatch):
    adapter = place_of("mongodb").adapter()
    remember = adapter._remember
    monkeypatch.setattr(adapter, "_remember", lambda events: (remember(events), adapter.abandon()))
    with pytest.raises(StorageError, match="given up"):
        adapter.apply([CHANGE])
    assert adapter._client is None
