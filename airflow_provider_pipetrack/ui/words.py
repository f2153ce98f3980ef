"""How values are written for people: durations, moments, numbers; states with a word and a shape beside the colour."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final

from airflow_provider_pipetrack.notifications.kept import GIVEN_UP
from airflow_provider_pipetrack.records.openness import AUDIT_ENDED, evidence_of, has_failed_audit
from airflow_provider_pipetrack.records.skips import is_skipped
from airflow_provider_pipetrack.ui.airflow_says import AIRFLOW_SAYS

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
#: What would be zero with two places behind the point.
_TINY: Final = 0.01
_NUMBERS: Final = re.compile(r"([0-9]{1,18})|([^0-9]+)")


@dataclass(frozen=True)
class State:
    """How a state is shown.

    :param word: what it is called.
    :param colour: name of its colour in the style sheet.
    :param shape: a sign that tells it apart without its colour.
    """

    word: str
    colour: str
    shape: str


COMPLETED: Final = State("completed", "success", "✓")
PARTIAL: Final = State("partial", "success", "◐")
SKIPPED: Final = State("skipped", "skipped", "↷")
FAILED: Final = State("failed", "failed", "✗")
RUNNING: Final = State("running", "running", "▶")
OVERDUE: Final = State("overdue", "warned", "◔")
STALE: Final = State("stale", "warned", "?")
PENDING: Final = State("pending", "waiting", "○")
NOT_RUN: Final = State("not run", "waiting", "–")
MISMATCHED: Final = State("mismatched", "warned", "≠")
AUDIT_FAILED: Final = State("audit failed", "failed", "✗")

_BY_STATUS: Final[Mapping[str, State]] = {
    "completed": COMPLETED,
    "failed": FAILED,
    "in_progress": RUNNING,
    "pending": PENDING,
}
_READINESS: Final[Mapping[str, State]] = {
    "ready": State("ready", "success", "✓"),
    "partial": PARTIAL,
    "audit_pending": State("audit pending", "waiting", "○"),
    "mismatched": MISMATCHED,
    "in_progress": RUNNING,
    "failed": FAILED,
    "not_run": NOT_RUN,
    "skipped": SKIPPED,
    "unknown": State("not known", "warned", "?"),
    "missing": State("no data", "waiting", "–"),
}
_AUDITS: Final[Mapping[str, State]] = {
    "matched": State("matched", "success", "✓"),
    "mismatched": MISMATCHED,
    "pending": State("audit pending", "waiting", "○"),
}
#: What the metadata of an audit has beside what was found.
_ABOUT_AN_AUDIT: Final = ("audit_result", "audit_task", "audited_at", AUDIT_ENDED)
_REASONS: Final[Mapping[str, State]] = {
    "failed": FAILED,
    "mismatched": MISMATCHED,
    "audit_failed": AUDIT_FAILED,
    "overdue": OVERDUE,
    "stale": STALE,
}


def state_of(row: Mapping[str, Any], now: datetime) -> State:
    """Return the state of an attempt: its status, or what its decision, its estimate or Airflow say more exactly."""
    if row.get(AIRFLOW_SAYS):
        return STALE
    status = row["transfer_status"]
    if status == "pending" and row.get("decision"):
        return NOT_RUN
    if is_skipped(row):
        return SKIPPED
    if status == "completed" and row.get("is_partial"):
        return PARTIAL
    if status == "in_progress" and _is_overdue(row, now):
        return OVERDUE
    return _BY_STATUS.get(status, PENDING)


def run_state(row: Mapping[str, Any]) -> State:
    """Return the state of a run or of a pipeline's last run."""
    state = _BY_STATUS.get(row["state"], PENDING)
    if state is RUNNING and row.get("overdue"):
        return OVERDUE
    return PARTIAL if state is COMPLETED and row.get("partial") else state


def readiness_state(word: str) -> State:
    """Return the state of a stage's data."""
    return _READINESS.get(word, PENDING)


def audit_state(row: Mapping[str, Any]) -> State | None:
    """Return the state of an attempt's audit, or None when there was none."""
    if row["audit_result"] == "pending" and has_failed_audit(row):
        return AUDIT_FAILED
    return _AUDITS.get(row["audit_result"] or "")


def audit_reason(row: Mapping[str, Any]) -> str:
    """Return why an audit failed: what it found, or why it gave no answer."""
    said = evidence_of(row)
    if row["audit_result"] != "mismatched":
        return f"no answer: {said.get('error')}"
    found = evidence_words(said)
    return f"mismatched, {found}" if found else "mismatched"


def location_state(word: str) -> State:
    """Return how a location is: up, down, left alone or not visible here."""
    if word == "up":
        return State(word, "success", "✓")
    return State(word, "failed", "✗") if word == "down" else State(word, "warned", "◔")


def location_words(word: str, since: datetime | None, now: datetime) -> str:
    """Return how a location is, and for how long it has not answered: ``down 4 min``.

    :param word: up, down, left alone or not visible here.
    :param since: since when it has not answered; None where it does, or where that is not known.
    """
    if since is None:
        return word
    told = word if word == "down" else f"{word}, down"
    return f"{told} {_in_one_unit(max((now - since).total_seconds(), 0.0))}"


