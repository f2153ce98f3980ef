"""Whether a transfer that insists on complete upstreams may start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_pipetrack.attempts.binding import are_of_one_index, is_mapped, upstream_transfers
from airflow_provider_pipetrack.attempts.declare import complete_binding
from airflow_provider_pipetrack.compat import AirflowFailException, task_states
from airflow_provider_pipetrack.records.key import RecordKey

#: XCom key under which transfers and audits say how they ended.
XCOM_KEY = "pipetrack"
#: States of the indexes of a mapped transfer that is complete.
_ENDED_WELL = {"success", "skipped"}


def check_upstreams(task: Any, context: Mapping[str, Any]) -> str | None:
    """Refuse to start when an upstream did not complete, delivered partial data, or is not audited to the end.

    Everything is decided from what Airflow itself keeps; the tracking store is never asked.

    :return: a note for the record when an upstream or its audit was set to success by hand, else None.
    :raises AirflowFailException: names the upstream and the reason; the attempt is not retried.
    """
    binding = complete_binding(task.dag)
    said = _Said(task, context)
    notes: list[str] = []
    for upstream in upstream_transfers(task.dag, task.task_id):
        if binding.specs[upstream].transfer.is_continuous:
            continue
        reason = _transfer_refusal(upstream, said, notes)
        audit_task = binding.audits.get(upstream)
        if not reason and audit_task is not None:
            reason = _audit_refusal(upstream, audit_task, said, notes)
        if reason:
            raise AirflowFailException(
                f"{task.task_id} needs its upstream complete (upstream_completion_required: true), "
                f"but upstream {upstream!r} {reason}"
            )
    return "; ".join(notes) or None


def answers_for(task: Any, context: Mapping[str, Any], other: str) -> list[Mapping[str, Any]]:
    """Return what another task said when it ended: one answer, or one for each map index that ended.

    :param task: who asks; in a mapped group, an index of it is told of the same index alone.
    """
    ti = context["ti"]
    only = {"map_indexes": ti.map_index} if are_of_one_index(task.dag, task.task_id, other) else {}
    said = ti.xcom_pull(task_ids=other, key=XCOM_KEY, **only)
    if isinstance(said, Mapping):
        return [said]
    if isinstance(said, Iterable) and not isinstance(said, str):
        return [answer for answer in said if isinstance(answer, Mapping)]
    return []


class _Said:
    """What tasks above have said, and Airflow's states of them; these are asked for only when one has left no word."""

    def __init__(self, task: Any, context: Mapping[str, Any]) -> None:
        self._task = task
        self._context = context
        self._answers: dict[str, list[Mapping[str, Any]]] = {}
        self._states: dict[str, dict[str, str | None]] = {}

    def answers(self, task_id: str) -> list[Mapping[str, Any]]:
        """Return what a task has said, of several indexes those that count."""
        if task_id not in self._answers:
            answers = answers_for(self._task, self._context, task_id)
            if answers and self.is_several(task_id):
                # The word of an index is still there when it was removed.
                states = self.states_by_name(task_id)
                answers = [a for a in answers if "map_index" not in a or f"{task_id}_{a['map_index']}" in states]
            self._answers[task_id] = answers
        return self._answers[task_id]

    def is_several(self, task_id: str) -> bool:
        """Return whether several indexes of a task count, each with a word of its own."""
        dag = self._task.dag
        return is_mapped(dag, task_id) and not are_of_one_index(dag, self._task.task_id, task_id)

    def states(self, task_id: str) -> set[str | None]:
        """Return the states of a task, of all its map indexes that count."""
        return set(self.states_by_name(task_id).values())

    def states_of_audit(self, audit_task: str, upstream: str) -> set[str | None]:
        """Return the states of an upstream's audit; in a mapped group of those indexes that have loaded something."""
        audited = self.states_by_name(audit_task)
        if self.is_several(audit_task) and are_of_one_index(self._task.dag, audit_task, upstream):
            loaded = self.states_by_name(upstream)
            empty = {f"{audit_task}{name.removeprefix(upstream)}" for name in loaded if loaded[name] == "skipped"}
            audited = {name: state for name, state in audited.items() if name not in empty or state != "skipped"}
        return set(audited.values())

    def states_by_name(self, task_id: str) -> dict[str, str | None]:
        """Return the states of a task, of all its map indexes that count, by the names that Airflow gives these."""
        if task_id not in self._states:
            self._states[task_id] = self._ask_states(task_id)
        return self._states[task_id]

    def has_heard_of(self, audit_task: str, upstream: str) -> bool:
        """Return whether an audit has looked at all that was loaded: an upstream may be cleared without its audit."""
        told = [a["audited"] for a in self.answers(audit_task) if a.get("checked") and "audited" in a]
        if not told:
            return True
        audited = {tuple(place) for places in told for place in places}
        missed = {place for place in map(place_of, self.answers(upstream)) if place not in audited}
        # Where each index has an audit of its own, one without a word is judged by its state, as a single one is.
        has_own = self.is_several(audit_task) and are_of_one_index(self._task.dag, audit_task, upstream)
        heard = {index for index, _ in audited}
        return all(
            has_own and index not in heard and f"{audit_task}_{index}" in self.states_by_name(audit_task)
            for index, _ in missed
        )

    def _ask_states(self, task_id: str) -> dict[str, str | None]:
        ti = self._context["ti"]
        # Asked for alone: another task may be called like an index of it.
        states = task_states(ti.dag_id, ti.run_id, task_ids=[task_id])
        if self.is_several(task_id):
            # What was removed is of an earlier try, which had more indexes.
            return {name: state for name, state in states.items() if state != "removed"}
        own = task_id
        if are_of_one_index(self._task.dag, self._task.task_id, task_id):
            own = f"{task_id}_{ti.map_index}"
        return {own: states[own]} if own in states else {}


