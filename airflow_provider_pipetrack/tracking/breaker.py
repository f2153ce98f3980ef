"""One circuit breaker for each location and host: a location that does not answer is left alone for a while.

Its state is a small file that all processes of the host share. While it is open, nobody tries. When its time is over,
whoever gets the file's lock tries alone; the others go on as before until that one knows.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
import weakref
from contextlib import suppress
from pathlib import Path

#: Seconds for which a location is left alone after its first failure; doubled with each further one.
FIRST_PAUSE = 15.0
LONGEST_PAUSE = 60.0


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
        until, failures = self._state()
        return failures > 0 and time.time() < until

    def has_failed(self) -> bool:
        """Return whether the location has not answered since it last failed."""
        return self._state()[1] > 0

    def may_try(self) -> bool:
        """Return whether this process may try the location now; it must report how that went."""
        until, failures = self._state()
        if failures == 0:
            return True
        if time.time() < until:
            return False
        return self._take_probe()

    def succeeded(self) -> None:
        """Report that the location answered."""
        if self._state()[1] or self._silence()[0]:
            self._write(0.0, 0)
        self._release()

    def failed(self) -> None:
        """Report that the location did not answer."""
        until, failures = self._state()
        if failures and not self.is_probing and time.time() < until:
            return  # somebody was faster; many that fail together are one failure
        failures += 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 10))
        self._write(time.time() + pause, failures)
        self._release()

    def _state(self) -> tuple[float, int]:
        until, failures = self._read("until", "failures")
        # A clock that was set back must not keep a location shut for ever.
        return (until if until <= time.time() + LONGEST_PAUSE else 0.0), int(failures)

    def _silence(self) -> tuple[float, float]:
        """Return for how many seconds the location was silent when it was tried, and when that was last so."""
        silent, last = self._read("silent", "last")
        return (silent, last) if 0.0 <= time.time() - last < LONGEST_PAUSE else (0.0, 0.0)

    def _read(self, *names: str) -> tuple[float, float]:
        try:
            data = json.loads(self.path.read_text())
            first, second = (float(data.get(name, 0.0)) for name in names)
        except (OSError, ValueError, TypeError, AttributeError):
            return 0.0, 0.0
        return first, second

    def _write(self, until: float, failures: int, silent: float = 0.0) -> None:
        fresh = self.path.with_suffix(f".{os.getpid()}.tmp")
        state = {"until": until, "failures": failures, "silent": silent, "last": time.time()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o770)
            fresh.write_text(json.dumps(state))
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
            self._write(*self._state(), total)
            self._release()

    def forget_after_fork(self) -> None:
        """Let go of the right to try in a child process, which would keep it from everybody else."""
        self._release()

    def _release(self) -> None:
        if self._probe is not None:
            os.close(self._probe)
            self._probe = None


_LIVING: weakref.WeakSet[Breaker] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for breaker in list(_LIVING):
        breaker.forget_after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
