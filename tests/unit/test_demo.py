"""The demo's pipeline file, as somebody changes it who tries things out."""

from __future__ import annotations

import shutil

import httpx
import pytest

from demo import run
from demo.airflow_process import AirflowError, AirflowStack


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    """The demo's pipeline file, in a copy of the demo."""
    for folder in ("dags", "data"):
        shutil.copytree(run.HERE / folder, tmp_path / "demo" / folder)
    monkeypatch.setattr(run, "PIPELINE", tmp_path / "demo" / "dags" / "orders.yaml")
    monkeypatch.setattr(run, "WORK", tmp_path / "work")
    return run.PIPELINE


def test_the_pipeline_may_be_called_otherwise(pipeline):
    pipeline.write_text(pipeline.read_text().replace("orders_demo", "my_orders"))
    assert run.prepare() == "my_orders"
    assert "my_orders" in (run.WORK / "dags" / "orders.yaml").read_text()
    assert (run.WORK / "data" / "orders.csv").exists()


def test_a_mistake_is_named_at_once_and_airflow_is_not_waited_for(pipeline):
    pipeline.write_text(pipeline.read_text().replace("rollback: unpublish_orders", "rollback: unpublish_order"))
    with pytest.raises(SystemExit, match=r"orders\.yaml:\d+:\d+: .*rollback: there is no function 'unpublish_order'"):
        run.prepare()
    assert not run.WORK.exists()


def test_what_is_printed_names_the_file_to_change_and_not_the_copy_that_the_next_demo_replaces(pipeline, capsys):
    run.print_paths()
    assert capsys.readouterr().out.startswith(f"Pipeline file:    {pipeline} (change it")


@pytest.mark.parametrize("answers", [True, False])
def test_where_airflow_does_not_know_the_dag_it_is_said_which_file_it_cannot_load(tmp_path, monkeypatch, answers):
    stack = AirflowStack(home=tmp_path / "home", dags=tmp_path / "dags")

    def ask(method, path, **more):
        if path == "/api/v2/importErrors" and answers:
            return httpx.Response(
                200,
                json={"import_errors": [{"stack_trace": "orders.yaml:9:5: wrong"}]},
                request=httpx.Request("GET", "http://a"),
            )
        if path == "/api/v2/importErrors":
            raise httpx.ConnectError("gone")
        return httpx.Response(404)

    monkeypatch.setattr(stack, "_request", ask)
    with pytest.raises(AirflowError, match="in vain for the Dag orders") as raised:
        stack.wait_dag("orders", timeout=0.1)
    assert ("orders.yaml:9:5: wrong" in str(raised.value)) is answers
