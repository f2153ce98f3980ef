"""Import the clients of storages before Airflow forks its workers, so that no task waits for that."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.errors import PipetrackError

log = logging.getLogger("airflow_provider_pipetrack.tracking")


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
    from airflow_provider_pipetrack.storage.locations import FORMS, SEPARATOR, parse_location_string
    from airflow_provider_pipetrack.storage.registry import make_adapter, types_of

    # A type alone stands for any location of it.
    location = SEPARATOR.join((text, *(_EXAMPLES.get(part, "x") for part in FORMS[text]))) if text in FORMS else text
    try:
        parsed = parse_location_string(location, types_of([location], {}))
        make_adapter(parsed, connections={}, adapters={}).load()
    except PipetrackError as error:
        log.warning("pipetrack: [pipetrack] preload: %s", error)
        return False
    return True


#: Parts of a location that must look like what they are.
_EXAMPLES = {"/path/of/a/file": "/x", "s3://bucket/prefix/": "s3://x/"}
