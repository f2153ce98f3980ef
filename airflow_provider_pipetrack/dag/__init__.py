"""From pipeline files to Airflow Dags."""

from __future__ import annotations

from airflow_provider_pipetrack.dag.factory import build_dag
from airflow_provider_pipetrack.dag.loader import load_pipelines, report_problems

__all__ = ["build_dag", "load_pipelines", "report_problems"]
