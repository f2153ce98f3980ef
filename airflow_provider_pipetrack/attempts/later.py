"""What is done while a transfer runs, after a while, in a thread of its own."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable


class Later:
    """Calls a function after a while, unless the transfer has ended before; nothing waits for it.

    :param seconds: how long to wait; what should have been done already is done at once.
    :param call: must not raise.
    """

    def __init__(self, seconds: float, call: Callable[[], object]) -> None:
        self._call = call
        self._running = _thread.allocate_lock()
        self._running.acquire()
        if seconds <= threading.TIMEOUT_MAX:
            # A threading.Timer would keep the transfer waiting until its thread has begun.
            _thread.start_new_thread(self._wait, (max(0.0, seconds),))

    def stop(self) -> None:
        """Do not call any more."""
        if self._running.locked():
            self._running.release()

    def _wait(self, seconds: float) -> None:
        if not self._running.acquire(timeout=seconds):
            self._call()
