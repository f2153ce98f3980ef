"""The edges of the table of flags. ``tests/integration/test_flags_in_airflow.py`` runs all of it in Airflow."""

from __future__ import annotations

import itertools

import pytest

from airflow_provider_pipetrack.config import PipelineConfig
from airflow_provider_pipetrack.dag.graph import plan_graph
from tests.flags import FLAGS, Row, rows, write_pipeline

TABLE = rows()


def test_the_table_is_complete():
    ways = {row.upstream for row in TABLE}
    assert ways >= {"completed", "partial", "pending", "mismatched", "failed", "skipped", "disabled"}
    combinations = set(itertools.product([True, False], repeat=len(FLAGS)))
    assert {(tuple(row.flags.values()), row.upstream) for row in TABLE} == set(itertools.product(combinations, ways))
    assert len(TABLE) == len(combinations) * len(ways)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.name}-{row.upstream}")
def test_the_edges_are_those_of_the_table(row: Row, tmp_path):
    config = PipelineConfig.from_file(write_pipeline(tmp_path, row.upstream, [row]))
    upstream = plan_graph(config.stage_transfers).upstream
    around = {
        task.replace(row.name, "second"): {name.replace(row.name, "second") for name in waits_for}
        for task, waits_for in upstream.items()
        if task.startswith("second") or task == "pipeline_done"
    }
    assert around == row.edges


def test_a_run_fails_exactly_when_one_of_its_tasks_does():
    for row in TABLE:
        stopped = row.upstream in {"mismatched", "timed_out", "failed"} or row.transfer == "failed"
        assert row.run == ("failed" if stopped else "success"), row
