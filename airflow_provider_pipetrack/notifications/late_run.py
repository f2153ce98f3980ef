"""What Airflow calls, in the triggerer, when a run has not ended by its deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.alerts")


#: How often, and after how many seconds, it is looked again when no record says yet whom to tell.
_LOOKS, _PAUSE = 180, 20.0
#: Most records of earlier runs that are asked whom to tell.
_EARLIER = 200
#: Most transfers that are named.
_NAMED = 10


async def tell_late_run(context: Mapping[str, Any], seconds: float) -> None:
    """Tell everybody who is told about a transfer of the run that the run is late. Never raises.

    The records of the run say whom to tell, else those of earlier runs of the Dag. Where there are none yet, it waits
    for the run's first transfer to begin, for an hour at most.

    :param context: Airflow's: ``dag_run`` as its API shows it, and ``deadline``.
    :param seconds: how long the run should have taken.
    """
    run = context["dag_run"]
    for _ in range(_LOOKS):
        if await asyncio.to_thread(_tell, str(run["dag_id"]), str(run["dag_run_id"]), seconds):
            return
        await asyncio.sleep(_PAUSE)
    log.warning("Run %s of %s is late, and no record says whom to tell", run["dag_run_id"], run["dag_id"])


def _tell(dag_id: str, run_id: str, seconds: float) -> bool:
    """Tell of a late run; return False when no record says whom to tell."""
    from airflow_provider_pipetrack.notifications.alerts import finish_alerts, raise_alert
    from airflow_provider_pipetrack.notifications.stored import targets_by_records
    from airflow_provider_pipetrack.tracking.upkeep import stores_of_host

    try:
        stores = stores_of_host()
        records = [record for store in stores for record in store.read_run(dag_id, run_id, [dag_id]).records]
        known = records or [record for store in stores for record in _earlier(store, dag_id)]
        if not known:
            return False
        late = _described(dag_id, run_id, seconds, records, known)
        raise_alert(targets_by_records(stores, known), "overdue", late)
        finish_alerts()
    except Exception:
        log.exception("pipetrack could not tell anybody that run %s of %s is late", run_id, dag_id)
    return True


def _earlier(store: TrackingStore, dag_id: str) -> list[dict[str, Any]]:
    """Return the records of the Dag's last runs."""
    from airflow_provider_pipetrack.tracking.questions import Questions

    return Questions(store).ask("attempts", dag_ids=[dag_id], limit=_EARLIER).rows


def _described(
    dag_id: str,
    run_id: str,
    seconds: float,
    records: Sequence[Mapping[str, Any]],
    known: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return a run in the columns of a record, as alerts want it: that of a transfer without a name.

    :param records: those of the run.
    :param known: the same, or those of earlier runs where there are none.
    """
    from airflow_provider_pipetrack.records.key import RecordKey
    from airflow_provider_pipetrack.tracking.describe import human_duration

    names = {record["task_id"] for record in records if record["transfer_enabled"] is not False}
    ended = {record["task_id"] for record in records if record["transfer_status"] == "completed"}
    left = [r for r in known if r["task_id"] not in ended and r["transfer_enabled"] is not False]
    starts = [record["transfer_start_timestamp"] for record in records if record["transfer_start_timestamp"]]
    return {
        **RecordKey(dag_id, run_id, "").columns(),
        "pipeline_id": known[0]["pipeline_id"],
        "transfer_process_owner_name": ", ".join(
            dict.fromkeys(str(r["transfer_process_owner_name"]) for r in left if r["transfer_process_owner_name"])
        ),
        "estimated_duration": human_duration(seconds),
        "estimated_seconds": seconds,
        "transfer_start_timestamp": min(starts, default=None),
        "decision": f"{len(ended)} of {len(names)} transfers are completed{_named(left if records else ())}",
        "log_url": _address(run_id, known),
    }


def _named(left: Iterable[Mapping[str, Any]]) -> str:
    """Return the transfers that are not completed, with their stages, as the end of a sentence."""
    stages = ("stage_i_details", "stage_i_plus_1_details")
    texts = {r["task_id"]: " -> ".join(str(r[stage]) for stage in stages if r[stage]) for r in left}
    names = [f"{name} ({text})" if text else name for name, text in texts.items()]
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return f"; left: {', '.join(names[:_NAMED])}{more}" if names else ""


def _address(run_id: str, known: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the run's page in Airflow, which is beside the log of any attempt of the Dag."""
    for record in known:
        of_dag, found, _ = str(record["log_url"] or "").partition("/runs/")
        if found:
            return f"{of_dag}/runs/{quote(run_id)}"
    return None
