"""The connection type ``pipetrack``: what it holds, what its Test button says, and how its form looks."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from types import SimpleNamespace

import pytest
from airflow.sdk import Connection

from airflow_provider_pipetrack.get_provider_info import get_provider_info
from airflow_provider_pipetrack.hooks.form import FIELDS
from airflow_provider_pipetrack.hooks.pipetrack import Chain, ChainError, PipetrackHook
from airflow_provider_pipetrack.tracking.breaker import Breaker

LOCATIONS = ["postgres||tracking||public||t", "local_file||/var/t.json"]


@pytest.fixture
def define(monkeypatch):
    """A function that defines the connection ``pipetrack_default``."""

    def connection(conn_type="pipetrack", **extra) -> PipetrackHook:
        monkeypatch.setenv("AIRFLOW_CONN_PIPETRACK_DEFAULT", json.dumps({"conn_type": conn_type, "extra": extra}))
        return PipetrackHook()

    return connection


@pytest.mark.parametrize("written", [LOCATIONS, json.dumps(LOCATIONS), "\n".join(LOCATIONS) + "\n\n"])
def test_locations_may_be_a_list_or_a_text(define, written):
    assert define(tracking_location=written).chain() == Chain(tuple(LOCATIONS))


@pytest.mark.parametrize("connections", [{"postgres": "tracking_db"}, '{"postgres": "tracking_db"}'])
def test_mode_and_connections_go_along(define, connections):
    chain = define(tracking_location=LOCATIONS, mode="mirror", connections=connections).chain()
    assert (chain.mode, chain.connections) == ("mirror", {"postgres": "tracking_db"})


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({}, "tracking_location must be a list of locations, or a text with one a line"),
        ({"tracking_location": 7}, "tracking_location must be a list of locations, or a text with one a line"),
        ({"tracking_location": " \n "}, "names no location; write for example sqlite||/path/tracking.db"),
        ({"tracking_location": "[1"}, "tracking_location is no JSON list: "),
        ({"tracking_location": LOCATIONS, "mode": "both"}, "mode 'both': expected fallback or mirror"),
        ({"tracking_location": LOCATIONS, "connections": "{"}, "connections is no JSON: "),
        (
            {"tracking_location": LOCATIONS, "connections": ["x"]},
            'connections must map types to connections, such as {"postgres": "tracking_db"}',
        ),
    ],
)
def test_a_connection_that_holds_no_chain_says_why(define, extra, message):
    hook = define(**extra)
    with pytest.raises(ChainError) as raised:
        hook.chain()
    assert str(raised.value).startswith(f"connection 'pipetrack_default': {message}")
    assert hook.test_connection() == (False, str(raised.value))


@pytest.mark.parametrize("extra", [json.dumps(LOCATIONS), '"x"', "7", "null"])
def test_a_connection_whose_extra_is_no_object_says_so(mocker, extra):
    # Not from the environment: before 3.2 Airflow says that it has no such connection there.
    found = Connection(conn_id="pipetrack_default", conn_type="pipetrack", extra=extra)
    mocker.patch.object(PipetrackHook, "get_connection", return_value=found)
    is_well, said = PipetrackHook().test_connection()
    assert not is_well
    assert said.startswith("connection 'pipetrack_default': extra must be a JSON object, such as {")


def test_a_connection_of_another_type_or_none_is_named(define):
    with pytest.raises(ChainError, match="connection 'pipetrack_default': is of type 'postgres'; expected 'pipetrack'"):
        define("postgres").chain()
    with pytest.raises(ChainError, match="connection 'never_defined': there is no such Airflow connection"):
        PipetrackHook("never_defined").chain()


def test_the_test_button_reports_each_location(define, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    (tmp_path / "in the way").write_text("")
    good, bad = f"sqlite||{tmp_path}/t.db||t", f"local_file||{tmp_path}/in the way/x.json"
    works, said = define(tracking_location=[good, bad]).test_connection()
    assert not works
    assert f"{good}: up" in said
    assert f"{bad}: " in said
    assert "cannot be a file" in said
    assert define(tracking_location=[good]).test_connection() == (True, f"{good}: up")
    wrong, said = define(tracking_location=["postgre||a||b||c"]).test_connection()
    assert not wrong
    assert "there is no storage type 'postgre' (did you mean 'postgres'?)" in said


def test_the_test_button_asks_whether_a_record_would_be_taken(define, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    hook = define(tracking_location=[f"sqlite||{tmp_path}/t.db||t"])
    assert hook.test_connection()[0]
    with sqlite3.connect(tmp_path / "t.db") as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
        connection.execute("CREATE TRIGGER shut BEFORE INSERT ON t BEGIN SELECT RAISE(ABORT, 'closed'); END")
    assert hook.test_connection() == (False, f"sqlite||{tmp_path}/t.db||t: the table t does not take it: closed")


def test_the_test_button_asks_a_location_that_is_left_alone(define, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    hook = define(tracking_location=[f"sqlite||{tmp_path}/t.db||t"])
    with hook.get_conn() as store:
        Breaker(store.journal_folder / "breakers", store.legs[0].name).failed()
        assert store.legs[0].is_left_alone
    assert hook.test_connection()[0]


def test_its_store_keeps_records(define, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    with define(tracking_location=[f"sqlite||{tmp_path}/t.db"]).get_conn() as store:
        assert store.write_tracking_record({"pipeline_id": "p", "transfer_unique_id": "a"})
        assert len(store.read_tracking_records("p")) == 1


def test_the_form_is_the_same_before_and_after_airflow_3_3(monkeypatch):
    # Those versions replace wtforms by stand-ins of their own, too.
    monkeypatch.setitem(
        sys.modules, "wtforms", SimpleNamespace(StringField=lambda label, description: (label, description))
    )
    widgets = PipetrackHook.get_connection_form_widgets()
    assert list(widgets) == list(FIELDS)
    (declared,) = get_provider_info()["connection-types"]
    assert declared["conn-fields"] == FIELDS
    assert declared["ui-field-behaviour"]["hidden-fields"] == PipetrackHook.get_ui_field_behaviour()["hidden_fields"]
    assert (declared["connection-type"], declared["hook-name"]) == (PipetrackHook.conn_type, PipetrackHook.hook_name)


# Airflow's pages make the form in a way that leaves stand-ins among the modules.
ASK_FOR_THE_FORM = """
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
from airflow.providers_manager import ProvidersManager
(form,) = [row for row in HookMetaService.hook_meta_data() if row.connection_type == "pipetrack"]
assert ProvidersManager().hooks["pipetrack"].connection_testable
print(form.model_dump_json())
"""


def test_airflow_shows_the_form_of_the_connection_type_and_can_test_it():
    asked = subprocess.run([sys.executable, "-c", ASK_FOR_THE_FORM], capture_output=True, text=True, timeout=110)
    assert asked.returncode == 0, asked.stderr
    form = json.loads(asked.stdout.splitlines()[-1])
    assert form["hook_class_name"] == f"{PipetrackHook.__module__}.PipetrackHook"
    if form["extra_fields"] is None:
        pytest.skip("this Airflow shows forms beside flask-appbuilder only")
    assert {name: row["schema"]["title"] for name, row in form["extra_fields"].items()} == {
        name: row["label"] for name, row in FIELDS.items()
    }
    hidden = {name for name, row in form["standard_fields"].items() if row and row["hidden"]}
    assert hidden == {"host", "url_schema", "login", "password", "port"}
