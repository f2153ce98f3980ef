"""Which chain keeps a transfer's records: its own, its connection's, that of the settings."""

from __future__ import annotations

import configparser
import json
import logging
import threading
from typing import ClassVar

import pytest
from airflow.sdk import Connection

from airflow_provider_pipetrack import PipelineConfig, compat, settings
from airflow_provider_pipetrack.attempts import stores
from airflow_provider_pipetrack.attempts.binding import Spec
from airflow_provider_pipetrack.config.functions import UserFunctions
from airflow_provider_pipetrack.hooks.pipetrack import PipetrackHook
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.tracking.own_functions import reference_for

HELD, NAMED, OWN = "sqlite||/held/t.db||t", "sqlite||/named/t.db||t", "sqlite||/own/t.db||t"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    extra = {"tracking_location": [HELD], "mode": "mirror", "connections": {"postgres": "held", "mongodb": "held"}}
    monkeypatch.setenv("AIRFLOW_CONN_PIPETRACK_DEFAULT", json.dumps({"conn_type": "pipetrack", "extra": extra}))
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", json.dumps([NAMED]))
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    stores._held_by.cache_clear()
    stores._complained.clear()
    yield
    stores._held_by.cache_clear()


class Noting(StorageAdapter):
    """Notes what it is written, write by write."""

    writes: ClassVar[list] = []
    written = threading.Event()

    def apply(self, changes, *, owed=()):
        self.writes.append([change.columns["task_id"] for change in changes])
        self.written.set()


def store_of(text: str):
    config = PipelineConfig.from_text(text + "\nstage_transfers: [{name: load}]", "x.yaml")
    return stores.store_for(Spec(config.stage_transfers[0], config.pipeline_id, config))


def chain(text: str):
    return store_of(text).chain()


def test_the_settings_come_last():
    assert chain("")["locations"] == [NAMED]


@pytest.mark.parametrize("option", ["tracking_location", "mode", "delivery_deadline", "journal_dir"])
def test_a_percent_sign_in_airflow_cfg_stops_no_transfer(option, monkeypatch, caplog, tmp_path):
    monkeypatch.delenv(f"AIRFLOW__PIPETRACK__{option.upper()}", raising=False)
    read = compat.airflow_option

    def airflow_option(section, name):
        if name == option:
            raise configparser.InterpolationSyntaxError(name, section, "'%' must be followed by '%' or '('")
        return read(section, name)

    monkeypatch.setattr(compat, "airflow_option", airflow_option)
    settings._say_once.cache_clear()
    with caplog.at_level(logging.ERROR):
        store = store_of("")
    default = f"sqlite||{tmp_path}/pipetrack/tracking.db||pipeline_tracking"
    assert store.chain()["locations"] == [default if option == "tracking_location" else NAMED]
    assert f"pipetrack: [pipetrack] {option} = '…': a % in airflow.cfg has to be written %%" in caplog.text


def test_a_journal_in_the_home_of_a_user_that_is_not_here_stops_no_transfer(monkeypatch, caplog, tmp_path):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", "~nobody_here/journal")
    settings._say_once.cache_clear()
    with caplog.at_level(logging.ERROR):
        assert store_of("").journal_folder.parent == tmp_path / "pipetrack" / "journal"
    assert "journal_dir = '~nobody_here/journal': there is no home folder of this user here" in caplog.text


def test_the_connection_comes_before_the_settings_and_brings_mode_and_connections():
    found = chain("tracking: {conn_id: pipetrack_default, connections: {postgres: own}}")
    assert (found["locations"], found["mode"]) == ([HELD], "mirror")
    assert found["connections"] == {"postgres": "own", "mongodb": "held"}


def test_the_files_mode_comes_before_the_connections():
    assert chain("tracking: {conn_id: pipetrack_default, mode: fallback}")["mode"] == "fallback"


def test_the_defaults_of_a_file_come_before_its_connection():
    found = chain(f"tracking: {{conn_id: pipetrack_default}}\ndefaults: {{tracking_location: ['{OWN}']}}")
    assert (found["locations"], found["mode"], found["connections"]) == ([OWN], "fallback", {})


def test_a_connection_that_cannot_be_used_is_named_and_records_are_kept_all_the_same(caplog, tmp_path):
    with caplog.at_level(logging.ERROR):
        found = chain("tracking: {conn_id: never_defined}")
    assert found["locations"] == [f"sqlite||{tmp_path}/pipetrack/tracking.db||pipeline_tracking"]
    assert "connection 'never_defined': there is no such Airflow connection" in caplog.text


