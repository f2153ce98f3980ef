"""From what a Dag author writes about a transfer to its specification, and how a mapped task finds it again."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.attempts.binding import Binding, Spec, binding_of
from airflow_provider_pipetrack.attempts.outlets import named_asset
from airflow_provider_pipetrack.config.defaults import slug
from airflow_provider_pipetrack.errors import ConfigError, PipetrackError, Problem

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from airflow_provider_pipetrack.config import StageTransfer

#: Fields of a transfer that the Dag itself says: by its tasks and their edges.
_SAID_BY_THE_DAG = ("operator", "python_callable", "expand", "depends_on")

#: Arguments of a task that stand in its records, the transfer's field for each, and what they are.
_RECORDED_ARGUMENTS = (("retries", "max_retry_attempts", int), ("owner", "transfer_process_owner_name", str))

#: Transfers of ``@task.tracked`` functions, whose Dag is not known when they are declared; by their name.
_DECLARED: dict[str, tuple[StageTransfer | Mapping[str, Any] | None, str | None]] = {}


def spec_from(
    transfer: StageTransfer | Mapping[str, Any] | None,
    own: Mapping[str, Any],
    inherited: Mapping[str, Any],
    *,
    pipeline_id: str | None = None,
) -> Spec:
    """Return the specification of a task's transfer.

    :param own: the task's own arguments, by which Airflow runs it whatever ``transfer`` says.
    :param inherited: what the task's ``default_args`` say; it fills what ``transfer`` leaves open.
    :raises ConfigError: names every mistake in ``transfer``.
    """
    return Spec(_model(transfer or {}, own, inherited), pipeline_id or "")


def declared_spec(name: str, own: Mapping[str, Any], inherited: Mapping[str, Any]) -> Spec:
    """Return the specification of a task of a decorated function, which has declared its transfer under ``name``."""
    transfer, pipeline_id = _DECLARED[name]
    return spec_from(transfer, own, inherited, pipeline_id=pipeline_id)


def declare(dag: DAG, name: str, task_id: str | None = None) -> Spec:
    """Return the specification of a task, which it declared under ``name``.

    :param task_id: the task, when it has another name; a decorated function may become several tasks.
    :raises PipetrackError: when nothing was declared under that name.
    """
    specs = binding_of(dag).specs
    place = task_id or name
    if place not in specs and name in _DECLARED:
        specs[place] = declared_spec(name, {"task_id": place}, {})
    if place not in specs:
        complete_binding(dag)
    if place not in specs:
        raise PipetrackError(
            f"{place}: the Dag {dag.dag_id} has no transfer {name!r}{_hint(name, specs)}; give its fields, such as "
            "transfer={'stage_i_details': 'raw', 'stage_i_plus_1_details': 'clean'}"
        )
    return specs[place]


def _hint(name: str, known: Iterable[str]) -> str:
    """Return which task may be meant: one that is called so in a task group, or nearly so."""
    import difflib  # for mistakes only, and slow to import

    close = [one for one in known if one.endswith(f".{name}")] or difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def is_declared(name: str) -> bool:
    """Return whether a decorated function has declared a transfer under ``name``."""
    return name in _DECLARED


def complete_binding(dag: DAG) -> Binding:
    """Return the Dag's binding with the mapped audits and decorated functions, which no constructor has announced."""
    binding = binding_of(dag)
    for task in dag.tasks:
        partial: Mapping[str, Any] = getattr(task, "partial_kwargs", None) or {}
        name = partial.get("transfer")
        if not isinstance(name, str):
            continue
        if getattr(task.operator_class, "audits_a_transfer", False):
            binding.audits.setdefault(name, task.task_id)
        elif name in _DECLARED and task.task_id not in binding.specs:
            spec = declared_spec(name, {**partial, "task_id": task.task_id}, {})
            binding.specs[task.task_id] = note_retries(None, task.task_id, spec, task.retries)
    return binding


def declare_mapped(dag: DAG, arguments: MutableMapping[str, Any], inherited: Mapping[str, Any]) -> None:
    """Keep a mapped task's transfer with its Dag; its arguments then have the name under which it is found again.

    :param arguments: what is given to ``partial()``; what the transfer asks of the task is added.
    :param inherited: what the task's ``default_args`` say.
    :raises TypeError: when the transfer names an asset, of which every index would emit its own event.
    """
    transfer, pipeline_id = arguments.get("transfer"), arguments.pop("pipeline_id", None)
    if isinstance(transfer, str):
        return
    task_id = whole_task_id(arguments, dag)
    spec = spec_from(transfer, {**arguments, "task_id": task_id}, inherited, pipeline_id=pipeline_id)
    if named_asset(spec.transfer) is not None:
        raise TypeError(f"{task_id}: a mapped task has no single end to say that transfer['asset'] is ready")
    binding_of(dag).specs.setdefault(task_id, spec)
    for argument, value in asked_of_the_task(spec.transfer).items():
        arguments.setdefault(argument, value)
    arguments["transfer"] = task_id


