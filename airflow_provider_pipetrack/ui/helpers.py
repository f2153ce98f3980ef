"""Threads that do what a page cannot wait for without end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

#: Something to do, and what is released when it is done.
_Errand = tuple[Callable[[], Any], threading.Lock]


class Helpers:
    """Threads that do one thing after another; to start one for each thing takes longer than most things.

    :param most_idle: how many stay when there is nothing to do.
    """

    def __init__(self, most_idle: int) -> None:
        self._most_idle = most_idle
        self._idle: list[SimpleQueue[_Errand]] = []
        self._lock = threading.Lock()

    def do(self, work: Callable[[], Any], seconds: float) -> bool:
        """Return whether ``work`` was done within some seconds; what takes longer is left to itself.

        :param work: must not raise.
        """
        done = threading.Lock()
        done.acquire()
        self._helper().put((work, done))
        return done.acquire(timeout=seconds)

    def _helper(self) -> SimpleQueue[_Errand]:
        """Return what an idle helper, or a new one, takes its next errand from."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        errands: SimpleQueue[_Errand] = SimpleQueue()
        threading.Thread(target=self._help, args=(errands,), name="pipetrack: page", daemon=True).start()
        return errands

    def _help(self, errands: SimpleQueue[_Errand]) -> None:
        stays = True
        while stays:
            work, done = errands.get()
            work()
            with self._lock:
                stays = len(self._idle) < self._most_idle
                if stays:
                    self._idle.append(errands)
            done.release()
            del work, done  # an idle helper keeps nothing of the page alive
