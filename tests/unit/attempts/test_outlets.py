"""What a task says of the stage that it has filled, when the file's Dag does not declare that as an asset."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from airflow.sdk import Asset
from airflow.sdk.execution_time.context import OutletEventAccessors

from airflow_provider_pipetrack import PipelineConfig, build_dag, settings
from airflow_provider_pipetrack.compat import AirflowSkipException

STAGE = "pipetrack://orders/clean"
HERE = __name__


def load_all():
    return {"records_succeeded": 5, "records_failed": 0}


def load_some():
    return {"records_succeeded": 3, "records_failed": 1}


def skip():
    raise AirflowSkipException("nothing new")


def fail():
    raise ValueError("the shop is closed")


@pytest.fixture(autouse=True)
def tracking(tmp_path, monkeypatch):
    monkeypatch.setattr(settings, "tracking_location", lambda: [f"sqlite||{tmp_path / 't.db'}||pipeline_tracking"])
    monkeypatch.setattr(settings, "journal_dir", lambda: tmp_path / "journal")


def first_of(function, **row):
    """Return the first of two transfers without audits, the second of which reads what the first one writes."""
    rows = [
        {"name": "a", "stage_i_plus_1_details": "clean", "python_callable": f"{HERE}.{function.__name__}", **row},
        {"name": "b", "stage_i_details": "clean", "stage_i_plus_1_details": "mart"},
    ]
    file = {"defaults": {"audit_enabled": False}, "stage_transfers": rows}
    return build_dag(PipelineConfig.from_text(json.dumps(file), "orders.json")).get_task("a")


def run(task) -> OutletEventAccessors:
    events = OutletEventAccessors()
    ti = SimpleNamespace(
        dag_id="orders", run_id="r", task_id="a", map_index=-1, try_number=1, task=task, xcom_push=lambda **more: None
    )
    task.execute({"ti": ti, "dag": task.dag, "run_id": "r", "outlet_events": events})
    return events


@pytest.mark.parametrize(
    ("function", "row", "counts"),
    [
        (load_all, {}, {"records_succeeded": 5, "records_failed": 0, "is_partial": False}),
        (
            load_some,
            {"can_partial_data_be_collected": True},
            {"records_succeeded": 3, "records_failed": 1, "is_partial": True},
        ),
    ],
    ids=["all", "partial"],
)
def test_a_task_that_has_filled_an_inner_stage_says_so_with_the_counts(function, row, counts):
    task = first_of(function, **row)
    assert task.outlets == []
    events = run(task)
    assert task.outlets == [Asset(STAGE)]
    assert events[Asset(STAGE)].extra == {"record_id": "orders/r/a/-1/1", **counts}


def test_an_asset_that_is_declared_is_not_said_twice():
    task = first_of(load_all, asset="kinds://named")
    events = run(task)
    assert task.outlets == [Asset("kinds://named")]
    assert events[Asset("kinds://named")].extra["records_succeeded"] == 5


def test_a_deployment_can_do_without_what_is_not_declared(monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__INNER_STAGE_EVENTS", "False")
    inner, named = first_of(load_all), first_of(load_all, asset="kinds://named")
    run(inner)
    assert inner.outlets == []
    assert run(named)[Asset("kinds://named")].extra["records_succeeded"] == 5


@pytest.mark.parametrize(
    ("function", "row"),
    [(skip, {}), (fail, {}), (load_some, {"can_partial_data_be_collected": False})],
    ids=["skipped", "failed", "partial data refused"],
)
def test_a_task_that_has_not_filled_its_stage_says_nothing(function, row):
    task = first_of(function, **row)
    with pytest.raises(Exception, match=r"nothing new|closed|partial data"):
        run(task)
    assert task.outlets == []


@pytest.mark.parametrize("row", [{"asset": "none"}, {"stage_i_plus_1_details": "{{ ds }}"}], ids=["none", "computed"])
def test_a_stage_that_is_no_asset_is_not_spoken_of(row):
    task = first_of(load_all, **row)
    run(task)
    assert task.outlets == []
