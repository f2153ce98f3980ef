"""What has to be done again and again on a host: deliver what waits, close what was left open, say what is late."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack import metrics
from airflow_provider_pipetrack.attempts.closing import AskStates, close_stale, states_in_parts
from airflow_provider_pipetrack.attempts.dead import close_dead_of_host
from airflow_provider_pipetrack.attempts.telling import tell_by_record
from airflow_provider_pipetrack.attempts.verdicts import state_of
from airflow_provider_pipetrack.compat import states_of_runs
from airflow_provider_pipetrack.notifications.alerts import retry_alerts
from airflow_provider_pipetrack.tracking.questions import Questions
from airflow_provider_pipetrack.tracking.reading import silent_among
from airflow_provider_pipetrack.tracking.upkeep import stores_of_host

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.maintenance")

#: The states of a task that waits without a process, so that no timer of its own can run.
_WITHOUT_PROCESS = {"deferred", "up_for_reschedule"}
_MOST = 1000
#: Seconds after which the reconcile of one chain begins no new step; the next minute goes on.
_RECONCILE_LIMIT = 60.0


def run_maintenance() -> dict[str, Any]:
    """Bring the tracking of this host up to date; to be called from a task, once a minute.

    It delivers what waits in this host's journal, brings what stands in fallbacks to where it belongs, closes attempts
    that were left open by what Airflow says of their tasks, tells of deferred and rescheduled transfers that are
    overdue, and sends the alerts that had to wait. It covers the chain of ``[pipetrack]`` and every chain that has been
    used on this host. Two at once do no harm.

    :return: what was done, in numbers; ``unreachable`` says which location could not be asked, and why.
    """
    stores = stores_of_host()
    done: dict[str, Any] = dict.fromkeys(("drained", "healed", "still_owed", "waiting", "dead"), 0)
    of_each = ("drained", "healed", "still_owed")
    unreachable: dict[str, str] = {}
    for store in stores:
        summary = store.reconcile(limit=_RECONCILE_LIMIT)
        for name in of_each:
            done[name] += getattr(summary, name)
        # Every pass looks at the same journal; what the first one has set aside is gone from it.
        done["waiting"], done["dead"] = summary.waiting, max(done["dead"], summary.dead)
        unreachable.update(summary.unreachable)
    done["closed"] = close_dead_of_host(stores, states_of_runs)
    done["closed"] += close_stale(stores, states_of_runs, unreachable=unreachable)
    done["overdue"] = tell_overdue(stores, states_of_runs, unreachable)
    done["alerts"] = vars(retry_alerts())
    done["unreachable"] = unreachable
    metrics.gauge(metrics.WAITING, done["waiting"])
    metrics.gauge(metrics.OWED, done["still_owed"])
    log.info("pipetrack maintenance: %s", done)
    return done


def tell_overdue(stores: Iterable[TrackingStore], states: AskStates, unreachable: dict[str, str] | None = None) -> int:
    """Tell of attempts that are overdue while they have no process; a running one tells of itself.

    :param states: asks Airflow, see :data:`~airflow_provider_pipetrack.attempts.closing.AskStates`.
    :param unreachable: gets the reason for each location that could not be asked what is overdue, by its name.
    :return: how many there are.
    """
    told = 0
    for store in stores:
        late: dict[str, list[dict[str, Any]]] = {}
        answer = Questions(store).ask("overdue", limit=_MOST)
        if unreachable is not None:
            unreachable.update(silent_among(store.legs, answer.unreachable))
        for record in answer.rows:
            late.setdefault(record["dag_id"], []).append(record)
        for dag_id, records in late.items():
            answered = states_in_parts(states, dag_id, list(dict.fromkeys(r["run_id"] for r in records)))
            for record in records:
                of_run = answered.get(record["run_id"], {})
                if state_of(record["task_id"], record["map_index"], of_run) in _WITHOUT_PROCESS:
                    tell_by_record("overdue", record, store)
                    told += 1
    return told
