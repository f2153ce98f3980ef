"""Keep the cyclic garbage collector out of the way while many small objects are built."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the cyclic collector, and leave it afterwards as it was.

    Building thousands of objects that all live on makes the collector scan them again and again for nothing.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            _count_as_old()
            gc.enable()


def _count_as_old() -> None:
    """Hand what was built to the oldest generation unscanned, where the collector would soon put it anyway."""
    if gc.get_freeze_count() == 0:  # else somebody keeps objects frozen, for processes that he forks
        gc.freeze()
        gc.unfreeze()
