"""What a user's own storage gets wrong is said, and neither ends a process nor breaks an answer."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone

import pytest

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.own_functions import FunctionsAdapter
from tests.unit.tracking.site import RECORD, RECORD_ID


class Storage:
    """Three methods of a user's, without the base class; the tests replace some of them."""

    def write_tracking_record(self, record):
        return True

    def read_tracking_records(self, pipeline_id):
        return []

    def update_tracking_record(self, transfer_id, updates):
        return True


class Zoneless(Storage):
    """Keeps records as a database without zones does."""

    kept: dict = {}

    def write_tracking_record(self, record):
        bare = {n: v.replace(tzinfo=None) if isinstance(v, datetime) else v for n, v in record.items()}
        self.kept[record["record_id"]] = {**self.kept.get(record["record_id"], {}), **bare}
        return True

    def read_tracking_records(self, pipeline_id):
        return list(self.kept.values())

    def update_tracking_record(self, transfer_id, updates):
        return self.write_tracking_record({"record_id": transfer_id, **updates})


def leave(*arguments):
    sys.exit(3)


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (None, "None"),
        ("text", "'text'"),
        ([7], "[7]"),
        ({"a": 1}, "{'a': 1}"),
        ([{"pipeline_id": "orders"}], "[{'pipeline_id': 'orders'}]"),
    ],
)
def test_an_answer_that_is_no_list_of_records_is_shown_and_the_rest_is_read(site, monkeypatch, answer, shown):
    monkeypatch.setattr(Storage, "read_tracking_records", lambda self, pipeline_id: answer)
    store = site.store("users||x", "b", adapters={"users": Storage})
    site.alone("b").write_tracking_record(RECORD)
    reading = store.read("orders")
    assert [record["record_id"] for record in reading.records] == [RECORD_ID]
    assert reading.unreachable == {
        "users||x": f"a read returned {shown}; expected a list of dicts that have record_id and the other columns"
    }


def test_times_without_a_zone_are_utc(site, monkeypatch):
    monkeypatch.setattr(Zoneless, "kept", {})
    store = site.store("users||x", adapters={"users": Zoneless})
    began = datetime(2026, 1, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    assert store.write_tracking_record({**RECORD, "transfer_start_timestamp": began})
    assert store.update_tracking_record(RECORD_ID, {"transfer_status": "completed"})
    assert Zoneless.kept[RECORD_ID]["transfer_status"] == "completed"
    (record,) = store.read_tracking_records("orders")
    assert record["transfer_start_timestamp"] == began
    assert site.waiting() == 0


@pytest.mark.parametrize("answer", [None, False, 0])
def test_a_write_that_does_not_say_true_is_not_believed(site, monkeypatch, caplog, answer):
    monkeypatch.setattr(Storage, "write_tracking_record", lambda self, record: answer)
    site.store("users||x", "b", adapters={"users": Storage}).write_tracking_record(RECORD)
    said = f"write_tracking_record returned {answer!r} for record {RECORD_ID}; it returns True once that is stored"
    assert said in caplog.text
    assert site.ids("b") == [RECORD_ID]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_write_that_nobody_awaits_is_not_taken_for_done(site, monkeypatch, caplog):
    async def write(*given):
        return True

    monkeypatch.setattr(Storage, "write_tracking_record", write)
    site.store("users||x", "b", adapters={"users": Storage}).write_tracking_record(RECORD)
    assert "write_tracking_record returned <coroutine" in caplog.text
    assert site.ids("b") == [RECORD_ID]
    functions = FunctionsAdapter(parse_location_string("ours||y", ("ours",)), write, lambda query, location: [])
    with pytest.raises(StorageError, match="returned <coroutine .* it returns True once that is stored"):
        functions.apply([change_from_record(RECORD)])


def test_code_that_ends_its_process_ends_nobody_elses(site, monkeypatch, caplog):
    monkeypatch.setattr(Storage, "write_tracking_record", leave)
    store = site.store("users||x", "b", adapters={"users": Storage})
    assert store.write_tracking_record(RECORD)
    assert "Storage failed: SystemExit: 3" in caplog.text
    assert site.ids("b") == [RECORD_ID]
    assert store.reconcile().still_owed == 1
    # The thread is alive, and brings the next one.
    assert store.write_tracking_record({**RECORD, "transfer_unique_id": "t2"})
    assert len(site.ids("b")) == 2
