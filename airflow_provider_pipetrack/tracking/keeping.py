"""Whether a record could be kept now: proved by writing, since who may write is not who can."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_pipetrack.errors import JournalError, StorageError
from airflow_provider_pipetrack.tracking.shared import entry_payload, own_journal

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.leg import Leg
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.tracking")

#: As much as the records of an attempt need in the journal.
_ROOM = b" " * 8_000


def could_keep(store: TrackingStore) -> bool:
    """Return whether a store could keep a record, in the journal or in a location."""
    return _journal_takes(store) or any(_answers(store, leg) for leg in store.legs)


def _journal_takes(store: TrackingStore) -> bool:
    try:
        journal = own_journal(store.journal_folder)
        journal.acknowledge([journal.append(entry_payload(store.chain(), ()) + _ROOM, durable=True)])
    except JournalError as error:
        log.warning("pipetrack: %s", error)
        return False
    return True


def _answers(store: TrackingStore, leg: Leg) -> bool:
    try:
        leg.call(lambda adapter: adapter.check_writing(), store.deadline)
    except StorageError as error:
        log.warning("pipetrack: %s", error)
        return False
    return True
