"""What all stores of one process share: the journal's slot, and the form of its entries."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow_provider_pipetrack.errors import JournalError, PipetrackError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.json_text import value_of
from airflow_provider_pipetrack.tracking.chain_form import CHAIN_PARTS
from airflow_provider_pipetrack.tracking.journal import FOLDER_MODE, Journal

log = logging.getLogger("airflow_provider_pipetrack.tracking")

_WAITING = "waiting"
#: What stands between the chain and the changes of an entry; within a text the quotes would be escaped.
_CHANGES = b',"changes":'
#: Seconds between two tries of task processes to bring home what waits.
_BETWEEN_TRIES = 5.0
_JOURNALS: dict[tuple[int, Path], Journal] = {}


def own_journal(folder: Path) -> Journal:
    """Return this process's slot in a journal folder.

    :raises JournalError: when there is none to be had.
    """
    key = (os.getpid(), folder)
    if key not in _JOURNALS:
        _JOURNALS[key] = journal = Journal(folder)
        if not journal.is_done:
            note_waiting(folder)  # its last owner was killed
    return _JOURNALS[key]


def release_journal(folder: Path) -> None:
    """Give the slot back."""
    journal = _JOURNALS.pop((os.getpid(), folder), None)
    if journal is not None:
        journal.close()


def entry_payload(chain: Mapping[str, Any], changes: Sequence[Change], lacking: Collection[str] = ()) -> bytes:
    """Return what is written into the journal for changes that are to be delivered along a chain.

    :param lacking: names of the locations that lack them, when others have them already.
    """
    only = {"lacking": sorted(lacking)} if lacking else {}
    payload = {"chain": chain, **only, "changes": [change.to_json() for change in changes]}
    return json.dumps(payload, separators=(",", ":")).encode()


class EntryError(PipetrackError):
    """A journal entry is not what this version writes."""


def changes_of(payload: bytes) -> tuple[dict[str, Any], list[Change]]:
    """Return the chain and the changes that stand in a journal entry.

    :raises EntryError: when it cannot be read.
    """
    try:
        data = value_of(payload)
        chain = {name: data["chain"][name] for name in CHAIN_PARTS}
        return chain, [Change.from_json(change) for change in data["changes"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EntryError(f"the entry cannot be read: {type(error).__name__}: {error}") from error


def chain_bytes(payload: bytes) -> bytes:
    """Return the part of an entry that says where it goes, without reading it."""
    return payload.partition(_CHANGES)[0]


def lacking_in(chain: bytes) -> frozenset[str]:
    """Return the locations that an entry is for, by the part that says where it goes; empty for all of its chain."""
    return frozenset(value_of(chain + b"}").get("lacking", ()))


def folder_of_host(root: Path, host: str) -> Path:
    """Return the journal folder of another host on a shared disk.

    :raises JournalError: when there is none.
    """
    hosts = sorted(path.name for path in root.glob("[!_]*") if path.is_dir())  # beside them are the alerts
    if host not in hosts:
        raise JournalError(f"there is no journal of host {host!r} in {root}; there are: {', '.join(hosts) or 'none'}")
    return root / host


def note_waiting(folder: Path) -> None:
    """Remember that something on this host is not where it belongs, so that the next process may bring it there."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        (folder / _WAITING).touch()
    except OSError as error:
        log.debug("pipetrack: %s", error)


def claim_waiting(folder: Path) -> bool:
    """Return whether something waits that nobody has tried to bring home for a while; it is then this process's turn.

    Two processes may both believe so; that does no harm.
    """
    marker = folder / _WAITING
    try:
        # A clock that was set back must not put this off for ever.
        if 0 <= time.time() - marker.stat().st_mtime < _BETWEEN_TRIES:
            return False
        marker.touch()
    except OSError:
        return False
    return True


def forget_waiting(folder: Path) -> None:
    """Note that nothing waits any more. Call it before looking, so that what comes meanwhile is noted again."""
    with suppress(OSError):
        (folder / _WAITING).unlink()
