"""Every storage that comes with the package, and two that a user wrote, under the contract of all storages."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from datetime import timedelta

import pytest

from airflow_provider_pipetrack.records.merge import fold
from airflow_provider_pipetrack.records.queries import Asked
from airflow_provider_pipetrack.storage import s3
from airflow_provider_pipetrack.storage.memory import answer_from_records
from airflow_provider_pipetrack.storage.registry import _BUILT_IN
from airflow_provider_pipetrack.testing import StorageContract
from airflow_provider_pipetrack.testing.events import attempt, facts
from airflow_provider_pipetrack.tracking.journal import undelivered
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.integration.storage.conftest import BUILT_IN, KINDS
from tests.integration.storage.users_adapter import JsonFileAdapter


class Contract(StorageContract):
    """The contract for the storage called ``kind``."""

    kind = ""

    @pytest.fixture
    def open_storage(self, place_of):
        return place_of(self.kind).adapter


class TestSqlite(Contract):
    kind = "sqlite"


class TestPostgres(Contract):
    kind = "postgres"


class TestLocalFile(Contract):
    kind = "local_file"


class TestMongo(Contract):
    kind = "mongodb"


class TestS3(Contract):
    kind = "aws_s3"


class TestSnowflake(Contract):
    kind = "snowflake"


class TestOwnAdapter(Contract):
    kind = "custom_storage"


class TestOwnPlainAdapter(Contract):
    kind = "plain_storage"


def test_every_kind_of_storage_is_under_contract():
    tried = {contract.kind for contract in Contract.__subclasses__()}
    assert set(_BUILT_IN) - {"local_postgres"} <= tried
    assert tried == set(KINDS)


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


@pytest.mark.parametrize("kind", ["postgres", "mongodb", "aws_s3", "snowflake"])
def test_a_connection_that_is_held_is_not_asked_for_until_it_is_released(place_of, kind, tmp_path, monkeypatch):
    def is_delivered(name):
        record = {"pipeline_id": "orders", "transfer_unique_id": name, "transfer_status": "in_progress"}
        assert store.write_tracking_record(record)
        return store.flush() and not list(undelivered(store.journal_folder))

    with TrackingStore([place_of(kind).text], journal_dir=tmp_path / "journal", deadline=20.0) as store:
        store.hold_connections()
        for name in [name for name in os.environ if name.startswith("AIRFLOW_CONN_")]:
            monkeypatch.delenv(name)
        assert is_delivered("t1")
        store.close_legs()
        assert is_delivered("t2"), "a new adapter asks again"
        store.release_connections()
        store.close_legs()
        assert not is_delivered("t3")


@pytest.mark.parametrize("kind", ["aws_s3", "mongodb"])
def test_open_attempts_are_found_without_reading_what_is_over(place_of, kind, monkeypatch):
    monkeypatch.setattr(s3, "QUIET", timedelta(0))
    adapter = place_of(kind).adapter()
    over = [event for number in range(3) for event in attempt(1, run_id=f"manual__{number}")]
    adapter.apply([*over, *attempt(1), *attempt(2)[:2], attempt(1, run_id="waiting")[0]])
    adapter.tidy()
    found = {(record["run_id"], record["map_index"]) for record in adapter.read_open_runs()}
    assert found == {("manual__1", 1), ("manual__1", 2), ("waiting", 1)}
    everything = adapter.read_all()
    monkeypatch.setattr(adapter, "read_all", None)
    for question, status in (("attempts", "in_progress"), ("transfers", "pending"), ("overdue", None)):
        asked = Asked(question, {"status": status} if status else {})
        (rows, total), (wanted, of_all) = adapter.answer(asked), answer_from_records(asked, everything)
        assert (total, [facts(row) for row in rows]) == (of_all, [facts(row) for row in wanted])
    adapter.close()


@pytest.mark.parametrize("kind", BUILT_IN)
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


def test_the_test_file_in_the_documentation_runs_for_a_users_adapter(tmp_path):
    import airflow_provider_pipetrack.testing as documented

    code = textwrap.dedent(documented.__doc__.partition("::\n")[2].partition("``open_storage``")[0])
    code = code.replace(
        "company.storage import MyStorage", f"{JsonFileAdapter.__module__} import JsonFileAdapter as MyStorage"
    )
    (tmp_path / "test_my_storage.py").write_text(code)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
