"""Make ready before Airflow forks its workers what each task would else have to wait for."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.errors import PipetrackError

if TYPE_CHECKING:
    from airflow_provider_pipetrack.storage.base import StorageAdapter

log = logging.getLogger("airflow_provider_pipetrack.tracking")


def preload_tracking() -> None:
    """Read the options, and import the adapters of ``[pipetrack] tracking_location`` without their clients.

    What cannot be used is said by the tasks, where it matters.
    """
    with suppress(Exception):
        settings.mode(), settings.strict(), settings.delivery_deadline(), settings.journal_dir()
        for text in settings.tracking_location() or [settings.default_location()]:
            adapter = _adapter(text)
            if adapter.host_local:  # it has no client
                adapter.load()


def preload_clients() -> list[str]:
    """Import what ``[pipetrack] preload`` asks for; what cannot be imported is said in the log and stops nothing.

    :return: the types of location whose clients are imported now.
    """
    try:
        return [text for text in _wanted() if _load(text)]
    except Exception as error:  # noqa: BLE001  Airflow must start without us
        log.warning("pipetrack: [pipetrack] preload: %s", error)
        return []


def _wanted() -> Iterable[str]:
    """Return a location of each type that is wanted, or the type alone."""
    wanted = settings.preload()
    if wanted == ["True"]:
        return settings.tracking_location()
    return wanted


def _load(text: str) -> bool:
    from airflow_provider_pipetrack.storage.locations import FORMS, SEPARATOR

    # A type alone stands for any location of it.
    location = SEPARATOR.join((text, *(_EXAMPLES.get(part, "x") for part in FORMS[text]))) if text in FORMS else text
    try:
        _adapter(location).load()
    except PipetrackError as error:
        log.warning("pipetrack: [pipetrack] preload: %s", error)
        return False
    return True


def _adapter(text: str) -> StorageAdapter:
    from airflow_provider_pipetrack.storage.locations import parse_location_string
    from airflow_provider_pipetrack.storage.registry import make_adapter, types_of

    return make_adapter(parse_location_string(text, types_of([text], {})), connections={}, adapters={})


#: Parts of a location that must look like what they are.
_EXAMPLES = {"/path/of/a/file": "/x", "s3://bucket/prefix/": "s3://x/"}
