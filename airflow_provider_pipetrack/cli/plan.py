"""Show a pipeline as a tree, as JSON or as a Graphviz graph, without running anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from airflow_provider_pipetrack.config import PipelineConfig, StageTransfer
from airflow_provider_pipetrack.config.content import plain_text
from airflow_provider_pipetrack.dag.assets import StageAsset, assets_of
from airflow_provider_pipetrack.dag.graph import Graph, Kind, overtaking, plan_graph


def render_plan(path: Path, output: str) -> str:
    """Return the plan of a pipeline file.

    :param output: ``text``, ``json`` or ``dot``.
    :raises ConfigError: when the file has mistakes.
    """
    from airflow_provider_pipetrack.cli.check import make_importable
    from airflow_provider_pipetrack.dag.factory import build_dag, read_config

    make_importable([path])
    config = read_config(path)
    build_dag(config)  # says what is wrong with it
    graph = plan_graph(config.stage_transfers)
    graph.warnings += overtaking(graph, config.stage_transfers)
    renderers: dict[str, Callable[[PipelineConfig, Graph], str]] = {"text": _text, "json": _json, "dot": _dot}
    return renderers[output](config, graph)


def _text(config: PipelineConfig, graph: Graph) -> str:
    version = f", version {config.pipeline_version}" if config.pipeline_version else ""
    lines = [f"{config.dag_id} (pipeline {config.pipeline_id}{version}, schedule {config.dag.schedule or 'none'})"]
    transfers = {transfer.name: transfer for transfer in config.stage_transfers}
    assets = assets_of(config)
    for level in graph.levels:
        lines.append(f"├─ level {transfers[level[0]].transfer_order_number:g}")
        lines.extend(line for name in level for line in _transfer_lines(transfers[name], graph, assets.get(name)))
    lines.extend(f"├─ disabled: {name}" for name in graph.disabled)
    lines.extend(f"! {warning}" for warning in graph.warnings)
    tasks = sum(1 for node in graph.nodes.values() if node.kind in (Kind.TRANSFER, Kind.AUDIT))
    lines.append(f"└─ {len(graph.upstreams)} transfers, {tasks} tasks")
    return "\n".join(lines)


def _transfer_lines(transfer: StageTransfer, graph: Graph, asset: StageAsset | None) -> Iterator[str]:
    waits = ", ".join(graph.upstream[transfer.name]) or "nothing"
    yield f"│  ├─ {transfer.name}: {_stage(transfer.stage_i_details)} → {_stage(transfer.stage_i_plus_1_details)}"
    yield f"│  │    runs {_runs(transfer)}, {transfer.max_retry_attempts} retries, waits for {waits}"
    if transfer.audit_enabled:
        function = transfer.audit.function if transfer.audit else None
        yield f"│  │    then audit: {function or 'execute_audit of user_functions, if there is one'}"
    if asset:
        yield f"│  │    {'when it matched' if transfer.audit_enabled else 'when it is done'}, Airflow asset {asset.uri}"
    if transfer.rollback:
        yield f"│  │    rollback: {transfer.rollback} (it must be harmless to run it twice)"


def _stage(value: object) -> str:
    text = plain_text(value)  # type: ignore[arg-type]
    return (text or "?") if text is not None else str(value)


def _runs(transfer: StageTransfer) -> str:
    return transfer.operator or (f"{transfer.python_callable}()" if transfer.python_callable else "nothing (a marker)")


def _json(config: PipelineConfig, graph: Graph) -> str:
    return json.dumps(
        {
            "dag_id": config.dag_id,
            "pipeline_id": config.pipeline_id,
            "levels": graph.levels,
            "disabled": graph.disabled,
            "warnings": graph.warnings,
            "assets": {name: asset.uri for name, asset in assets_of(config).items()},
            "tasks": {
                node.task_id: {
                    "kind": node.kind.value,
                    "transfer": node.transfer,
                    "upstream": graph.upstream[node.task_id],
                }
                for node in graph.nodes.values()
            },
        },
        indent=2,
    )


def _dot(config: PipelineConfig, graph: Graph) -> str:
    shapes = {Kind.TRANSFER: "box", Kind.AUDIT: "diamond", Kind.TURN: "point", Kind.JOIN: "circle"}
    lines = [f"digraph {json.dumps(config.dag_id)} {{", "  rankdir=LR;"]
    lines += [f"  {json.dumps(node.task_id)} [shape={shapes[node.kind]}];" for node in graph.nodes.values()]
    lines += [
        f"  {json.dumps(upstream)} -> {json.dumps(task)};"
        for task, waits in graph.upstream.items()
        for upstream in waits
    ]
    return "\n".join([*lines, "}"])
