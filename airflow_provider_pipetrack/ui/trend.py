"""Whether a transfer is flaky or drifting: how its last attempts ended, and what they took beside those before."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

#: Attempts that are looked at, the newest; fewer than the second say nothing.
LAST, _FEWEST = 50, 5
#: Completed attempts whose median is compared with that of the ones before, of which there have to be as many.
_RECENT, _BEFORE = 10, 40
#: A median between these parts of the one before is much the same.
_SAME = (0.8, 1.25)


@dataclass(frozen=True)
class Flakiness:
    """How the last attempts ended.

    :param retries: how many of them were not the first.
    :param since: when the oldest of them was made.
    """

    attempts: int
    failed: int
    retries: int
    since: datetime


@dataclass(frozen=True)
class Drift:
    """What the last completed attempts took, beside those before them.

    :param recent: how many are the last ones, and ``before`` how many are compared with them.
    :param recent_seconds: their median, and ``before_seconds`` that of the others.
    """

    recent: int
    before: int
    recent_seconds: float
    before_seconds: float

    @property
    def times(self) -> str:
        """How much longer they take, in words."""
        times = self.recent_seconds / self.before_seconds
        return "about as long" if _SAME[0] < times < _SAME[1] else f"{times:.1f} times as long"


def ended(durations: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the last attempts that ended, the newest first.

    :param durations: those that took a time.
    :param failed: the last :data:`LAST` that failed; what fails before it begins takes none.
    """
    completed = [row for row in durations if row["transfer_status"] == "completed"]
    return sorted([*completed, *failed], key=lambda row: row["created_timestamp"], reverse=True)


def flakiness(attempts: Sequence[Mapping[str, Any]]) -> Flakiness | None:
    """Return how the last attempts ended, or None where there are too few.

    :param attempts: ended attempts, the newest first.
    """
    last = attempts[:LAST]
    if len(last) < _FEWEST:
        return None
    failed = sum(row["transfer_status"] == "failed" for row in last)
    retries = sum(row["retry_attempt_number"] > 0 for row in last)
    return Flakiness(len(last), failed, retries, last[-1]["created_timestamp"])


def drift(attempts: Sequence[Mapping[str, Any]]) -> Drift | None:
    """Return what the last completed attempts took beside those before, or None where there are too few.

    :param attempts: ended attempts with ``actual_seconds``, the newest first.
    """
    taken = [row["actual_seconds"] for row in attempts if row["transfer_status"] == "completed"]
    recent, before = taken[:_RECENT], taken[_RECENT : _RECENT + _BEFORE]
    if len(before) < _RECENT or not (median := statistics.median(before)):
        return None
    return Drift(len(recent), len(before), statistics.median(recent), median)
