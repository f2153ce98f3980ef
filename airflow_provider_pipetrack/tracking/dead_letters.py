"""Dead letters: journal entries that no location will ever take, kept apart so that nothing waits behind them.

An entry gets here when it cannot be read, such as one that was damaged, or when every location of its chain refuses it
although each of them would take another. It is a line of JSON with the reason, so that a person can mend it;
``reconcile(full=True)`` tries again.
"""

from __future__ import annotations

import base64
import fcntl
import json
import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.tracking.journal import FOLDER_MODE

log = logging.getLogger("airflow_provider_pipetrack.reconcile")

FILE_NAME = "dead-letters.ndjson"
#: Largest file of dead letters, in bytes; beyond it, what nobody takes stays in the journal.
MAX_FILE = 100_000_000
_MODE = 0o660


@dataclass(frozen=True)
class DeadLetter:
    """An entry that was set aside.

    :param at: when, as ISO 8601 text.
    :param reason: why nobody took it.
    :param payload: the entry.
    """

    at: str
    reason: str
    #: Its chain may hold a password of the user's.
    payload: bytes = field(repr=False)

    @property
    def record_ids(self) -> list[str]:
        """The records that the entry is about, as far as it can be read."""
        entry = _as_json(self.payload)
        changes = entry.get("changes") if isinstance(entry, dict) else None
        known = [change for change in changes if isinstance(change, dict)] if isinstance(changes, list) else []
        return sorted({str(change["record_id"]) for change in known if "record_id" in change})

    def as_dict(self) -> dict[str, Any]:
        """Return what people are shown of it."""
        return {"at": self.at, "reason": self.reason, "record_ids": self.record_ids}


class DeadLetters:
    """The dead letters of one host.

    :param folder: the host's journal folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def add(self, payload: bytes, reason: str) -> bool:
        """Set an entry aside, on the disk; return whether that worked. Only then may the journal forget it."""
        try:
            with self._locked() as descriptor:
                _append(descriptor, DeadLetter(utc_now().isoformat(), reason, payload))
        except OSError as error:
            log.error("pipetrack: a dead letter cannot be kept in %s: %s", self.path, error)  # noqa: TRY400
            return False
        log.error("pipetrack set a record aside in %s, since nobody takes it: %s", self.path, reason)
        return True

    def read(self) -> list[DeadLetter]:
        """Return the dead letters, oldest first."""
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError:
            return []
        return [letter for line in lines if (letter := _letter(line)) is not None]

    def remove(self, letters: Collection[DeadLetter]) -> None:
        """Forget letters, which somebody took after all."""
        if not letters:
            return
        with self._locked():
            lines = self.path.read_bytes().splitlines()
            fresh = self.path.with_name(f"{FILE_NAME}.{os.getpid()}.tmp")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE), "wb") as file:
                file.writelines(line + b"\n" for line in lines if _letter(line) not in letters)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                # The file may have been replaced while we waited for the lock of the old one.
                if os.path.samestat(os.fstat(descriptor), self.path.stat()):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)


def _append(descriptor: int, letter: DeadLetter) -> None:
    data = _line(letter)
    size = os.fstat(descriptor).st_size
    if size + len(data) > MAX_FILE:
        raise OSError(f"it has reached {MAX_FILE / 1e6:.0f} MB")
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        data = b"\n" + data  # a crash cut the last line short
    if os.write(descriptor, data) != len(data):
        os.ftruncate(descriptor, size)
        raise OSError("the disk is full")
    os.fdatasync(descriptor)


def _line(letter: DeadLetter) -> bytes:
    line: dict[str, Any] = {"at": letter.at, "reason": letter.reason}
    entry = _as_json(letter.payload)
    if entry is not None and _compact(entry) == letter.payload:
        line["entry"] = entry
    else:
        line["bytes"] = base64.b64encode(letter.payload).decode()
    return _compact(line) + b"\n"


def _letter(line: bytes) -> DeadLetter | None:
    data = _as_json(line)
    try:
        payload = _compact(data["entry"]) if "entry" in data else base64.b64decode(data["bytes"])
        return DeadLetter(str(data["at"]), str(data["reason"]), payload)
    except (ValueError, KeyError, TypeError):
        return None


def _compact(data: Any) -> bytes:
    """Return JSON as the journal writes it."""
    return json.dumps(data, separators=(",", ":")).encode()


def _as_json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None
