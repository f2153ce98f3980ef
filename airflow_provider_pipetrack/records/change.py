"""One change of a tracking record: whole column groups, each with the key that orders it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import IntEnum
from typing import Any

from airflow_provider_pipetrack.records.columns import COLUMNS, MERGED_GROUPS, NAMES_BY_GROUP, Group

Value = Any

_TIMES = tuple(column.name for column in COLUMNS if column.kind == "timestamp")
_KNOWN = frozenset(column.name for column in COLUMNS)
_NAMES = {group: frozenset(names) for group, names in NAMES_BY_GROUP.items()}


class Rank(IntEnum):
    """How far along an attempt is; a later state never falls back to an earlier one."""

    PENDING = 0
    STARTED = 1
    ENDED = 2


class Authority(IntEnum):
    """Whose word a change is. Airflow's verdict beats the task's own word, which beats a guess."""

    GUESS = 0
    TASK = 1
    AIRFLOW = 2


def new_event_id() -> str:
    """Return a unique text that sorts by time: exactly within a process, roughly between processes."""
    global _last_moment  # noqa: PLW0603  two events of a process never share a moment
    _last_moment = max(time.time_ns(), _last_moment + 1)
    return f"{_last_moment:016x}{secrets.token_hex(8)}"


_last_moment = 0


def utc_now() -> datetime:
    """The current time, UTC with zone."""
    return datetime.now(timezone.utc)


def group_key(
    *, rank: Rank, authority: Authority = Authority.TASK, failed: bool = False, sequence: int = 0, event_id: str
) -> str:
    """The text that orders two versions of one column group: the greater one, byte by byte, wins.

    It compares rank, authority, failed over completed, sequence, event id, in this order.

    :param sequence: order within the same writer, from 0; no clock is needed.
    """
    return f"{int(rank)}.{int(authority)}.{int(failed)}.{sequence:012d}.{event_id}"


def sequence_of(key: str) -> int:
    """Return the sequence in a text that :func:`group_key` made, 0 when it is none."""
    parts = key.split(".", 4)
    return int(parts[3]) if len(parts) == 5 and parts[3].isdigit() else 0


@dataclass(frozen=True)
class Change:
    """An event that changes one record. Applying it twice, or in any order, gives the same record.

    :param record_id: which record; see :class:`~airflow_provider_pipetrack.records.key.RecordKey`.
    :param columns: identity columns, and for each group in ``keys`` all columns of that group.
    :param keys: merge key of each group that the change carries.
    :param by: who changed it: ``task``, ``callback``, ``audit``, ``reconcile`` or ``user``.
    :param at: when it happened, UTC.
    :param plain: the change as JSON, where it came from there, so that it need not be made again.
    """

    record_id: str
    columns: Mapping[str, Value]
    keys: Mapping[Group, str]
    by: str
    event_id: str = field(default_factory=new_event_id)
    at: datetime = field(default_factory=utc_now)
    plain: Mapping[str, Value] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for group in self.keys:
            if not self.columns.keys() >= _NAMES[group]:
                missing = [name for name in NAMES_BY_GROUP[group] if name not in self.columns]
                raise ValueError(f"a change carries its groups whole; {group} lacks {', '.join(missing)}")

    @property
    def must_survive_power_loss(self) -> bool:
        """Whether this is an end, a decision or a user's own word; that a task has begun may be lost with the power."""
        return self.by != "task" or any(key >= f"{int(Rank.ENDED)}." for key in self.keys.values())

    def to_json(self) -> dict[str, Value]:
        """The change as plain JSON types; times become ISO 8601 text."""
        if self.plain is not None:
            return dict(self.plain)
        return {
            "event_id": self.event_id,
            "record_id": self.record_id,
            "by": self.by,
            "at": self.at.isoformat(),
            "keys": dict(self.keys),
            "columns": {
                name: value.isoformat() if isinstance(value, datetime) else value
                for name, value in self.columns.items()
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Value]) -> Change:
        """The change that :meth:`to_json` wrote, here or in another version of pipetrack.

        A column that this version does not know stays in :attr:`plain` alone; one that the other did not know is None.

        :raises ValueError, KeyError, TypeError: when ``data`` is not such a change.
        """
        columns = dict(data["columns"])
        for name in columns.keys() - _KNOWN:
            del columns[name]
        for name in _TIMES:
            if isinstance(columns.get(name), str):
                columns[name] = datetime.fromisoformat(columns[name])
        keys = {group: data["keys"][group] for group in MERGED_GROUPS if group in data["keys"]}
        for group in keys:
            if not columns.keys() >= _NAMES[group]:
                columns = {**dict.fromkeys(NAMES_BY_GROUP[group]), **columns}
        return cls(
            record_id=data["record_id"],
            columns=columns,
            keys=keys,
            by=data["by"],
            event_id=data["event_id"],
            at=datetime.fromisoformat(data["at"]),
            plain=data,
        )