def declare_function(function: str, transfer: StageTransfer | Mapping[str, Any] | None, pipeline_id: str | None) -> str:
    """Keep the transfer of a decorated function, and return the name under which its tasks find it.

    :param function: the function's whole name; one that is defined several times, as in a loop over Dags, has a
        transfer each time.
    """
    declared = (transfer, pipeline_id)
    names = itertools.chain([function], (f"{function}#{number}" for number in itertools.count(2)))
    name = next(name for name in names if _DECLARED.get(name, declared) == declared)
    _DECLARED[name] = declared
    return name


def note_retries(dag: DAG | None, task_id: str, spec: Spec, retries: Any) -> Spec:
    """Return a specification whose records say how often Airflow tries the task again, where nobody else has said so.

    :param dag: the Dag, which gets it too, if the task has joined one.
    :param retries: those of the task as it was made: its operator's own, or Airflow's default.
    """
    if not isinstance(retries, int) or retries == spec.transfer.max_retry_attempts:
        return spec
    fields = {name: getattr(spec.transfer, name) for name in type(spec.transfer).model_fields}
    fields["max_retry_attempts"] = retries
    # It does not count as given: the Dag does not say it.
    transfer = type(spec.transfer).model_construct(_fields_set=spec.transfer.model_fields_set, **fields)
    noted = replace(spec, transfer=transfer)
    if dag is not None and binding_of(dag).specs.get(task_id) is spec:
        binding_of(dag).specs[task_id] = noted
    return noted


def whole_task_id(arguments: Mapping[str, Any], dag: DAG | None = None) -> str:
    """Return the id that a task with these arguments will have, its task groups included.

    :param dag: the Dag when it is known; else the one in ``arguments`` or of the ``with`` block.
    """
    from airflow_provider_pipetrack.compat import current_dag, current_task_group, is_unmapping

    name = str(arguments.get("task_id"))
    dag = dag or arguments.get("dag") or current_dag()
    if dag is None or is_unmapping(arguments):
        return name
    group = arguments.get("task_group") or current_task_group(dag)
    return str(group.child_id(name)) if group is not None else name


def asked_of_the_task(transfer: StageTransfer) -> dict[str, Any]:
    """Return the task's arguments that the transfer of a hand-written Dag asks for, by the fields that are given."""
    from airflow_provider_pipetrack.config.transfer import TASK_ARGUMENTS

    fields = transfer.model_fields_set
    return {name: value for name, value in transfer.task_arguments().items() if TASK_ARGUMENTS[name] in fields}


def _model(
    fields: StageTransfer | Mapping[str, Any], own: Mapping[str, Any], inherited: Mapping[str, Any]
) -> StageTransfer:
    from airflow_provider_pipetrack.config import StageTransfer, transfer_from_mapping
    from airflow_provider_pipetrack.config.transfer import MAX_NAME

    if isinstance(fields, StageTransfer):
        fields = {name: getattr(fields, name) for name in fields.model_fields_set}
    filled = dict(fields)
    _refuse_what_the_dag_says(filled, str(own.get("task_id", "")))
    # The task's own id stands in the record; a name has fewer letters to choose from.
    filled.setdefault("name", slug(str(own.get("task_id", "")), MAX_NAME) or "transfer")
    filled.setdefault("audit_enabled", False)
    for argument, field, kind in _RECORDED_ARGUMENTS:
        if isinstance(own.get(argument), kind):
            filled[field] = own[argument]
        elif isinstance(inherited.get(argument), kind):
            filled.setdefault(field, inherited[argument])
    return transfer_from_mapping(filled)


def _refuse_what_the_dag_says(fields: Mapping[str, Any], task_id: str) -> None:
    said = [name for name in _SAID_BY_THE_DAG if fields.get(name) is not None]
    said += ["transfer_enabled"] if fields.get("transfer_enabled") is False else []
    if said:
        message = "acts in pipeline files only; here the Dag says it, by its tasks and what they wait for"
        raise ConfigError(Problem("<python>", 0, 0, f"{task_id}: transfer.{name}", message) for name in said)
