"""How many records a transfer moved: reported, returned or counted, and what follows from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_pipetrack.attempts.state import recall, remember
from airflow_provider_pipetrack.errors import ReportError

SUCCEEDED = "records_succeeded"
FAILED = "records_failed"
_LARGEST = 2**63 - 1
_STATE_KEY = "pipetrack_counts"


@dataclass(frozen=True)
class Counts:
    """Records that were moved and records that could not be; None when the transfer did not say."""

    records_succeeded: int | None = None
    records_failed: int | None = None

    @property
    def known(self) -> bool:
        """Whether the transfer said anything."""
        return self.records_succeeded is not None or self.records_failed is not None

    @property
    def some_failed(self) -> bool:
        """Whether at least one record failed."""
        return bool(self.records_failed)

    def __str__(self) -> str:
        done, lost = self.records_succeeded or 0, self.records_failed or 0
        return f"{done:,} of {done + lost:,} records"


@dataclass(frozen=True)
class Verdict:
    """Whether an attempt that ended without an error counts as completed, and why.

    :param accepted: False when the attempt has to fail.
    :param is_partial: True when only a part of the data was moved.
    :param decision: the reason in a sentence, or None when there was nothing to decide.
    """

    accepted: bool
    is_partial: bool | None
    decision: str | None


_reported = Counts()
#: The process that runs the attempt, once it has begun.
_process: int | None = None


def report(*, records_succeeded: int | None = None, records_failed: int | None = None) -> None:
    """Tell pipetrack, from inside a transfer, how many records it moved and how many it could not.

    A later call replaces the numbers that it gives and keeps those that it does not.

    :param records_succeeded: records moved, 0 or more.
    :param records_failed: records that could not be moved, 0 or more.
    :raises ReportError: when a number is negative, absurdly large or no whole number, or in a process that the transfer
        has forked, from which no number would reach the record.
    """
    global _reported  # noqa: PLW0603  a task process runs one attempt, whatever threads it uses
    if _process not in {None, os.getpid()}:
        raise ReportError(
            "report() was called in a process that the transfer has started, from which its numbers cannot reach the "
            "record; return them from there, and call report() in the transfer's own process"
        )
    _reported = Counts(
        _reported.records_succeeded if records_succeeded is None else _checked(SUCCEEDED, records_succeeded),
        _reported.records_failed if records_failed is None else _checked(FAILED, records_failed),
    )


def forget() -> None:
    """Start an attempt with nothing reported."""
    global _reported, _process
    _reported, _process = Counts(), os.getpid()


def keep(context: Mapping[str, Any], attempt: int, decision: str | None, *, went_on: bool) -> None:
    """Keep what was reported and decided for the process in which the attempt goes on, where Airflow can (from 3.3 on).

    :param decision: the reasons for the record so far.
    :param went_on: whether the attempt has begun in an earlier process, which may have kept something.
    """
    if _reported.known or decision:
        before = restore(context, attempt) if went_on else None
        decision = "; ".join(filter(None, (before, decision))) or None
        remember(context, _STATE_KEY, {**vars(_reported), "decision": decision, "attempt": attempt})


def restore(context: Mapping[str, Any], attempt: int) -> str | None:
    """Add what the attempt had reported before it was deferred or rescheduled; what was reported since counts more.

    :return: the reasons for the record that it had then.
    """
    kept, since = recall(context, _STATE_KEY) or {}, _reported
    if kept.get("attempt") != attempt:
        return None
    report(records_succeeded=kept.get(SUCCEEDED), records_failed=kept.get(FAILED))
    report(**vars(since))
    decision: str | None = kept.get("decision")
    return decision


def reported() -> Counts:
    """Return what this attempt has reported so far."""
    return _reported


def collect(result: Any, counter: Callable[[], Any] | None) -> Counts:
    """Find the counts of an attempt: reported ones first, then the returned dict, then the counting function.

    :param result: what the transfer returned.
    :param counter: calls the user's ``counts`` function, or None when there is none.
    :raises ReportError: when the numbers cannot be true.
    """
    if _reported.known:
        return _reported
    if _is_counts(result):
        return _from_mapping(result)
    if counter is None:
        return Counts()
    counted = counter()
    if not _is_counts(counted):
        raise ReportError(f"the counts function returned {counted!r}; expected a dict with {SUCCEEDED} and {FAILED}")
    return _from_mapping(counted)


def judge(counts: Counts, *, can_partial_data_be_collected: bool) -> Verdict:
    """Decide what an attempt with these counts is worth."""
    if not counts.some_failed:
        return Verdict(accepted=True, is_partial=False if counts.known else None, decision=None)
    if counts.records_succeeded is None:
        lost = f"{counts.records_failed:,} of an unknown number of records failed; report records_succeeded, too"
        return Verdict(accepted=False, is_partial=False, decision=f"failed: {lost}")
    if not counts.records_succeeded:
        return Verdict(accepted=False, is_partial=False, decision=f"failed: no record succeeded ({counts})")
    if can_partial_data_be_collected:
        return Verdict(accepted=True, is_partial=True, decision=f"partial data accepted: {counts}")
    return Verdict(accepted=False, is_partial=True, decision=f"partial data refused: {counts}")


def _is_counts(value: Any) -> bool:
    return isinstance(value, Mapping) and SUCCEEDED in value and FAILED in value


def _from_mapping(value: Mapping[str, Any]) -> Counts:
    return Counts(_checked(SUCCEEDED, value[SUCCEEDED]), _checked(FAILED, value[FAILED]))


def _checked(name: str, value: Any) -> int:
    # Numbers of other libraries (numpy, Decimal) are welcome as long as they are whole.
    if isinstance(value, (bool, str, bytes)):
        raise ReportError(f"{name}={value!r}: expected a whole number")
    try:
        number = int(value)
        whole = number == value
    except (TypeError, ValueError, OverflowError):
        whole, number = False, 0
    if not whole:
        raise ReportError(f"{name}={value!r}: expected a whole number")
    if not 0 <= number <= _LARGEST:
        raise ReportError(f"{name}={value!r}: expected a number from 0 to {_LARGEST}")
    return number
