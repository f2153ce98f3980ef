"""Work that stands still in a thread of its own, until somebody ends its waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def waiting(work: Callable[[], Any], seconds: float = 0.2) -> tuple[threading.Thread, list[Any]]:
    """Start work that will not end by itself, and see that it waits.

    :param seconds: to watch it before it counts as waiting.
    :return: its thread, and a list that gets what it returns or raises, when it ends.
    """
    ended: list[Any] = []

    def run() -> None:
        try:
            ended.append(work())
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert thread.is_alive(), ended
    return thread, ended
