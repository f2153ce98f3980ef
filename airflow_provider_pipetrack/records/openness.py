"""Whether an attempt or its audit is still open, and whether it has been so for too long to be believed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

#: An attempt that runs for longer is stale, in seconds, unless it is estimated to take more than half as long.
STALE_AFTER = 86_400.0

#: How an audit ended, in its metadata, where its result alone does not say it: a mismatch may only warn, and what is
#: pending asks again, was not checked or gave no answer. Without it the result is all that is known, as of a record
#: that somebody wrote by hand, and the run does not depend on it.
AUDIT_ENDED: Final = "audit_ended"
AUDIT_PASSED: Final = "passed"
AUDIT_FAILED: Final = "failed"
AUDIT_ASKS_AGAIN: Final = "not yet"
#: The warnings in the metadata of an audit that somebody has set to success: it had failed, or gave no answer.
OVERRULED: Final = "Airflow says success; the audit itself had failed"
UNANSWERED: Final = "Airflow says success; the audit itself gave no answer"
#: The warning of an audit that the Dag no longer has, since its pipeline was changed.
AUDIT_REMOVED: Final = "the audit was removed from the Dag"
#: The warning of an audit that has no function.
NOT_CHECKED: Final = "no audit function: the data was not checked"
#: The decision of a transfer that somebody has set to success before it ran.
SET_TO_SUCCESS: Final = "set to success without running"
#: The decisions of transfers that the pipeline does not have in a run: as its file says, or since the Dag was changed.
DISABLED: Final = "disabled"
REMOVED: Final = "removed from the Dag"
LEFT_OUT: Final = (DISABLED, REMOVED)


def is_open(record: Mapping[str, Any]) -> bool:
    """Return whether an attempt may still change: it runs, or it waits and nobody has decided that it will not run."""
    status = record.get("transfer_status")
    return status == "in_progress" or (status == "pending" and not record.get("decision"))


def evidence_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the audit of an attempt left; nothing where somebody wrote no mapping by hand."""
    evidence = record.get("audit_metadata")
    return evidence if isinstance(evidence, Mapping) else {}


def is_audited(record: Mapping[str, Any]) -> bool:
    """Return whether an attempt has an audit: its transfer says so, or one of a hand-written Dag has looked at it."""
    result, ended = record.get("audit_result"), evidence_of(record).get(AUDIT_ENDED)
    return bool(record.get("audit_enabled") or result in ("matched", "mismatched") or (result and ended))


def awaits_audit(record: Mapping[str, Any]) -> bool:
    """Return whether the audit of an attempt has no answer, and nobody has said that it ended."""
    ended = evidence_of(record).get(AUDIT_ENDED)
    return record.get("audit_result") == "pending" and ended not in (AUDIT_PASSED, AUDIT_FAILED)


def has_failed_audit(record: Mapping[str, Any]) -> bool:
    """Return whether the audit of an attempt stopped the run: by a mismatch, or because it gave no answer."""
    stops = record.get("audit_result") in ("mismatched", "pending")
    return stops and evidence_of(record).get(AUDIT_ENDED) == AUDIT_FAILED


def is_accepted_by_rule(record: Mapping[str, Any]) -> bool:
    """Return whether the run went on in spite of an audit that found no match, since ``on_mismatch`` is ``warn``."""
    said = evidence_of(record)
    goes_on = record.get("audit_result") in ("mismatched", "pending") and said.get(AUDIT_ENDED) == AUDIT_PASSED
    return goes_on and said.get("warning") not in (NOT_CHECKED, AUDIT_REMOVED) and not is_accepted_by_hand(record)


def is_accepted_by_hand(record: Mapping[str, Any]) -> bool:
    """Return whether somebody has set the audit of an attempt, or the transfer itself, to success in Airflow."""
    return evidence_of(record).get("warning") in (OVERRULED, UNANSWERED) or record.get("decision") == SET_TO_SUCCESS


def is_stale(record: Mapping[str, Any], now: datetime) -> bool:
    """Return whether an attempt counts as running although it must have ended unseen.

    Attempts send no sign of life while they run. So what is decided is decided by time: more than a day, and more than
    twice the estimate. A continuous transfer never is. Where the maintenance Dag runs, such an attempt is closed by
    what Airflow says of it long before.

    :param now: the present, with zone.
    """
    started = record.get("transfer_start_timestamp")
    if record.get("transfer_status") != "in_progress" or started is None:
        return False
    if record.get("estimated_duration") == "continuous":
        return False
    elapsed = (now - started).total_seconds()
    return bool(elapsed > STALE_AFTER and elapsed > 2 * (record.get("estimated_seconds") or 0))
