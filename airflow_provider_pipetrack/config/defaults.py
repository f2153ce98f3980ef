"""What stands in for the identifiers that a user does not define."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


def slug(text: str, limit: int = 200) -> str:
    """Return ``text`` with everything that a task id cannot hold replaced by ``_``."""
    return _UNSAFE.sub("_", text).strip("_.-")[:limit].rstrip("_.-")


def default_stage_unique_id(pipeline_id: str, details: str) -> str:
    """Return the identifier of a stage: its pipeline and its text."""
    return f"{pipeline_id}/{details}"


def default_transfer_unique_id(pipeline_id: str, name: str, run_id: str, map_index: int) -> str:
    """Return the identifier of a transfer in a run; all attempts of it share it."""
    tail = f"/{map_index}" if map_index >= 0 else ""
    return f"{pipeline_id}/{name}/{run_id}{tail}"


def default_name(source: str | None, target: str | None, order: Any) -> str:
    """Return the name of a transfer: from its stages where both are plain texts, else from its order number."""
    from_stage, to_stage = slug(source or "", 110), slug(target or "", 110)
    if from_stage and to_stage:
        return f"{from_stage}__to__{to_stage}"
    number = f"{float(order):g}" if isinstance(order, (int, float)) and not isinstance(order, bool) else "1"
    return f"transfer_{slug(number.replace('.', '_'))}"


def merge_defaults(defaults: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``row`` over ``defaults``: scalars and lists replace, mappings merge."""
    if not defaults:
        return dict(row)
    merged = dict(defaults)
    for key, value in row.items():
        below = merged.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        merged[key] = merge_defaults(below, value) if both else value  # type: ignore[arg-type]
    return merged
