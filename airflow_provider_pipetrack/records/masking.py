"""What stands under the name of a secret is masked before it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

_SECRET_WORDS = ("password", "passwd", "secret", "token", "api_key", "apikey", "private_key", "credential")
_COUNTED = "token"


def without_secrets(value: Any, more: tuple[str, ...] = ()) -> Any:
    """Return a copy of ``value`` in which what stands under a secret's name is masked.

    :param more: words that make a name a secret's, beside the usual ones; small and capital letters are alike.
    """
    if isinstance(value, Mapping):
        return {
            key: "***" if _is_secret(str(key), item, more) else without_secrets(item, more)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [without_secrets(item, more) for item in value]
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value


def _is_secret(key: str, item: Any, more: tuple[str, ...]) -> bool:
    if item is None or item == "":
        return False
    lowered = key.lower()
    words = [word for word in _SECRET_WORDS if word in lowered]
    # A number under this word is how many there were.
    counted = words == [_COUNTED] and isinstance(item, (int, float))
    return (bool(words) and not counted) or any(word.lower() in lowered for word in more)
