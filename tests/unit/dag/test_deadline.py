"""How long a run may take: as the file says, or along the longest way."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_pipetrack import ConfigError, PipelineConfig, build_dag
from airflow_provider_pipetrack.dag.deadline import CALLBACK, longest_way
from airflow_provider_pipetrack.dag.graph import plan_graph
from tests.airflow_versions import AIRFLOW

TRANSFERS = """
stage_transfers:
  - {name: a, estimated_duration: 1h}
  - {name: b, estimated_duration: 2h}
  - {name: stream, estimated_duration: continuous}
  - {name: c, transfer_order_number: 2, estimated_duration: 10m}
  - {name: s, transfer_order_number: 3, estimated_duration: 5m, can_process_be_parallelized: false}
  - {name: t, transfer_order_number: 3, estimated_duration: 7m, can_process_be_parallelized: false}
"""


def config(text: str) -> PipelineConfig:
    return PipelineConfig.from_text(text, "late.yaml")


def test_the_longest_way_counts_turns_and_leaves_out_streams():
    found = config(TRANSFERS)
    transfers = {transfer.name: transfer for transfer in found.stage_transfers}
    assert longest_way(plan_graph(found.stage_transfers), transfers) == timedelta(hours=2, minutes=22)


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        (TRANSFERS, None),
        ("dag: {deadline: estimated}\n" + TRANSFERS, timedelta(hours=2, minutes=22)),
        ("dag: {deadline: 30m}\n" + TRANSFERS, timedelta(minutes=30)),
        ("dag: {deadline: estimated}\nstage_transfers: [{estimated_duration: continuous}]", None),
    ],
)
def test_a_dag_has_the_deadline_that_its_file_names_from_3_2_on(text, interval):
    alerts = getattr(build_dag(config(text)), "deadline", None) or []
    assert [alert.interval for alert in alerts] == ([] if interval is None or AIRFLOW < (3, 2) else [interval])
    for alert in alerts:
        assert alert.callback.path == CALLBACK
        assert alert.callback.kwargs == {"seconds": interval.total_seconds()}


def test_a_deadline_is_a_duration_or_estimated():
    with pytest.raises(ConfigError, match=r"dag.deadline: 'soon' is no duration; expected .* or PT45M, or estimated"):
        config("dag: {deadline: soon}\n" + TRANSFERS)
