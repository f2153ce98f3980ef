"""Whether an attempt is still open, and whether it has been so for too long to be believed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

#: An attempt that runs for longer is stale, in seconds, unless it is estimated to take more than half as long.
STALE_AFTER = 86_400.0


def is_open(record: Mapping[str, Any]) -> bool:
    """Return whether an attempt may still change: it runs, or it waits and nobody has decided that it will not run."""
    status = record.get("transfer_status")
    return status == "in_progress" or (status == "pending" and not record.get("decision"))


def is_stale(record: Mapping[str, Any], now: datetime) -> bool:
    """Return whether an attempt counts as running although it must have ended unseen.

    Attempts send no sign of life while they run. So what is decided is decided by time: more than a day, and more than
    twice the estimate. A continuous transfer never is. Where the maintenance Dag runs, such an attempt is closed by
    what Airflow says of it long before.

    :param now: the present, with zone.
    """
    started = record.get("transfer_start_timestamp")
    if record.get("transfer_status") != "in_progress" or started is None:
        return False
    if record.get("estimated_duration") == "continuous":
        return False
    elapsed = (now - started).total_seconds()
    return bool(elapsed > STALE_AFTER and elapsed > 2 * (record.get("estimated_seconds") or 0))
