"""Keep Python's cyclic garbage collector out of the way while many objects are made that all stay."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

#: Whether the collector rests on our account.
_rests = False


@contextmanager
def collector_paused(*, as_old: bool = True) -> Iterator[None]:
    """Pause the collector, and leave it afterwards as it was.

    Its passes would go over what is made, and over all that Airflow has imported, again and again and find nothing:
    more than half of the time that a client of boto3 takes.

    :param as_old: whether what was made counts as old at once. Not in a task's process, which shares its memory with
        the process that it was forked from: the pass over everything that follows would copy it, for some 90 ms.
    """
    global _rests  # noqa: PLW0603
    if not gc.isenabled():
        yield  # somebody else has stopped it, and says when it goes on
        return
    _rests = True
    gc.disable()
    try:
        yield
    finally:
        _rests = False
        if as_old:
            _count_as_old()
        gc.enable()


def _count_as_old() -> None:
    """Hand what was made to the oldest generation unscanned, where the collector would soon put it anyway."""
    if gc.get_freeze_count() == 0:  # else somebody keeps objects frozen, for processes that he forks
        gc.freeze()
        gc.unfreeze()


def _go_on_in_child() -> None:
    """Start the collector in a forked child, where nobody else would."""
    if _rests:
        gc.enable()


os.register_at_fork(after_in_child=_go_on_in_child)
