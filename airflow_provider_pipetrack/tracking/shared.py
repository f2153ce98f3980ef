"""What all stores of one process share: the journal's slot, and the form of its entries."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.tracking.journal import Journal

log = logging.getLogger("airflow_provider_pipetrack.tracking")

_JOURNALS: dict[tuple[int, Path], Journal] = {}


def own_journal(folder: Path) -> Journal:
    """Return this process's slot in a journal folder.

    :raises JournalError: when there is none to be had.
    """
    key = (os.getpid(), folder)
    if key not in _JOURNALS:
        _JOURNALS[key] = Journal(folder)
    return _JOURNALS[key]


def release_journal(folder: Path) -> None:
    """Give the slot back."""
    journal = _JOURNALS.pop((os.getpid(), folder), None)
    if journal is not None:
        journal.close()


def entry_payload(chain: Mapping[str, Any], changes: Sequence[Change]) -> bytes:
    """Return what is written into the journal for changes that are to be delivered along a chain."""
    payload = {"chain": chain, "changes": [change.to_json() for change in changes]}
    return json.dumps(payload, separators=(",", ":")).encode()


def changes_of(payload: bytes) -> tuple[dict[str, Any], list[Change]]:
    """Return the chain and the changes that stand in a journal entry; nothing for one that cannot be read."""
    try:
        data = json.loads(payload)
        return data["chain"], [Change.from_json(change) for change in data["changes"]]
    except (ValueError, KeyError, TypeError) as error:
        log.error("pipetrack: a journal entry cannot be read (%s): %r", error, payload[:500])  # noqa: TRY400
        return {}, []
