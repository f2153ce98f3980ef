"""Whether a transfer is flaky or drifting: how its last attempts ended, and what they took beside those before."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_pipetrack.tracking.questions import Answer

Row = Mapping[str, Any]

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
    :param recent_since: when the oldest of the last ones was made, and ``before_since`` of the others.
    """

    recent: int
    before: int
    recent_seconds: float
    before_seconds: float
    recent_since: datetime
    before_since: datetime

    @property
    def times(self) -> str:
        """How much longer they take, in words."""
        times = self.recent_seconds / self.before_seconds
        return "about as long" if _SAME[0] < times < _SAME[1] else f"{times:.1f} times as long"


def flakiness(ask: Callable[..., Answer]) -> Flakiness | None:
    """Return how the last attempts ended, or None where there are too few.

    Those of a mapped transfer are made at one moment: of a moment all count, so that a list since then has as many.

    :param ask: answers which attempts of the transfer there are, for filters and a limit; the newest first.
    """
    newest = ask(status="ended", limit=LAST + 1).rows
    last = newest[:LAST]
    if len(last) < _FEWEST:
        return None
    since = last[-1]["created_timestamp"]
    if newest[-1]["created_timestamp"] == since and len(newest) > LAST:
        attempts, failed, retries = (
            ask(status=status, since=since, limit=1).total for status in ("ended", "failed", "retried")
        )
        return Flakiness(attempts, failed, retries, since)
    failed = sum(row["transfer_status"] == "failed" for row in last)
    retries = sum(row["retry_attempt_number"] > 0 for row in last)
    return Flakiness(len(last), failed, retries, since)


def drift(attempts: Sequence[Row], *, is_all: bool) -> Drift | None:
    """Return what the last completed attempts took beside those before, or None where there are too few.

    :param attempts: ended attempts with ``actual_seconds``, the newest first.
    :param is_all: whether there are no others; else some of the oldest moment may be missing.
    """
    known = [row for row in attempts if is_all or row["created_timestamp"] > attempts[-1]["created_timestamp"]]
    taken = [row for row in known if row["transfer_status"] == "completed"]
    recent = _of_whole_moments(taken, _RECENT)
    before = _of_whole_moments(taken[len(recent) :], _BEFORE)
    if len(before) < _RECENT or not (median := _median(before)):
        return None
    oldest, oldest_before = (rows[-1]["created_timestamp"] for rows in (recent, before))
    return Drift(len(recent), len(before), _median(recent), median, oldest, oldest_before)


def _of_whole_moments(rows: Sequence[Row], number: int) -> Sequence[Row]:
    """Return the first rows, and those beside them that were made when the last of these was."""
    if len(rows) <= number:
        return rows
    last = rows[number - 1]["created_timestamp"]
    return [row for row in rows if row["created_timestamp"] >= last]


def _median(rows: Sequence[Row]) -> float:
    return float(statistics.median(row["actual_seconds"] for row in rows))
