"""What is done while a transfer runs, after a while, in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Later:
    """Calls a function after a while, unless the transfer has ended before; nothing waits for it.

    :param seconds: how long to wait; what should have been done already is done at once.
    :param call: must not raise.
    """

    def __init__(self, seconds: float, call: Callable[[], object]) -> None:
        self._timer: threading.Timer | None = None
        if seconds <= threading.TIMEOUT_MAX:
            self._timer = threading.Timer(max(0.0, seconds), call)
            self._timer.daemon = True
            self._timer.name = "pipetrack: later"
            self._timer.start()

    def stop(self) -> None:
        """Do not call any more."""
        if self._timer is not None:
            self._timer.cancel()
