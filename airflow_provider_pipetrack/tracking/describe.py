"""From a transfer and a run to the changes of its tracking record, each group whole."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.records.change import (
    Authority,
    Change,
    Rank,
    group_key,
    new_event_id,
    sequence_of,
    utc_now,
)
from airflow_provider_pipetrack.records.columns import NAMES_BY_GROUP
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.openness import has_failed_audit

if TYPE_CHECKING:
    from airflow_provider_pipetrack.config import StageTransfer

#: Fields of a transfer that go into the record as they stand.
_COPIED = (
    "transfer_order_number",
    "transfer_enabled",
    "estimated_duration",
    "estimated_seconds",
    "can_partial_data_be_collected",
    "can_process_be_parallelized",
    "can_access_historical_data",
    "upstream_completion_required",
    "dependent_on_previous_transfer",
    "max_retry_attempts",
    "audit_enabled",
    "transfer_process_owner_name",
)


@dataclass(frozen=True)
class Content:
    """The user-defined texts of a record; None while a computed one is not yet resolved."""

    pipeline_id: str
    stage_i_details: str | None = None
    stage_i_unique_identifier: str | None = None
    stage_i_plus_1_details: str | None = None
    stage_i_plus_1_unique_identifier: str | None = None
    transfer_unique_id: str | None = None


@dataclass(frozen=True)
class Described:
    """A transfer in one run: everything about its record that does not depend on how the attempt goes.

    :param locations: the chain where the record is kept, without secrets.
    :param facts: ``logical_date``, ``pipeline_version``, ``config_hash`` as far as they are known.
    """

    transfer: StageTransfer
    content: Content
    locations: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def start_group(
        self, *, started: datetime | None = None, operator: str | None = None, log_url: str | None = None
    ) -> dict[str, Any]:
        """Return the columns of the start group."""
        columns = {name: getattr(self.transfer, name) for name in _COPIED}
        columns.update({name: self.facts.get(name) for name in ("logical_date", "pipeline_version", "config_hash")})
        columns.update(vars(self.content))
        columns["transfer_process_email_alerts"] = list(self.transfer.transfer_process_email_alerts)
        columns["tracking_location"] = list(self.locations)
        columns.update(transfer_start_timestamp=started, operator=operator, log_url=log_url)
        return columns

    def audit_group(self) -> dict[str, Any]:
        """Return the columns of the audit group before any audit ran."""
        return {"audit_result": None, "audit_metadata": dict(self.transfer.audit_metadata or {})}

    def free_group(self) -> dict[str, Any]:
        """Return the user's own columns."""
        return {"extra_columns": dict(self.transfer.extra_columns or {})}


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended; becomes the columns of the end group.

    :param status: ``pending``, ``in_progress``, ``completed`` or ``failed``.
    :param seconds: from the first start to the end, without tracking.
    """

    status: str
    ended: datetime | None = None
    seconds: float | None = None
    records_succeeded: int | None = None
    records_failed: int | None = None
    is_partial: bool | None = None
    decision: str | None = None
    error_message: str | None = None

    def columns(self, closed_by: str | None) -> dict[str, Any]:
        """Return the columns of the end group."""
        return {
            "transfer_status": self.status,
            "transfer_end_timestamp": self.ended,
            "actual_duration": None if self.seconds is None else human_duration(self.seconds),
            "actual_seconds": None if self.seconds is None else round(self.seconds, 3),
            "records_succeeded": self.records_succeeded,
            "records_failed": self.records_failed,
            "is_partial": self.is_partial,
            "decision": self.decision,
            "error_message": self.error_message,
            "closed_by": closed_by,
        }


#: What the metadata of an unaudited, mapped transfer says when its run has ended: how many indexes there are.
MAP_INDEXES = "map_indexes"
PENDING = "pending"
IN_PROGRESS = "in_progress"
COMPLETED = "completed"
FAILED = "failed"
_RANKS = {PENDING: Rank.PENDING, IN_PROGRESS: Rank.STARTED, COMPLETED: Rank.ENDED, FAILED: Rank.ENDED}

#: Of one try of an audit, in this order: that it asks again, that it fell silent, its last word, and that it failed,
#: which counts most where a transfer has several audits or a mapped one.
_WORDS_OF_A_TRY = 4


def pending_change(described: Described, key: RecordKey, *, decision: str | None = None) -> Change:
    """Return the change that announces a transfer of a run. Announcing it again changes nothing."""
    columns = {
        **key.columns(),
        **described.start_group(),
        **Outcome(PENDING, decision=decision).columns(None),
        **described.audit_group(),
        **described.free_group(),
    }
    event_id = _stable_id(columns)
    lowest = group_key(rank=Rank.PENDING, authority=Authority.GUESS, event_id=event_id)
    keys = {"start": lowest, "end": lowest, "audit": lowest, "free": lowest}
    return Change(key.record_id, columns, keys, "task", event_id)  # type: ignore[arg-type]


def start_change(
    described: Described,
    key: RecordKey,
    *,
    started: datetime,
    operator: str,
    log_url: str | None,
    resumed: bool = False,
) -> Change:
    """Return the change that says an attempt has begun.

    :param resumed: True for a later leg of a deferred or rescheduled attempt, whose first leg knows the start best.
    """
    event_id = new_event_id()
    started_key = group_key(rank=Rank.STARTED, sequence=0 if resumed else 1, event_id=event_id)
    lowest = group_key(rank=Rank.PENDING, authority=Authority.GUESS, event_id=event_id)
    columns = {
        **key.columns(),
        **described.start_group(started=started, operator=operator, log_url=log_url),
        **Outcome(IN_PROGRESS).columns(None),
        **described.audit_group(),
        **described.free_group(),
    }
    keys = {"start": started_key, "end": started_key, "audit": lowest, "free": lowest}
    return Change(key.record_id, columns, keys, "task", event_id)  # type: ignore[arg-type]


def end_change(
    start: Change, outcome: Outcome, *, by: str, authority: Authority = Authority.TASK, sequence: int = 1
) -> Change:
    """Return the change that ends an attempt. It repeats the start, so that it is a whole record by itself.

    :param start: the change that began or announced the attempt.
    :param by: who says so: ``task``, ``callback``, ``dag callback`` or ``reconcile``.
    """
    event_id = new_event_id()
    ended = group_key(
        rank=_RANKS[outcome.status],
        authority=authority,
        failed=outcome.status == FAILED,
        sequence=sequence,
        event_id=event_id,
    )
    columns = {**start.columns, **outcome.columns(by)}
    return Change(start.record_id, columns, {**start.keys, "end": ended}, by, event_id)


def stop_event(start: Change) -> Change:
    """Return an event for the history: the attempt was asked to stop. It changes nothing, since it may still finish."""
    event_id = new_event_id()
    columns = {**start.columns, **Outcome(IN_PROGRESS, decision="asked to stop").columns("on_kill")}
    lower = group_key(rank=Rank.STARTED, authority=Authority.GUESS, event_id=event_id)
    return Change(start.record_id, columns, {**start.keys, "end": lower}, "on_kill", event_id)


def guess_sequence(authority: Authority) -> int:
    """Return the sequence of an end that Airflow's state tells.

    Where it is a guess it beats that of the attempt behind it, which only knows that this one is over.
    """
    return int(authority == Authority.GUESS)


def verdict_change(
    record: Mapping[str, Any], outcome: Outcome, *, by: str, authority: Authority = Authority.AIRFLOW
) -> Change:
    """Return the change that closes a stored record from outside its task.

    :param record: the record as a storage returned it; its identity columns and ``pipeline_id`` are needed.
    """
    event_id = new_event_id()
    ended = group_key(
        rank=_RANKS[outcome.status],
        authority=authority,
        failed=outcome.status == FAILED,
        sequence=guess_sequence(authority),
        event_id=event_id,
    )
    keys = {"end": ended}
    columns: dict[str, Any] = {name: record.get(name) for name in NAMES_BY_GROUP["identity"]}
    if record.get("start_key"):
        keys["start"] = record["start_key"]
        columns.update((name, record.get(name)) for name in NAMES_BY_GROUP["start"])
    columns.update(outcome.columns(by))
    return Change(str(record["record_id"]), columns, keys, by, event_id)  # type: ignore[arg-type]


def never_change(record: Mapping[str, Any], key: RecordKey, decision: str, *, by: str) -> Change:
    """Return the change that says of an attempt that it will never begin.

    :param record: a stored record of the same transfer, which describes it.
    :param key: the attempt.
    """
    event_id = new_event_id()
    begun = dict.fromkeys(("transfer_start_timestamp", "operator", "log_url"))
    columns = {
        **key.columns(),
        **{name: record.get(name) for name in NAMES_BY_GROUP["start"]},
        **begun,
        **Outcome(PENDING, decision=decision).columns(by),
    }
    keys = {
        "start": group_key(rank=Rank.PENDING, authority=Authority.GUESS, event_id=event_id),
        "end": group_key(rank=Rank.PENDING, authority=Authority.AIRFLOW, event_id=event_id),
    }
    return Change(key.record_id, columns, keys, by, event_id)  # type: ignore[arg-type]


def with_log(end: Change, log_url: str | None) -> Change:
    """Return the end of an attempt with the address of its log, where it has none: such as one that never began."""
    if not log_url or "start" not in end.keys or end.columns.get("log_url"):
        return end
    # More than what was announced, and less than what an attempt says that has begun.
    known = group_key(rank=Rank.PENDING, event_id=end.event_id)
    return replace(end, columns={**end.columns, "log_url": log_url}, keys={**end.keys, "start": known})


def audit_change(
    base: Change,
    result: str,
    metadata: Mapping[str, Any],
    *,
    try_number: int,
    final: bool,
    by_silence: bool = False,
) -> Change:
    """Return the change that records an audit's answer about one attempt.

    :param base: a change that describes the attempt at its lowest rank, see :func:`pending_change`.
    :param result: ``matched``, ``mismatched`` or ``pending``.
    :param try_number: of the audit task; a later try of the audit beats an earlier one.
    :param final: True when the audit will not ask again in this try.
    :param by_silence: True when somebody else says that the audit ended without a last word in this try; one that is
        still on its way counts more.
    """
    event_id = new_event_id()
    # The audit is another task than the transfer: the latest audit counts, whatever its answer.
    said = {"audit_result": result, "audit_metadata": dict(metadata)}
    word = 2 + has_failed_audit(said) if final else int(by_silence)
    key = group_key(rank=Rank.ENDED, sequence=try_number * _WORDS_OF_A_TRY + word, event_id=event_id)
    columns = {**base.columns, **said}
    return Change(base.record_id, columns, {**base.keys, "audit": key}, "audit", event_id)


def audit_try(audit_key: str | None) -> int:
    """Return the try of the audit task that a record has a word of, 0 when it has none."""
    return sequence_of(audit_key or "") // _WORDS_OF_A_TRY


def indexes_change(record: Mapping[str, Any], number: int, *, by: str) -> Change:
    """Return the change that notes how many indexes a mapped transfer has; any audit's answer counts more.

    :param record: the record of one of them, as a storage returned it.
    """
    event_id = new_event_id()
    keys = {"audit": group_key(rank=Rank.ENDED, event_id=event_id)}
    columns: dict[str, Any] = {name: record.get(name) for name in NAMES_BY_GROUP["identity"]}
    if record.get("start_key"):
        keys["start"] = record["start_key"]
        columns.update((name, record.get(name)) for name in NAMES_BY_GROUP["start"])
    # Somebody may have said by hand what the data is worth.
    metadata = {**(record.get("audit_metadata") or {}), MAP_INDEXES: number}
    columns.update(audit_result=record.get("audit_result"), audit_metadata=metadata)
    return Change(str(record["record_id"]), columns, keys, by, event_id)  # type: ignore[arg-type]


def human_duration(seconds: float) -> str:
    """Return a duration as people write it, such as ``1h2m3s`` or ``0.25s``."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        amount, whole = divmod(whole, size)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts)


def seconds_between(started: datetime | None, ended: datetime | None = None) -> float | None:
    """Return the seconds from ``started`` to ``ended`` or now, never below 0; None when the start is unknown."""
    if started is None:
        return None
    return max(0.0, ((ended or utc_now()) - started).total_seconds())


def _stable_id(columns: Mapping[str, Any]) -> str:
    text = repr(sorted((name, repr(value)) for name, value in columns.items()))
    return "0" * 12 + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:20]
