"""Find the operator class that a transfer names, and check the arguments that it is given."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from airflow.sdk import BaseOperator

from airflow_provider_pipetrack.config.checks import Mistake
from airflow_provider_pipetrack.config.classes import ClassError, find_class
from airflow_provider_pipetrack.config.problems import suggest
from airflow_provider_pipetrack.dag.task_arguments import NOT_TO_GIVE, task_argument_mistakes, task_arguments
from airflow_provider_pipetrack.operators.arguments import arguments_of

#: What pipetrack gives to tasks, unless their operator has such an argument itself, as ``TransferReadySensor`` has.
_MAY_BE_ITS_OWN = {"pipeline_id"}


@functools.cache
def find_operator(path: str) -> type[BaseOperator]:
    """Return the operator class at a dotted path.

    :raises ClassError: when there is none, or it is no operator.
    """
    return find_class(path, BaseOperator, "operator", example="airflow.providers.standard.operators.bash.BashOperator")


def operator_mistakes(path: Any, arguments: Any, mapped: Any, default_args: Any) -> Iterator[Mistake]:
    """Yield everything that is wrong with a transfer's operator and with the names of its arguments.

    :param path: what the file says under ``operator``; nothing is wrong with none.
    :param arguments: what it says under ``operator_args``, ``mapped`` under ``expand`` and ``default_args`` under
        ``dag.default_args``; what is no mapping is a mistake of another kind, and counts as empty.
    """
    if not path or not isinstance(path, str):
        return
    arguments, mapped, default_args = (_mapping(value) for value in (arguments, mapped, default_args))
    try:
        operator = find_operator(path)
    except ClassError as error:
        yield ("operator",), error.message, error.suggestion
        return
    known = arguments_of(operator)
    for key, names in (("operator_args", arguments), ("expand", mapped)):
        own = _MAY_BE_ITS_OWN & known
        yield from task_argument_mistakes({name: value for name, value in names.items() if name not in own}, key)
        unknown = [name for name in names if name not in known and name not in NOT_TO_GIVE]
        if unknown and not (key == "operator_args" and _takes(operator, arguments)):
            for name in unknown:
                yield (key, name), f"{operator.__name__} has no argument {name!r}", suggest(name, known)
    for name in sorted({*arguments} & {*mapped}):
        yield ("expand", name), f"{name!r} stands under operator_args too; it has one value or one for each index", ""
    missing = sorted(_required(operator) - {*arguments, *mapped, *default_args})
    if missing:
        yield ("operator",), f"{operator.__name__} needs {', '.join(missing)}", ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _takes(operator: type[BaseOperator], arguments: Mapping[str, Any]) -> bool:
    """Return whether an operator takes arguments that it does not name: it may find them among its ``**kwargs``."""
    try:
        operator(task_id="tried", **task_arguments(arguments))
    except Exception:  # noqa: BLE001  it is somebody else's operator
        return False
    return True


@functools.cache
def _required(operator: type[BaseOperator]) -> frozenset[str]:
    init: Any = operator.__init__
    parameters = inspect.signature(init).parameters.values()
    needed = (p.name for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY)
    return frozenset(needed) - {"task_id"}
