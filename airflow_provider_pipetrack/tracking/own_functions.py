"""The user's own storage functions: found in the module that a chain names, for a process that may know no pipeline."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.storage.own_functions import FUNCTIONS

if TYPE_CHECKING:
    from airflow_provider_pipetrack.config.functions import UserFunctions

__all__ = ["FUNCTIONS", "functions_of"]


def functions_of(adapters: Mapping[str, Any]) -> Callable[[str], Callable[..., Any] | None] | None:
    """Return what finds a user's function by its name, or None when the chain names no functions.

    What is returned raises FunctionError when the functions cannot be imported.
    """
    reference = adapters.get(FUNCTIONS)
    return _functions(reference).get if isinstance(reference, str) else None


@functools.cache
def _functions(reference: str) -> UserFunctions:
    from airflow_provider_pipetrack.config.functions import UserFunctions

    return UserFunctions(reference)
