"""What stands under the name of a secret, or as one in an address, is masked before it is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

#: As they are compared: ``X-API-Key``, ``api_key`` and ``apiKey`` are one word.
_SECRET_WORDS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "servicekey",
    "credential",
    "authheader",
    "connectionstring",
    "keyfiledict",
    "webhookurl",
)
#: The header of HTTP; a number of authorizations, or the date of one, is none.
_HEADER = "authorization"
_COUNTED = "token"
#: A password in an address, up to the last @ before its path, and a secret behind its question mark.
_LOGIN = re.compile(r"(://[^\s:/@?#]*:)[^\s/?#]*@")
_PARAMETER = re.compile(
    r"(?i)([?&][\w.-]*(?:key|token|secret|password|passwd|pwd|signature|sig|credential)=)[^&\s#\"']+"
)


def without_secrets_of_addresses(text: str) -> str:
    """Return a text, such as the error of a library, in which passwords and keys of addresses are masked."""
    return _PARAMETER.sub(r"\1***", _LOGIN.sub(r"\1***@", text))


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
    plain = lowered.replace("_", "").replace("-", "")
    words = [word for word in _SECRET_WORDS if word in plain]
    # A number under this word is how many there were.
    counted = words == [_COUNTED] and isinstance(item, (int, float))
    is_header = isinstance(item, str) and plain.endswith(_HEADER)
    return (bool(words) and not counted) or is_header or any(word.lower() in lowered for word in more)
