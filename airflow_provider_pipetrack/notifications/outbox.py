"""Alerts on disk: each once for an attempt and kind, kept until everybody was told.

A folder for waiting alerts, one for empty files that say what was sent, one for what was given up. Several processes
and hosts may share it; a waiting alert is only sent by whoever holds the lock on its file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

#: How long an alert is tried, in seconds; then it is given up and kept.
KEPT_FOR = 3 * 86_400.0
_FIRST_PAUSE = 30.0
_LONGEST_PAUSE = 1_800.0
#: How long it is remembered what was sent, in seconds.
_REMEMBERED = 30 * 86_400.0
_SWEEP_ABOVE = 2_000


@dataclass(frozen=True)
class Alert:
    """One alert, as it stands on disk.

    :param alert_id: the same for the same attempt and kind, on every host.
    :param kind: what there is to tell.
    :param record: the record's columns as JSON values.
    :param deliveries: whom it has still to be told, see :meth:`AlertTargets.deliveries`.
    :param raised: when it was raised, in seconds since 1970.
    :param tries: how often it was tried in vain.
    :param due: when it may be tried next, in seconds since 1970.
    :param error: why the last try was in vain.
    """

    alert_id: str
    kind: str
    record: Mapping[str, Any]
    deliveries: Sequence[Mapping[str, Any]]
    raised: float
    tries: int = 0
    due: float = 0.0
    error: str = ""

    @property
    def is_due(self) -> bool:
        """Whether it may be tried; a clock that was set back must not put that off for long."""
        return not 0.0 < self.due - time.time() <= _LONGEST_PAUSE


@dataclass(frozen=True)
class Standing:
    """How the alerts of a host are.

    :param folder: where they are.
    :param waiting: alerts that are still to be sent.
    :param oldest_seconds: age of the oldest of them, in seconds; None when there is none.
    :param given_up: alerts that were tried for days in vain.
    :param last_error: why the last try of one that waits, or was given up, was in vain; empty when none was.
    """

    folder: Path
    waiting: int
    oldest_seconds: float | None
    given_up: int
    last_error: str

    @property
    def is_well(self) -> bool:
        """Whether nothing needs a person: no alert was tried in vain."""
        return not (self.given_up or self.last_error)


def alert_id(subject: str, kind: str) -> str:
    """Return the id of the alert about ``subject``: a record's id, or whatever is only told once."""
    return hashlib.sha256(f"{kind}\0{subject}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Outbox:
    """The alerts below one folder.

    :param folder: made when it is missing; only its owner may read it, since notifiers may be given secrets.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting = folder / "waiting"
        self._sent = folder / "sent"
        self._dropped = folder / "given_up"
        self._locks: dict[str, int] = {}

    def keep(self, alert: Alert) -> bool:
        """Keep an alert until it is sent.

        :return: False when it was raised before.
        :raises OSError: when it cannot be kept.
        """
        path = self._path(alert.alert_id)
        if self._is_settled(alert.alert_id) or path.exists():
            return False
        for folder in (self._waiting, self._sent, self._dropped):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self._write_fresh(alert)
        try:
            os.link(fresh, path)
        except FileExistsError:
            return False
        finally:
            fresh.unlink()
        if self._is_settled(alert.alert_id):  # between the first look and the link another process has sent it
            path.unlink(missing_ok=True)
            return False
        return True

    def waiting(self) -> list[str]:
        """Return the ids of the alerts that wait, oldest first."""
        return [path.stem for _, path in sorted(_by_time(self._waiting))]

    def unsent(self) -> list[tuple[str, Alert | None]]:
        """Return the alerts that wait, with their ids, oldest first; None for one that was sent just now."""
        return [(name, _read(self._path(name))) for name in self.waiting()]

    def given_up(self) -> list[tuple[str, Alert | None]]:
        """Return the alerts that were given up, with their ids, oldest first; None for one that is damaged."""
        return [(path.stem, _read(path)) for _, path in sorted(_by_time(self._dropped))]

    def standing(self) -> Standing:
        """Return how many alerts wait, since when, and why."""
        waiting = [alert for _, alert in self.unsent() if alert is not None]
        dropped = [path for _, path in sorted(_by_time(self._dropped))]
        tried = max(waiting, key=lambda alert: alert.due, default=None)
        if (tried is None or not tried.error) and dropped:
            tried = _read(dropped[-1])
        oldest = min((alert.raised for alert in waiting), default=None)
        return Standing(
            folder=self._folder,
            waiting=len(waiting),
            oldest_seconds=None if oldest is None else max(0.0, time.time() - oldest),
            given_up=len(dropped),
            last_error=tried.error if tried is not None else "",
        )

    @contextmanager
    def taken(self, name: str) -> Iterator[Alert | None]:
        """Give a waiting alert under its lock, or None when another process sends it now or has sent it."""
        try:
            descriptor = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            yield None
            return
        if not self._is_mine(name, descriptor):
            os.close(descriptor)
            yield None
            return
        self._locks[name] = descriptor
        try:
            yield self._read(name, descriptor)
        finally:
            os.close(self._locks.pop(name))

    def note(self, alert: Alert, left: Sequence[Mapping[str, Any]]) -> None:
        """Note whom an alert has still to be told, while it is taken: should the process end, nobody is told again.

        :raises OSError: when that cannot be written.
        """
        fresh = self._write_fresh(replace(alert, deliveries=left))
        descriptor = os.open(fresh, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # before anybody else can know of it
            fresh.replace(self._path(alert.alert_id))
        except OSError:
            os.close(descriptor)
            fresh.unlink(missing_ok=True)
            raise
        os.close(self._locks[alert.alert_id])
        self._locks[alert.alert_id] = descriptor

    def settle(self, alert: Alert, left: Sequence[Mapping[str, Any]], error: str = "") -> str:
        """Note how a try went, while the alert is taken.

        :param left: whom it has still to be told.
        :param error: why; empty when nobody was tried, since all were tried in vain a moment ago.
        :return: ``sent``, ``waiting``, or ``given_up``.
        """
        if not left:
            self._move(alert, self._sent, "")
            self._sweep()
            return "sent"
        tried = replace(alert, deliveries=left, tries=alert.tries + 1, error=error or alert.error)
        if time.time() - alert.raised > KEPT_FOR:
            self._move(tried, self._dropped, ".json")
            return "given_up"
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(tried.tries - 1, 10))
        fresh = self._write_fresh(replace(tried, due=time.time() + pause))
        fresh.replace(self._path(alert.alert_id))
        return "waiting"

    def _move(self, alert: Alert, folder: Path, suffix: str) -> None:
        """Note that an alert is done with before it stops waiting, so that no moment lets it be raised again."""
        target = folder / f"{alert.alert_id}{suffix}"
        if suffix:
            self._write_fresh(alert).replace(target)
        else:
            target.touch(mode=0o600)
        self._path(alert.alert_id).unlink(missing_ok=True)

    def _is_settled(self, name: str) -> bool:
        return (self._sent / name).exists() or (self._dropped / f"{name}.json").exists()

    def _is_mine(self, name: str, descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had the lock before may have replaced or removed the file in the meantime.
            return os.fstat(descriptor).st_ino == self._path(name).stat().st_ino
        except OSError:
            return False

    def _read(self, name: str, descriptor: int) -> Alert | None:
        try:
            return _alert_of(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
        except (OSError, ValueError, TypeError):
            # Not written by us, or damaged: out of the way, but still there to be looked at.
            self._path(name).replace(self._dropped / f"{name}.json")
            return None

    def _write_fresh(self, alert: Alert) -> Path:
        fresh = self._waiting / f".{uuid.uuid4().hex}.tmp"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(asdict(alert), file)
                file.flush()
                os.fsync(descriptor)
        except OSError:  # such as on a full disk, which each try would make fuller
            fresh.unlink(missing_ok=True)
            raise
        return fresh

    def _path(self, name: str) -> Path:
        return self._waiting / f"{name}.json"

    def _sweep(self) -> None:
        """Forget long ago what was sent."""
        sent = list(self._sent.iterdir())
        if len(sent) <= _SWEEP_ABOVE:
            return
        oldest = time.time() - _REMEMBERED
        for path in sent:
            with suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def _by_time(folder: Path) -> Iterator[tuple[float, Path]]:
    """Yield the alerts of a folder with the time at which each was last written."""
    for path in folder.glob("*.json"):
        with suppress(OSError):
            yield path.stat().st_mtime, path


def _alert_of(data: bytes) -> Alert:
    """Return the alert in a file; what a newer version has written beside what this one knows is left out.

    :raises ValueError, TypeError: when it is none.
    """
    said = json.loads(data)
    return Alert(**{known.name: said[known.name] for known in fields(Alert) if known.name in said})


def _read(path: Path) -> Alert | None:
    """Return an alert to look at; None for one that was sent in the meantime or is damaged."""
    try:
        return _alert_of(path.read_bytes())
    except (OSError, ValueError, TypeError):
        return None
