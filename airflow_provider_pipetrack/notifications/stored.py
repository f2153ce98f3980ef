"""Whom to tell where a pipeline's file is not at hand: by its records, and the configuration kept beside them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.notifications.targets import AlertTargets, NotifierTarget
from airflow_provider_pipetrack.tracking.configs import configs_among
from airflow_provider_pipetrack.tracking.upkeep import stores_of_host

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.alerts")

#: Seconds that a location may take to say a configuration, and how many are remembered.
_LIMIT, _MOST = 5.0, 500
#: Seconds for which it is believed what one says, and that nobody knows one.
_AGE, _MISSING_AGE = 3600.0, 60.0
#: What stands for a secret in a configuration that is kept.
_MASK = "***"


@dataclass(frozen=True)
class Stored:
    """What a kept configuration says that maintenance has to know.

    :param notifiers: the pipeline's notifiers, as far as no secret of theirs was masked.
    :param rollbacks: names of the transfers that have a rollback function.
    """

    notifiers: tuple[NotifierTarget, ...] = ()
    rollbacks: frozenset[str] = frozenset()


#: Until when it is believed what a configuration says, by its hash.
_known: dict[str, tuple[float, Stored]] = {}


def stored_config(stores: Iterable[TrackingStore], record: Mapping[str, Any]) -> Stored:
    """Return what the configuration says that a record was made by; nothing where it is not known. Never raises.

    :param stores: the stores that should keep it; where transfers name chains of their own, it is in that of the first.
    """
    config_hash, dag_id = record.get("config_hash"), record.get("dag_id")
    if not config_hash or not dag_id:
        return Stored()
    if config_hash in _known and time.monotonic() < _known[config_hash][0]:
        return _known[config_hash][1]
    found, age = Stored(), _MISSING_AGE
    try:
        wanted = {config_hash: str(dag_id)}
        versions = configs_among(stores, wanted, _LIMIT) or configs_among(stores_of_host(), wanted, _LIMIT)
        if versions:
            found, age = _read(versions[0].config, versions[0].pipeline_id), _AGE
    except Exception as error:  # noqa: BLE001  the mail addresses of the record are told all the same
        log.warning("pipetrack cannot read the configuration of %s: %s: %s", dag_id, type(error).__name__, error)
    if len(_known) >= _MOST:
        _known.clear()
    _known[config_hash] = time.monotonic() + age, found
    return found


def targets_by_records(stores: Sequence[TrackingStore], records: Iterable[Mapping[str, Any]]) -> AlertTargets:
    """Return everybody whom some records, and the configurations that they were made by, want told."""
    emails: dict[str, None] = {}
    notifiers: dict[str, NotifierTarget] = {}
    for record in records:
        emails.update((str(address), None) for address in record.get("transfer_process_email_alerts") or ())
        for target in stored_config(stores, record).notifiers:
            notifiers[json.dumps([target.notifier, sorted(target.on), target.kwargs], default=str)] = target
    return AlertTargets(tuple(emails), tuple(notifiers.values()))


def _read(config: Mapping[str, Any], pipeline_id: str) -> Stored:
    notifiers = []
    for alert in config.get("alerts") or ():
        if _MASK in json.dumps(alert.get("kwargs") or {}):
            log.warning(
                "The notifier %s of pipeline %s is not told by maintenance: its arguments hold a secret, which is not "
                "kept with the configuration; put it into an Airflow connection",
                alert["notifier"],
                pipeline_id,
            )
            continue
        notifiers.append(NotifierTarget(alert["notifier"], frozenset(alert["on"]), alert.get("kwargs") or {}))
    rows = config.get("stage_transfers") or ()
    return Stored(tuple(notifiers), frozenset(row["name"] for row in rows if row.get("rollback")))
