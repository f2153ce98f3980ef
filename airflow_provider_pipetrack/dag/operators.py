"""Find the operator class that a transfer names, and check the arguments that it is given."""

from __future__ import annotations

import functools
import importlib
import inspect
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_pipetrack.config.problems import suggest
from airflow_provider_pipetrack.errors import PipetrackError

if TYPE_CHECKING:
    from collections.abc import Iterable


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


@functools.cache
def arguments_of(operator: type[BaseOperator]) -> frozenset[str]:
    """Return the names of all arguments of an operator, those of every task included."""
    names: set[str] = set()
    for base in operator.__mro__:
        init = base.__dict__.get("__init__")
        if init is None or base is object:
            continue
        parameters = inspect.signature(init).parameters.values()
        names.update(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return frozenset(names - {"self"})


def check_arguments(operator: type[BaseOperator], given: Iterable[str]) -> None:
    """Check the names of an operator's arguments.

    :raises OperatorError: names the first one that it does not have.
    """
    known = arguments_of(operator)
    for name in given:
        if name not in known:
            raise OperatorError(f"{operator.__name__} has no argument {name!r}", suggest(name, known))


def check_required(operator: type[BaseOperator], given: Iterable[str]) -> None:
    """Check that an operator gets what it needs.

    :raises OperatorError: names what is missing.
    """
    missing = sorted(_required(operator) - set(given))
    if missing:
        raise OperatorError(f"{operator.__name__} needs {', '.join(missing)}")


@functools.cache
def _required(operator: type[BaseOperator]) -> frozenset[str]:
    init: Any = operator.__init__
    parameters = inspect.signature(init).parameters.values()
    needed = (p.name for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY)
    return frozenset(needed) - {"task_id"}
