"""Everything of Airflow that is not ``airflow.sdk`` or differs between 3.1, 3.2, 3.3 and 3.4, in one place."""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_pipetrack.errors import PipetrackError

try:  # 3.2 and later
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowRescheduleException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferred,
    )
except ImportError:  # 3.1
    from airflow.exceptions import (  # type: ignore[attr-defined,no-redef]
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowRescheduleException,
        AirflowSensorTimeout,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferred,
    )

__all__ = [
    "CONTROL_FLOW",
    "SUCCESSFUL_EXITS",
    "AirflowException",
    "AirflowFailException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "TaskDeferred",
    "airflow_option",
    "airflow_stats",
    "mail_notifier",
    "task_states",
]


def _exceptions(*names: str) -> tuple[type[BaseException], ...]:
    """Return those of the named exceptions that this version of Airflow has."""
    home = sys.modules[AirflowFailException.__module__]  # 3.1 has another one than later versions
    return tuple(getattr(home, name) for name in names if hasattr(home, name))


#: Leave ``execute`` without ending the attempt: it goes on later, or Airflow decides how it ended.
CONTROL_FLOW: tuple[type[BaseException], ...] = (
    TaskDeferred,
    AirflowRescheduleException,
    *_exceptions("TaskAwaitingInput", "DagRunTriggerException"),
)
#: Leave ``execute`` by an exception although the task succeeded.
SUCCESSFUL_EXITS: tuple[type[BaseException], ...] = _exceptions("DownstreamTasksSkipped")


@functools.cache
def airflow_option(section: str, option: str) -> str | None:
    """Return an option of airflow.cfg as text, or None when it is not set; a process reads it once."""
    try:
        from airflow.sdk.configuration import conf
    except ImportError:  # 3.1
        from airflow.configuration import conf
    value = conf.get(section, option, fallback=None)
    return None if value is None else str(value)


def task_states(
    dag_id: str, run_id: str, *, task_ids: Sequence[str] | None = None, map_index: int | None = None
) -> Mapping[str, str | None]:
    """Return Airflow's current states of a run's tasks, from a task or from a callback in the dag processor.

    :param task_ids: only these tasks; all of the run's when None.
    :param map_index: only this map index.
    :return: state by task id; a mapped task's index is found under ``<task id>_<index>``.
    """
    asked = list(task_ids) if task_ids else None
    return states_of_runs(dag_id, [run_id], task_ids=asked, map_index=map_index).get(run_id, {})


