"""The user's own storage functions: found in the module that a chain names, for a process that may know no pipeline."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.storage.own_functions import CONNECT, FUNCTIONS
from airflow_provider_pipetrack.storage.registry import may_need_functions

if TYPE_CHECKING:
    from airflow_provider_pipetrack.config.functions import UserFunctions

__all__ = ["FUNCTIONS", "functions_of", "reference_for"]


def reference_for(functions: UserFunctions, locations: Iterable[str], adapters: Mapping[str, Any]) -> str | None:
    """Return by what a chain finds a pipeline's functions; None where they have nothing to do with its storages.

    Most have not. Without them, the pipelines of one chain share it: it is asked once, and kept up once.

    :param adapters: class of each type of location of the user's own.
    """
    if not functions.module:
        return None
    as_storage, as_client = may_need_functions(locations, adapters)
    wanted = as_storage or (as_client and _may_make_clients(functions))
    return functions.reference() if wanted else None


@functools.lru_cache(maxsize=64)
def _may_make_clients(functions: UserFunctions) -> bool:
    try:
        return functions.get(CONNECT) is not None
    except PipetrackError:
        return True  # whoever needs them says that they cannot be imported


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
