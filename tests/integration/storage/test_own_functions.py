"""A user's own storage functions: two that are a storage, and one that makes the client of a storage."""

from __future__ import annotations

import json
import textwrap

import pytest

from airflow_provider_pipetrack import ConfigError, PipelineConfig
from airflow_provider_pipetrack.attempts.binding import Spec
from airflow_provider_pipetrack.attempts.stores import store_for
from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.own_functions import FUNCTIONS
from airflow_provider_pipetrack.storage.registry import make_adapter
from airflow_provider_pipetrack.testing import StorageContract
from airflow_provider_pipetrack.testing.events import attempt
from airflow_provider_pipetrack.tracking.own_functions import functions_of
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.postgres_server import DATABASE

STORAGE = """
    import fcntl
    import json
    from pathlib import Path

    def _path(location):
        return Path(location.split("||")[1])

    def _all(location):
        return json.loads(_path(location).read_text() or "{}") if _path(location).exists() else {}

    def tracking_storage_write(record, location):
        with _path(location).with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            part = _path(location).with_suffix(".part")
            part.write_text(json.dumps({**_all(location), record["record_id"]: record}, default=str))
            part.replace(_path(location))
        return True

    def tracking_storage_read(query, location):
        assert len(query) == 1 and set(query) <= {"pipeline_id", "run_id", "transfer_unique_id"}
        return [r for r in _all(location).values() if all(r[name] == value for name, value in query.items())]
"""
CLIENTS = """
    import json
    from pathlib import Path

    def connect_to_tracking_storage(location_string):
        from airflow_provider_pipetrack import parse_location_string

        storage_type, details = parse_location_string(location_string)
        given = json.loads((Path(__file__).parent / "clients.json").read_text())
        if storage_type == "postgres":
            import psycopg
            return psycopg.connect(host=given["postgres"], user="postgres", dbname=details.split("||")[0])
        if storage_type == "mongodb":
            import pymongo
            return pymongo.MongoClient("127.0.0.1", given["mongodb"])
        if storage_type == "aws_s3":
            import boto3
            keys = {"aws_access_key_id": "AKIA", "aws_secret_access_key": "x", "region_name": "us-east-1"}
            return boto3.client("s3", endpoint_url=given["aws_s3"], **keys)
        if storage_type == "snowflake":
            import snowflake.connector
            return snowflake.connector.connect(**given["snowflake"])
        return None
"""


@pytest.fixture
def functions(tmp_path):
    """A function that writes the user's module and returns its path."""

    def written(code: str) -> str:
        path = tmp_path / "functions.py"
        path.write_text(textwrap.dedent(code))
        return str(path)

    return written


def opened(text: str, module: str):
    adapters = {FUNCTIONS: module}
    kinds = {text.partition("||")[0]} if text.startswith("mine||") else ()
    location = parse_location_string(text, kinds)
    return make_adapter(location, connections={}, adapters={}, functions=functions_of(adapters))


class TestTwoFunctions(StorageContract):
    @pytest.fixture
    def open_storage(self, functions, tmp_path):
        module = functions(STORAGE)
        return lambda: opened(f"mine||{tmp_path}/records.json", module)


def pipeline(tmp_path, location: str) -> PipelineConfig:
    path = tmp_path / "orders.yaml"
    transfer = {"name": "load", "tracking_location": [location]}
    path.write_text(json.dumps({"user_functions": "functions.py", "stage_transfers": [transfer]}))
    return PipelineConfig.from_file(path)


