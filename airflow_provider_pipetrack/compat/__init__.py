"""Everything of Airflow that is not ``airflow.sdk`` or differs between 3.1, 3.2, 3.3 and 3.4, behind one door."""

from __future__ import annotations

from airflow_provider_pipetrack.compat.components import (
    dag_bundle_base,
    dag_importers,
    keeps_first_start,
    plugin_base,
    trigger_classes,
    triggers_may_ask,
)
from airflow_provider_pipetrack.compat.dags import (
    connect,
    current_dag,
    current_task_group,
    deadline_alert,
    is_cron,
    is_temporary,
    keeps_dags,
    next_cron_date,
    serialize,
)
from airflow_provider_pipetrack.compat.event_log import Task, who_set_to_success
from airflow_provider_pipetrack.compat.exceptions import (
    CONTROL_FLOW,
    SUCCESSFUL_EXITS,
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
)
from airflow_provider_pipetrack.compat.operators import (
    executed_when_mapped,
    is_asked_to_stop,
    is_index,
    is_plain_constructor,
    is_unmapping,
    plain_constructor,
    prepared_for_mapping,
    scheduler_bears_callbacks,
)
from airflow_provider_pipetrack.compat.pages import (
    AIRFLOW,
    login_cookie,
    may_see_health,
    readable_dags,
    task_reader,
)
from airflow_provider_pipetrack.compat.process import (
    airflow_option,
    airflow_stats,
    keep_api_of_test_runs,
    may_ask_from_threads,
    most_startup_reschedules,
    redact,
    redact_texts,
)
from airflow_provider_pipetrack.compat.providers import (
    mail_notifier,
    snowflake_parameters,
)
from airflow_provider_pipetrack.compat.states import (
    states_of_runs,
    task_states,
)
from airflow_provider_pipetrack.compat.viewer import Viewer

__all__ = [
    "AIRFLOW",
    "CONTROL_FLOW",
    "SUCCESSFUL_EXITS",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "Task",
    "TaskDeferred",
    "Viewer",
    "airflow_option",
    "airflow_stats",
    "connect",
    "current_dag",
    "current_task_group",
    "dag_bundle_base",
    "dag_importers",
    "deadline_alert",
    "executed_when_mapped",
    "is_asked_to_stop",
    "is_cron",
    "is_index",
    "is_plain_constructor",
    "is_temporary",
    "is_unmapping",
    "keep_api_of_test_runs",
    "keeps_dags",
    "keeps_first_start",
    "login_cookie",
    "mail_notifier",
    "may_ask_from_threads",
    "may_see_health",
    "most_startup_reschedules",
    "next_cron_date",
    "plain_constructor",
    "plugin_base",
    "prepared_for_mapping",
    "readable_dags",
    "redact",
    "redact_texts",
    "scheduler_bears_callbacks",
    "serialize",
    "snowflake_parameters",
    "states_of_runs",
    "task_reader",
    "task_states",
    "trigger_classes",
    "triggers_may_ask",
    "who_set_to_success",
]
