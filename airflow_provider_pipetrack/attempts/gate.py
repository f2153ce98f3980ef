"""Whether a transfer that insists on complete upstreams may start."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from airflow_provider_pipetrack.attempts.binding import binding_of, is_mapped, upstream_transfers
from airflow_provider_pipetrack.compat import AirflowFailException, task_states

#: XCom key under which transfers and audits say how they ended.
XCOM_KEY = "pipetrack"


def check_upstreams(task: Any, context: Mapping[str, Any]) -> str | None:
    """Refuse to start when an upstream did not complete, delivered partial data, or is not audited to the end.

    Everything is decided from what Airflow itself keeps; the tracking store is never asked.

    :return: a note for the record when an upstream or its audit was set to success by hand, else None.
    :raises AirflowFailException: names the upstream and the reason; the attempt is not retried.
    """
    binding = binding_of(task.dag)
    states = _States(task.dag, context)
    notes: list[str] = []
    for upstream in upstream_transfers(task.dag, task.task_id):
        if binding.specs[upstream].transfer.is_continuous:
            continue
        reason = _transfer_refusal(upstream, context, states, notes)
        audit_task = binding.audits.get(upstream)
        if not reason and audit_task is not None:
            reason = _audit_refusal(upstream, audit_task, context, states, notes)
        if reason:
            raise AirflowFailException(
                f"{task.task_id} needs its upstream complete (upstream_completion_required: true), "
                f"but upstream {upstream!r} {reason}"
            )
    return "; ".join(notes) or None


class _States:
    """Airflow's states of the run's tasks; asked for only when a task has left no word."""

    def __init__(self, dag: Any, context: Mapping[str, Any]) -> None:
        self._dag = dag
        self._ti = context["ti"]

    @cached_property
    def _all(self) -> Mapping[str, str | None]:
        return task_states(self._ti.dag_id, self._ti.run_id)

    def of(self, task_id: str) -> set[str | None]:
        """Return the states of a task, of all its map indexes when it is mapped."""
        if not is_mapped(self._dag, task_id):  # another task may be called like an index of it
            return {self._all[task_id]} if task_id in self._all else set()
        indexed = re.compile(re.escape(task_id) + r"_\d+")
        return {state for name, state in self._all.items() if name == task_id or indexed.fullmatch(name)}


def _transfer_refusal(upstream: str, context: Mapping[str, Any], states: _States, notes: list[str]) -> str | None:
    answers = _answers(context["ti"].xcom_pull(task_ids=upstream, key=XCOM_KEY))
    partial = [answer for answer in answers if answer.get("is_partial")]
    if partial:
        return f"delivered partial data ({partial[0].get('decision') or 'some records failed'})"
    if answers:
        return None
    found = states.of(upstream)
    if found <= {"success"} and found:
        notes.append(f"upstream {upstream!r} was set to success by hand")
        return None
    return "was skipped" if found == {"skipped"} else "has not completed"


def _audit_refusal(
    upstream: str, audit_task: str, context: Mapping[str, Any], states: _States, notes: list[str]
) -> str | None:
    answer = context["ti"].xcom_pull(task_ids=audit_task, key=XCOM_KEY)
    if not isinstance(answer, Mapping):
        found = states.of(audit_task)
        if found == {"success"}:
            notes.append(f"the audit of upstream {upstream!r} was set to success by hand")
            return None
        return "has a failed audit" if "failed" in found else "has the audit result pending"
    if answer.get("checked") and answer.get("audit_result") in {"pending", "mismatched"}:
        return f"has the audit result {answer['audit_result']}"
    return None


def _answers(ended: Any) -> list[Mapping[str, Any]]:
    """Return what a transfer said: one answer, or one for each map index that ended."""
    if isinstance(ended, Mapping):
        return [ended]
    if isinstance(ended, Iterable) and not isinstance(ended, str):
        return [answer for answer in ended if isinstance(answer, Mapping)]
    return []
