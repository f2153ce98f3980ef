"""What pages say that stands in the configuration a run was made by: when the next run is due, and pools."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_provider_pipetrack.compat import next_cron_date
from airflow_provider_pipetrack.config import StageTransfer
from airflow_provider_pipetrack.config.durations import parse_duration
from airflow_provider_pipetrack.dag.graph import plan_graph
from airflow_provider_pipetrack.records.configs import ConfigVersion
from airflow_provider_pipetrack.tracking.configs import configs_among
from airflow_provider_pipetrack.tracking.store import TrackingStore
from airflow_provider_pipetrack.ui.words import ago

log = logging.getLogger("airflow_provider_pipetrack.ui")

#: Configurations of which is remembered what pages say of them.
_MOST_REMEMBERED = 5_000
#: Seconds for which it is believed that nobody knows a configuration.
_MISSING_AGE = 60.0
#: Seconds that a page waits for configurations; it has them the next time.
ASK_LIMIT = 2.0
#: For each transfer, by its name, those that it waits for.
Upstreams = Mapping[str, Sequence[str]]
#: Configurations of which it is remembered what waits for what: those of runs that somebody looks at since they failed.
_MOST_GRAPHS = 100
#: A run that is late by less is on its way.
_ON_ITS_WAY = timedelta(minutes=5)
_SOON = timedelta(minutes=1)
#: Schedules that name no moment, and what is said then.
_WITHOUT_MOMENT = {"@once": "only once", "@continuous": "at once"}
#: The schedule of a configuration that cannot be read.
_UNKNOWN = "?"


@dataclass(frozen=True)
class Configured:
    """What pages say of a configuration.

    :param schedule: as it stands in the file; None when it names none.
    :param zone: the time zone that a cron expression means.
    :param ends: when the schedule ends.
    :param pools: Airflow's pool of each transfer that names one, by the transfer's name.
    """

    schedule: str | None = None
    zone: Any = timezone.utc
    ends: datetime | None = None
    pools: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Next:
    """When a pipeline runs next.

    :param text: in words.
    :param moment: exactly, where the schedule names a moment.
    """

    text: str
    moment: datetime | None = None


class Configurations:
    """What is known of the configurations in some stores. One never changes, so each is asked for once."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Configured] = OrderedDict()
        self._missing: dict[str, float] = {}
        self._upstreams: OrderedDict[str, Upstreams] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, stores: Iterable[TrackingStore], rows: Iterable[Mapping[str, Any]]) -> dict[str, Configured]:
        """Return what is known of the configurations of records or runs, by their hashes."""
        wanted = {row["config_hash"]: row["dag_id"] for row in rows if row["config_hash"]}
        now = time.monotonic()
        with self._lock:
            unknown = {
                config_hash: dag_id
                for config_hash, dag_id in wanted.items()
                if config_hash not in self._known and now > self._missing.get(config_hash, 0.0)
            }
        if unknown:
            self._remember(unknown, configs_among(stores, unknown, ASK_LIMIT), now)
        with self._lock:
            return {config_hash: self._known[config_hash] for config_hash in wanted if config_hash in self._known}

    def upstreams(self, stores: Iterable[TrackingStore], rows: Iterable[Mapping[str, Any]]) -> dict[str, Upstreams]:
        """Return which transfers wait for which, by the hashes of the configurations that records were made by."""
        wanted = {row["config_hash"]: row["dag_id"] for row in rows if row["config_hash"]}
        with self._lock:
            unknown = {name: dag_id for name, dag_id in wanted.items() if name not in self._upstreams}
        found = configs_among(stores, unknown, ASK_LIMIT) if unknown else []
        read = {version.config_hash: read_upstreams(version.config) for version in found}
        with self._lock:
            self._upstreams.update(read)
            known = {name: edges for name in wanted if (edges := self._upstreams.get(name))}
            while len(self._upstreams) > _MOST_GRAPHS:
                self._upstreams.popitem(last=False)
        return known

    def _remember(self, asked: Iterable[str], found: Iterable[ConfigVersion], now: float) -> None:
        read = {version.config_hash: read_configured(version.config) for version in found}
        with self._lock:
            self._known.update(read)
            while len(self._known) > _MOST_REMEMBERED:
                self._known.popitem(last=False)
            self._missing = {name: until for name, until in self._missing.items() if until > now}
            self._missing.update((name, now + _MISSING_AGE) for name in asked if name not in read)


def read_configured(config: Mapping[str, Any]) -> Configured:
    """Return what pages say of a stored configuration; what another version wrote otherwise is left out."""
    try:
        dag = config.get("dag") or {}
        # A hand-written Dag does not say it there.
        schedule: str | None = dag.get("schedule", _UNKNOWN) or None
        begins, ends = (_moment(dag.get(name)) for name in ("start_date", "end_date"))
        return Configured(
            schedule=schedule if schedule is None else str(schedule),
            zone=begins.tzinfo if begins else timezone.utc,
            ends=ends,
            pools={row["name"]: row["pool"] for row in config.get("stage_transfers") or () if row.get("pool")},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        log.debug("a stored configuration cannot be read: %r", error)
        return Configured(_UNKNOWN)


def read_upstreams(config: Mapping[str, Any]) -> Upstreams:
    """Return which transfers of a stored configuration wait for which; none where it cannot be read."""
    try:
        rows = config.get("stage_transfers") or ()
        others: Upstreams | None = config.get("other_tasks")
        if others is not None:  # of a hand-written Dag, which says it task by task
            return {**others, **{row["name"]: row["depends_on"] for row in rows}}
        return plan_graph([*map(StageTransfer.model_validate, rows)]).upstreams
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        log.debug("the transfers of a stored configuration cannot be read: %r", error)
        return {}


def next_run(configured: Configured | None, began_at: datetime | None, now: datetime) -> Next | None:
    """Return when a pipeline runs next, or None when that is not known.

    The schedule goes on from when the last run began, whatever date it was for: a backfill, or a run by hand, does not
    move it. Whether somebody has paused the Dag is not known here.

    :param began_at: when the last run began.
    """
    if configured is None or configured.schedule == _UNKNOWN:
        return None
    if configured.schedule is None or configured.schedule in _WITHOUT_MOMENT:
        return Next(_WITHOUT_MOMENT.get(configured.schedule or "", "no schedule"))
    moment = _after(configured.schedule, began_at or now, configured.zone)
    if moment is None:
        return None
    if configured.ends is not None and moment > configured.ends:
        return Next("ended")
    return Next(_until(moment, now), moment)


def with_next_runs(
    rows: Iterable[Mapping[str, Any]], configured: Mapping[str, Configured], now: datetime
) -> list[dict[str, Any]]:
    """Return pipelines with ``next_run``, in words, and ``next_run_at``; both None where they are not known.

    :param rows: pipelines, by their last runs.
    :param configured: what is known of configurations, by their hashes.
    """
    found = [(row, next_run(configured.get(row["config_hash"]), row["began_at"], now)) for row in rows]
    return [
        {**row, "next_run": following and following.text, "next_run_at": following and following.moment}
        for row, following in found
    ]


def _until(moment: datetime, now: datetime) -> str:
    if now - moment >= _ON_ITS_WAY:
        return f"was due {ago(moment, now)}"
    return ago(moment, now) if moment - now >= _SOON else "now"


def _after(schedule: str, moment: datetime, zone: Any) -> datetime | None:
    try:
        period = parse_duration(schedule)
    except ValueError:
        period = None
    try:
        return moment + period if period else next_cron_date(schedule, moment, zone)
    except (ValueError, OverflowError):
        return None


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
