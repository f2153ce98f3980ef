"""What Airflow calls, in the triggerer, when a run has not ended by its deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger("airflow_provider_pipetrack.alerts")


async def tell_late_run(context: Mapping[str, Any], seconds: float) -> None:
    """Tell everybody who is told about a transfer of the run that the run is late. Never raises.

    :param context: Airflow's: ``dag_run`` as its API shows it, and ``deadline``.
    :param seconds: how long the run should have taken.
    """
    run = context["dag_run"]
    await asyncio.to_thread(_tell, str(run["dag_id"]), str(run["dag_run_id"]), seconds)


def _tell(dag_id: str, run_id: str, seconds: float) -> None:
    from airflow_provider_pipetrack.notifications.alerts import finish_alerts, raise_alert
    from airflow_provider_pipetrack.notifications.targets import AlertTargets
    from airflow_provider_pipetrack.records.key import RecordKey
    from airflow_provider_pipetrack.tracking.describe import human_duration
    from airflow_provider_pipetrack.tracking.upkeep import stores_of_host

    try:
        records = [r for store in stores_of_host() for r in store.read_run(dag_id, run_id, [dag_id]).records]
        addresses = [a for record in records for a in record.get("transfer_process_email_alerts") or ()]
        ended = {r["task_id"] for r in records if r["transfer_status"] == "completed"}
        late = {
            "record_id": RecordKey(dag_id, run_id, dag_id).record_id,
            "pipeline_id": next((r["pipeline_id"] for r in records), dag_id),
            "dag_id": dag_id,
            "run_id": run_id,
            "estimated_duration": human_duration(seconds),
            "estimated_seconds": seconds,
            "transfer_start_timestamp": min(
                (r["transfer_start_timestamp"] for r in records if r["transfer_start_timestamp"]), default=None
            ),
            "decision": f"{len(ended)} of {len({r['task_id'] for r in records})} transfers are completed",
        }
        raise_alert(AlertTargets(emails=tuple(dict.fromkeys(addresses))), "overdue", late)
        finish_alerts()
    except Exception:
        log.exception("pipetrack could not tell anybody that run %s of %s is late", run_id, dag_id)
