"""What pages say from the stored configurations: when a pipeline runs next, and in which pool a transfer runs."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from click.testing import CliRunner

from airflow_provider_pipetrack import TrackedOperator
from airflow_provider_pipetrack.attempts.configuration import configuration_of
from airflow_provider_pipetrack.attempts.versions import version_of
from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.config import PipelineConfig
from airflow_provider_pipetrack.records.configs import ConfigVersion
from airflow_provider_pipetrack.tracking.configs import keep_config
from airflow_provider_pipetrack.ui import configured, stops
from airflow_provider_pipetrack.ui.configured import (
    Configurations,
    Configured,
    Next,
    next_run,
    read_configured,
    read_upstreams,
)
from tests.tracking_history import NOW, Run, good_run
from tests.unit.ui.conftest import filled_store

NOON = datetime(2026, 3, 2, 12, tzinfo=timezone.utc)
YAML = """
pipeline_metadata: {pipeline_id: orders}
dag: {schedule: "%s", start_date: 2026-01-01}
stage_transfers:
  - {name: load, stage_i_details: shop, stage_i_plus_1_details: staging, transfer_order_number: 1, pool: "<crm>"}
  - {name: clean, stage_i_details: staging, stage_i_plus_1_details: clean, transfer_order_number: 2}
"""


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("schedule", "text", "expected"),
    [
        ("0 2 * * *", "in 14 h", "2026-03-03T02:00"),
        ("@daily", "in 12 h", "2026-03-03T00:00"),
        ("30 * * * *", "in 30 min", "2026-03-02T12:30"),
        ("@quarterly", "in 29 d", "2026-04-01T00:00"),
        ("1h", "in 30 min", "2026-03-02T12:30"),
        ("P1D", "in 23 h", "2026-03-03T11:30"),
        ("@once", "only once", None),
        ("@continuous", "at once", None),
        (None, "no schedule", None),
    ],
)
def test_the_next_run_follows_from_the_schedule_and_from_when_the_last_one_began(schedule, text, expected):
    began = NOON - timedelta(minutes=30)
    found = next_run(Configured(schedule), began, NOON)
    assert found == Next(text, moment(expected) if expected else None)


@pytest.mark.parametrize(
    ("began", "text"),
    [
        ("2026-03-02T11:00:02", "now"),
        ("2026-03-02T10:00:02", "was due 1 h ago"),
        ("2026-02-20T10:00:02", "was due 10 d ago"),
    ],
)
def test_a_run_that_has_not_begun_in_time_was_due(began, text):
    found = next_run(Configured("0 * * * *"), moment(began), NOON + timedelta(seconds=30))
    assert found is not None
    assert found.text == text


def test_a_cron_expression_is_read_in_the_zone_of_the_start_date():
    read = read_configured({"dag": {"schedule": "0 2 * * *", "start_date": "2026-01-01T00:00:00+05:00"}})
    found = next_run(read, NOON, NOON)
    assert found is not None
    assert found.moment == moment("2026-03-02T21:00")


def test_a_schedule_ends():
    read = read_configured({"dag": {"schedule": "@daily", "end_date": "2026-03-02T18:00:00Z"}})
    assert next_run(read, NOON, NOON) == Next("ended")


@pytest.mark.parametrize(
    "config",
    [{"dag": {"schedule": None}}, {"dag": {"schedule": ""}, "stage_transfers": None}],
)
def test_a_configuration_without_a_schedule_has_none(config):
    assert next_run(read_configured(config), NOON, NOON) == Next("no schedule")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"dag": {"dag_id": "by_hand"}},
        {"dag": "nonsense"},
        {"dag": {"schedule": "61 * * * *"}},
        {"dag": {"schedule": 7}},
        {"dag": {"start_date": "soon"}},
        {"stage_transfers": [{"pool": "crm"}]},
    ],
)
def test_of_a_configuration_that_cannot_be_read_nothing_is_said(config):
    assert next_run(read_configured(config), NOON, NOON) is None


def test_nothing_is_known_without_a_configuration():
    assert next_run(None, NOON, NOON) is None


def pipeline(schedule: str = "0 2 * * *") -> ConfigVersion:
    return version_of(PipelineConfig.from_text(YAML % schedule, "orders.yaml"))


@pytest.fixture
def kept(tmp_path):
    """A run of pipeline orders, beside the configuration it was made by."""
    version = pipeline()
    run = good_run("orders", "one", NOW - timedelta(hours=1), config_hash=version.config_hash)
    with filled_store(tmp_path, [run]) as store:
        assert keep_config(store, version).settled
        yield store, version


def test_the_overview_shows_when_a_pipeline_runs_next(visitor, read, kept):
    page = read(visitor(kept[0], "orders"), "")
    following = [attrs["datetime"] for tag, attrs in page.tags if tag == "time"][-1]
    assert moment(following[:16]).strftime("%H:%M") == "02:00"
    assert 0 < (moment(following[:16]) - (NOW - timedelta(hours=1))).total_seconds() <= 86400


def test_the_api_and_the_command_say_when_a_pipeline_runs_next(visitor, kept, monkeypatch, tmp_path):
    # The command reads the journal of its host, too, where other tests have left records.
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    (row,) = visitor(kept[0], "orders").get("api/v1/pipelines").json()["rows"]
    following = next_run(read_configured(kept[1].config), NOW - timedelta(hours=1), NOW)
    assert row["next_run_at"] == following.moment.isoformat().replace("+00:00", "Z")
    assert row["next_run"].startswith(("in ", "was due ", "now"))
    places = [part for leg in kept[0].legs for part in ("--location", leg.location.text)]
    shown = CliRunner().invoke(main, ["status", "--output", "json", *places])
    (told,) = json.loads(shown.stdout)["pipelines"]
    assert (told["next_run_at"], told["next_run"]) == (following.moment.isoformat(), row["next_run"])
    shown = CliRunner().invoke(main, ["status", "orders", *places])
    assert row["next_run"] in shown.stdout


def test_without_a_configuration_the_api_does_not_know_the_next_run(visitor, tmp_path):
    with filled_store(tmp_path, [good_run("orders", "one", NOW)]) as store:
        (row,) = visitor(store, "orders").get("api/v1/pipelines").json()["rows"]
    assert (row["next_run"], row["next_run_at"]) == (None, None)


def test_a_run_and_a_transfer_show_the_pool(visitor, read, kept):
    client = visitor(kept[0], "orders")
    run = client.get("p/orders/r/one").text
    assert run.count('class="flag" title="shares the slots of this Airflow pool"') == 1
    assert "pool <bdi>&lt;crm&gt;</bdi>" in run
    assert "in pool <crm>;" in read(client, "p/orders/t/load").text
    assert "in pool default_pool;" in read(client, "p/orders/t/clean").text
    assert "beside others, pool <crm>" in read(client, "transfers?task_id=load").text
    assert "alone" in read(client, "transfers?task_id=clean").text


EDGES = """
stage_transfers:
  - {name: load, transfer_order_number: 1, depends_on: [clean]}
  - {name: clean, transfer_order_number: 1, dependent_on_previous_transfer: false}
  - {name: publish, transfer_order_number: 3, dependent_on_previous_transfer: false}
