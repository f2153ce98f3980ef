"""What has to be done again and again on a host: deliver what waits, close what was left open, say what is late."""

from __future__ import annotations

import logging
from typing import Any

from airflow_provider_pipetrack import metrics
from airflow_provider_pipetrack.attempts.closing import close_stale
from airflow_provider_pipetrack.compat import states_of_runs
from airflow_provider_pipetrack.notifications.alerts import retry_alerts
from airflow_provider_pipetrack.tracking.upkeep import stores_of_host

log = logging.getLogger("airflow_provider_pipetrack.maintenance")


def run_maintenance() -> dict[str, Any]:
    """Bring the tracking of this host up to date; to be called from a task, once a minute.

    It delivers what waits in this host's journal, brings what stands in fallbacks to where it belongs, closes attempts
    that were left open by what Airflow says of their tasks, and sends the alerts that had to wait. It covers the chain
    of ``[pipetrack]`` and every chain that a process of this host has used. Two at once do no harm.

    :return: what was done, in numbers; ``unreachable`` says which location could not be asked, and why.
    """
    stores = stores_of_host()
    done: dict[str, Any] = dict.fromkeys(("drained", "healed", "still_owed", "waiting"), 0)
    unreachable: dict[str, str] = {}
    for store in stores:
        summary = store.reconcile()
        for name in done:
            done[name] += getattr(summary, name)
        unreachable.update(summary.unreachable)
    done["closed"] = close_stale(stores, states_of_runs)
    done["alerts"] = vars(retry_alerts())
    done["unreachable"] = unreachable
    metrics.gauge(metrics.WAITING, done["waiting"])
    metrics.gauge(metrics.OWED, done["still_owed"])
    log.info("pipetrack maintenance: %s", done)
    return done
