"""What a page's address asks for: filters, order and page of its tables. Odd values are named and left out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from typing import Any, Final

from airflow_provider_pipetrack.notifications.kept import GIVEN_UP, WAITING
from airflow_provider_pipetrack.notifications.targets import AlertKind

STATUSES: Final = ("pending", "in_progress", "completed", "failed")
#: The words that a filter may have.
CHOICES: Final[Mapping[str, Sequence[str]]] = {
    "status": STATUSES,
    "audit_result": ("matched", "mismatched", "pending"),
    "reason": ("failed", "mismatched", "audit_failed", "overdue", "stale"),
    "include_recovered": ("shown",),
    "kind": tuple(kind.value for kind in AlertKind),
    "sending": (WAITING, GIVEN_UP),
    "state": ("ready", "partial", "audit_pending", "mismatched", "in_progress", "failed", "not_run", "skipped"),
}
#: States as pipelines show them, each a state by itself; and those of transfers, of which some are a part of another.
PIPELINE_STATES: Final = ("pending", "in_progress", "overdue", "completed", "partial", "failed")
TRANSFER_STATES: Final = ("pending", "not_run", "in_progress", "overdue", "completed", "partial", "failed")
ATTEMPT_STATES: Final = ("pending", "in_progress", "completed", "partial", "failed")
#: Words that links from numbers filter by, with what they say; they are not offered otherwise.
LINKED: Final[Mapping[str, Mapping[str, str]]] = {
    "status": {
        "waiting": "pending, still to run",
        "to_run": "all but not run",
        "enabled": "all but disabled and removed",
        "ended": "completed or failed",
        "retried": "ended, after a retry",
        "timed": "completed, with its time",
        "compared": "completed, with time and estimate",
        "late": "longer than estimated",
    },
    "audit_result": {"audited": "with an audit", "stopped": "stopped the run"},
}
_UNITS: Final = {"m": 60, "h": 3600, "d": 86400, "w": 604800}
_RELATIVE: Final = re.compile(r"(\d{1,6})([mhdw])")
_MOST_PAGES: Final = 1_000_000


@dataclass(frozen=True)
class Filters:
    """What was asked for.

    :param values: filters of a question, by name.
    :param texts: the same as they stand in the address.
    :param ignored: what could not be understood, in words.
    """

    values: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Turn:
    """Order and page of one table.

    :param page: number of the page, from 1.
    """

    order_by: str | None = None
    descending: bool = False
    page: int = 1


def read_filters(
    asked: Mapping[str, str], names: Sequence[str], now: datetime, choices: Mapping[str, Sequence[str]]
) -> Filters:
    """Return the filters ``names`` of an address.

    :param asked: the address's query.
    :param choices: the words that a filter may have, where it may have some only; a list of states of transfers or
        attempts may be filtered by those of links, too.
    """
    values: dict[str, Any] = {}
    texts: dict[str, str] = {}
    ignored = []
    for name in names:
        # A text over several lines ends with a line break, which is a part of it.
        text = asked.get(name, "").replace("\x00", "").strip(" ")
        if not text.strip():
            continue
        try:
            values[name] = _value(name, text, now, choices)
        except ValueError as error:
            ignored.append(f"{name}={text[:60]!r} was left out: {error}")
        else:
            texts[name] = text
    return Filters(values, texts, tuple(ignored))


def read_turn(asked: Mapping[str, str], key: str, sortable: Sequence[str]) -> Turn:
    """Return order and page of the table ``key``; a column that cannot be sorted by is left out.

    :param sortable: the columns that the table may be sorted by.
    """
    wanted = asked.get(f"{key}.sort", "")
    name = wanted.removeprefix("-")
    number = asked.get(f"{key}.page", "")
    page = int(number) if number.isascii() and number.isdigit() and len(number) < 8 else 1
    return Turn(name if name in sortable else None, wanted.startswith("-"), min(max(page, 1), _MOST_PAGES))


def read_moment(text: str, now: datetime, *, end: bool = False) -> datetime:
    """Return a moment from a date, a date with a time, or a distance back such as ``24h``.

    :param end: whether a date means the end of that day.
    :raises ValueError: says what is expected.
    """
    relative = _RELATIVE.fullmatch(text)
    try:
        if relative:
            return now - timedelta(seconds=int(relative[1]) * _UNITS[relative[2]])
        if len(text) <= 10:
            day = datetime.combine(date.fromisoformat(text), time(), timezone.utc)
            following = day + timedelta(days=1)  # the last day of all has none, and is refused
            return following if end else day
        moment = datetime.fromisoformat(with_zone(text))
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise ValueError("expected a date (2025-01-31), a time (2025-01-31T06:00) or a distance back (24h)") from None


def with_zone(text: str) -> str:
    """Return a moment's text with its zone as Python reads it; a plus sign in an address has become a blank."""
    return re.sub(r" (\d\d:?\d\d)$", r"+\1", text).replace("Z", "+00:00")


def linked(name: str, choices: Mapping[str, Sequence[str]]) -> Mapping[str, str]:
    """Return the words of links that a filter may have, with what they say.

    :param choices: the words that filters are offered with.
    """
    is_of_runs = name == "status" and choices[name] not in (TRANSFER_STATES, ATTEMPT_STATES)
    return {} if is_of_runs else LINKED.get(name, {})


def _value(name: str, text: str, now: datetime, choices: Mapping[str, Sequence[str]]) -> Any:
    if name in ("since", "until"):
        return read_moment(text, now, end=name == "until")
    if name == "date":
        return read_moment(read_moment(text, now).date().isoformat(), now)
    if name == "map_index":
        # Airflow leaves its placeholder as it is when a task is not mapped.
        number = text.removeprefix("-")
        if not (number.isascii() and number.isdigit() and len(number) < 10):
            raise ValueError("expected a number")
        return int(text)
    if name in choices and text not in (*choices[name], *linked(name, choices)):
        raise ValueError(f"expected {', '.join(choices[name])}")
    return text
