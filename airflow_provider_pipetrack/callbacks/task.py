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
    from airflow_provider_pipetrack.attempts.binding import Spec

log = logging.getLogger("airflow_provider_pipetrack.callbacks")

_LOST = "the task's process ended without a word: killed, out of memory, its worker was lost, or the task was cleared"


def record_failure(context: Mapping[str, Any]) -> None:
    """Record a failure that happened outside ``execute``, such as a template that cannot be rendered; tell of any."""
    _record_end(context, FAILED, decision=None)
    finish()


def record_retry(context: Mapping[str, Any]) -> None:
    """Record a failure that Airflow retries."""
    _record_end(context, FAILED, decision=RETRIED)
    finish()


def record_skip(context: Mapping[str, Any]) -> None:
    """Record a skip that was decided outside ``execute``."""
    _record_end(context, COMPLETED, decision=SKIPPED)


def finish(context: Mapping[str, Any] | None = None) -> None:  # noqa: ARG001  Airflow gives it to every callback
    """Give alerts that are under way the time to be sent; Airflow knows the task's state already."""
    alerts = sys.modules.get("airflow_provider_pipetrack.notifications.alerts")
    if alerts is not None:  # else nobody has raised one, and to load it takes time
        alerts.finish_alerts()


def _record_end(context: Mapping[str, Any], status: str, *, decision: str | None) -> None:
    """Write the attempt's end unless ``execute`` has written it already, and tell of a failure. Never raises."""
    try:
        from airflow_provider_pipetrack.attempts.closing import spec_of_task
        from airflow_provider_pipetrack.attempts.telling import tell_failed

        ti = context["ti"]
        task = getattr(ti, "task", None) or context.get("task")
        spec = spec_of_task(task, context["dag"])
        attempt = getattr(task, "_pipetrack_attempt", None)
        if attempt is not None and attempt.left_open:
            return
        if attempt is not None and attempt.has_ended(status):
            record = attempt.end.columns
        else:
            record = _write(context, spec, status, decision)
        if status == FAILED and decision is None:
            owes = attempt.rollback.is_owed if attempt is not None else bool(spec.transfer.rollback)
            tell_failed(spec, record, owes_rollback=owes)
    except Exception:
        log.exception("pipetrack could not record the end of a task; the run's end or reconcile will")


def _write(context: Mapping[str, Any], spec: Spec, status: str, decision: str | None) -> Mapping[str, Any]:
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
    return close_attempt(
        spec,
        context,
        key,
        Outcome(status, decision=decision, error_message=message),
        by="callback",
        authority=Authority.AIRFLOW if by_airflow else Authority.TASK,
    )


def error_of(context: Mapping[str, Any]) -> str | None:
    """Return the error of a callback's context for people, secrets masked, or None when there is none."""
    error = context.get("exception")
    if error is None:
        return None
    from airflow_provider_pipetrack.compat import redact

    text = str(error).strip() or "no message"
    return redact(f"{type(error).__name__}: {text}")[:8000]
