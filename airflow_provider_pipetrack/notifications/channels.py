"""Tell one delivery of an alert: as a mail, or through an Airflow notifier."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.compat import airflow_option, mail_notifier
from airflow_provider_pipetrack.config.classes import ClassError, find_class
from airflow_provider_pipetrack.notifications.message import Message, compose
from airflow_provider_pipetrack.notifications.outbox import Alert
from airflow_provider_pipetrack.notifications.targets import AlertKind


def find_notifier(path: str) -> type[Any]:
    """Return the notifier class at a dotted path.

    :raises ClassError: when there is none, or it is no Airflow notifier, or one whose ``notify`` nobody awaits.
    """
    from airflow.sdk import BaseNotifier

    example = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
    found: type[Any] = find_class(path, BaseNotifier, "notifier", example=example)
    if inspect.iscoroutinefunction(found.notify):
        raise ClassError(
            f"{found.__name__}.notify is async, and Airflow awaits async_notify only; write a plain notify"
        )
    return found


def check_notifier_arguments(notifier: type[Any], given: Iterable[str]) -> None:
    """Check the names of a notifier's arguments.

    :raises ClassError: names the first one that it does not have, or those that it needs.
    """
    from airflow_provider_pipetrack.config.problems import suggest

    parameters = list(inspect.signature(notifier).parameters.values())
    given = list(given)
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        for name in given:
            if name not in {parameter.name for parameter in parameters}:
                raise ClassError(
                    f"{notifier.__name__} has no argument {name!r}", suggest(name, [p.name for p in parameters])
                )
    named = (p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    missing = [p.name for p in named if p.default is p.empty and p.name not in given]
    if missing:
        raise ClassError(f"{notifier.__name__} needs {', '.join(missing)}")


def tell(alert: Alert, delivery: Mapping[str, Any], *, timeout: float) -> None:
    """Make one delivery.

    :param timeout: seconds that the mail server may take for a step.
    :raises Exception: whatever the mail server's client or the notifier raises.
    """
    message = compose(AlertKind(alert.kind), alert.record)
    if "to" in delivery:
        _mail(alert, message, delivery["to"], timeout)
    else:
        notifier = find_notifier(delivery["notifier"])(**delivery["kwargs"])
        notifier(_context(alert, message))


def _context(alert: Alert, message: Message) -> dict[str, Any]:
    """Return what a notifier's templates may use.

    It is made of the record alone, since an alert may be sent later by another process.
    """
    from jinja2.sandbox import SandboxedEnvironment

    record = alert.record
    attempt = int(record.get("retry_attempt_number") or 0) + 1
    named = {name: record.get(name) for name in ("dag_id", "run_id", "task_id", "map_index", "log_url")}
    dag = SimpleNamespace(
        dag_id=record.get("dag_id"),
        render_template_as_native_obj=False,
        get_template_env=lambda **_: SandboxedEnvironment(cache_size=0),
    )
    instance = SimpleNamespace(
        **named,
        try_number=attempt,
        max_tries=int(record.get("max_retry_attempts") or 0),
        state=record.get("transfer_status"),
        hostname="",
    )
    return {
        **named,
        "dag": dag,
        "ti": instance,
        "record": record,
        "alert": {"id": alert.alert_id, "kind": alert.kind, **vars(message)},
    }


def _mail(alert: Alert, message: Message, addresses: list[str], timeout: float) -> None:
    notifier = mail_notifier(
        timeout=timeout,
        text=message.text,
        to=addresses,
        sender=airflow_option("email", "from_email"),
        subject=message.subject,
        html_content=message.html,
        smtp_conn_id=settings.smtp_conn_id(),
        custom_headers={
            # The same alert has the same id wherever it is sent from, so that mail programs show it once.
            "Message-ID": f"<{alert.alert_id}@pipetrack>",
            "Auto-Submitted": "auto-generated",
            "X-Pipetrack-Alert": alert.kind,
        },
    )
    # Not called as a callback would be: its texts are made of names and errors, and must not be rendered as templates.
    notifier.notify({})
