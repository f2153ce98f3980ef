"""From what a Dag author writes about a transfer to its specification, and how a mapped task finds it again."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.attempts.binding import Binding, Spec, binding_of
from airflow_provider_pipetrack.attempts.outlets import named_asset

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from airflow_provider_pipetrack.config import StageTransfer

#: Transfers of ``@task.tracked`` functions, whose Dag is not known when they are declared; by their name.
_DECLARED: dict[str, tuple[StageTransfer | Mapping[str, Any] | None, str | None]] = {}


def spec_from(
    transfer: StageTransfer | Mapping[str, Any] | None,
    task_arguments: Mapping[str, Any],
    *,
    pipeline_id: str | None = None,
) -> Spec:
    """Return the specification of a task's transfer.

    :param task_arguments: the task's arguments; they fill what ``transfer`` leaves open.
    :raises ConfigError: names every mistake in ``transfer``.
    """
    return Spec(_model(transfer or {}, task_arguments), pipeline_id or "")


def declare(dag: DAG, name: str, task_id: str | None = None) -> Spec:
    """Return the specification of a task, which it declared under ``name``.

    :param task_id: the task, when it has another name; a decorated function may become several tasks.
    :raises KeyError: when nothing was declared under that name.
    """
    specs = binding_of(dag).specs
    place = task_id or name
    if place not in specs and name in _DECLARED:
        transfer, pipeline_id = _DECLARED[name]
        specs[place] = spec_from(transfer, {"task_id": place}, pipeline_id=pipeline_id)
    return specs[place]


def is_declared(name: str) -> bool:
    """Return whether a decorated function has declared a transfer under ``name``."""
    return name in _DECLARED


def complete_binding(dag: DAG) -> Binding:
    """Return the Dag's binding with the mapped tasks of decorated functions, which no constructor has announced."""
    for task in dag.tasks:
        name = (getattr(task, "partial_kwargs", None) or {}).get("transfer")
        if isinstance(name, str) and name in _DECLARED:
            declare(dag, name, task.task_id)
    return binding_of(dag)


def declared_name(dag: DAG, arguments: MutableMapping[str, Any]) -> str:
    """Keep a mapped task's transfer with its Dag, and return the name under which the task finds it again.

    :raises TypeError: when the transfer names an asset, of which every index would emit its own event.
    """
    transfer = arguments.get("transfer")
    if isinstance(transfer, str):
        return transfer
    name = str(arguments.get("task_id"))
    group = _current_group(dag)
    task_id = group.child_id(name) if group is not None else name
    spec = spec_from(transfer, arguments, pipeline_id=arguments.get("pipeline_id"))
    if named_asset(spec.transfer) is not None:
        raise TypeError(f"{task_id}: a mapped task has no single end to say that transfer['asset'] is ready")
    binding_of(dag).specs.setdefault(task_id, spec)
    return task_id


def declare_function(name: str, transfer: StageTransfer | Mapping[str, Any] | None, pipeline_id: str | None) -> str:
    """Keep the transfer of a decorated function, and return the name under which its tasks find it."""
    _DECLARED[name] = (transfer, pipeline_id)
    return name


def _model(fields: StageTransfer | Mapping[str, Any], task_arguments: Mapping[str, Any]) -> StageTransfer:
    from airflow_provider_pipetrack.config import StageTransfer, transfer_from_mapping

    if isinstance(fields, StageTransfer):
        return fields
    filled = dict(fields)
    filled.setdefault("name", str(task_arguments.get("task_id", "transfer")))
    filled.setdefault("audit_enabled", False)
    if isinstance(task_arguments.get("retries"), int):
        filled.setdefault("max_retry_attempts", task_arguments["retries"])
    if isinstance(task_arguments.get("owner"), str):
        filled.setdefault("transfer_process_owner_name", task_arguments["owner"])
    return transfer_from_mapping(filled)


def _current_group(dag: DAG) -> Any:
    from airflow_provider_pipetrack.compat import current_task_group

    return current_task_group(dag)
