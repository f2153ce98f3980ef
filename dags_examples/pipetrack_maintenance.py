"""Keeps the tracking of the host it runs on complete: drop this file into the dags folder.

Every minute it delivers records that had to wait, closes attempts that were killed, and sends alerts that had to wait.
On several workers, let it run on each of them: copy it with another ``dag_id`` and the ``queue`` of that worker.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, task

with DAG(
    "pipetrack_maintenance",
    schedule=timedelta(minutes=1),
    start_date=datetime(2024, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["pipetrack"],
    doc_md=__doc__,
):

    @task(execution_timeout=timedelta(minutes=10))
    def maintain():
        """Do what is due on this host."""
        from airflow_provider_pipetrack.maintenance import run_maintenance

        return run_maintenance()

    maintain()
