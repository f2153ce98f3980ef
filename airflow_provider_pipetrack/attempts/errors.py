"""Why an attempt fails on our account, how any error stands in its record, and which are logged only."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow_provider_pipetrack.compat import AirflowException, redact
from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.records.masking import without_secrets_of_addresses

log = logging.getLogger("airflow_provider_pipetrack.tracking")

_LONGEST_ERROR = 8000


class PartialDataRefusedError(AirflowException):
    """A transfer moved only a part of its data, and its configuration does not accept that."""


class TrackingUnavailableError(AirflowException):
    """``[pipetrack] strict`` is on and the attempt's tracking cannot be kept anywhere."""


@contextmanager
def tracking_step(what: str) -> Iterator[None]:
    """Keep a failure of the tracking away from the transfer; it is logged instead."""
    try:
        yield
    except Exception as error:
        log.warning("pipetrack could not %s: %s: %s", what, type(error).__name__, error, exc_info=_trace(error))


def error_text(error: BaseException, task: Any) -> str:
    """Return an error as the record keeps it: type and text, secrets masked, not endless."""
    text = str(error).strip() or "no message"
    if type(error).__name__ == "AirflowTaskTimeout":
        text = f"execution_timeout of {task.execution_timeout} exceeded"
    return masked_text(f"{type(error).__name__}: {text}")[:_LONGEST_ERROR]


def masked_text(text: str) -> str:
    """Return a text without the secrets that Airflow knows of, and without those of addresses."""
    return without_secrets_of_addresses(redact(text))


def _trace(error: Exception) -> bool:
    """Return whether a traceback helps: not for what we raise on purpose."""
    return not isinstance(error, PipetrackError)