def test_a_type_that_only_the_functions_know_is_used_by_a_pipeline_and_by_reconcile(functions, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    functions(STORAGE)
    config = pipeline(tmp_path, f"mine||{tmp_path}/records.json")
    store = store_for(Spec(config.stage_transfers[0], "orders", config))
    assert store.write_tracking_record({"pipeline_id": "orders", "transfer_unique_id": "a"})
    assert store.flush()
    chain = store.chain()
    (record,) = json.loads((tmp_path / "records.json").read_text()).values()
    assert record["transfer_unique_id"] == "a"
    store.close()
    # A process that knows no pipeline finds the functions by what the journal says.
    with TrackingStore([f"sqlite||{tmp_path}/t.db"], journal_dir=tmp_path / "journal") as another:
        found = another.for_chain(json.loads(json.dumps(chain)))
        assert [r["transfer_unique_id"] for r in found.read_tracking_records("orders")] == ["a"]
        found.close_legs()


def test_without_the_functions_the_type_is_a_mistake_of_the_file(functions, tmp_path):
    functions("def tracking_storage_read(query, location): return []")
    with pytest.raises(ConfigError, match=r"there is no storage type 'mine'"):
        pipeline(tmp_path, "mine||x")


def test_one_function_without_the_other_is_named(functions):
    module = functions("def tracking_storage_write(record, location): return True")
    with pytest.raises(StorageError) as raised:
        opened("mine||x", module)
    assert raised.value.message == "user_functions has no tracking_storage_read beside the other one"


def test_a_refusal_is_an_error_with_the_record(functions):
    module = functions("def tracking_storage_write(r, l): return False\ndef tracking_storage_read(q, l): return []")
    with pytest.raises(
        StorageError, match="write_tracking_record returned False for record orders_dag/manual__1/load/-1/1"
    ):
        opened("mine||x", module).apply(attempt())


def test_functions_that_are_gone_stop_their_own_type_only(tmp_path):
    gone = str(tmp_path / "gone.py")
    with pytest.raises(StorageError, match="there is no file 'gone.py' beside the pipeline file"):
        opened("mine||x", gone)
    adapter = opened(f"sqlite||{tmp_path}/t.db", gone)
    adapter.apply(attempt())
    assert len(adapter.read_tracking_records("orders")) == 1
    adapter.close()


@pytest.fixture
def clients(functions, tmp_path):
    """A function that writes the user's module and what its clients need, and returns the module's path."""

    def written(**given) -> str:
        (tmp_path / "clients.json").write_text(json.dumps(given))
        return functions(CLIENTS)

    return written


def changes_kept(text: str, module: str) -> int:
    """Write an attempt into a storage, settle what is owed, and return how many changes its history has."""
    adapter = opened(text, module)
    adapter.load()
    adapter.apply(attempt(), owed=["a"])
    (record,) = adapter.owed_records()
    adapter.settle(record, [])
    history = adapter.history(record["record_id"])
    adapter.close()
    return len(history)


def test_a_users_own_dbapi_connection_is_used(postgres, clients, place_of):
    name = place_of("postgres").text.rpartition("||")[2]
    assert changes_kept(f"postgres@never_defined||{DATABASE}||public||{name}", clients(postgres=postgres.folder)) == 5


def test_a_users_own_pymongo_client_is_used(mongo, clients, place_of):
    assert (
        changes_kept(
            "mongodb@never_defined||pipetrack_tests||" + place_of("mongodb").text.rpartition("||")[2],
            clients(mongodb=mongo),
        )
        == 5
    )


def test_a_users_own_boto3_client_is_used(s3, clients, place_of):
    place = place_of("aws_s3")
    endpoint = place.adapter().bucket._open().meta.endpoint_url
    assert changes_kept(f"aws_s3@never_defined||{place.text.partition('||')[2]}own/", clients(aws_s3=endpoint)) == 5


def test_a_users_own_snowflake_connection_is_used_whatever_its_parameter_style(snowflake, clients, place_of):
    database, port = snowflake
    given = {
        "user": "fake",
        "password": "x",
        "account": "fakesnow",
        "host": "127.0.0.1",
        "port": port,
        "database": database,
    }
    name = place_of("snowflake").text.rpartition("||")[2]
    assert (
        changes_kept(
            f"snowflake@never_defined||{database}||public||{name}", clients(snowflake={**given, "insecure_mode": True})
        )
        == 5
    )


def test_a_function_that_makes_no_client_leaves_it_to_the_hook(postgres, functions, place_of):
    assert (
        changes_kept(
            place_of("postgres").text, functions("def connect_to_tracking_storage(location_string): return None")
        )
        == 5
    )


def test_a_function_that_fails_is_named(functions):
    module = functions("def connect_to_tracking_storage(location_string): raise OSError('no route')")
    for text in ("postgres||db||public||t", "mongodb||db||t", "aws_s3||s3://bucket/x/", "snowflake||db||public||t"):
        with pytest.raises(StorageError) as raised:
            opened(text, module).check()
        assert raised.value.message == "connect_to_tracking_storage failed: OSError: no route"
        assert raised.value.transient