def _transfer_refusal(upstream: str, said: _Said, notes: list[str]) -> str | None:
    answers = said.answers(upstream)
    partial = [answer for answer in answers if answer.get("is_partial")]
    if partial:
        return f"delivered partial data ({partial[0].get('decision') or 'some records failed'})"
    if answers and not said.is_several(upstream):
        return None
    if answers:
        return _indexes_refusal(upstream, len(answers), said.states_by_name(upstream), notes)
    found = said.states(upstream)
    if found <= {"success"} and found:
        notes.append(f"upstream {upstream!r} was set to success by hand")
        return None
    return "was skipped" if found == {"skipped"} else "has not completed"


def _indexes_refusal(upstream: str, answered: int, states: Mapping[str, str | None], notes: list[str]) -> str | None:
    # Where a trigger rule lets a task start all the same, what failed has said nothing.
    if not set(states.values()) <= _ENDED_WELL:
        return "has not completed in all of its indexes"
    by_hand = list(states.values()).count("success") - answered
    if by_hand > 0:
        notes.append(f"upstream {upstream!r} was set to success by hand in {by_hand} of its {len(states)} indexes")
    return None


def _audit_refusal(upstream: str, audit_task: str, said: _Said, notes: list[str]) -> str | None:
    answers = said.answers(audit_task)
    bad = [a for a in answers if a.get("checked") and a.get("audit_result") in {"pending", "mismatched"}]
    # What has stopped the run goes on only where somebody has said so; what was warned about is refused here.
    is_overruled = bool(bad) and all(answer.get("stops") for answer in bad)
    if bad and not (is_overruled and said.states_of_audit(audit_task, upstream) == {"success"}):
        return f"has the audit result {bad[0]['audit_result']}"
    if not is_overruled and not said.has_heard_of(audit_task, upstream):
        return "has loaded again since its audit; clear the audit, too"
    if answers and not is_overruled and not said.is_several(audit_task):
        return None
    found = said.states_of_audit(audit_task, upstream)
    if found != {"success"}:
        return "has a failed audit" if "failed" in found else "has the audit result pending"
    succeeded = list(said.states_by_name(audit_task).values()).count("success")
    if is_overruled or succeeded > len(answers):
        notes.append(f"the audit of upstream {upstream!r} was set to success by hand")
    return None


def place_of(answer: Mapping[str, Any]) -> tuple[int, int]:
    """Return of which map index and attempt an answer of a transfer is."""
    key = RecordKey.parse(answer["record_id"])
    return key.map_index, key.attempt
