"""A task's callbacks: what is recorded when an attempt ends outside ``execute``.

They run in the task's process, or, for a task that was killed, in the dag processor. There ``ti.state`` and
``exception`` are both None, and only a few messages may be sent to Airflow; none is sent from here.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.attempts.verdicts import RETRIED, ROLLBACK_OWED
from airflow_provider_pipetrack.records.change import Authority
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.skips import SKIPPED
from airflow_provider_pipetrack.tracking.describe import COMPLETED, FAILED, Outcome

if TYPE_CHECKING:
    from airflow_provider_pipetrack.attempts.attempt import Attempt
    from airflow_provider_pipetrack.attempts.binding import Spec

log = logging.getLogger("airflow_provider_pipetrack.callbacks")

#: What of a context can be used in a template without a message to Airflow.
_ASKS_NOTHING = (
    "dag",
    "run_id",
    "dag_run",
    "ds",
    "ds_nodash",
    "ts",
    "ts_nodash",
    "ts_nodash_with_tz",
    "logical_date",
    "data_interval_start",
    "data_interval_end",
    "params",
)
_GIVEN_UP = "Airflow gave up after execute had asked it for another run: the task's log says why"
_NOT_RECORDED = "pipetrack could not record the end of a task; the run's end or reconcile will"
_LOST = "the task's process ended without a word: killed, out of memory, its worker was lost, or the task was cleared"


def record_failure(context: Mapping[str, Any]) -> None:
    """Record a failure that happened outside ``execute``, such as a template that cannot be rendered; tell of any."""
    _record_end(context, FAILED, decision=None)
    finish()


def record_retry(context: Mapping[str, Any]) -> None:
    """Record a failure that Airflow retries."""
    _record_end(context, FAILED, decision=RETRIED)
    finish()


def record_success(context: Mapping[str, Any]) -> None:
    """Record the success of an attempt that left ``execute`` for Airflow to go on: with the run that it triggers.

    Airflow knows the task's state already, so that the counts come too late for the event of its asset.
    """
    try:
        attempt = _attempt_of(_task_of(context))
        if attempt is not None and attempt.end is None and not attempt.left_open:
            attempt.complete(None)
    except Exception:
        log.exception(_NOT_RECORDED)
    finish()


def record_skip(context: Mapping[str, Any]) -> None:
    """Record a skip that was decided outside ``execute``."""
    _record_end(context, COMPLETED, decision=SKIPPED)
    finish()


def finish() -> None:
    """Give alerts that are under way the time to be sent; Airflow knows the task's state already."""
    alerts = sys.modules.get("airflow_provider_pipetrack.notifications.alerts")
    if alerts is not None:  # else nobody has raised one, and to load it takes time
        alerts.finish_alerts()


def _record_end(context: Mapping[str, Any], status: str, *, decision: str | None) -> None:
    """Write the attempt's end unless ``execute`` has written it already, and tell of a failure. Never raises."""
    try:
        from airflow_provider_pipetrack.attempts.closing import spec_of_task
        from airflow_provider_pipetrack.attempts.telling import tell_failed

        task = _task_of(context)
        spec, attempt = spec_of_task(task, context["dag"]), _attempt_of(task)
        if attempt is not None and attempt.left_open:
            return
        if attempt is not None and attempt.end is not None and attempt.has_ended(status):
            record = attempt.end.columns
        else:
            record = _write(context, spec, status, decision, attempt)
        if status == FAILED and decision is None:
            owes = attempt.rollback.is_owed if attempt is not None else bool(spec.transfer.rollback)
            tell_failed(spec, record, owes_rollback=owes)
    except Exception:
        log.exception(_NOT_RECORDED)


def _task_of(context: Mapping[str, Any]) -> Any:
    return getattr(context["ti"], "task", None) or context.get("task")


def _attempt_of(task: Any) -> Attempt | None:
    """Return the attempt that this process has begun, if it has."""
    return getattr(task, "_pipetrack_attempt", None)


def _write(
    context: Mapping[str, Any], spec: Spec, status: str, decision: str | None, attempt: Attempt | None
) -> Mapping[str, Any]:
    from airflow_provider_pipetrack.attempts.closing import close_attempt

    ti = context["ti"]
    error = context.get("exception")
    by_airflow = ti.state is None and error is None
    map_index = ti.map_index if isinstance(ti.map_index, int) else -1
    key = RecordKey(ti.dag_id, ti.run_id, ti.task_id, map_index, max(1, ti.try_number or 1))
    lost = by_airflow and status == FAILED
    if lost and decision is None and spec.transfer.rollback:
        decision = ROLLBACK_OWED
    message = _LOST if lost else error_of(context)
    if attempt is not None and status == FAILED:
        if attempt.end is not None:
            attempt.rollback.owe_after_all()
        # It has begun, so that there is something to undo, and Airflow may fail it without an error.
        owed = ROLLBACK_OWED if attempt.rollback.is_owed else None
        decision, message = "; ".join(filter(None, (decision, owed))) or None, message or _GIVEN_UP
    closed = close_attempt(
        spec,
        {name: context[name] for name in _ASKS_NOTHING if name in context} if by_airflow else context,
        key,
        Outcome(status, decision=decision, error_message=message),
        by="callback",
        authority=Authority.AIRFLOW if by_airflow else Authority.TASK,
        log_url=getattr(ti, "log_url", None),
    )
    if attempt is not None:
        attempt.is_over()
    return closed


def error_of(context: Mapping[str, Any]) -> str | None:
    """Return the error of a callback's context for people, secrets masked, or None when there is none."""
    error = context.get("exception")
    if error is None:
        return None
    from airflow_provider_pipetrack.attempts.errors import error_text

    return error_text(error, _task_of(context))
