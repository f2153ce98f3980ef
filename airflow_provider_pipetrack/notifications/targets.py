"""Whom to tell about a transfer, and what there is to tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_pipetrack.config import PipelineConfig, StageTransfer

#: Most recipients of one mail; servers refuse mails to very many.
_MAIL_RECIPIENTS = 50


class AlertKind(str, Enum):
    """What there is to tell."""

    FAILED = "failed"
    """An attempt failed and Airflow does not try again, or its audit could not be run."""
    MISMATCHED = "mismatched"
    """The audit found a mismatch."""
    OVERDUE = "overdue"
    """The attempt takes longer than ``estimated_duration``."""
    ROLLBACK_OWED = "rollback_owed"
    """A failed attempt was not rolled back, and no attempt follows that would do it."""
    UNDELIVERED = "undelivered"
    """No location took the record; it waits in the local journal."""


@dataclass(frozen=True)
class NotifierTarget:
    """An Airflow notifier that a pipeline names under ``alerts``.

    :param notifier: dotted path of the class.
    :param on: the kinds that it wants to hear of.
    :param kwargs: arguments of the class; texts may be templates.
    """

    notifier: str
    on: frozenset[str]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AlertTargets:
    """Everybody who is told about a transfer.

    :param emails: addresses that are told about everything.
    :param notifiers: notifiers of the pipeline.
    """

    emails: tuple[str, ...] = ()
    notifiers: tuple[NotifierTarget, ...] = ()

    def deliveries(self, kind: str) -> Iterator[dict[str, Any]]:
        """Yield what has to be done to tell everybody, as plain JSON values that survive the process."""
        addresses = list(dict.fromkeys(self.emails))
        for start in range(0, len(addresses), _MAIL_RECIPIENTS):
            yield {"to": addresses[start : start + _MAIL_RECIPIENTS]}
        for target in self.notifiers:
            if kind in target.on:
                yield {"notifier": target.notifier, "kwargs": dict(target.kwargs)}


def targets_of(transfer: StageTransfer, pipeline: PipelineConfig | None) -> AlertTargets:
    """Return whom a transfer's configuration wants told.

    :param pipeline: the pipeline file's model; None for a hand-written Dag.
    """
    alerts = pipeline.alerts if pipeline is not None else ()
    return AlertTargets(
        tuple(transfer.transfer_process_email_alerts),
        tuple(NotifierTarget(alert.notifier, frozenset(alert.on), alert.kwargs) for alert in alerts),
    )
