"""One thread that sends alerts while the process does its own work."""

from __future__ import annotations

import contextvars
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger("airflow_provider_pipetrack.alerts")


class Background:
    """Does one piece of work after the other, in a thread that does not keep the process alive.

    :param name: the thread's name.
    """

    _pid: int
    _queue: queue.SimpleQueue[Callable[[], Any]]
    _held: list[Callable[[], Any]] | None
    _changed: threading.Condition
    _left: int
    _thread: threading.Thread | None
    _current: str | None

    def __init__(self, name: str) -> None:
        self.name = name
        self._begin()

    def start(self, work: Callable[[], Any]) -> None:
        """Have a piece of work done, with the caller's context variables."""
        self._know_own_process()
        context = contextvars.copy_context()
        with self._changed:
            self._left += 1
            if self._held is None:
                self._hand_over(lambda: context.run(work))
            else:
                self._held.append(lambda: context.run(work))

    def hold(self) -> None:
        """Begin nothing more until somebody waits for it, see :meth:`finish`."""
        self._know_own_process()
        with self._changed:
            self._held = self._held or []

    def finish(self, seconds: float) -> str | None:
        """Wait until everything is done, no longer than ``seconds``.

        :return: what is being done when the time is over, or None.
        """
        if os.getpid() != self._pid:
            return None
        with self._changed:
            held, self._held = self._held or (), None
            for work in held:
                self._hand_over(work)
            self._changed.wait_for(lambda: self._left == 0, max(0.0, seconds))
            return self._current if self._left else None

    def drop(self) -> None:
        """Forget what has not begun yet; what hangs is left behind."""
        if self._left:
            self._begin()

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Say what is being done, for whoever waits in vain."""
        self._current = what
        try:
            yield
        finally:
            self._current = None

    def _know_own_process(self) -> None:
        if os.getpid() != self._pid:  # a forked child has no thread
            self._begin()

    def _hand_over(self, work: Callable[[], Any]) -> None:
        self._queue.put(work)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(self._queue,), name=self.name, daemon=True)
            self._thread.start()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._queue = queue.SimpleQueue()
        self._held = None
        self._changed = threading.Condition()
        self._left = 0
        self._thread = None
        self._current = None

    def _run(self, mine: queue.SimpleQueue[Callable[[], Any]]) -> None:
        while mine is self._queue:
            work = mine.get()
            if mine is not self._queue:
                return
            try:
                work()
            except Exception:
                log.exception("pipetrack could not send an alert; it is kept and tried again")
            with self._changed:
                if mine is self._queue:
                    self._left -= 1
                    self._changed.notify_all()
