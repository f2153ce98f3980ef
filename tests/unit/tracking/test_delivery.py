"""The delivery thread of a chain."""

from __future__ import annotations

import threading
import time

from airflow_provider_pipetrack.tracking.delivery import Batch, Delivery

ROUNDS = 20_000


def test_what_came_while_the_thread_was_busy_is_taken_without_waiting_for_more():
    """A queue of Python 3.10 waits for ever now and then, when it was filled before it is asked."""
    delivery = Delivery([], "fallback", lambda batch, delivered: None)
    batch = Batch((), None, None, time.monotonic())
    taken = []

    def take():
        for _ in range(ROUNDS):
            delivery._queue.put(batch)
            taken.append(delivery._next())

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    thread.join(60)
    assert len(taken) == ROUNDS, "it waits for one more"
    assert taken[-1] == [batch]
