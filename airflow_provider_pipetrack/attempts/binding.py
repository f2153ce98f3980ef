"""What pipetrack knows about a Dag: its pipeline, its tracked transfers and what they really depend on.

A binding hangs on the Dag object, so that a task finds its transfer again in the process that runs it and
nothing of it is serialized into Airflow's database.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from airflow_provider_pipetrack.config import PipelineConfig, StageTransfer
    from airflow_provider_pipetrack.config.by_hand import HandWrittenPipeline

_ATTRIBUTE = "_pipetrack_binding"


@dataclass(frozen=True)
class Spec:
    """One transfer and the pipeline it belongs to, as a task of a Dag.

    :param transfer: the transfer's configuration.
    :param pipeline_id: the pipeline's id, possibly a template of the run.
    :param pipeline: the pipeline file's model; None for a hand-written Dag.
    """

    transfer: StageTransfer
    pipeline_id: str
    pipeline: PipelineConfig | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Spec:
        # Airflow copies tasks; configuration is shared and never changed.
        return self

    @property
    def variables(self) -> Mapping[str, Any]:
        """Names that content may use."""
        return dict(self.pipeline.variables or {}) if self.pipeline else {}


@dataclass
class Binding:
    """The tracked transfers of one Dag.

    :param pipeline: the pipeline file's model; None for a hand-written Dag.
    :param specs: transfers by task id, disabled ones included.
    :param upstreams: for a pipeline file, the transfers each transfer really depends on.
    :param audits: task id of the audit of a transfer, by the transfer's task id.
    :param assets: URI of the asset that a transfer's own task says is ready, declared or not, by the task's id.
    :param by_hand: what a hand-written Dag says of each of its pipelines, by the pipeline's id, once it was asked for.
    """

    pipeline: PipelineConfig | None = None
    specs: dict[str, Spec] = field(default_factory=dict)
    upstreams: Mapping[str, tuple[str, ...]] | None = None
    audits: dict[str, str] = field(default_factory=dict)
    assets: dict[str, str] = field(default_factory=dict)
    by_hand: dict[str, HandWrittenPipeline | None] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> Binding:
        return self


def bind_pipeline(dag: DAG, pipeline: PipelineConfig, upstreams: Mapping[str, tuple[str, ...]]) -> Binding:
    """Attach a pipeline to the Dag that is being built for it.

    :param upstreams: for each enabled transfer the enabled transfers that it really depends on.
    """
    binding = Binding(pipeline=pipeline, upstreams=upstreams)
    pipeline_id = pipeline.pipeline_id
    for transfer in pipeline.stage_transfers:
        binding.specs[transfer.name] = Spec(transfer, pipeline_id, pipeline)
    setattr(dag, _ATTRIBUTE, binding)
    return binding


def binding_of(dag: DAG) -> Binding:
    """Return the Dag's binding, which is made when the Dag has none yet."""
    binding: Binding | None = getattr(dag, _ATTRIBUTE, None)
    if binding is None:
        binding = Binding()
        setattr(dag, _ATTRIBUTE, binding)
    return binding


def upstream_transfers(dag: DAG, task_id: str) -> tuple[str, ...]:
    """Return the task ids of the tracked transfers that this task depends on, through other tasks too."""
    binding = binding_of(dag)
    if binding.upstreams is not None and task_id in binding.upstreams:
        return binding.upstreams[task_id]
    return tuple(dict.fromkeys(_tracked_above(dag, binding, task_id, set())))


def is_consumed(dag: DAG, task_id: str) -> bool:
    """Return whether a later task asks how this transfer ended: its audit, or a transfer that insists on it."""
    binding = binding_of(dag)
    if task_id in binding.audits:
        return True
    return any(
        spec.transfer.upstream_completion_required and task_id in upstream_transfers(dag, name)
        for name, spec in binding.specs.items()
        if name != task_id and dag.has_task(name)
    )


def is_root(dag: DAG, task_id: str) -> bool:
    """Return whether no tracked transfer comes before this task."""
    return not upstream_transfers(dag, task_id)


def is_mapped(dag: DAG, task_id: str) -> bool:
    """Return whether a task of the Dag has map indexes: it is mapped itself, or with its group."""
    task = dag.get_task(task_id)
    return getattr(task, "is_mapped", False) or task.get_closest_mapped_task_group() is not None


def are_of_one_index(dag: DAG, task_id: str, other_id: str) -> bool:
    """Return whether an index of one task is about the same index of the other, as in a mapped group."""
    if not dag.has_task(task_id) or not dag.has_task(other_id):
        return False
    group = dag.get_task(task_id).get_closest_mapped_task_group()
    return group is not None and dag.get_task(other_id).get_closest_mapped_task_group() is group


def _tracked_above(dag: DAG, binding: Binding, task_id: str, seen: set[str]) -> Iterator[str]:
    audited = {audit: transfer for transfer, audit in binding.audits.items()}
    for upstream in sorted(dag.get_task(task_id).upstream_task_ids):
        if upstream in seen:
            continue
        seen.add(upstream)
        transfer = audited.get(upstream, upstream)
        if transfer in binding.specs:
            yield transfer
        else:
            yield from _tracked_above(dag, binding, upstream, seen)
