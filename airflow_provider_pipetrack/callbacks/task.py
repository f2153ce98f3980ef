"""A task's callbacks: what is recorded when an attempt ends outside ``execute``.

They run in the task's process, or, for a task that was killed, in the dag processor. There ``ti.state`` and
``exception`` are both None, and only a few messages may be sent to Airflow; none is sent from here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow_provider_pipetrack.records.change import Authority
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.describe import COMPLETED, FAILED, Outcome

log = logging.getLogger("airflow_provider_pipetrack.callbacks")

_LOST = "the task's process ended without a word: killed, out of memory, or its worker was lost"


def record_failure(context: Mapping[str, Any]) -> None:
    """Record a failure that happened outside ``execute``, such as a template that cannot be rendered."""
    _record_end(context, FAILED, decision=None)


def record_retry(context: Mapping[str, Any]) -> None:
    """Record a failure that Airflow retries."""
    _record_end(context, FAILED, decision="Airflow retries")


def record_skip(context: Mapping[str, Any]) -> None:
    """Record a skip that was decided outside ``execute``."""
    _record_end(context, COMPLETED, decision="skipped")


def _record_end(context: Mapping[str, Any], status: str, *, decision: str | None) -> None:
    """Write the attempt's end unless ``execute`` has written it already. Never raises."""
    try:
        ti = context["ti"]
        task = getattr(ti, "task", None) or context.get("task")
        attempt = getattr(task, "_pipetrack_attempt", None)
        if attempt is not None and (attempt.left_open or attempt.has_ended(status)):
            return
        _write(context, task, status, decision)
    except Exception:
        log.exception("pipetrack could not record the end of a task; the run's end or reconcile will")


def _write(context: Mapping[str, Any], task: Any, status: str, decision: str | None) -> None:
    from airflow_provider_pipetrack.attempts.closing import close_attempt, spec_of_task

    ti = context["ti"]
    error = context.get("exception")
    by_airflow = ti.state is None and error is None
    map_index = ti.map_index if isinstance(ti.map_index, int) else -1
    key = RecordKey(ti.dag_id, ti.run_id, ti.task_id, map_index, max(1, ti.try_number or 1))
    message = _LOST if by_airflow and status == FAILED else _message(error)
    close_attempt(
        spec_of_task(task, context["dag"]),
        context,
        key,
        Outcome(status, decision=decision, error_message=message),
        by="callback",
        authority=Authority.AIRFLOW if by_airflow else Authority.TASK,
    )


def _message(error: Any) -> str | None:
    if error is None:
        return None
    from airflow_provider_pipetrack.compat import redact

    text = str(error).strip() or "no message"
    return redact(f"{type(error).__name__}: {text}")[:8000]
