"""The clients of storages: importing them where they are first needed."""

from __future__ import annotations

import importlib

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.storage.base import StorageAdapter


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