"""


@pytest.mark.parametrize(
    ("is_kept", "affected"),
    [(True, "Affected downstream: load (waits) "), (False, "Affected downstream: publish (waits) ")],
)
def test_what_waits_behind_a_failure_is_what_the_configuration_says(visitor, read, tmp_path, is_kept, affected):
    version = version_of(PipelineConfig.from_text(EDGES, "orders.yaml"))
    run = Run("orders", "one", NOW - timedelta(hours=1), config_hash=version.config_hash)
    run.end("clean", 0, 5, status="failed", error_message="the shop is closed")
    with filled_store(tmp_path, [run]) as store:
        if is_kept:
            assert keep_config(store, version).settled
        assert affected in read(visitor(store, "orders"), "p/orders/r/one").text


def test_what_waits_is_followed_to_its_end_and_remembered(kept, monkeypatch):
    edges = read_upstreams({"stage_transfers": [{"name": n, "transfer_order_number": o} for n, o in (("a", 1), ("b", 2), ("c", 3))]})  # fmt: skip
    assert edges == {"a": (), "b": ("a",), "c": ("b",)}
    assert stops._behind({"a"}, edges) == {"b", "c"}
    assert read_upstreams({"stage_transfers": [{"name": 7, "depends_on": {}}]}) == {}
    store, version = kept
    known = Configurations()
    rows = [{"config_hash": version.config_hash, "dag_id": "orders"}]
    found = known.upstreams([store], rows)
    monkeypatch.setattr(configured, "configs_among", lambda *given: pytest.fail("it is known"))
    assert known.upstreams([store], rows) == found != {}


def test_a_hand_written_dag_says_task_by_task_what_waits():
    with DAG("by_hand", schedule=None) as dag:
        stream = TrackedOperator(task_id="stream", transfer={"estimated_duration": "continuous"}, pool="crm")
        load = TrackedOperator(task_id="load", transfer={"name": "another", "transfer_order_number": 7})
        stream >> EmptyOperator(task_id="join") >> load
    config = version_of(configuration_of(load.pipetrack_spec, dag)).config
    edges = read_upstreams(config)
    assert edges == {"stream": [], "join": ["stream"], "load": ["join"]}
    assert "load" in stops._behind({"stream"}, edges)
    assert read_configured(config) == Configured("?", pools={"stream": "crm"})
    assert next_run(read_configured(config), NOON, NOON) is None


def test_a_configuration_is_asked_for_once_and_a_missing_one_again_after_a_while(kept, monkeypatch):
    store, version = kept
    asked = []
    monkeypatch.setattr(
        configured, "configs_among", lambda stores, wanted, limit: asked.append(sorted(wanted)) or kept_ones(wanted)
    )

    def kept_ones(wanted):
        return [version] if version.config_hash in wanted else []

    known = Configurations()
    rows = [{"config_hash": name, "dag_id": "orders"} for name in (version.config_hash, "unknown", None)]
    for _ in range(3):
        assert known.of([store], rows)[version.config_hash].pools == {"load": "<crm>"}
    assert asked == [sorted([version.config_hash, "unknown"])]
    monkeypatch.setattr(configured, "_MISSING_AGE", -1.0)
    known.of([store], [{"config_hash": "another", "dag_id": "orders"}])
    known.of([store], [{"config_hash": "another", "dag_id": "orders"}])
    assert asked[1:] == [["another"], ["another"]]


def test_no_more_is_remembered_than_a_bound(kept, monkeypatch):
    monkeypatch.setattr(configured, "_MOST_REMEMBERED", 0)
    store, version = kept
    known = Configurations()
    assert known.of([store], [{"config_hash": version.config_hash, "dag_id": "orders"}]) == {}