def sending_state(word: str) -> State:
    """Return how an alert is that was not sent: waiting, or given up."""
    return State("given up", "failed", "✗") if word == GIVEN_UP else State("waiting", "waiting", "○")


def reason_state(reason: str) -> State:
    """Return why something needs attention."""
    return _REASONS.get(reason, FAILED)


# A page says the same few durations and moments again and again.
@functools.lru_cache(maxsize=4096)
def duration(seconds: float | None) -> str:
    """Return a duration as people say it, in at most two units: ``1 h 12 min``; nothing for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{max(seconds, 0.0):.2f}".rstrip("0").rstrip(".") + " s"
    left = round(seconds)
    parts: list[tuple[int, str]] = []
    for size, unit in _UNITS:
        amount, left = divmod(left, size)
        if amount or parts:
            parts.append((amount, unit))
    return " ".join(f"{amount} {unit}" for amount, unit in parts[:2] if amount)


def took(row: Mapping[str, Any], now: datetime) -> str:
    """Return what an attempt took, or takes so far."""
    started = row["transfer_start_timestamp"]
    if row["transfer_status"] == "in_progress" and started is not None:
        return f"{duration(max((now - started).total_seconds(), 0.0))} so far"
    return duration(row["actual_seconds"])


def ago(moment: datetime | None, now: datetime) -> str:
    """Return how long ago a moment was, in one unit; nothing for None."""
    if moment is None:
        return ""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 60:
        return "just now"
    text = _in_one_unit(abs(seconds))
    return f"in {text}" if seconds < 0 else f"{text} ago"


def _in_one_unit(seconds: float) -> str:
    length, unit = next(((size, name) for size, name in _UNITS if seconds >= size), _UNITS[-1])
    return f"{int(seconds // length)} {unit}"


@functools.lru_cache(maxsize=4096)
def exact(moment: datetime | None) -> str:
    """Return a moment in full, UTC; nothing for None."""
    return "" if moment is None else moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def number(value: float | None) -> str:
    """Return a number with its thousands apart; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, int):  # as a float it would lose the last digits of a sum or a checksum
        return f"{value:,}"
    if not math.isfinite(value):
        return str(value)
    if 0 < abs(value) < _TINY:  # a small difference is none that is zero
        return f"{value:.2g}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.2f}"


def percent(share: float) -> str:
    """Return a share as ``56 %``."""
    return f"{share * 100:.0f} %"


def times(ratio: float) -> str:
    """Return how many times as long something takes: ``1.5 times``."""
    return f"{ratio:.1f} times"


def first_line(text: str | None, limit: int = 160) -> str:
    """Return the first line of a text, cut to ``limit`` signs."""
    lines = (text or "").strip().splitlines()
    line = lines[0].rstrip() if lines else ""
    return line if len(line) <= limit else line[: limit - 1] + "…"


def remarks(row: Mapping[str, Any], limit: int) -> list[str]:
    """Return the first lines of an attempt's error and of its decision, each once, the error first."""
    lines = (first_line(row[name], limit) for name in ("error_message", "decision"))
    return [*dict.fromkeys(filter(None, lines))]


def natural(text: str) -> list[tuple[int, str]]:
    """Return what names are sorted by so that ``step_9`` comes before ``step_10``."""
    return [(int(digits or 0), word) for digits, word in _NUMBERS.findall(text)]


def evidence_words(evidence: Any) -> str:
    """Return what an audit found in a line, such as ``rows: 700, difference: 3``; what has parts is left out."""
    if isinstance(evidence, Mapping):
        evidence = {name: value for name, value in evidence.items() if name not in _ABOUT_AN_AUDIT}
    found = evidence.items() if isinstance(evidence, Mapping) else ()
    plain = [(name, value) for name, value in found if isinstance(value, (str, int, float)) and value != ""]
    told = [f"{name}: {_plain_word(value)}" for name, value in plain]
    return first_line(", ".join(told) or (json.dumps(evidence, ensure_ascii=False) if evidence else ""), 80)


def _plain_word(value: str | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return first_line(value, 40) if isinstance(value, str) else number(value)


def attempt_words(row: Mapping[str, Any]) -> str:
    """Return which attempt this is, such as ``3 of 4``: an allowed retry is one attempt more."""
    tried, allowed = row["retry_attempt_number"] + 1, row.get("max_retry_attempts")
    return str(tried) if allowed is None or tried > allowed + 1 else f"{tried} of {allowed + 1}"


def of_newest(bounds: Mapping[str, int]) -> str:
    """Return what was looked at only, in words.

    :param bounds: see :attr:`airflow_provider_pipetrack.tracking.questions.Answer.bounds`.
    """
    return " and ".join(
        f"the newest {number(n)} {'runs' if what == 'newest' else 'records'}" for what, n in bounds.items()
    )


def plural(count: int, word: str) -> str:
    """Return a count with its word."""
    return f"{number(count)} {word}" if count == 1 else f"{number(count)} {word}s"


def _is_overdue(row: Mapping[str, Any], now: datetime) -> bool:
    started, estimate = row.get("transfer_start_timestamp"), row.get("estimated_seconds")
    return bool(started and estimate and (now - started).total_seconds() > estimate)
