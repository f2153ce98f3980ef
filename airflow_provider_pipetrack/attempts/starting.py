"""Where an attempt begins, what is done before, and when it began if it goes on after a deferral or a reschedule."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from airflow_provider_pipetrack.attempts.binding import Spec
from airflow_provider_pipetrack.attempts.errors import tracking_step
from airflow_provider_pipetrack.attempts.stores import pipeline_ids, store_for
from airflow_provider_pipetrack.compat import keeps_first_start, may_ask_from_threads, most_startup_reschedules
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.store import TrackingStore


def make_ready(task: Any) -> None:
    """Let the storage of a task's transfer connect while Airflow, which has questions of its own, prepares the task.

    A sensor that is rescheduled mostly looks again and has nothing to write.
    """
    with tracking_step("make the tracking's storage ready"):
        if not may_ask_from_threads():
            store_for(task.pipetrack_spec).hold_connections()
        elif not getattr(task, "reschedule", False):
            store_for(task.pipetrack_spec).make_ready()


def goes_on(
    task: Any, context: Mapping[str, Any], store: TrackingStore, spec: Spec, key: RecordKey, *, resumed: bool
) -> bool:
    """Return whether an attempt has begun before, in another process, and goes on after a deferral or a reschedule.

    A task that starts in the triggerer is resumed where it begins. One whose Dag is not found at first, as while its
    file is broken, is rescheduled before it begins. That these have begun is known by their records only. Where these
    cannot be asked for, a sensor that is to be rescheduled has most likely looked before.

    :param resumed: whether Airflow resumes it after a deferral.
    """
    times = context.get("task_reschedule_count") or 0
    in_doubt = getattr(task, "start_from_trigger", False) if resumed else 0 < times <= most_startup_reschedules()
    if not in_doubt:
        return resumed or times > 0
    found = store.look_up(key.record_id, pipeline_ids(spec, key.dag_id))
    if any(record.get("transfer_start_timestamp") is not None for record in found.records):
        return True
    return bool(found.unreachable) and not resumed and bool(getattr(task, "reschedule", False))


def first_start(context: Mapping[str, Any], store: TrackingStore, spec: Spec, key: RecordKey) -> datetime | None:
    """Return when an attempt first started, or None where neither Airflow nor its record says it."""
    task_instance = context["ti"]
    known: datetime | None = task_instance.get_first_reschedule_date(context)
    if known is None and not keeps_first_start():
        record = store.read_record(key.record_id, pipeline_ids(spec, key.dag_id))
        known = record["transfer_start_timestamp"] if record else None
    return known or task_instance.start_date
