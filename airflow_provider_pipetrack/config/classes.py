"""Find a class, such as an operator or a notifier, that a pipeline file names by its dotted path."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from airflow_provider_pipetrack.config.problems import suggest
from airflow_provider_pipetrack.errors import PipetrackError


class ClassError(PipetrackError):
    """A class that a file names cannot be found, or is given an argument that it does not have."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        self.message = message
        self.suggestion = suggestion
        super().__init__(message)


def find_class(path: str, base: type[Any], kind: str, *, example: str) -> type[Any]:
    """Return the class at a dotted path.

    :param base: what it has to be a subclass of.
    :param kind: how that is called in messages, such as ``operator``.
    :param example: a path as it could be.
    :raises ClassError: when there is none, or it is no such class.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        raise ClassError(f"{path!r} is no dotted path, such as {example}")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # noqa: BLE001  it is somebody else's module
        raise ClassError(f"{module_name!r} cannot be imported: {type(error).__name__}: {error}") from None
    found = getattr(module, name, None)
    if inspect.isclass(found) and issubclass(found, base):
        return found
    if found is not None:
        raise ClassError(f"{path!r} is no Airflow {kind}")
    known = [key for key, value in vars(module).items() if inspect.isclass(value) and issubclass(value, base)]
    raise ClassError(f"there is no {kind} {name!r} in {module_name}", suggest(name, known))
