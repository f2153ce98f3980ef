"""The contract of a storage as pytest tests: merge in any order, any number of times, and give it back."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.change import Change, Rank
from airflow_provider_pipetrack.records.clean import clean_columns
from airflow_provider_pipetrack.records.configs import ConfigVersion
from airflow_provider_pipetrack.records.handmade import change_from_updates
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.merge import fold
from airflow_provider_pipetrack.storage.base import Event, Listed, Record, StorageAdapter, listed
from airflow_provider_pipetrack.storage.complete import complete
from airflow_provider_pipetrack.storage.registry import adapter_of
from airflow_provider_pipetrack.testing.events import NOON, attempt, change, facts

UGLY = 'Zoë\'s "best"; DROP TABLE x; -- %s %(a)s {b} :c $d ? \\ \N{SNOWMAN} \N{GRINNING FACE} \t\r\n e.n.d'


def stored(adapter: StorageAdapter, pipeline_id: str = "orders") -> dict[str, Record]:
    """Return the records of a pipeline by their id, with every value in its column's type."""
    records = [complete(record) for record in adapter.read_tracking_records(pipeline_id)]
    assert len(records) == len({record["record_id"] for record in records}), "a record was stored twice"
    return {record["record_id"]: record for record in records}


class StorageContract:
    """What every storage must do; inherit from it, say how yours is opened, and run pytest.

    Tests of abilities that a storage need not have (a history, notes of who lacks a record, finding a record without
    its pipeline) are left out for adapters that do not have them.
    """

    @pytest.fixture
    def open_storage(self) -> Callable[[], Any]:
        """Return a function that gives a new adapter of one and the same storage, empty at the start of a test."""
        raise NotImplementedError("define the fixture open_storage: a function that returns a new adapter")

    @pytest.fixture
    def adapter(self, open_storage: Callable[[], Any]) -> Iterator[StorageAdapter]:
        """Give an adapter that is ready to be used."""
        made = adapter_of(open_storage(), "the storage under test")
        made.load()
        yield made
        made.close()

    def test_all_orders_of_an_attempts_events_give_the_same_record(self, adapter: StorageAdapter) -> None:
        orders = list(itertools.permutations(range(5)))
        for step in range(5):
            # One write for all records, each of which gets its next event by it.
            adapter.apply([attempt(number)[order[step]] for number, order in enumerate(orders)])
        found = stored(adapter)
        assert len(found) == len(orders)
        for number, order in enumerate(orders):
            expected = fold(attempt(number))
            assert facts(found[expected["record_id"]]) == facts(expected), order
        sample = found["orders_dag/manual__1/load/7/1"]
        assert (sample["transfer_status"], sample["audit_result"]) == ("failed", "matched")
        assert sample["transfer_start_timestamp"] == NOON

    def test_changes_of_several_records_in_one_go_are_merged_like_single_ones(self, adapter: StorageAdapter) -> None:
        adapter.apply([event for number in range(5) for event in attempt(number)][::-1])
        found = stored(adapter)
        assert len(found) == 5
        for number in range(5):
            expected = fold(attempt(number))
            assert facts(found[expected["record_id"]]) == facts(expected)

    def test_applying_again_changes_nothing(self, adapter: StorageAdapter) -> None:
        adapter.apply(attempt())
        before = stored(adapter)
        for event in attempt():
            adapter.apply([event])
        adapter.apply([*attempt(), *attempt()])
        after = stored(adapter)
        assert {key: facts(record) for key, record in after.items()} == {k: facts(r) for k, r in before.items()}

    def test_an_empty_storage_knows_nothing_and_says_so(self, adapter: StorageAdapter) -> None:
        assert adapter.read_tracking_records("orders") == []
        assert adapter.read_run("orders_dag", "manual__1", ["orders"]) == []
        assert adapter.read_record("orders_dag/manual__1/load/-1/1", ["orders"]) is None
        assert adapter.read_unique("u1", ["orders"]) == []
        assert adapter.owed_records() == []
        assert adapter.history("orders_dag/manual__1/load/-1/1") == []
        adapter.check()
        adapter.prepare()
        adapter.prepare()

    def test_it_may_be_made_ready_at_any_time_and_nothing_comes_of_it(self, adapter: StorageAdapter) -> None:
        adapter.make_ready()
        assert stored(adapter) == {}
        adapter.apply(attempt())
        before = stored(adapter)
        adapter.make_ready()
        assert stored(adapter) == before != {}

    def test_records_are_found_by_pipeline_by_run_and_by_id(self, adapter: StorageAdapter) -> None:
        adapter.apply([*attempt(1), *attempt(2), *attempt(1, run_id="manual__2")])
        ids = ["orders_dag/manual__1/load/1/1", "orders_dag/manual__1/load/2/1", "orders_dag/manual__2/load/1/1"]
        assert sorted(stored(adapter)) == ids
        assert stored(adapter, "another") == {}
        run = adapter.read_run("orders_dag", "manual__1", ["orders"])
        assert sorted(record["record_id"] for record in run) == ids[:2]
        found = adapter.read_record(ids[1], ["orders"])
        assert found is not None
        assert found["record_id"] == ids[1]
        assert adapter.read_record("orders_dag/manual__9/load/1/1", ["orders"]) is None
        assert [record["map_index"] for record in adapter.read_unique("u2", ["orders"])] == [2]
        some = adapter.read_records([ids[0], ids[2], "orders_dag/manual__9/load/1/1"], ["orders", "another"])
        assert sorted(record["record_id"] for record in some) == [ids[0], ids[2]]

    def test_records_are_found_by_the_users_own_id_and_without_naming_the_pipeline(
        self, adapter: StorageAdapter
    ) -> None:
        _needs(adapter, "read_unique")
        adapter.apply([*attempt(1), *attempt(2)])
        assert [record["map_index"] for record in adapter.read_unique("u2")] == [2]
        found = adapter.read_record("orders_dag/manual__1/load/2/1")
        assert found is not None
        assert found["map_index"] == 2
        assert len(adapter.read_run("orders_dag", "manual__1")) == 2

    def test_every_record_is_given_back_when_all_are_asked_for(self, adapter: StorageAdapter) -> None:
        _needs(adapter, "read_all")
        adapter.apply([*attempt(1), *attempt(1, run_id="manual__2"), *attempt(2)])
        found = {record["record_id"] for record in adapter.read_all()}
        wanted = {event.record_id for run in ("manual__1", "manual__2") for event in attempt(1, run_id=run)}
        assert found == {*wanted, attempt(2)[0].record_id}

    def test_runs_with_an_open_attempt_are_found_with_all_of_their_attempts(self, adapter: StorageAdapter) -> None:
        _needs(adapter, "read_all")
        adapter.apply(
            [*attempt(1), *attempt(2)[:2], attempt(3, run_id="manual__2")[0], *attempt(1, run_id="manual__3")]
        )
        found = {(record["run_id"], record["map_index"]) for record in adapter.read_open_runs()}
        assert found >= {("manual__1", 1), ("manual__1", 2), ("manual__2", 3)}

    def test_another_adapter_of_the_same_storage_sees_the_same(
        self, adapter: StorageAdapter, open_storage: Callable[[], Any]
    ) -> None:
        adapter.apply(attempt())
        another = adapter_of(open_storage(), "the storage under test")
        assert {k: facts(r) for k, r in stored(another).items()} == {k: facts(r) for k, r in stored(adapter).items()}
        another.close()

    def test_an_update_lays_its_columns_over_the_record_and_keeps_the_rest(self, adapter: StorageAdapter) -> None:
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

    def test_values_of_every_type_come_back_as_they_went_in(self, adapter: StorageAdapter) -> None:
        key = RecordKey(UGLY, "run 'one'", 'ta"sk;', 3, 2)
        columns: dict[str, Any] = {
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
            "audit_metadata": {UGLY: [UGLY, {"deep": [True, None, 1.5, -1]}], "": {}, "$set": {"$a.b": 1}, "%2E": "%"},
            "extra_columns": {},
        }
        self._comes_back(adapter, change(key, 1, Rank.ENDED, ("start", "end", "audit", "free"), **columns))

    def test_what_json_and_databases_refuse_is_kept_as_it_was_made_fit(self, adapter: StorageAdapter) -> None:
        key = RecordKey("dag", "run", "lone \ud800", -1, 1)
        columns: dict[str, Any] = {
            "pipeline_id": "nul \0 and lone \udfff surrogates",
            "logical_date": datetime(2026, 1, 1, 12),  # noqa: DTZ001  a user's own time may lack its zone
            "actual_seconds": float("nan"),
            "audit_metadata": {"nan": float("inf"), "bytes": b"\xff\0", "huge": 10**30, "when": NOON},
        }
        self._comes_back(adapter, change(key, 1, Rank.ENDED, ("start", "end", "audit"), **columns))

    def test_a_record_of_five_megabytes_is_kept_or_refused_with_a_reason(self, adapter: StorageAdapter) -> None:
        key = RecordKey("orders_dag", "manual__1", "huge", -1, 1)
        metadata = {"samples": ["\N{SNOWMAN}" * 50_000 for _ in range(35)]}
        event = change(key, 1, Rank.ENDED, ("start", "audit"), audit_metadata=metadata)
        adapter.apply(attempt())
        try:
            adapter.apply([event])
        except StorageError as error:
            assert not error.transient, "a record that is too large stays so"
            assert "large" in error.message
        else:
            assert stored(adapter)[key.record_id]["audit_metadata"] == metadata
        adapter.apply(attempt(1))
        assert len(stored(adapter).keys() - {key.record_id}) == 2, "the storage is as good as before"

    def test_a_users_own_id_may_be_as_long_as_a_text(self, adapter: StorageAdapter) -> None:
        # Of random letters, since an index may take a long text that can be packed.
        letters = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(300))
        key = RecordKey("orders_dag", "manual__1", "load", -1, 1)
        self._comes_back(
            adapter, change(key, 1, Rank.STARTED, ("start",), transfer_unique_id=letters, logical_date=NOON)
        )

    def test_the_history_has_every_change_once_and_in_order(self, adapter: StorageAdapter) -> None:
        if not adapter.keeps_history:
            pytest.skip("keeps no history")
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

    def test_who_lacks_a_record_is_noted_until_it_is_settled(self, adapter: StorageAdapter) -> None:
        if not adapter.keeps_owed:
            pytest.skip("does not note who lacks a record")
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
        later = change(RecordKey("orders_dag", "manual__1", "load", 2, 1), 6, Rank.ENDED, ("free",), extra_columns={})
        adapter.apply([later], owed=["a"])
        assert [record["owed"] for record in adapter.owed_records()] == [["a"]], "a later change is owed anew"

    def test_owed_records_come_in_pages_and_are_settled_together(self, adapter: StorageAdapter) -> None:
        if not adapter.keeps_owed:
            pytest.skip("does not note who lacks a record")
        adapter.apply([attempt(number)[0] for number in range(7)], owed=["a"])
        assert adapter.count_owed() == 7
        first = adapter.owed_records(limit=3)
        rest = adapter.owed_records(after=str(first[-1]["record_id"]), limit=10)
        assert [record["map_index"] for record in [*first, *rest]] == list(range(7))
        adapter.settle_all([(record, []) for record in [*first, *rest]])
        assert (adapter.count_owed(), adapter.owed_records()) == (0, [])

    def test_the_inventory_lists_every_record_with_its_keys(self, adapter: StorageAdapter) -> None:
        if not adapter.can_list:
            pytest.skip("cannot list its records")
        adapter.apply([event for number in range(5) for event in attempt(number)])
        found: list[Listed] = []
        while page := adapter.inventory(found[-1].record_id if found else "", 2):
            found += page
        expected = [listed(fold(attempt(number))) for number in range(5)]
        assert [item[:2] for item in found] == [item[:2] for item in expected]
        assert [r["map_index"] for r in adapter.read_records([found[1].record_id, "a/b/c/-1/1"])] == [1]
        assert adapter.inventory(found[-1].record_id, 2) == []

    def test_what_is_taken_from_another_storage_has_its_history(self, adapter: StorageAdapter) -> None:
        if not adapter.keeps_history:
            pytest.skip("keeps no history")
        events = [_event(change) for number in (1, 2) for change in attempt(number)]
        adapter.take([fold(attempt(number)) for number in (1, 2, 3)], events)
        found = stored(adapter)
        for number in (1, 2, 3):
            expected = fold(attempt(number))
            assert facts(found[expected["record_id"]]) == facts(expected)
        ids = [attempt(number)[0].record_id for number in (1, 2)]
        assert sorted(event["event_id"] for event in adapter.histories(ids)) == sorted(e["event_id"] for e in events)
        assert len(adapter.history(attempt(3)[0].record_id)) == 1, "what no history explains came as it stands"

    def test_a_configuration_is_kept_once_and_found_by_pipeline_and_dag(self, adapter: StorageAdapter) -> None:
        if not adapter.keeps_configs:
            pytest.skip("keeps no configurations")
        stages = [["shop", "staging"]]
        first = ConfigVersion("h1", "orders", "orders_dag", "1.0", stages, {"a": [1, UGLY]}, NOON)
        second = ConfigVersion("h2", "orders", "orders_dag", None, stages, {}, NOON + timedelta(hours=1))
        for version in (second, first, first, replace(first, first_used_at=NOON + timedelta(hours=2))):
            adapter.keep_config(version)
        assert adapter.config_versions("orders") == adapter.config_versions("orders_dag") == [first, second]
        assert adapter.config_versions("another") == []
        assert adapter.read_configs({"h1": "orders_dag", "h3": "orders_dag"}) == [first]
        adapter.upgrade()
        assert adapter.config_versions("orders") == [first, second]

    def test_that_it_would_take_a_record_is_proved_without_leaving_one(self, adapter: StorageAdapter) -> None:
        adapter.apply(attempt())
        adapter.check_writing()
        assert stored(adapter, "pipetrack-check") == {}
        assert len(stored(adapter)) == 1

    def test_writers_of_different_records_at_once_lose_none_of_them(
        self, adapter: StorageAdapter, open_storage: Callable[[], Any]
    ) -> None:
        # Each task is a process of its own: a storage that keeps several records in one file has to guard that.
        def write(worker: int) -> None:
            writer = adapter_of(open_storage(), "the storage under test")
            for step in range(5):
                writer.apply([attempt(worker)[step]])
            writer.close()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))
        found = stored(adapter)
        expected = [fold(attempt(worker)) for worker in range(8)]
        lost = {record["record_id"] for record in expected} - found.keys()
        assert not lost, "records that were stored are gone, since others were written at the same time"
        assert [facts(found[record["record_id"]]) for record in expected] == [facts(record) for record in expected]

    def test_writers_at_once_lose_nothing_and_stop_nobody(
        self, adapter: StorageAdapter, open_storage: Callable[[], Any]
    ) -> None:
        _needs(adapter, "apply")

        def write(worker: int) -> None:
            writer = adapter_of(open_storage(), "the storage under test")
            # Opposite orders of the same records would stop each other if the storage did not sort them.
            numbers = range(10) if worker % 2 else range(9, -1, -1)
            for step in range(5):
                writer.apply([attempt(number)[(step + worker) % 5] for number in numbers])
            writer.close()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, range(4)))
        found = stored(adapter)
        assert len(found) == 10
        for number in range(10):
            expected = fold(attempt(number))
            assert facts(found[expected["record_id"]]) == facts(expected)

    def _comes_back(self, adapter: StorageAdapter, made: Change) -> None:
        # The tracking store makes every value fit before a storage sees it.
        event = replace(made, columns=clean_columns(made.columns))
        adapter.apply([event])
        (record,) = stored(adapter, event.columns["pipeline_id"]).values()
        expected = fold([event])
        assert facts(record) == facts(expected)
        assert record["logical_date"].utcoffset() == timedelta(0)


def _event(change: Change) -> Event:
    data = change.to_json()
    names = {"event_id": change.event_id, "record_id": change.record_id, "changed_by": change.by}
    return {**names, "changed_at": change.at, "columns": data["columns"], "keys": data["keys"]}


def _needs(adapter: StorageAdapter, method: str) -> None:
    if getattr(type(adapter), method) is getattr(StorageAdapter, method):
        pytest.skip(f"has no {method} of its own")
