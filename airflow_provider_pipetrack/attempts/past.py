"""Whether a run is about the past, for transfers that cannot access historical data."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_pipetrack.attempts.binding import binding_of
from airflow_provider_pipetrack.attempts.state import recall, remember
from airflow_provider_pipetrack.attempts.stores import pipeline_ids, store_for
from airflow_provider_pipetrack.compat import next_cron_date

log = logging.getLogger("airflow_provider_pipetrack.tracking")

#: How old a run's data may be where its schedule has no period, as that of a Dag that is only started by hand.
UNKNOWN_PERIOD = timedelta(days=1)
_STATE_KEY = "pipetrack_past"


def past_reason(dag: Any, context: Mapping[str, Any]) -> str | None:
    """Return why a run is about the past, or None when it is current.

    Past are backfills, and runs whose data interval ended more than one period of the schedule before the run first
    started. Runs without an interval, started by hand without a date or by assets, are current. A task that has decided
    once keeps to it, also when its run is cleared later, where Airflow can keep that (3.3 and later); one that has not
    goes by the run's records, since Airflow gives a run that is cleared a new start. What a backfill does again is a
    backfill from then on, whatever it was.
    """
    run = context["dag_run"]
    if str(getattr(run.run_type, "value", run.run_type)) == "backfill":
        return "this run is a backfill"
    known = recall(context, _STATE_KEY)
    if known is not None:
        return known.get("reason")
    reason = _reason(dag, context)
    remember(context, _STATE_KEY, {"reason": reason})
    return reason


def _reason(dag: Any, context: Mapping[str, Any]) -> str | None:
    run = context["dag_run"]
    end = context.get("data_interval_end") or run.data_interval_end
    if end is None or run.start_date is None:
        return None
    begin = context.get("data_interval_start") or run.data_interval_start or end
    allowed = period(getattr(dag, "timetable", None), begin, end)
    if run.start_date - end <= allowed or _first_known_start(dag, run) - end <= allowed:
        return None
    return f"its data ends at {end:%Y-%m-%d %H:%M}, more than {allowed} before the run started"


def _first_known_start(dag: Any, run: Any) -> datetime:
    """Return when a run first started, by the records that were made of it then; all of a run's are, as it starts."""
    start: datetime = run.start_date
    if not getattr(run, "clear_number", 0):
        return start  # older records are of a run with this id that was deleted
    try:
        return min([start, *_created(dag, run)])
    except Exception as error:  # noqa: BLE001  not to know is an answer too
        log.warning("pipetrack cannot see when %s first started: %s: %s", run.run_id, type(error).__name__, error)
        return start


def _created(dag: Any, run: Any) -> Iterator[datetime]:
    """Yield when each record of a run was made, in all the stores of its transfers."""
    known: dict[Any, set[str]] = {}
    for spec in binding_of(dag).specs.values():
        known.setdefault(store_for(spec), set()).update(pipeline_ids(spec, dag.dag_id))
    for store, names in known.items():
        for record in store.read_run(dag.dag_id, run.run_id, sorted(names)).records:
            if record.get("created_timestamp") is not None:
                yield record["created_timestamp"]


def period(timetable: Any, begin: datetime, end: datetime) -> timedelta:
    """Return the time from one run of a schedule to the next.

    :param begin: start of a run's data interval, and ``end`` its end.
    """
    if end > begin:
        return end - begin
    delta = getattr(timetable, "delta", None) or getattr(timetable, "_delta", None)
    if delta is not None:
        after: datetime = end + delta
        return after - end
    expression = getattr(timetable, "expression", None) or getattr(timetable, "_expression", None)
    if isinstance(expression, str):
        zone = getattr(timetable, "timezone", None) or getattr(timetable, "_timezone", None)
        following = next_cron_date(expression, end, zone)
        if next_cron_date(expression, end - timedelta(seconds=1), zone) == end:
            return following - end
        # The data of a run that was started by hand may end between two dates of the schedule.
        return max(following - end, next_cron_date(expression, following, zone) - following)
    several = [*(getattr(timetable, "timetables", None) or ()), getattr(timetable, "timetable", None)]
    return max((period(one, begin, end) for one in several if one is not None), default=UNKNOWN_PERIOD)
