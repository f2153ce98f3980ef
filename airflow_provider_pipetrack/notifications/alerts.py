"""Raise an alert, and send later what could not be sent at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow_provider_pipetrack import metrics, settings
from airflow_provider_pipetrack.compat import redact
from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.notifications.background import Background
from airflow_provider_pipetrack.notifications.channels import tell
from airflow_provider_pipetrack.notifications.message import one_line
from airflow_provider_pipetrack.notifications.outbox import Alert, Outbox, alert_id
from airflow_provider_pipetrack.notifications.targets import AlertKind, AlertTargets
from airflow_provider_pipetrack.records.clean import clean_json
from airflow_provider_pipetrack.tracking.breaker import Breaker

log = logging.getLogger("airflow_provider_pipetrack.alerts")

#: Seconds for which a process that ends waits at most for its alerts to be sent.
SEND_LIMIT = 5.0
#: Seconds that a step of the mail server may take then, and later when nobody waits.
_QUICK, _PATIENT = 2.0, 20.0

_background = Background("pipetrack: alerts")


@dataclass
class Retried:
    """What became of the alerts that had to wait.

    :param sent: alerts that were sent now.
    :param waiting: alerts that still wait.
    :param given_up: alerts that were tried for days in vain; they are kept, but not tried again.
    """

    sent: int = 0
    waiting: int = 0
    given_up: int = 0


def raise_alert(targets: AlertTargets, kind: str, record: Mapping[str, Any], *, of: Sequence[str] = ()) -> None:
    """Tell everybody who wants to know, once per attempt and kind. Returns at once and never raises.

    The alert is kept on disk and then sent by a thread; :func:`finish_alerts` waits for that. What is not sent when
    the process ends is sent by :func:`retry_alerts`.

    :param targets: whom to tell, see :func:`~airflow_provider_pipetrack.notifications.targets.targets_of`.
    :param kind: a value of :class:`AlertKind`.
    :param record: the columns of the record; ``record_id`` is needed. Of ``undelivered`` there is one alert per run,
        since a storage that is down concerns all its attempts.
    :param of: the ids of the records that it is about, where these are several: once for these together.
    """
    try:
        deliveries = list(targets.deliveries(AlertKind(kind).value))
        if deliveries:
            _raise(deliveries, AlertKind(kind), record, of)
    except Exception:
        log.exception("pipetrack could not raise the alert %r about %s", kind, record.get("record_id"))


def hold_alerts() -> None:
    """Keep alerts on disk and send none before :func:`finish_alerts`: no thread may ask Airflow for a connection now.

    What is kept may be sent by :func:`retry_alerts` in the meantime.
    """
    _background.hold()


def finish_alerts(seconds: float = SEND_LIMIT) -> None:
    """Wait until the alerts of this process are sent, where nothing is delayed by it: in a callback.

    :param seconds: how long at most; what is not sent by then is sent by :func:`retry_alerts`.
    """
    hanging = _background.finish(seconds)
    if hanging is not None:
        log.warning("An alert is not sent after %g s; it is kept and tried again", seconds)
        _breaker(hanging).failed()


def retry_alerts(limit: float = 30.0) -> Retried:
    """Send the alerts of this host that wait and are due. Never raises.

    :param limit: seconds that this may take; what is left then waits for the next time.
    """
    retried = Retried()
    outbox = Outbox(settings.alerts_dir())
    results: list[str | None] = []
    for name in outbox.waiting():
        _background.start(lambda name=name: results.append(_send(outbox, name, timeout=_PATIENT)))  # type: ignore[misc]
    finish_alerts(limit)
    _background.drop()
    for result in results:
        if result is not None:
            setattr(retried, result, getattr(retried, result) + 1)
    retried.waiting = len(outbox.waiting())
    return retried


def _raise(
    deliveries: Sequence[Mapping[str, Any]], kind: AlertKind, record: Mapping[str, Any], of: Sequence[str]
) -> None:
    subject = "\0".join(sorted(of)) or str(record["record_id"])
    if kind is AlertKind.UNDELIVERED:
        subject = f"{record.get('dag_id')}\0{record.get('run_id')}"
    alert = Alert(
        alert_id(subject, kind.value), kind.value, clean_json(dict(record)), clean_json(deliveries), time.time()
    )
    outbox = Outbox(settings.alerts_dir())
    try:
        if outbox.keep(alert):
            _background.start(lambda: _send(outbox, alert.alert_id, timeout=_QUICK))
    except OSError as error:
        log.warning("pipetrack cannot keep an alert (%s), so it is tried only once", error)
        _background.start(lambda: _tell_all(alert, timeout=_QUICK))


def _send(outbox: Outbox, name: str, *, timeout: float) -> str | None:
    """Send a waiting alert; return what became of it, or None when another process has it."""
    with outbox.taken(name) as alert:
        if alert is None:
            return None
        if not alert.is_due:
            return "waiting"
        result = outbox.settle(alert, *_tell_all(alert, timeout=timeout, note=partial(outbox.note, alert)))
        metrics.count(f"{metrics.ALERTS}.{result}", kind=alert.kind)
        if result == "given_up":
            log.error("pipetrack gave up the alert %s about %s", alert.kind, alert.record.get("record_id"))
        return result


def _tell_all(
    alert: Alert, *, timeout: float, note: Callable[[Sequence[Mapping[str, Any]]], None] = lambda _: None
) -> tuple[list[Mapping[str, Any]], str]:
    """Make the deliveries of an alert, and return those that could not be made, and why the last of them.

    :param note: called after a delivery with those that are still to be made: the next one may take longer than the
        process lives.
    """
    left: list[Mapping[str, Any]] = []
    reason = ""
    for number, delivery in enumerate(alert.deliveries, 1):
        channel = str(delivery.get("notifier", "mail"))
        breaker = _breaker(channel)
        if not breaker.may_try():
            left.append(delivery)
            continue
        try:
            with _background.doing(channel):
                tell(alert, delivery, timeout=timeout)
        except Exception as error:  # noqa: BLE001  it is a mail server's or somebody else's notifier
            left.append(delivery)
            reason = _complain(alert, delivery, error)
            if not _is_refusal(error):
                breaker.failed()
                continue
        else:
            if rest := alert.deliveries[number:]:
                with suppress(OSError):  # at worst somebody is told once more
                    note([*left, *rest])
        breaker.succeeded()
    return left, reason


def _is_refusal(error: Exception) -> bool:
    """Return whether a mail server is up and only wants nothing to do with this mail."""
    import smtplib  # only needed here, and every Dag file would pay for it

    return isinstance(error, (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError))


def _breaker(channel: str) -> Breaker:
    """Return what keeps a burst of alerts from waiting for the same dead server again and again."""
    return Breaker(settings.alerts_dir() / "breakers", channel)


def _complain(alert: Alert, delivery: Mapping[str, Any], error: Exception) -> str:
    """Log why a delivery could not be made, and return it."""
    number = len(delivery.get("to", ()))
    whom = delivery.get("notifier") or f"{number} mail address{'' if number == 1 else 'es'}"
    said = str(error) if isinstance(error, PipetrackError) else f"{type(error).__name__}: {error}"
    reason = f"could not be sent to {whom}: {redact(one_line(said))}"
    log.warning(
        "The alert %s about %s %s. It is kept and tried again", alert.kind, alert.record.get("record_id"), reason
    )
    return reason
