"""What every storage must do, the user's own included: merge in any order, any number of times, and give it back."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from airflow_provider_pipetrack.records.change import Rank
from airflow_provider_pipetrack.records.clean import clean_columns
from airflow_provider_pipetrack.records.handmade import change_from_updates
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.merge import fold
from airflow_provider_pipetrack.storage.base import complete
from tests.integration.storage.conftest import KINDS
from tests.integration.storage.events import NOON, attempt, change, facts

UGLY = 'Zoë\'s "best"; DROP TABLE x; -- %s %(a)s {b} :c ? \\ \N{SNOWMAN} \N{GRINNING FACE} \t\r\n end'


def stored(adapter, pipeline_id="orders"):
    """The records of a pipeline by their id, with every value in its column's type."""
    records = [complete(record) for record in adapter.read_tracking_records(pipeline_id)]
    assert len(records) == len({record["record_id"] for record in records}), "a record was stored twice"
    return {record["record_id"]: record for record in records}


def test_all_orders_of_an_attempts_events_give_the_same_record(adapter):
    orders = list(itertools.permutations(range(5)))
    for number, order in enumerate(orders):
        events = attempt(number)
        for position in order:
            adapter.apply([events[position]])
    found = stored(adapter)
    assert len(found) == len(orders)
    for number in range(len(orders)):
        expected = fold(attempt(number))
        assert facts(found[expected["record_id"]]) == facts(expected), orders[number]
    sample = found["orders_dag/manual__1/load/7/1"]
    assert (sample["transfer_status"], sample["audit_result"]) == ("failed", "matched")
    assert sample["transfer_start_timestamp"] == NOON


def test_changes_of_several_records_in_one_go_are_merged_like_single_ones(adapter):
    events = [event for number in range(5) for event in attempt(number)]
    adapter.apply(events[::-1])
    found = stored(adapter)
    assert len(found) == 5
    for number in range(5):
        expected = fold(attempt(number))
        assert facts(found[expected["record_id"]]) == facts(expected)


def test_applying_again_changes_nothing(adapter):
    adapter.apply(attempt())
    before = stored(adapter)
    for event in attempt():
        adapter.apply([event])
    adapter.apply([*attempt(), *attempt()])
    after = stored(adapter)
    assert {key: facts(record) for key, record in after.items()} == {k: facts(r) for k, r in before.items()}


def test_an_empty_storage_knows_nothing_and_says_so(adapter):
    assert adapter.read_tracking_records("orders") == []
    assert adapter.read_run("orders_dag", "manual__1", ["orders"]) == []
    assert adapter.read_record("orders_dag/manual__1/load/-1/1", ["orders"]) is None
    assert adapter.read_unique("u1") == []
    assert adapter.owed_records() == []
    assert adapter.history("orders_dag/manual__1/load/-1/1") == []
    adapter.check()
    adapter.prepare()
    adapter.prepare()


def test_records_are_found_by_pipeline_by_run_and_by_id(adapter):
    adapter.apply([*attempt(1), *attempt(2), *attempt(1, run_id="manual__2")])
    ids = ["orders_dag/manual__1/load/1/1", "orders_dag/manual__1/load/2/1", "orders_dag/manual__2/load/1/1"]
    assert sorted(stored(adapter)) == ids
    assert stored(adapter, "another") == {}
    run = adapter.read_run("orders_dag", "manual__1", ["orders"])
    assert sorted(record["record_id"] for record in run) == ids[:2]
    assert adapter.read_record(ids[1], ["orders"])["record_id"] == ids[1]
    assert adapter.read_record("orders_dag/manual__9/load/1/1", ["orders"]) is None


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "local_file"])
def test_records_are_found_by_the_users_own_id_and_without_naming_the_pipeline(place_of, kind):
    adapter = place_of(kind).adapter()
    adapter.apply([*attempt(1), *attempt(2)])
    assert [record["map_index"] for record in adapter.read_unique("u2")] == [2]
    assert adapter.read_record("orders_dag/manual__1/load/2/1")["map_index"] == 2
    assert len(adapter.read_run("orders_dag", "manual__1")) == 2
    adapter.close()


def test_an_update_lays_its_columns_over_the_record_and_keeps_the_rest(adapter):
    adapter.apply(attempt()[:3])
    record = stored(adapter)["orders_dag/manual__1/load/-1/1"]
    adapter.apply([change_from_updates(record, {"records_failed": 2, "owner's note": "late"})])
    found = stored(adapter)
    assert list(found) == [record["record_id"]]
    updated = found[record["record_id"]]
    assert (updated["records_succeeded"], updated["records_failed"]) == (7, 2)
    assert updated["transfer_status"] == "completed"
    assert updated["extra_columns"] == {"cost": [1, 2.5, None], "owner's note": "late"}
    assert updated["transfer_start_timestamp"] == NOON


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "local_file"])
def test_the_three_methods_of_the_seed_work_with_plain_dicts(place_of, kind):
    adapter = place_of(kind).adapter()
    assert adapter.write_tracking_record({"pipeline_id": "orders", "transfer_unique_id": "t1", "cost": 3}) is True
    (record,) = adapter.read_tracking_records("orders")
    assert (record["transfer_status"], record["extra_columns"]) == ("pending", {"cost": 3})
    assert adapter.update_tracking_record(record["record_id"], {"transfer_status": "completed"}) is True
    assert adapter.update_tracking_record("a/b/c/-1/1", {"transfer_status": "failed"}) is False
    (record,) = adapter.read_tracking_records("orders")
    assert record["transfer_status"] == "completed"
    adapter.close()


