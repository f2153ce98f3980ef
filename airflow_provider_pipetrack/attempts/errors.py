"""Why an attempt fails on our account, and how any error stands in its record."""

from __future__ import annotations

from typing import Any

from airflow_provider_pipetrack.compat import AirflowException, redact

_LONGEST_ERROR = 8000


class PartialDataRefusedError(AirflowException):
    """A transfer moved only a part of its data, and its configuration does not accept that."""


class TrackingUnavailableError(AirflowException):
    """``[pipetrack] strict`` is on and the attempt's tracking cannot be kept anywhere."""


def error_text(error: BaseException, task: Any) -> str:
    """Return an error as the record keeps it: type and text, secrets masked, not endless."""
    text = str(error).strip() or "no message"
    if type(error).__name__ == "AirflowTaskTimeout":
        text = f"execution_timeout of {task.execution_timeout} exceeded"
    return redact(f"{type(error).__name__}: {text}")[:_LONGEST_ERROR]
