"""Why a run stopped, and which of its transfers that keeps from running."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from airflow_provider_pipetrack.records.openness import LEFT_OUT, evidence_of, has_failed_audit
from airflow_provider_pipetrack.records.skips import SKIPPED
from airflow_provider_pipetrack.ui.asking import Asker
from airflow_provider_pipetrack.ui.configured import Upstreams
from airflow_provider_pipetrack.ui.paths import attempts_link
from airflow_provider_pipetrack.ui.timeline_rows import TransferLine
from airflow_provider_pipetrack.ui.words import (
    AUDIT_FAILED,
    FAILED,
    NOT_RUN,
    PENDING,
    State,
    attempt_words,
    audit_reason,
    audit_state,
    first_line,
    remarks,
)

#: What attention is asked for of a run, and how much of that the page names.
_MOST_STOPS = 100
_REMARK = 300


class Stop(NamedTuple):
    """Why a run stopped: a transfer that failed, or whose audit did.

    :param href: where its attempts of this run are.
    :param what: which attempt it is, or which audit.
    """

    state: State
    row: Mapping[str, Any]
    href: str
    what: str
    reason: str


def stops_of(asker: Asker, root: str, wanted: Mapping[str, Any]) -> list[Stop]:
    """Return why a run stopped, by the transfers that failed and those whose audit did, a hundred at most.

    They are asked for by themselves, since a mapped run has more transfers than are looked at.

    :param wanted: the filters that say which run it is.
    """
    # Failures come first by their names: audits, transfers, mismatches.
    found = asker.ask("attention", **wanted, include_recovered=True, order_by="reason", limit=_MOST_STOPS)
    failed = [row for row in found.rows if row["transfer_status"] == "failed" or has_failed_audit(row)]
    return [_stop(row, root) for row in sorted(failed, key=lambda row: row["transfer_order_number"] or 0)]


def affected_by(
    stops: Sequence[Stop], lines: Sequence[TransferLine], upstreams: Mapping[str, Upstreams]
) -> list[TransferLine]:
    """Return what did not run, and what waits behind a transfer that has failed.

    What the Dag does not have, or a branch has skipped, would not have run without the failure either.

    :param upstreams: which transfers wait for which, by the hashes of configurations; where that is not known, what has
        a higher order number waits.
    """
    failed = {stop.row["task_id"] for stop in stops}
    first = min((stop.row["transfer_order_number"] or 0 for stop in stops), default=float("inf"))
    behind = {config_hash: _behind(failed, known) for config_hash, known in upstreams.items()}

    def waits(line: TransferLine) -> bool:
        row = line.row
        known = behind.get(row["config_hash"])
        return row["task_id"] in known if known is not None else (row["transfer_order_number"] or 0) > first

    return [
        line
        for line in lines
        if (line.state is NOT_RUN and _was_kept_back(line.row)) or (line.state is PENDING and waits(line))
    ]


def _was_kept_back(row: Mapping[str, Any]) -> bool:
    return row["decision"] not in LEFT_OUT and not row["decision"].startswith(SKIPPED)


def _behind(failed: Collection[str], upstreams: Upstreams) -> set[str]:
    """Return the transfers that wait for one that has failed, or for another that does."""
    downstream: dict[str, list[str]] = {}
    for name, waits_for in upstreams.items():
        for upstream in waits_for:
            downstream.setdefault(upstream, []).append(name)
    found: set[str] = set()
    todo = [*failed]
    while todo:
        new = {*downstream.get(todo.pop(), ())} - found
        found |= new
        todo += new
    return found


def _stop(row: Mapping[str, Any], root: str) -> Stop:
    href = attempts_link(root, row)
    if row["transfer_status"] != "failed":
        audit = evidence_of(row).get("audit_task")
        state = audit_state(row) or AUDIT_FAILED
        return Stop(state, row, href, f"audit {audit}" if audit else "audit", first_line(audit_reason(row), _REMARK))
    return Stop(FAILED, row, href, f"attempt {attempt_words(row)}", "; ".join(remarks(row, _REMARK)))
