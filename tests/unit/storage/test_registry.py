"""From a location to its adapter: the package's own, and a user's in whatever shape."""

from __future__ import annotations

import json

import pytest

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.storage.local_file import LocalFileAdapter
from airflow_provider_pipetrack.storage.locations import Location, parse_location_string
from airflow_provider_pipetrack.storage.registry import ENTRY_POINTS, custom_types, make_adapter
from airflow_provider_pipetrack.storage.sqlite import SqliteAdapter
from airflow_provider_pipetrack.tracking.store import TrackingStore

USERS = "tests.integration.storage.users_adapter"
CHANGE = change_from_record({"pipeline_id": "orders", "transfer_unique_id": "t1"})


def made(text: str, **adapters) -> StorageAdapter:
    return make_adapter(parse_location_string(text, adapters), connections={}, adapters=adapters)


def failure(text: str, **adapters) -> StorageError:
    with pytest.raises(StorageError) as raised:
        made(text, **adapters)
    assert not raised.value.transient
    assert raised.value.location == text
    return raised.value


def test_the_built_in_types_give_their_adapters(tmp_path):
    assert isinstance(made(f"sqlite||{tmp_path}/t.db"), SqliteAdapter)
    assert isinstance(made(f"local_file||{tmp_path}/t.json"), LocalFileAdapter)
    assert made("postgres@c||db||public||t").conn_id == "c"
    assert made("local_postgres||db||public||t").conn_id == "postgres_default"


def test_a_users_class_is_given_the_location_and_knows_its_name(tmp_path):
    adapter = made(f"own||{tmp_path}/x.json", own=f"{USERS}.JsonFileAdapter")
    assert (adapter.location, adapter.path) == (f"own||{tmp_path}/x.json", tmp_path / "x.json")


def test_a_users_class_needs_no_base_class_and_no_argument():
    adapter = made("own||x", own=f"{USERS}.PlainDictAdapter")
    adapter.apply([CHANGE])
    assert adapter.location == "own||x"
    assert [record["transfer_unique_id"] for record in adapter.read_tracking_records("orders")] == ["t1"]


def test_a_users_class_may_be_given_itself_and_may_replace_a_built_in_type():
    class Own(StorageAdapter):
        pass

    assert isinstance(made("sqlite||/t.db", sqlite=Own), Own)


def test_a_class_that_lacks_methods_is_refused_by_their_names():
    error = failure("own||x", own=f"{USERS}.OnlyWrites")
    assert error.message == "OnlyWrites lacks read_tracking_records, update_tracking_record"


def test_a_class_that_cannot_be_made_or_found_is_refused_with_the_reason():
    assert failure("own||x", own=f"{USERS}.BreakingAdapter").message == (
        "BreakingAdapter cannot be made: RuntimeError: no licence"
    )
    assert failure("own||x", own="no.such.Module").message == (
        "the adapter 'no.such.Module' cannot be imported: ModuleNotFoundError: No module named 'no'"
    )
    assert f"the adapter '{USERS}.Missing' cannot be imported: AttributeError" in (
        failure("own||x", own=f"{USERS}.Missing").message
    )
    assert failure("own||x", own="JustAName").message == ("the adapter 'JustAName' names no module; write module.Class")


def test_a_type_whose_package_is_gone_is_refused():
    with pytest.raises(StorageError) as raised:
        make_adapter(Location("own", None, ("x",), "own||x"), connections={}, adapters={})
    assert raised.value.message == (
        "there is no adapter for 'own' in this version; name your own under storage_adapters"
    )
    assert not raised.value.transient


def test_a_package_may_name_its_storages_by_an_entry_point(tmp_path, monkeypatch):
    (tmp_path / "a_users_shelf.py").write_text(
        "import json, pathlib\n"
        "class Shelf:\n"
        "    def __init__(self, location):\n"
        "        self.path = pathlib.Path(location.partition('||')[2])\n"
        "    def write_tracking_record(self, record):\n"
        "        return bool(self.path.write_text(json.dumps(record, default=str)))\n"
        "    def read_tracking_records(self, pipeline_id):\n"
        "        return [json.loads(self.path.read_text())] if self.path.exists() else []\n"
        "    def update_tracking_record(self, transfer_id, updates):\n"
        "        return False\n"
    )
    installed = tmp_path / "a_users_shelf-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: a-users-shelf\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\nshelf = a_users_shelf:Shelf\n")
    monkeypatch.syspath_prepend(tmp_path)
    with TrackingStore([f"shelf@a||{tmp_path}/kept.json"], journal_dir=tmp_path / "journal") as store:
        assert store.write_tracking_record({"pipeline_id": "orders", "transfer_unique_id": "t1"})
        assert store.flush()
    assert json.loads((tmp_path / "kept.json").read_text())["transfer_unique_id"] == "t1"


def test_a_refusal_is_an_error_with_the_record():
    adapter = made("own||x", own=f"{USERS}.RefusingAdapter")
    with pytest.raises(StorageError, match="returned False for record orders/none/t1/-1/1; it returns True"):
        adapter.apply([CHANGE])


def test_the_users_types_are_known_by_name():
    assert "own" in custom_types({"own": "x.Y"})


def test_the_base_class_says_which_methods_are_missing():
    adapter = StorageAdapter("own||x")
    for call in (
        lambda: adapter.write_tracking_record({}),
        lambda: adapter.read_tracking_records("p"),
        lambda: adapter.update_tracking_record("id", {}),
    ):
        with pytest.raises(NotImplementedError, match="StorageAdapter must define"):
            call()
