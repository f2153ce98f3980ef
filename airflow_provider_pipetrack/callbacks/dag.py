"""The Dag's callback: when a run ends, close the records that its tasks could not close themselves.

It runs in the dag processor, where an unsupported message to Airflow hangs the file's processor. Only connections,
variables, XCom and task states may be asked for, and of the context only ``dag``, ``run_id`` and ``reason`` are used.
In ``dag.test()`` it runs in the user's process, between tasks, and the context has Airflow's copy of the Dag, without
its transfers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import DAG

log = logging.getLogger("airflow_provider_pipetrack.callbacks")


def close_run(dag: DAG, context: Mapping[str, Any]) -> None:
    """Close every open record of a run with the state that Airflow gives its task. Never raises.

    :param dag: the Dag with its transfers; a run of another one, to which callbacks were copied, is left alone.
    """
    if context["dag"].dag_id != dag.dag_id:
        return
    try:
        from airflow_provider_pipetrack.attempts.closing import close_open_records
        from airflow_provider_pipetrack.attempts.declare import complete_binding
        from airflow_provider_pipetrack.attempts.silent_audits import close_silent_audits
        from airflow_provider_pipetrack.records.openness import awaits_audit, has_failed_audit

        run_id, reason = context["run_id"], context.get("reason")
        records = close_open_records(dag, run_id, reason)
        binding = complete_binding(dag)
        # An audit that somebody set to success by hand asks again or has failed, as far as its record knows. Records of
        # what this Dag only audits are not among these.
        untracked = set(binding.audits) - set(binding.specs)
        if reason != "success" or untracked or any(awaits_audit(r) or has_failed_audit(r) for r in records):
            close_silent_audits(dag, run_id, reason)
    except Exception:
        log.exception("pipetrack could not close the records of run %s", context.get("run_id"))
