"""Which tasks declare an asset, and under which URI."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, Asset, BaseOperator

from airflow_provider_pipetrack import PipelineConfig, TrackedOperator, build_dag
from airflow_provider_pipetrack.dag.assets import StageAsset, assets_of, stage_uri
from airflow_provider_pipetrack.errors import ConfigError

ROW = {"stage_i_details": "raw", "stage_i_plus_1_details": "mart"}


def config(*rows, **more) -> PipelineConfig:
    named = [{"name": f"t{number}", **ROW, **row} for number, row in enumerate(rows)]
    return PipelineConfig.from_text(json.dumps({"stage_transfers": named, **more}), "orders.json")


def uris(pipeline: PipelineConfig) -> dict[str, str]:
    return {name: asset.uri for name, asset in assets_of(pipeline).items()}


def outlets(pipeline: PipelineConfig) -> dict[str, list[str]]:
    return {task.task_id: [asset.uri for asset in task.outlets] for task in build_dag(pipeline).tasks if task.outlets}


def test_an_audited_stage_is_the_asset_of_its_audit():
    assert outlets(config({})) == {"t0__audit": ["pipetrack://orders/mart"]}


def test_of_unaudited_stages_those_are_declared_where_the_data_leaves_the_pipeline():
    plain = {"audit_enabled": False}
    pipeline = config({**plain, "stage_i_plus_1_details": "clean"}, {**plain, "stage_i_details": "clean"})
    assert assets_of(pipeline) == {
        "t0": StageAsset("pipetrack://orders/clean", is_declared=False),
        "t1": StageAsset("pipetrack://orders/mart", is_declared=True),
    }
    assert outlets(pipeline) == {"t1": ["pipetrack://orders/mart"]}


@pytest.mark.parametrize("row", [{"asset": "s3://bucket/clean"}, {"audit_enabled": True}], ids=str)
def test_an_inner_stage_that_is_named_or_audited_is_declared(row):
    plain = {"audit_enabled": False}
    pipeline = config({**plain, "stage_i_plus_1_details": "clean", **row}, {**plain, "stage_i_details": "clean"})
    assert assets_of(pipeline)["t0"].is_declared


@pytest.mark.parametrize(
    "row",
    [
        {"asset": "none"},
        {"estimated_duration": "continuous"},
        {"operator": "airflow.providers.standard.operators.bash.BashOperator", "expand": {"bash_command": ["a"]}},
    ],
    ids=str,
)
def test_some_inner_stages_are_no_assets(row):
    plain = {"audit_enabled": False}
    pipeline = config({**plain, "stage_i_plus_1_details": "clean", **row}, {**plain, "stage_i_details": "clean"})
    assert list(assets_of(pipeline)) == ["t1"]


def test_an_inner_stage_that_two_transfers_fill_is_no_asset():
    plain, filled = {"audit_enabled": False}, {"audit_enabled": False, "stage_i_plus_1_details": "clean"}
    assert list(assets_of(config(filled, filled, {**plain, "stage_i_details": "clean"}))) == ["t2"]


@pytest.mark.parametrize(
    "row",
    [
        {"asset": "none"},
        {"stage_i_plus_1_details": ""},
        {"stage_i_plus_1_details": "{{ ds }}"},
        {"stage_i_plus_1_details": "x" * 2000},
        {"transfer_enabled": False},
        {"audit_enabled": False, "estimated_duration": "continuous"},
    ],
    ids=str,
)
def test_some_stages_are_no_assets(row):
    assert assets_of(config(row)) == {}


def test_a_stage_that_several_transfers_fill_is_ready_with_none_of_them():
    assert assets_of(config({}, {"stage_i_details": "other"})) == {}
    assert uris(config({}, {"transfer_enabled": False})) == {"t0": "pipetrack://orders/mart"}
    assert uris(config({"asset": "s3://b/k"}, {})) == {"t0": "s3://b/k"}


def test_a_mapped_transfer_is_ready_with_its_audit_only():
    mapped = {"operator": "airflow.providers.standard.operators.bash.BashOperator", "expand": {"bash_command": ["a"]}}
    assert outlets(config(mapped)) == {"t0__audit": ["pipetrack://orders/mart"]}
    assert outlets(config({**mapped, "audit_enabled": False})) == {}


def test_an_own_asset_replaces_the_stage():
    assert outlets(config({"asset": "s3://bucket/mart"})) == {"t0__audit": ["s3://bucket/mart"]}
    assert outlets(config({"asset": "s3://bucket/mart", "audit_enabled": False})) == {"t0": ["s3://bucket/mart"]}
    assert outlets(config({}, defaults={"asset": "none"})) == {}
    assert outlets(config({"asset": None}, defaults={"asset": "none"})) == {"t0__audit": ["pipetrack://orders/mart"]}


class Announces(BaseOperator):
    """An operator with an outlet of its own."""

    def __init__(self, **kwargs):
        super().__init__(outlets=[Asset("s3://own/one")], **kwargs)


def test_the_asset_of_a_stage_joins_the_outlets_of_the_operator(monkeypatch):
    monkeypatch.setitem(sys.modules, "company_operators", SimpleNamespace(Announces=Announces))
    row = {"operator": "company_operators.Announces", "audit_enabled": False}
    assert outlets(config(row)) == {"t0": ["s3://own/one", "pipetrack://orders/mart"]}


@pytest.mark.parametrize(
    ("stage", "uri"),
    [
        ("a||b||c", "pipetrack://d/a||b||c"),
        ("s3://b/k?x=1#y", "pipetrack://d/s3://b/k%3Fx=1%23y"),
        ("größe", "pipetrack://d/gr%C3%B6%C3%9Fe"),
    ],
)
def test_the_uri_of_a_stage_is_readable_and_one_for_airflow(stage, uri):
    assert stage_uri("d", stage) == uri
    assert Asset(uri).uri == uri


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"asset": "airflow://x"},
            "stage_transfers[0].asset: 'airflow://x' is no asset for Airflow: Asset scheme 'airflow' is reserved",
        ),
        (
            {"asset": "s3://x/y", "audit_enabled": False, "estimated_duration": "continuous"},
            "stage_transfers[0].asset: a continuous transfer without an audit has no single end to say that the asset "
            "is ready",
        ),
        (
            {
                "asset": "s3://x/y",
                "audit_enabled": False,
                "operator": "airflow.providers.standard.operators.bash.BashOperator",
                "expand": {"bash_command": ["a"]},
            },
            "stage_transfers[0].asset: a mapped transfer without an audit has no single end to say that the asset is "
            "ready",
        ),
    ],
)
def test_an_asset_that_cannot_be_is_a_mistake(row, message):
    with pytest.raises(ConfigError) as raised:
        build_dag(config(row))
    assert message in str(raised.value)


class TestByHand:
    def test_an_asset_joins_the_users_outlets(self):
        with DAG("by_hand"):
            task = TrackedOperator(
                task_id="a",
                operator=BashOperator,
                operator_args={"bash_command": "true"},
                outlets=[Asset("mine")],
                transfer={**ROW, "asset": "s3://bucket/mart"},
            )
        assert [asset.uri for asset in task.outlets] == ["mine", "s3://bucket/mart"]

    def test_a_mapped_task_has_none(self):
        with DAG("by_hand"), pytest.raises(TypeError, match=r"^a: a mapped task has no single end"):
            TrackedOperator.partial(task_id="a", operator=BashOperator, transfer={**ROW, "asset": "s3://b/k"})

    @pytest.mark.parametrize("more", [{}, {"asset": "none"}, {"asset": "s3://b/k", "audit_enabled": True}], ids=str)
    def test_there_is_none_unless_it_is_named_and_nothing_audits(self, more):
        with DAG("by_hand"):
            task = TrackedOperator(task_id="a", transfer={**ROW, **more})
        assert task.outlets == []
