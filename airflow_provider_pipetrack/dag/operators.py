"""Find the operator class that a transfer names, and check the arguments that it is given."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from airflow.sdk import BaseOperator

from airflow_provider_pipetrack.config.checks import Mistake
from airflow_provider_pipetrack.config.problems import suggest
from airflow_provider_pipetrack.dag.task_arguments import NOT_TO_GIVE, task_argument_mistakes, task_arguments
from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.operators.arguments import arguments_of


class OperatorError(PipetrackError):
    """An operator cannot be found, or is given an argument that it does not have."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        self.message = message
        self.suggestion = suggestion
        super().__init__(message)


@functools.cache
def find_operator(path: str) -> type[BaseOperator]:
    """Return the operator class at a dotted path.

    :raises OperatorError: when there is none, or it is no operator.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise OperatorError(
            f"{path!r} is no dotted path, such as airflow.providers.standard.operators.bash.BashOperator"
        )
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # noqa: BLE001  it is somebody else's module
        raise OperatorError(f"{module_name!r} cannot be imported: {type(error).__name__}: {error}") from None
    found = getattr(module, name, None)
    if inspect.isclass(found) and issubclass(found, BaseOperator):
        return found
    known = [key for key, value in vars(module).items() if inspect.isclass(value) and issubclass(value, BaseOperator)]
    if found is None:
        raise OperatorError(f"there is no operator {name!r} in {module_name}", suggest(name, known))
    raise OperatorError(f"{path!r} is no Airflow operator")


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
    except OperatorError as error:
        yield ("operator",), error.message, error.suggestion
        return
    known = arguments_of(operator)
    for key, names in (("operator_args", arguments), ("expand", mapped)):
        yield from task_argument_mistakes(names, key)
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
