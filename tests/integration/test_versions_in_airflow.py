"""A pipeline file that changes between runs, in Airflow: what is kept, what is reported, what is refused."""

from __future__ import annotations

import json
import logging
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner

from airflow_provider_pipetrack import TrackingStore, build_dag
from airflow_provider_pipetrack.cli.main import main
from tests.postgres_server import CONN_ID, DATABASE
from tests.postgres_server import postgres as postgres  # a fixture

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]

LOADER = "# Airflow Dag loader\nfrom airflow_provider_pipetrack import load_pipelines\nload_pipelines(globals())\n"
FUNCTIONS = "import pathlib\ndef load():\n    pathlib.Path(__file__).with_name('loaded').open('a').write('x')\n"
SENTENCE = (
    "the stages of pipeline '{name}' are others than when it was first run with pipeline_version '1.0': "
    "added landing -> staging; removed shop -> staging; "
    "give the file a new pipeline_version, or a new pipeline_id to track it apart"
)
CHANGED = "stages changed under an unchanged version: added landing -> staging; removed shop -> staging"


class Pipeline:
    """A pipeline file that can be written anew and run."""

    def __init__(self, folder: Path, location: str) -> None:
        self.name = f"versions_{uuid.uuid4().hex[:8]}"
        self.folder, self.location = folder / self.name, location
        self.folder.mkdir(parents=True)
        (self.folder / "loader.py").write_text(LOADER)
        (self.folder / "functions.py").write_text(FUNCTIONS)

    def run(
        self, source: str = "shop", *, pipeline_id: str | None = None, version: str = "1.0", react: str = "warn"
    ) -> dict:
        """Write the file, run its Dag, and return the first transfer's record."""
        content = {
            "pipeline_metadata": {"pipeline_id": pipeline_id or self.name, "pipeline_version": version},
            "dag": {"dag_id": self.name},
            "on_schema_change": react,
            "user_functions": "functions.py",
            "defaults": {"tracking_location": [self.location], "audit_enabled": False, "max_retry_attempts": 1, "retry_delay": "1s"},
            "stage_transfers": [
                {"name": "load", "stage_i_details": source, "stage_i_plus_1_details": "staging", "python_callable": "load",
                 "operator_args": {"api_key": "hush-Pa55"}},
                {"name": "publish", "stage_i_details": "staging", "stage_i_plus_1_details": "production",
                 "transfer_order_number": 2},
            ],
        }  # fmt: skip
        content["stage_transfers"][0].pop("operator_args")
        content["variables"] = {"api_key": "hush-Pa55", "address": "postgres://me:hush-Pa55@host/db"}
        (self.folder / f"{self.name}.json").write_text(json.dumps(content))
        logging.disable(logging.INFO)
        try:
            run = build_dag(self.folder / f"{self.name}.json").test()
        finally:
            logging.disable(logging.NOTSET)
        with TrackingStore([self.location]) as store:
            records = store.read_run(self.name, run.run_id).records
        return {r["task_id"]: r for r in sorted(records, key=lambda r: r["retry_attempt_number"])}["load"]

    @property
    def loads(self) -> int:
        """How often the user's code has run."""
        path = self.folder / "loaded"
        return len(path.read_text()) if path.exists() else 0

    def history(self, *arguments: str):
        return CliRunner().invoke(main, ["history", *arguments, "--location", self.location])


@pytest.fixture(params=["sqlite", "postgres", "local_file"])
def pipeline(request, airflow_home, tmp_path):
    if request.param == "postgres":
        request.getfixturevalue("postgres")
        location = f"postgres@{CONN_ID}||{DATABASE}||public||v_{uuid.uuid4().hex[:8]}"
    else:
        location = f"{request.param}||{tmp_path}/tracking" + ("||t" if request.param == "sqlite" else "")
    return Pipeline(airflow_home / "dags" / "versions", location)


def test_changed_stages_are_reported_once_and_each_configuration_is_kept(pipeline):
    first = pipeline.run()
    assert (first["transfer_status"], first["decision"]) == ("completed", None)
    second = pipeline.run("landing")
    assert (second["transfer_status"], second["decision"]) == ("completed", CHANGED)
    assert second["config_hash"] != first["config_hash"]
    assert pipeline.run("landing")["decision"] is None
    versions = json.loads(pipeline.history(pipeline.name, "--output", "json").output)
    assert [v["config_hash"] for v in versions] == [first["config_hash"], second["config_hash"]]
    assert [v["stages"][0] for v in versions] == [["shop", "staging"], ["landing", "staging"]]
    assert "landing -> staging" in pipeline.history(pipeline.name).output
    shown = pipeline.history(pipeline.name, "--config", first["config_hash"][:10])
    assert shown.exit_code == 0
    assert json.loads(shown.output)["stage_transfers"][0]["stage_i_details"] == "shop"
    assert "hush" not in shown.output
    assert json.loads(shown.output)["variables"] == {"api_key": "***", "address": "postgres://me:***@host/db"}
    unknown = pipeline.history(pipeline.name, "--config", "nope")
    assert (
        unknown.exit_code,
        f"Of pipeline {pipeline.name!r} no configuration begins with 'nope'" in unknown.stderr,
    ) == (1, True)


def test_changed_stages_are_refused_before_user_code_where_the_file_says_so(pipeline):
    assert pipeline.run(react="fail")["transfer_status"] == "completed"
    for _ in range(2):
        refused = pipeline.run("landing", react="fail")
        assert refused["transfer_status"] == "failed"
        assert SENTENCE.format(name=pipeline.name) in refused["error_message"]
        assert refused["retry_attempt_number"] == 0, "it is not retried"
    assert pipeline.loads == 1
    assert pipeline.run(react="fail")["transfer_status"] == "completed", "as it began"
    assert pipeline.run("landing", react="fail", version="2.0")["transfer_status"] == "completed"
    apart = pipeline.run("landing", react="fail", pipeline_id=f"{pipeline.name}_new")
    assert (apart["transfer_status"], apart["pipeline_id"]) == ("completed", f"{pipeline.name}_new")
    assert pipeline.loads == 4


def test_a_new_pipeline_id_is_tracked_apart(pipeline):
    pipeline.run()
    pipeline.run("landing", pipeline_id=f"{pipeline.name}_new")
    with TrackingStore([pipeline.location]) as store:
        assert {r["stage_i_details"] for r in store.read_tracking_records(pipeline.name)} == {"shop", "staging"}
        assert {r["stage_i_details"] for r in store.read_tracking_records(f"{pipeline.name}_new")} == {
            "landing",
            "staging",
        }


def test_a_location_that_is_down_refuses_nothing(airflow_home, tmp_path):
    (tmp_path / "down").write_text("in the way")
    pipeline = Pipeline(airflow_home / "dags" / "versions", f"sqlite||{tmp_path}/down/tracking||t")
    assert pipeline.run(react="fail")["transfer_status"] == "completed"
    (tmp_path / "down").unlink()
    pipeline.run(react="fail")
    assert len(json.loads(pipeline.history(pipeline.name, "--output", "json").output)) == 1
