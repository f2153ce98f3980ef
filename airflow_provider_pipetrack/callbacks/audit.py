"""An audit's callbacks: that it gave no answer is recorded, and who is told of that, or that the data is wrong.

They run in the task's process when Airflow knows the audit's end already, so that no mail server delays it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger("airflow_provider_pipetrack.callbacks")


def tell_audit(context: Mapping[str, Any]) -> None:
    """Tell of a mismatch, warned about or not; record and tell of an audit that failed otherwise. Never raises."""
    try:
        from airflow_provider_pipetrack.attempts.telling import tell
        from airflow_provider_pipetrack.callbacks.task import error_of, finish

        task, error = context["ti"].task, error_of(context)
        mismatched = task.found_mismatch
        if not mismatched and error is None:
            return
        if not mismatched:
            task.record_failure(context, context["exception"])
        # What the audit found stands in its own log.
        log_url = getattr(context["ti"], "log_url", None)
        audited, of = task.audited_record(context)
        record = {**audited, "log_url": log_url or audited.get("log_url")}
        if mismatched:
            tell(task.pipetrack_spec, "mismatched", record, of=of)
        else:
            told = {**record, "error_message": f"the audit gave no answer: {error}"}
            tell(task.pipetrack_spec, "failed", told, of=of)
        finish()
    except Exception:
        log.exception("pipetrack could not tell anybody about an audit")
