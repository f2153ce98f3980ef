"""The Dag's callback: when a run ends, close the records that its tasks could not close themselves.

It runs in the dag processor, where an unsupported message to Airflow hangs the file's processor. Only connections,
variables, XCom and task states may be asked for, and of the context only ``dag``, ``run_id`` and ``reason`` are used.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger("airflow_provider_pipetrack.callbacks")


def close_run(context: Mapping[str, Any]) -> None:
    """Close every open record of the run with the state that Airflow gives its task. Never raises."""
    try:
        from airflow_provider_pipetrack.attempts.closing import close_open_records
        from airflow_provider_pipetrack.attempts.silent_audits import close_silent_audits

        close_open_records(context["dag"], context["run_id"], context.get("reason"))
        if context.get("reason") != "success":
            close_silent_audits(context["dag"], context["run_id"])
    except Exception:
        log.exception("pipetrack could not close the records of run %s", context.get("run_id"))
