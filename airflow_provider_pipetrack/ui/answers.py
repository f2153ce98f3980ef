"""What the JSON API answers, typed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, Field, create_model

from airflow_provider_pipetrack.records.columns import BY_NAME
from airflow_provider_pipetrack.records.queries import QUESTIONS
from airflow_provider_pipetrack.tracking.health import LocationState
from airflow_provider_pipetrack.tracking.readiness import ReadyState
from airflow_provider_pipetrack.ui.parameters import AuditResult, Status

_TYPES: Final[dict[str, Any]] = {
    "text": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "timestamp": datetime,
    "json": Any,
}


class _Page(BaseModel):
    total: int = Field(description="Rows that match, before limit and offset.")
    limit: int
    offset: int
    sources: list[str] = Field(description="The locations that answered.")
    unreachable: dict[str, str] = Field(
        description="Why a location could not be asked, by its name; its records may be missing."
    )
    bounds: dict[str, int] = Field(
        description="What was looked at only, so many of the newest `newest_records` or runs (`newest`); "
        "a pipeline, a Dag or a time since when finds older ones."
    )


class _Counts(BaseModel):
    """How a run stands."""

    pipeline_id: str
    dag_id: str
    run_id: str
    pipeline_version: str | None
    state: Status
    began_at: datetime | None = Field(description="When its first record was made.")
    started_at: datetime | None = Field(description="When its first transfer started.")
    ended_at: datetime | None = Field(description="When its last transfer so far ended.")
    logical_date: datetime | None
    transfers: int
    attempts: int
    pending: int
    in_progress: int
    completed: int
    failed: int
    not_run: int
    partial: int
    overdue: int
    audits_matched: int
    audits_mismatched: int
    audits_failed: int = Field(description="Audits that stopped the run: by a mismatch, or without an answer.")
    audits_waiting: int = Field(description="Audits that have no answer yet and ask again.")
    audits_total: int
    records_succeeded: int | None
    records_failed: int | None


class Pipeline(_Counts):
    """A pipeline in a Dag, by its last run."""

    owners: list[str]
    next_run: str | None = Field(description="When it runs next, in words; None when its schedule is not known.")
    next_run_at: datetime | None = Field(description="The moment, where its schedule names one.")


class Run(_Counts):
    """A Dag run."""

    failed_transfers: list[str]


_RECORD: dict[str, Any] = {name: (_TYPES[BY_NAME[name].kind] | None, None) for name in QUESTIONS["transfers"].columns}
#: The tracking record of an attempt; its columns are those of the table ``pipeline_tracking``.
Transfer: Any = create_model("Transfer", **_RECORD)


class Pipelines(_Page):
    """Pipelines."""

    rows: list[Pipeline]


class Runs(_Page):
    """Dag runs."""

    rows: list[Run]


class Transfers(_Page):
    """Transfers."""

    rows: list[Transfer]


class ReadyPipeline(BaseModel):
    """Whether a stage has what one pipeline brings it."""

    pipeline_id: str
    dag_id: str | None
    run_id: str | None = Field(description="The run that was looked at, the newest for the date.")
    ready: bool
    state: ReadyState
    reason: str
    data_date: datetime | None
    is_partial: bool | None
    audit_result: AuditResult | None
    can_access_historical_data: bool | None
    records_succeeded: int | None
    records_failed: int | None


class ReadinessAnswer(BaseModel):
    """Whether a stage is ready."""

    stage: str
    date: str | None
    ready: bool = Field(description="Whether every pipeline that fills the stage has done so, and all could be asked.")
    pipelines: list[ReadyPipeline]
    unreachable: dict[str, str]


class Location(BaseModel):
    """One place of the chain."""

    name: str
    chain: int = Field(description="Number of the chain that it is in, from 1.")
    state: LocationState
    reason: str
    host_local: bool
    since: datetime | None = Field(description="Since when it has not answered; None where it does.")
    owed: int | None = Field(description="Records it holds that another place lacks; None when it cannot say.")


class Guarantee(BaseModel):
    """What is kept when something dies."""

    against: str
    holds: bool
    sentence: str


class Alerts(BaseModel):
    """Alerts of the api-server's host, or of all hosts that share its journal folder."""

    waiting: int = Field(description="Alerts that are still to be sent.")
    oldest_seconds: float | None = Field(description="Age of the oldest of them.")
    given_up: int = Field(description="Alerts that were tried for days in vain.")
    last_error: str = Field(description="Why the last try was in vain; empty when none was.")


class HealthAnswer(BaseModel):
    """How the tracking of the api-server's host and its chain are."""

    is_well: bool
    host: str
    journal_folder: Path
    undelivered: int
    oldest_seconds: float | None
    other_hosts: dict[str, int]
    dead_letters: Annotated[int, BeforeValidator(len)] = Field(description="Entries that no place takes.")
    lost: int
    unnoted: int = Field(description="Changes in a fallback alone; `pipetrack reconcile --full` brings them home.")
    alerts: Alerts
    locations: list[Location]
    guarantees: list[Guarantee]