def test_values_of_every_type_come_back_as_they_went_in(adapter):
    key = RecordKey(UGLY, "run 'one'", 'ta"sk;', 3, 2)
    columns = clean_columns(
        {
            "pipeline_id": UGLY,
            "stage_i_details": UGLY,
            "stage_i_plus_1_details": "",
            "transfer_order_number": 0.1,
            "transfer_enabled": False,
            "audit_enabled": True,
            "max_retry_attempts": 0,
            "logical_date": datetime(1969, 7, 20, 20, 17, 40, 999999, tzinfo=timezone(timedelta(hours=-5))),
            "transfer_process_email_alerts": [UGLY, ""],
            "records_succeeded": 2**63 - 1,
            "records_failed": -(2**63),
            "actual_seconds": 1e-9,
            "audit_metadata": {UGLY: [UGLY, {"deep": [True, None, 1.5, -1]}], "": {}},
            "extra_columns": {},
        }
    )
    event = change(key, 1, Rank.ENDED, ("start", "end", "audit", "free"), **columns)
    adapter.apply([event])
    (record,) = stored(adapter, UGLY).values()
    assert facts(record) == facts(fold([event]))
    assert record["logical_date"].utcoffset() == timedelta(0)


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "local_file"])
@pytest.mark.parametrize(
    "table",
    [
        "Größe \N{SNOWMAN}",
        'tr"ack"ing',
        "tracking'; DROP TABLE tracking; --",
        "100 % of %s and %(record_id)s",
        "select",
        ":record_id ?",
        "back\\slash",
        "Mixed.Case.Dots",
    ],
)
def test_any_table_or_file_name_is_only_a_name(place_of, kind, table):
    adapter = place_of(kind, table).adapter()
    adapter.apply(attempt())
    (record,) = adapter.read_tracking_records("orders")
    assert facts(record) == facts(fold(attempt()))
    adapter.settle(record, [])
    assert adapter.owed_records() == []
    assert len(adapter.history(record["record_id"])) == (5 if adapter.keeps_history else 0)
    adapter.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_the_history_has_every_change_once_and_in_order(place_of, kind):
    adapter = place_of(kind).adapter()
    events = attempt()
    for event in reversed(events):
        adapter.apply([event])
    adapter.apply(events)
    history = adapter.history(events[0].record_id)
    assert [entry["event_id"] for entry in history] == [event.event_id for event in events]
    assert [entry["changed_at"] for entry in history] == [event.at for event in events]
    assert {entry["changed_by"] for entry in history} == {"task"}
    assert history[2]["columns"]["records_succeeded"] == 7
    assert history[2]["keys"] == dict(events[2].keys)
    assert adapter.history("another") == []
    adapter.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_who_lacks_a_record_is_noted_until_it_is_settled(place_of, kind):
    adapter = place_of(kind).adapter()
    adapter.apply(attempt(1))
    adapter.apply(attempt(2)[:2], owed=["b", "a"])
    (owed,) = adapter.owed_records()
    assert (owed["map_index"], owed["owed"]) == (2, ["a", "b"])
    adapter.apply(attempt(2)[2:])
    adapter.settle(owed, [])
    (still,) = adapter.owed_records()
    assert still["owed"] == ["a", "b"], "what changed after it was read is not settled"
    adapter.settle(still, ["b"])
    assert [record["owed"] for record in adapter.owed_records()] == [["b"]]
    adapter.settle(still, [])
    assert adapter.owed_records() == []
    adapter.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "local_file"])
def test_writers_at_once_lose_nothing_and_stop_nobody(place_of, kind):
    place = place_of(kind)

    def write(worker: int) -> None:
        adapter = place.adapter()
        # Opposite orders of the same records would stop each other if the storage did not sort them.
        numbers = range(10) if worker % 2 else range(9, -1, -1)
        for step in range(5):
            adapter.apply([attempt(number)[(step + worker) % 5] for number in numbers])
        adapter.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    adapter = place.adapter()
    found = stored(adapter)
    assert len(found) == 10
    for number in range(10):
        expected = fold(attempt(number))
        assert facts(found[expected["record_id"]]) == facts(expected)
    adapter.close()


def test_every_kind_of_storage_is_under_contract():
    from airflow_provider_pipetrack.storage.registry import _BUILT_IN

    assert set(_BUILT_IN) - {"local_postgres"} <= set(KINDS)
