"""The form in which a chain of locations stands in files of the host, as a store describes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeGuard

CHAIN_PARTS = ("locations", "mode", "connections", "adapters")
_BY_TYPE = ("connections", "adapters")


def is_chain(value: object) -> TypeGuard[dict[str, Any]]:
    """Return whether what was read is a chain in the form of this version."""
    return (
        isinstance(value, dict)
        and set(value) == set(CHAIN_PARTS)
        and isinstance(value["locations"], list)
        and _are_texts([value["mode"], *value["locations"]])
        and all(isinstance(value[name], dict) and _are_texts(value[name].values()) for name in _BY_TYPE)
    )


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)