def test_a_connection_whose_extra_is_the_list_itself_stops_no_transfer(caplog, mocker, tmp_path):
    # Not from the environment: before 3.2 Airflow says that it has no such connection there.
    held = Connection(conn_id="pipetrack_default", conn_type="pipetrack", extra=json.dumps([HELD]))
    mocker.patch.object(PipetrackHook, "get_connection", return_value=held)
    with caplog.at_level(logging.ERROR):
        found = chain("tracking: {conn_id: pipetrack_default}")
    assert found["locations"] == [f"sqlite||{tmp_path}/pipetrack/tracking.db||pipeline_tracking"]
    assert "connection 'pipetrack_default': extra must be a JSON object" in caplog.text


def test_one_bad_location_of_a_connection_does_not_spoil_the_others(caplog, monkeypatch):
    extra = {"tracking_location": ["postgre||a||b||c", HELD]}
    monkeypatch.setenv("AIRFLOW_CONN_PIPETRACK_DEFAULT", json.dumps({"conn_type": "pipetrack", "extra": extra}))
    with caplog.at_level(logging.ERROR):
        assert chain("tracking: {conn_id: pipetrack_default}")["locations"] == [HELD]
    assert "there is no storage type 'postgre'" in caplog.text


@pytest.mark.parametrize("delivery", ["now", "batch"])
def test_a_file_says_whether_starts_are_delivered_together_with_their_ends(monkeypatch, delivery):
    monkeypatch.setattr(Noting, "writes", [])
    monkeypatch.setattr(Noting, "written", threading.Event())
    own = f"storage_adapters: {{noting: {__name__}.Noting}}\ndefaults: {{tracking_location: ['noting||x']}}"
    store = store_of(f"tracking: {{delivery: {delivery}}}\n{own}")
    start, end = (change_from_record({"pipeline_id": "p", "transfer_unique_id": name}) for name in ("start", "end"))
    store.submit([start], durable=False)
    assert Noting.written.wait(10.0 if delivery == "now" else 1.0) == (delivery == "now")
    store.submit([end], durable=True)
    assert store.flush() is True
    assert Noting.writes == ([["start"], ["end"]] if delivery == "now" else [["start", "end"]])


POSTGRES, OWN_TYPE = "postgres||tracking||public||t", "shared||records"
LOADS, CONNECTS = "def load(): ...", "def connect_to_tracking_storage(location): ..."
KEEPS = "def tracking_storage_write(record, location): ...\ndef tracking_storage_read(query, location): ..."


def store_beside(folder, name: str, code: str, location: str):
    (folder / f"{name}_functions.py").write_text(code)
    path = folder / f"{name}.yaml"
    path.write_text(
        f"user_functions: {name}_functions.py\nstage_transfers: [{{name: load, tracking_location: ['{location}']}}]"
    )
    config = PipelineConfig.from_file(path)
    return stores.store_for(Spec(config.stage_transfers[0], config.pipeline_id, config))


@pytest.mark.parametrize("location", [OWN, "local_file||/own/t.json", POSTGRES, "s3://bucket/prefix/"])
def test_pipelines_whose_functions_have_nothing_to_do_with_storages_share_their_chain(tmp_path, location):
    found = [store_beside(tmp_path, name, LOADS, location) for name in ("orders", "customers")]
    assert found[0] is found[1]
    assert found[0].chain()["adapters"] == {}
    assert len(list((tmp_path / "journal" / "_chains").glob("*.json"))) == 1


@pytest.mark.parametrize(
    ("location", "code"),
    [(POSTGRES, CONNECTS), (OWN_TYPE, KEEPS), ("s3://bucket/prefix/", CONNECTS)],
)
def test_functions_that_may_be_a_storage_or_make_its_client_are_part_of_the_chain(tmp_path, location, code):
    found = [store_beside(tmp_path, name, code, location) for name in ("orders", "customers")]
    assert [store.chain()["adapters"] for store in found] == [
        {"user_functions": str(tmp_path / f"{name}_functions.py")} for name in ("orders", "customers")
    ]


def test_functions_that_cannot_be_imported_any_more_are_part_of_the_chain_where_they_might_make_a_client(tmp_path):
    gone = UserFunctions("gone.py", tmp_path)
    assert reference_for(gone, [POSTGRES], {}) == str(tmp_path / "gone.py")
    assert reference_for(gone, [OWN], {}) is None
    assert reference_for(gone, [OWN_TYPE], {"shared": "company.Shared"}) is None
    assert reference_for(UserFunctions(), [OWN_TYPE, POSTGRES], {}) is None
