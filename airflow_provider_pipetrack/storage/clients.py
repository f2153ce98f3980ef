"""The clients of storages: importing them where they are first needed, and the Airflow connections that they use."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.storage.base import StorageAdapter

H = TypeVar("H")


def ask_once(conn_id: str) -> Callable[[], Any]:
    """Ask Airflow for a connection, and return what gives its answer: the connection, or the error that there is none.

    For code that runs in an event loop: on Airflow 3.3 the loop's own questions fail while another thread asks one.
    """
    from airflow.sdk import BaseHook

    try:
        connection = BaseHook.get_connection(conn_id)
    except Exception as error:  # noqa: BLE001  raised where it is needed
        refusal = error
    else:
        return lambda: connection

    def refuse() -> Any:
        raise refusal

    return refuse


def hook_of(adapter: StorageAdapter, hook: type[H]) -> type[H]:
    """Return an Airflow hook's class that takes the connection which an adapter holds, if it holds one."""
    held = adapter.held
    if held is None:
        return hook
    return type(hook.__name__, (hook,), {"get_connection": classmethod(lambda *_: held())})


def import_client(adapter: StorageAdapter, provider: str, extra: str, *modules: str) -> None:
    """Import the hook and the driver of a storage, unless the user makes its client himself.

    :param provider: the Airflow provider's name for people.
    :param extra: the extra of this package that brings it.
    :raises StorageError: when a module is missing.
    """
    try:
        for module in () if adapter.connect else modules:
            importlib.import_module(module)
    except ImportError as error:
        text = f"the {provider} provider is not installed ({error})"
        advice = f"pip install 'airflow-provider-pipetrack[{extra}]'"
        raise StorageError(adapter.location, f"{text}; {advice}", transient=False) from error
