"""Tell people that a transfer takes longer than estimated, while it still runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from airflow_provider_pipetrack.records.change import utc_now

#: A timer cannot wait for longer, in seconds.
_LONGEST_WAIT = threading.TIMEOUT_MAX


class OverdueTimer:
    """Calls a function when an attempt is overdue, in a thread of its own; nothing waits for it.

    :param started: when the attempt first started, in whichever process that was.
    :param seconds: how long it should take; None for a transfer that never ends.
    :param tell: what to do then.
    """

    def __init__(self, started: datetime, seconds: float | None, tell: Callable[[], None]) -> None:
        self._timer: threading.Timer | None = None
        if seconds is None:
            return
        left = (started - utc_now()) / timedelta(seconds=1) + seconds
        if left <= _LONGEST_WAIT:
            self._timer = threading.Timer(max(0.0, left), tell)
            self._timer.daemon = True
            self._timer.name = "pipetrack: overdue"
            self._timer.start()

    def stop(self) -> None:
        """Do not call any more."""
        if self._timer is not None:
            self._timer.cancel()
