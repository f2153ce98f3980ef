"""Whether a transfer that insists on complete upstreams may start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_pipetrack.attempts.binding import binding_of, upstream_transfers
from airflow_provider_pipetrack.compat import AirflowFailException

#: XCom key under which transfers and audits say how they ended.
XCOM_KEY = "pipetrack"


def check_upstreams(task: Any, context: Mapping[str, Any]) -> str | None:
    """Refuse to start when an upstream delivered partial data or its audit is undecided or was only warned about.

    Everything is decided from what Airflow itself keeps; the tracking store is never asked.

    :return: a note for the record when an upstream was set to success by hand, else None.
    :raises AirflowFailException: names the upstream and the reason; the attempt is not retried.
    """
    binding = binding_of(task.dag)
    notes = []
    for upstream in upstream_transfers(task.dag, task.task_id):
        if binding.specs[upstream].transfer.is_continuous:
            continue
        ended = context["ti"].xcom_pull(task_ids=upstream, key=XCOM_KEY)
        audited = _audit_answer(context, binding.audits.get(upstream))
        reason = _refusal(ended, audited)
        if reason:
            raise AirflowFailException(
                f"{task.task_id} needs its upstream complete (upstream_completion_required: true), "
                f"but upstream {upstream!r} {reason}"
            )
        if not _answers(ended):
            notes.append(f"upstream {upstream!r} was set to success by hand")
    return "; ".join(notes) or None


def _audit_answer(context: Mapping[str, Any], audit_task: str | None) -> Mapping[str, Any] | None:
    if audit_task is None:
        return None
    answer = context["ti"].xcom_pull(task_ids=audit_task, key=XCOM_KEY)
    return answer if isinstance(answer, Mapping) else None


def _refusal(ended: Any, audited: Mapping[str, Any] | None) -> str | None:
    partial = [answer for answer in _answers(ended) if answer.get("is_partial")]
    if partial:
        return f"delivered partial data ({partial[0].get('decision') or 'some records failed'})"
    if audited is None or not audited.get("checked"):
        return None
    if audited.get("audit_result") in {"pending", "mismatched"}:
        return f"has the audit result {audited['audit_result']}"
    return None


def _answers(ended: Any) -> list[Mapping[str, Any]]:
    """Return what a transfer said: one answer, or one for each map index that ended."""
    if isinstance(ended, Mapping):
        return [ended]
    if isinstance(ended, Iterable) and not isinstance(ended, str):
        return [answer for answer in ended if isinstance(answer, Mapping)]
    return []
