"""A transfer that skipped completed without bringing data; only its decision says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: What the decision of such a transfer begins with, whatever else was decided on the way.
SKIPPED: Final = "skipped"


def is_skipped(record: Mapping[str, Any]) -> bool:
    """Return whether an attempt ended by skipping."""
    return record.get("transfer_status") == "completed" and str(record.get("decision") or "").startswith(SKIPPED)
