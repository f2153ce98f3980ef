"""Call the functions that a pipeline file names, as Airflow's PythonOperator calls its callable."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.config.functions import UserFunctions, call_plain

if TYPE_CHECKING:
    from airflow_provider_pipetrack.attempts.binding import Spec
    from airflow_provider_pipetrack.config import StageTransfer


def find_function(spec: Spec, name: str | Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that ``name`` means: of ``user_functions``, or by its dotted path.

    :raises PipetrackError: when there is no such function.
    """
    if callable(name):
        return name
    if spec.pipeline is not None:
        return spec.pipeline.functions.resolve_callable(name)
    return UserFunctions().resolve_callable(name)


def call_user_function(spec: Spec, name: str | Callable[..., Any], given: Mapping[str, Any]) -> Any:
    """Call a user's function with what its parameters ask for by name.

    Offered are ``given``, the transfer's arguments as its task has them, and everything of ``given["context"]``. A
    function with ``**kwargs`` gets it all.

    :raises TypeError: when the function needs a parameter that is not offered.
    :raises FunctionError: when it is async.
    """
    function = find_function(spec, name)
    context = given.get("context") or {}
    offered = {**context, **_task_arguments(spec.transfer, context), **given}
    return call_plain(function, **arguments_for(function, offered))


def _task_arguments(transfer: StageTransfer, context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a transfer's operator or function: templates rendered, those of its index included.

    :param context: Airflow's task context, with the task as it runs; empty where there is none.
    """
    task, arguments = context.get("task"), dict(transfer.operator_args or {})
    if transfer.operator:
        rendered = {*arguments, *(transfer.expand or ())}.intersection(getattr(task, "template_fields", ()))
        return {**arguments, **{name: getattr(task, name) for name in rendered}}
    # What its function does not take, a ``PythonOperator`` that has run only has in the context any more.
    arguments.update((name, context[name]) for name in arguments if name in context)
    for name in ("common_kwargs", "op_kwargs"):
        arguments.update(getattr(task, name, None) or {})
    return arguments


def arguments_for(function: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of ``offered`` that ``function`` takes by name.

    :raises TypeError: names the parameters without a default that are not offered.
    """
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(offered)
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    missing = [p.name for p in named if p.default is p.empty and p.name not in offered]
    if missing:
        raise TypeError(
            f"{getattr(function, '__name__', function)} asks for {', '.join(missing)}, which is not on offer; "
            f"a parameter may be named like an entry of Airflow's context or of operator_args"
        )
    return {p.name: offered[p.name] for p in named if p.name in offered}
