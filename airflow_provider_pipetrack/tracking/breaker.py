"""One circuit breaker for each location and host: a location that does not answer is left alone for a while.

Its state is a small file that all processes of the host share. While it is open, nobody tries. When its time is over,
whoever gets the file's lock tries alone; the others go on as before until that one knows.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

#: Seconds for which a location is left alone after its first failure; doubled with each further one.
FIRST_PAUSE = 15.0
LONGEST_PAUSE = 60.0


class _State(NamedTuple):
    """What is known of a location.

    :param until: until when it is left alone, in seconds since 1970.
    :param failures: how often it has failed, one after another.
    :param since: when the first of these was, in seconds since 1970; 0 when that is not known.
    """

    until: float = 0.0
    failures: int = 0
    since: float = 0.0


class Breaker:
    """The breaker of one location.

    :param folder: where the host keeps its breakers; when it cannot be written, the breaker never opens.
    :param name: the location's name.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:16]}.json"
        self._probe: int | None = None
        _LIVING.add(self)

    @property
    def is_probing(self) -> bool:
        """Whether this process tries alone, after a pause."""
        return self._probe is not None

    def is_open(self) -> bool:
        """Return whether the location is left alone for now, so that its client need not even be loaded."""
        state = self._state()
        return state.failures > 0 and time.time() < state.until

    @property
    def down_since(self) -> datetime | None:
        """When the location failed first, with no answer to anybody on this host since; None when it answers."""
        state = self._state()
        return datetime.fromtimestamp(state.since, timezone.utc) if state.failures and state.since else None

    def has_failed(self) -> bool:
        """Return whether the location has not answered since it last failed."""
        return self._state().failures > 0

    def may_try(self) -> bool:
        """Return whether this process may try the location now; it must report how that went."""
        state = self._state()
        if state.failures == 0:
            return True
        if time.time() < state.until:
            return False
        return self._take_probe()

    def succeeded(self) -> None:
        """Report that the location answered."""
        if self._state().failures or self._silence()[0]:
            self._write(_State())
        self._release()

    def failed(self) -> None:
        """Report that the location did not answer."""
        known, now = self._state(), time.time()
        if known.failures and not self.is_probing and now < known.until:
            return  # somebody was faster; many that fail together are one failure
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(known.failures, 10))
        since = known.since if known.failures and known.since else now
        self._write(_State(now + pause, known.failures + 1, since))
        self._release()

    def _state(self) -> _State:
        until, failures, since, last = self._read("until", "failures", "since", "last")
        now = time.time()
        # A clock that was set back must not keep a location shut for ever. An earlier version noted the last failure
        # alone: by then it was down.
        return _State(until if until <= now + LONGEST_PAUSE else 0.0, int(failures), min(since or last, now))

    def _silence(self) -> tuple[float, float]:
        """Return for how many seconds the location was silent when it was tried, and when that was last so."""
        silent, last = self._read("silent", "last")
        return (silent, last) if 0.0 <= time.time() - last < LONGEST_PAUSE else (0.0, 0.0)

    def _read(self, *names: str) -> Sequence[float]:
        try:
            data = json.loads(self.path.read_text())
            values = [float(data.get(name, 0.0)) for name in names]
        except (OSError, ValueError, TypeError, AttributeError):
            return [0.0] * len(names)
        return values if all(map(math.isfinite, values)) else [0.0] * len(names)

    def _write(self, state: _State, silent: float = 0.0) -> None:
        fresh = self.path.with_suffix(f".{os.getpid()}.tmp")
        written = {**state._asdict(), "silent": silent, "last": time.time()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o770)
            fresh.write_text(json.dumps(written))
            fresh.replace(self.path)
        except OSError:
            with suppress(OSError):
                fresh.unlink()

    def _take_probe(self) -> bool:
        try:
            descriptor = os.open(f"{self.path}.probe", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        except OSError:
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        except OSError:
            # A disk without locks: that several try at once is better than that nobody does.
            os.close(descriptor)
            return True
        self._probe = descriptor
        return True

    def undecided(self) -> None:
        """Report that nothing was learned about the location."""
        self._release()

    def silent(self, seconds: float, enough: float) -> None:
        """Report that the location was silent for a time in which it need not have answered.

        :param enough: the seconds of such silence, with no answer between, that count as a failure. Those of processes
            that wait at the same time count once.
        """
        before, last = self._silence()
        total = before + min(seconds, time.time() - last)
        if total >= enough:
            self.failed()
        else:
            self._write(self._state(), total)
            self._release()

    def forget_after_fork(self) -> None:
        """Let go of the right to try in a child process, which would keep it from everybody else."""
        self._release()

    def _release(self) -> None:
        # Taken out first: what another thread closes meanwhile may be somebody's file by then.
        probe, self._probe = self._probe, None
        if probe is not None:
            os.close(probe)


_LIVING: weakref.WeakSet[Breaker] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for breaker in list(_LIVING):
        breaker.forget_after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
