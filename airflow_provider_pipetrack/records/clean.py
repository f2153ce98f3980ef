"""Make any value fit for a record: JSON-safe, with zones, without what a database refuses, not endless."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any

from airflow_provider_pipetrack.records.columns import BY_NAME

#: Longest single text of a record, in characters.
MAX_TEXT = 65_536
#: Most values in one JSON column, and most characters of its texts, of which short ones are always kept: a document of
#: MongoDB has 16 MB, and each change of the record is written with its column whole.
MAX_ITEMS = 5_000
MAX_JSON_TEXT = 1_000_000
_SHORT = 100
_MAX_DEPTH = 20
#: What is plainly no mapping; to ask any class whether it is one is slow the first time.
_SIMPLE = (str, bytes, int, float, list, tuple, set, frozenset, type(None))
_CUT = "… [cut by pipetrack: {} characters in all]"
#: What pandas has in the place of a value that is missing; the first is a datetime to Python.
_MISSING = ("NaTType", "NAType")


def clean_columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a record with every value as its column's type; what does not fit becomes None or text."""
    return {name: clean_value(name, value) for name, value in columns.items()}


def clean_value(name: str, value: Any) -> Any:
    """Return a value as the column ``name`` keeps it. Never raises."""
    column = BY_NAME.get(name)
    kind = column.kind if column else "json"
    if _is_missing(value):
        return None
    if kind == "json":
        return clean_json(value)
    if kind == "timestamp":
        return _moment(value)
    if kind == "boolean":
        return _truth(value)
    if kind in {"integer", "float"}:
        return _number(value, whole=kind == "integer")
    plain = value if isinstance(value, (str, bytes)) else _scalar(value, _text)
    return None if plain is None else _text(plain if isinstance(plain, (str, bytes)) else str(plain))


def clean_json(value: Any) -> Any:
    """Return ``value`` as plain JSON types: no NaN, no bytes, no lone surrogates, not more than a column may have.

    Never raises.
    """
    return _plain(value, 0, _Room())


def plain_json(value: Any) -> Any:
    """Return ``value`` as :func:`clean_json` does, with its texts whole, for who has to look for secrets in them."""
    return _plain(value, 0, _AllTexts())


class _Room:
    """How many values, and characters of texts, may still follow in a JSON value."""

    def __init__(self) -> None:
        self.values = iter(range(MAX_ITEMS))
        self.characters = MAX_JSON_TEXT

    def text(self, value: str | bytes) -> str:
        """Return a text, cut where it is long and there is no room for it."""
        text = _text(value, max(_SHORT, min(MAX_TEXT, self.characters)))
        self.characters -= len(text)
        return text


class _AllTexts(_Room):
    """How many values may still follow; texts may always, and as long as they are."""

    def text(self, value: str | bytes) -> str:
        """Return a text."""
        return _text(value, sys.maxsize)


def _plain(value: Any, depth: int, room: _Room) -> Any:
    """Return a part of a JSON value.

    :param room: what may still follow, here and in all other parts.
    """
    try:
        return _part(value, depth, room)
    except Exception:  # noqa: BLE001  a user's own mapping, or one that another thread is changing
        return room.text(_written(value, repr))


def _part(value: Any, depth: int, room: _Room) -> Any:
    if depth > _MAX_DEPTH:
        return "… [nested too deeply]"
    if isinstance(value, dict) or (not isinstance(value, _SIMPLE) and isinstance(value, Mapping)):
        items = value.items()
        # The room comes last, so that the end of one part does not use it up for the next.
        return {
            room.text(_written(key, str)): _plain(item, depth + 1, room)
            for (key, item), _ in zip(items, room.values, strict=False)
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item, depth + 1, room) for item, _ in zip(value, room.values, strict=False)]
    return _scalar(value if isinstance(value, _SIMPLE) else unwrapped(value), room.text)


def _written(value: Any, write: Callable[[Any], str]) -> str:
    try:
        return write(value)
    except Exception as error:  # noqa: BLE001  a user's own class
        return f"<{type(value).__name__}: {type(error).__name__}>"


def unwrapped(value: Any) -> Any:
    """Return the Python value of a truth or number of numpy, which pandas gives too; anything else as it is."""
    try:
        plain = value.item() if value.shape == () and value.dtype.kind in "biuf" else value
    except Exception:  # noqa: BLE001  nothing of numpy's
        return value
    return plain if isinstance(plain, (bool, int, float)) else value


def _is_missing(value: Any) -> bool:
    """Return whether there is no value: a row of pandas has NaN, NaT or NA where a table has NULL."""
    return value is None or type(value).__name__ in _MISSING or (isinstance(value, float) and math.isnan(value))


def _scalar(value: Any, text: Callable[[str | bytes], str]) -> Any:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool) or _is_missing(value):
        return value if isinstance(value, bool) else None
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else _written(value, str)
    if isinstance(value, (float, Decimal)):
        return _number(value, whole=False)
    if isinstance(value, (datetime, date)):
        moment = _moment(value) if isinstance(value, datetime) else None
        return moment.isoformat() if moment else _written(value, _iso)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return text(value if isinstance(value, (str, bytes)) else _written(value, repr))


def _text(value: str | bytes, longest: int = MAX_TEXT) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    text = text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= longest else text[:longest] + _CUT.format(len(text))


def _moment(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            return None
    if isinstance(value, datetime):
        try:
            return _exactly((value if value.tzinfo else value.replace(tzinfo=timezone.utc)).astimezone(timezone.utc))
        except Exception:  # noqa: BLE001  the first or the last day of all in another zone, or a user's own class
            return None
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
    return None


def _exactly(moment: datetime) -> datetime:
    """Return a moment in UTC as Python's own type: pandas writes nanoseconds, which Python 3.10 cannot read."""
    if type(moment) is datetime:
        return moment
    return datetime(*moment.timetuple()[:6], moment.microsecond, tzinfo=timezone.utc)


def _iso(moment: date) -> str:
    return moment.isoformat()


def _truth(value: Any) -> bool | None:
    try:
        return bool(value)
    except Exception:  # noqa: BLE001  a user's own class
        return None


def _number(value: Any, *, whole: bool) -> int | float | None:
    try:
        number = float(value)
        if not math.isfinite(number):
            return None
        if not whole:
            return number
        exact = int(value) if not isinstance(value, float) else int(number)
    except Exception:  # noqa: BLE001  a user's own class
        return None
    return exact if -(2**63) <= exact < 2**63 else None