def states_of_runs(dag_id: str, run_ids: Sequence[str], **only: Any) -> Mapping[str, Mapping[str, str | None]]:
    """Return Airflow's current states of the tasks of several runs of a Dag; an unknown run is missing.

    :param only: as :func:`task_states` narrows it.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    found: dict[str, Any] = RuntimeTaskInstance.get_task_states(dag_id=dag_id, run_ids=list(run_ids), **only)
    return {
        run_id: {task: None if state is None else str(state) for task, state in states.items()}
        for run_id, states in found.items()
    }


def dag_bundle_base() -> Any:
    """Return the base class of Dag bundles."""
    from airflow.dag_processing.bundles.base import BaseDagBundle

    return BaseDagBundle


def dag_importers() -> Any:
    """Return Airflow's interface for Dag importers.

    :raises ImportError: before Airflow 3.4.
    """
    from importlib import import_module

    try:
        return import_module("airflow.sdk.importers")
    except ModuleNotFoundError:
        raise ImportError(
            "Airflow reads Dags through importers from 3.4 on; before, use the Dag bundle "
            "airflow_provider_pipetrack.dag.bundle.PipetrackDagBundle"
        ) from None


def trigger_classes() -> tuple[Any, Any]:
    """Return the base class of triggers, and the class of their events."""
    from airflow.triggers.base import BaseTrigger, TriggerEvent

    return BaseTrigger, TriggerEvent


def snowflake_parameters(hook: Any) -> dict[str, Any]:
    """Return what a SnowflakeHook connects with; it has no public way to add limits to them."""
    parameters = hook._get_conn_params  # noqa: SLF001
    return dict(parameters() if callable(parameters) else parameters)


def triggers_may_ask() -> bool:
    """Return whether a trigger may ask Airflow for something, such as a connection, from a thread.

    In 3.1 its messages then get mixed up with those of the triggerer, which ends.
    """
    from airflow.sdk import exceptions

    return hasattr(exceptions, "AirflowFailException")  # since 3.2


def keeps_first_start() -> bool:
    """Return whether a task instance knows when it first started after it was deferred; in 3.1 it does not."""
    return triggers_may_ask()  # since 3.2, too


def redact(text: str) -> str:
    """Return ``text`` with every secret that Airflow knows of masked."""
    import airflow.sdk.log as masking

    mask: Any = masking.redact  # type: ignore[attr-defined]
    return str(mask(text))


def airflow_stats() -> Any:
    """Return where this process sends its metrics (``incr``, ``timing``, ``gauge``), or None when it sends none.

    From 3.2 on there are two: the SDK's, which the task runner sets up, and the core's of Airflow's other processes.
    Which one it is shows in whether it was set up; to import one would not set it up.
    """
    for name in ("airflow.sdk._shared.observability.metrics.stats", "airflow._shared.observability.metrics.stats"):
        module = sys.modules.get(name)
        if getattr(module, "_factory", None) is not None:  # 3.3
            return module
        stats = getattr(module, "Stats", None)
        if stats is not None and vars(stats).get("factory") is not None:  # 3.2
            return stats
    module = sys.modules.get("airflow.stats")
    return module.Stats if hasattr(module, "conf") else None  # type: ignore[union-attr]  # 3.1 sets itself up


def mail_notifier(*, timeout: float, text: str, **arguments: Any) -> Any:
    """Return an ``SmtpNotifier`` whose mail has a plain text beside its HTML, and whose server gets little time.

    :param timeout: seconds that a step of the server may take, should its connection allow more.
    :param text: the plain text.
    :raises PipetrackError: when there is no SMTP provider; later, when there is no connection.
    """
    from email.header import Header
    from email.mime.text import MIMEText

    try:
        from airflow.providers.smtp.hooks.smtp import SmtpHook
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier
    except ImportError:
        install = "pip install 'airflow-provider-pipetrack[mail]'"
        raise PipetrackError(f"mails need Airflow's SMTP provider: {install}") from None

    class AlertHook(SmtpHook):
        timeout = property(lambda hook: min(float(hook.conn.extra_dejson.get("timeout", timeout)), timeout))
        smtp_retry_limit = 1  # the least with which every version of the provider sends at all

        @classmethod
        def get_connection(cls, conn_id: str) -> Any:
            try:
                return super().get_connection(conn_id)
            except AirflowNotFoundException:
                raise PipetrackError(
                    f"there is no Airflow connection {conn_id!r}: add it, or name another one as "
                    f"[pipetrack] smtp_conn_id"
                ) from None

        def _build_mime_message(self, *args: Any, **kwargs: Any) -> Any:
            message, recipients = super()._build_mime_message(*args, **kwargs)
            parts: Any = message.get_payload()
            parts.insert(0, MIMEText(text, "plain", "utf-8"))  # of alternatives the last one is preferred
            # The provider writes each header in one line, and servers refuse lines above 998 characters.
            message.replace_header("To", ",\n ".join(recipients))
            message.replace_header("Subject", Header(str(message["Subject"]), "utf-8").encode())
            return message, recipients

    class AlertNotifier(SmtpNotifier):
        @property
        def hook(self) -> SmtpHook:
            return AlertHook(smtp_conn_id=self.smtp_conn_id, auth_type=self.auth_type)

    return AlertNotifier(mime_subtype="alternative", **arguments)


def serialize(dag: Any) -> None:
    """Serialize a Dag as Airflow does for its database.

    :raises Exception: when it cannot be serialized.
    """
    from airflow.serialization import serialized_objects

    # Renamed in 3.2.
    serialization: Any = (
        getattr(serialized_objects, "DagSerialization", None) or vars(serialized_objects)["SerializedDAG"]
    )
    serialization.to_dict(dag)


def prepared_for_mapping(decorator: Any, prepare: Any) -> Any:
    """Return a task decorator whose mapped tasks have the arguments that ``prepare`` makes of those it was given.

    :param decorator: what ``task_decorator_factory`` returns.
    """
    kind = type(decorator)

    class Prepared(kind):  # type: ignore[misc,valid-type]
        def _expand(self, *args: Any, **kwargs: Any) -> Any:
            mapped = copy.copy(self)
            mapped.kwargs = dict(prepare(self.kwargs))
            return kind._expand(mapped, *args, **kwargs)  # noqa: SLF001

    decorator.__class__ = Prepared
    return decorator


def current_dag() -> Any:
    """Return the Dag of the ``with DAG(…)`` block we are in, or None."""
    from airflow.sdk.definitions._internal.contextmanager import DagContext

    return DagContext.get_current()


def current_task_group(dag: Any) -> Any:
    """Return the task group of the block we are in, or None."""
    from airflow.sdk.definitions._internal.contextmanager import TaskGroupContext

    return TaskGroupContext.get_current(dag)


def is_cron(text: str) -> bool:
    """Return whether Airflow can read a text as a cron expression, and finds a date that it means."""
    from croniter import CroniterError, croniter

    try:
        croniter(text).get_next()
    except CroniterError:
        return False
    return True


def next_cron_date(expression: str, after: datetime, zone: Any) -> datetime:
    """Return the first moment behind ``after`` that a cron expression names.

    :param zone: the time zone that the expression means, as a timetable has it; None for that of ``after``.
    """
    from zoneinfo import ZoneInfo

    from croniter import croniter

    local = after if zone is None else after.astimezone(ZoneInfo(zone) if isinstance(zone, str) else zone)
    # The only one of Airflow's presets that croniter does not know.
    written = "0 0 1 */3 *" if expression == "@quarterly" else expression
    found: datetime = croniter(written, local).get_next(datetime)
    return found


def deadline_alert(interval: timedelta, callback: str, kwargs: Mapping[str, Any]) -> Any:
    """Return an alert that calls a coroutine in the triggerer when a run has not ended in time; None before 3.2.

    :param interval: the time from when the run was queued.
    :param callback: dotted path of the coroutine; it gets ``context`` and ``kwargs``.
    """
    import airflow.sdk

    sdk: Any = airflow.sdk
    if not hasattr(sdk, "DeadlineAlert"):
        return None
    return sdk.DeadlineAlert(
        reference=sdk.DeadlineReference.DAGRUN_QUEUED_AT,
        interval=interval,
        callback=sdk.AsyncCallback(callback, kwargs=dict(kwargs)),
    )


def plain_constructor(function: Any, operator: Any, parameters: Sequence[str]) -> Any:
    """Make ``function`` a constructor that Airflow's operator metaclass leaves as it is.

    The metaclass wraps every constructor to fill in default arguments, which costs as much as the rest of making a
    task. The operator's own constructor, which is called next, is wrapped already.

    :param operator: the operator class whose constructor ``function`` calls.
    :param parameters: the names that ``function`` takes itself; they may be used in ``partial()``.
    """
    function.__wrapped__ = operator.__init__.__wrapped__
    function._BaseOperatorMeta__param_names = set(parameters)  # noqa: SLF001  read by the metaclass
    function._BaseOperatorMeta__non_optional_args = set()  # noqa: SLF001
    function.pipetrack_plain = True
    return function


def is_plain_constructor(function: Any) -> bool:
    """Return whether :func:`plain_constructor` made this constructor."""
    return bool(getattr(function, "pipetrack_plain", False))


def is_unmapping(arguments: Mapping[str, Any]) -> bool:
    """Return whether an operator's constructor is called for one index of a mapped task."""
    return "_airflow_from_mapped" in arguments


