"""The deadline of a pipeline's runs: as its file says, or the sum of the estimates along the longest way."""

from __future__ import annotations

import graphlib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow_provider_pipetrack.compat import deadline_alert
from airflow_provider_pipetrack.config import PipelineConfig, StageTransfer
from airflow_provider_pipetrack.config.durations import parse_duration
from airflow_provider_pipetrack.config.types import ESTIMATED
from airflow_provider_pipetrack.dag.graph import Graph, Kind

CALLBACK = "airflow_provider_pipetrack.notifications.late_run.tell_late_run"


def run_deadline(config: PipelineConfig, graph: Graph) -> Any:
    """Return Airflow's deadline alert for the Dag of a pipeline whose file names a ``deadline``, else None.

    Airflow has them from 3.2 on. The callback gets no addresses, since they would stand in Airflow's database: it takes
    them from the run's records.
    """
    if config.dag.deadline is None:
        return None
    if config.dag.deadline == ESTIMATED:
        interval = longest_way(graph, {transfer.name: transfer for transfer in config.stage_transfers})
    else:
        interval = parse_duration(config.dag.deadline) or timedelta(0)
    return deadline_alert(interval, CALLBACK, {"seconds": interval.total_seconds()}) if interval else None


def longest_way(graph: Graph, transfers: Mapping[str, StageTransfer]) -> timedelta:
    """Return how long a run should take when all that may run at once does: the sum along the critical path."""
    longest: dict[str, float] = {}
    for task_id in graphlib.TopologicalSorter(graph.upstream).static_order():
        node = graph.nodes[task_id]
        own = (transfers[str(node.transfer)].estimated_seconds or 0.0) if node.kind is Kind.TRANSFER else 0.0
        longest[task_id] = own + max((longest[above] for above in graph.upstream[task_id]), default=0.0)
    return timedelta(seconds=max(longest.values(), default=0.0))
