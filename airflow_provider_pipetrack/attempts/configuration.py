"""The configuration that a record is made by: that of its pipeline's file, or what a hand-written Dag says."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_pipetrack.attempts.binding import binding_of
from airflow_provider_pipetrack.attempts.declare import complete_binding
from airflow_provider_pipetrack.config.by_hand import HandWrittenPipeline, said_by

if TYPE_CHECKING:
    from airflow_provider_pipetrack.attempts.binding import Spec
    from airflow_provider_pipetrack.config import PipelineConfig, StageTransfer

log = logging.getLogger("airflow_provider_pipetrack.tracking")

#: What a transfer may ask of its task, which may have its own.
_ASKED = frozenset({"retry_delay", "execution_timeout"})
_DEFAULT_POOL = "default_pool"


class _Written(NamedTuple):
    """A transfer in a hand-written Dag.

    :param task: that runs it; where the Dag only audits it, its audit.
    """

    transfer: StageTransfer
    task: Any
    is_run: bool


def configuration_of(spec: Spec, dag: Any) -> PipelineConfig | HandWrittenPipeline | None:
    """Return the configuration of a transfer's pipeline in a Dag; that of a hand-written Dag is worked out once.

    :return: None where the Dag does not say it: as a copy that Airflow has made of it, or since it cannot be read.
    """
    if spec.pipeline is not None:
        return spec.pipeline
    known, pipeline_id = binding_of(dag).by_hand, spec.pipeline_id or dag.dag_id
    if pipeline_id not in known:
        known[pipeline_id] = None
        try:
            found = _by_hand(dag, pipeline_id)
            # Worked out here, so that it fails here.
            if found is not None and found.config_hash and found.stage_transfers:
                known[pipeline_id] = found
        except Exception as error:  # noqa: BLE001  a record without the hash of its configuration is better than none
            log.warning("pipetrack cannot read what %s says of %s: %r", dag.dag_id, pipeline_id, error)
    return known[pipeline_id]


def _by_hand(dag: Any, pipeline_id: str) -> HandWrittenPipeline | None:
    written = dict(_written(dag, pipeline_id))
    if not written:
        return None
    waits_for = _waiting(dag, written)
    return HandWrittenPipeline(
        pipeline_id,
        dag.dag_id,
        transfers={name: one.transfer for name, one in written.items()},
        rows={name: {**_said(one), "depends_on": waits_for.pop(name)} for name, one in written.items()},
        other_tasks=waits_for,
        first_tasks=_first(dag, written.values()),
    )


def _written(dag: Any, pipeline_id: str) -> Iterator[tuple[str, _Written]]:
    """Yield the transfers of a pipeline that a Dag runs, and those that it only audits, by their records' names."""
    binding = complete_binding(dag)
    for name, spec in binding.specs.items():
        if (spec.pipeline_id or dag.dag_id) == pipeline_id and dag.has_task(name):
            yield name, _Written(spec.transfer, dag.get_task(name), is_run=True)
    for name, audit in binding.audits.items():
        task = dag.get_task(audit)
        audited: Spec | None = getattr(task, "_pipetrack_spec", None)
        if name not in binding.specs and audited is not None and (audited.pipeline_id or dag.dag_id) == pipeline_id:
            yield name, _Written(audited.transfer, task, is_run=False)


def _said(written: _Written) -> dict[str, Any]:
    """Return what a Dag says of a transfer: by its fields, and by what its task has of what they ask for."""
    transfer, task, _ = written
    if not written.is_run:
        return said_by(transfer, {})
    asked = {name: getattr(task, name) for name in _ASKED & transfer.model_fields_set}
    return said_by(transfer, {**asked, "pool": None if task.pool == _DEFAULT_POOL else task.pool})


def _waiting(dag: Any, written: Mapping[str, _Written]) -> dict[str, list[str]]:
    """Return for each transfer of a pipeline which tasks it waits for, and the same for those that stand between.

    Left out are tasks that wait for no transfer of the pipeline. A transfer that the Dag only audits waits for what the
    task of its name waits for, or where there is none, its audit. The audit waits for it, so that what comes behind
    does, too.
    """
    audited = {one.task.task_id: name for name, one in written.items() if not one.is_run}
    tasks = {one.task.task_id for one in written.values()} | {name for name in written if dag.has_task(name)}
    counted = tasks | _behind(dag, tasks)
    found = {
        name: _above(dag.get_task(name) if dag.has_task(name) else one.task, counted) for name, one in written.items()
    }
    todo = [upstream for above in found.values() for upstream in above]
    while todo:
        task_id = todo.pop()
        if task_id not in found:
            found[task_id] = above = _above(dag.get_task(task_id), counted)
            todo += above
            if task_id in audited and _comes_before(dag, audited[task_id], task_id, above):
                found[task_id] = [*above, audited[task_id]]
    return found


def _comes_before(dag: Any, name: str, audit: str, above: Iterable[str]) -> bool:
    """Return whether a transfer that the Dag only audits is still to be put before its audit.

    It is there already where its own task is, and it cannot be where that waits for the audit.
    """
    return name not in above and not (dag.has_task(name) and name in _behind(dag, [audit]))


def _first(dag: Any, written: Iterable[_Written]) -> frozenset[str]:
    """Return the tasks that begin a run of a pipeline: its first transfers, or audits where the Dag runs none of it."""
    run = {one.task.task_id for one in written if one.is_run}
    return frozenset(run - _behind(dag, run) if run else {one.task.task_id for one in written})


def _behind(dag: Any, task_ids: Iterable[str]) -> set[str]:
    found: set[str] = set()
    todo = [*task_ids]
    while todo:
        new = dag.get_task(todo.pop()).downstream_task_ids - found
        found |= new
        todo += new
    return found


def _above(task: Any, counted: set[str]) -> list[str]:
    return sorted(counted.intersection(task.upstream_task_ids))
