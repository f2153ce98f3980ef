"""JSON text of values and back, quickly: a reconcile makes and reads it by the hundred thousand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def text_of(value: Any) -> str:
    """Return plain JSON types as JSON text.

    :raises TypeError, ValueError: when there is something else in them.
    """
    import msgspec

    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError):
        return json.dumps(value)  # more lenient, and its errors are those that people know


def value_of(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    :raises ValueError: when it is none.
    """
    import msgspec

    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return json.loads(text)


def readable_text_of(value: Any, other: Callable[[Any], Any]) -> str:
    """Return a value as JSON text over several lines, as ``json.dumps`` with an indent of 2 writes it.

    :param other: what is written for a value that JSON does not know.
    """
    import msgspec

    text = json.dumps(value, default=other, ensure_ascii=False)
    try:
        return msgspec.json.format(text, indent=2)  # with an indent json is many times slower
    except (msgspec.MsgspecError, UnicodeError):
        return json.dumps(value, indent=2, default=other, ensure_ascii=False)