def connect(tasks: Mapping[str, Any], upstream: Mapping[str, Sequence[str]]) -> None:
    """Make each task wait for its upstream tasks, all of them tasks of one Dag outside of task groups.

    ``set_upstream`` hashes the whole Dag for every edge, so that it takes ever longer for large Dags. What it leaves
    behind for such tasks are these two sets.

    :param upstream: ids of the upstream tasks, by the id of the task that waits.
    """
    for task_id, names in upstream.items():
        tasks[task_id].upstream_task_ids.update(names)
        for name in names:
            tasks[name].downstream_task_ids.add(task_id)


def plugin_base() -> Any:
    """Return the class that an Airflow plugin derives from."""
    try:  # 3.2 and later
        from airflow.sdk.plugins_manager import AirflowPlugin
    except ImportError:  # 3.1
        from airflow.plugins_manager import AirflowPlugin  # type: ignore[assignment]
    return AirflowPlugin


def task_reader() -> Any:
    """Return FastAPI's dependency that gives the user who is logged in and may read tasks' states.

    Without a login it answers 401, without the right 403: as Airflow's own API does for task instances.
    """
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
    from fastapi import Depends

    allowed = requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE)

    async def user_with_rights(user: Any = Depends(get_user), _: None = Depends(allowed)) -> Any:  # noqa: B008
        return user

    return user_with_rights


def readable_dags(user: Any) -> set[str]:
    """Return the ids of the Dags that a user of Airflow's pages may read."""
    from airflow.api_fastapi.app import get_auth_manager

    return set(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))


def may_see_health(user: Any) -> bool:
    """Return whether a user of Airflow's pages may see how Airflow itself is doing."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView

    return bool(get_auth_manager().is_authorized_view(access_view=AccessView.CLUSTER_ACTIVITY, user=user))
