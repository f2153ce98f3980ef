"""Durations as people write them: ``1d12h30m``, ``45m``, ``90s``, ISO 8601, or ``continuous``."""

from __future__ import annotations

import functools
import re
from datetime import timedelta

CONTINUOUS = "continuous"
FORMS = "expected a duration such as 45m, 1d12h30m, 90s or PT45M"

#: Characters of a duration; what is longer fits no index.
_LONGEST = 250
_UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}
_SHORT = re.compile(
    r"(?:([0-9]+(?:\.[0-9]+)?)w)?(?:([0-9]+(?:\.[0-9]+)?)d)?(?:([0-9]+(?:\.[0-9]+)?)h)?(?:([0-9]+(?:\.[0-9]+)?)m)?(?:([0-9]+(?:\.[0-9]+)?)s)?"
)
_ISO = re.compile(r"P(?:([0-9]+)W)?(?:([0-9]+)D)?(?:T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+(?:\.[0-9]+)?)S)?)?")


@functools.lru_cache(maxsize=1024)
def parse_duration(text: str) -> timedelta | None:
    """Return the duration that ``text`` means, or None for ``continuous``.

    :param text: ``w``, ``d``, ``h``, ``m`` and ``s`` after numbers, in this order, spaces allowed between them; or an
        ISO 8601 duration of weeks, days and times; or ``continuous``, in any case.
    :raises ValueError: when it is none of these, or too long to count.
    """
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no text; {FORMS}")  # noqa: TRY004  one error for whoever validates
    if len(text) > _LONGEST:
        raise ValueError(f"{text[:40]!r}… is no duration; {FORMS}")
    compact = re.sub(r"\s+", "", text)
    if compact.lower() == CONTINUOUS:
        return None
    iso = compact.upper().startswith("P")
    match = _ISO.fullmatch(compact.upper()) if iso else _SHORT.fullmatch(compact.lower())
    if match is None or not any(match.groups()) or compact.upper().endswith("T"):
        raise ValueError(f"{text!r} is no duration; {FORMS}")
    seconds = sum(float(amount) * size for amount, size in zip(match.groups(), _UNITS.values(), strict=True) if amount)
    try:
        return timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(f"{text!r} is longer than can be counted") from None
