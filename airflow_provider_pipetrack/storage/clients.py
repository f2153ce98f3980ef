"""The clients of storages: importing them where they are first needed, and the Airflow connections that they use."""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.storage.base import StorageAdapter

H = TypeVar("H")
#: Whether Python's collector rests on our account.
_rests = False


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


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep Python's garbage collector away from code that makes very many objects which all stay.

    Its passes would go over them, and over all that Airflow has imported, and find nothing: more than half of the time
    that a client of boto3 takes.
    """
    global _rests  # noqa: PLW0603
    if not gc.isenabled():
        yield  # somebody else has stopped it, and says when it goes on
        return
    _rests = True
    gc.disable()
    try:
        yield
    finally:
        _rests = False
        gc.enable()


def _go_on_in_child() -> None:
    """Start the collector in a forked child, where nobody else would."""
    if _rests:
        gc.enable()


os.register_at_fork(after_in_child=_go_on_in_child)


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
