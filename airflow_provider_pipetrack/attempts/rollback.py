"""Undoing what a failed attempt left behind, only while it is certain that nothing newer is undone."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.attempts.binding import Spec
from airflow_provider_pipetrack.attempts.bounded import call_within
from airflow_provider_pipetrack.attempts.errors import error_text
from airflow_provider_pipetrack.attempts.state import recall, remember
from airflow_provider_pipetrack.attempts.stores import pipeline_ids
from airflow_provider_pipetrack.attempts.users import call_user_function
from airflow_provider_pipetrack.compat import task_states
from airflow_provider_pipetrack.tracking.describe import COMPLETED, FAILED

if TYPE_CHECKING:
    from airflow_provider_pipetrack.records.key import RecordKey
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.rollback")

_STATE_KEY = "pipetrack_rollback"
#: How long a rollback may take where the task has no ``execution_timeout``, in seconds.
ROLLBACK_LIMIT = 3600.0
_ROLLED_BACK = "rolled back"
_NOTHING_LOADED = "nothing to roll back"


class Rollback:
    """The rollback of one attempt.

    An attempt that has begun owes a rollback until it completes or is rolled back. What is owed is kept in Airflow's
    task state store with the attempt's number, where Airflow has one (3.3 and later); elsewhere the record of the
    attempt before says it. What is unknown is paid, since rollback functions are idempotent. So is what an attempt has
    loaded that Airflow fails behind its end, as when its result cannot be an XCom.
    """

    def __init__(self, spec: Spec, context: Mapping[str, Any], task: Any, key: RecordKey, store: TrackingStore) -> None:
        self.spec = spec
        self.context = context
        self.task = task
        self.key = key
        self.store = store
        self._owing = False
        self._unpaid: str | None = None

    @property
    def wanted(self) -> bool:
        """Whether the transfer has a rollback function."""
        return bool(self.spec.transfer.rollback)

    @property
    def is_owed(self) -> bool:
        """Whether this attempt or one before it was neither completed nor rolled back."""
        return self._owing or self._unpaid is not None

    def pay_debt(self) -> str | None:
        """Roll back what an earlier attempt left behind, before anything else of this attempt is done or refused.

        :return: what was done, for the record's decision.
        :raises Exception: what the user's function raises; the attempt must not load over bad data.
        """
        if not self.wanted or self.key.attempt == 1:
            return None
        # execution_timeout's alarm and a signal to stop may strike while it is looked up, too.
        self._unpaid = "an earlier attempt may be owed a rollback"
        if not self._is_owed_by_another():
            self._unpaid = None
            return None
        log.info("An earlier attempt of %s was not rolled back: doing it now", self.task.task_id)
        try:
            self._call()
        except BaseException as error:  # execution_timeout's alarm and a signal to stop are no Exception
            reason = error_text(error, self.task)
            self._unpaid = f"the rollback of an earlier attempt failed and is owed: {reason}"
            raise
        self._remember(owed=False)
        self._unpaid = None
        return "rolled back the previous attempt first"

    def owe(self) -> None:
        """Owe for this attempt, whose own work begins."""
        if self.wanted:
            self._remember(owed=True)
            self._owing = True

    def owe_after_all(self) -> None:
        """Owe for this attempt, which had settled and which Airflow has failed; its record tells the next one."""
        self._owing = self.wanted

    def still_owe(self) -> None:
        """Owe what the attempt owed before it was deferred or rescheduled, in another process."""
        self._owing = self.wanted and self._is_owed()

    def undo(self) -> str | None:
        """Roll back this attempt, and return what happened, for the record's decision."""
        if not self._owing:
            return self._unpaid or self._nothing()
        try:
            self._call()
        except Exception as error:
            log.exception("The rollback of %s failed; it is owed before the next attempt", self.task.task_id)
            return f"rollback failed and is owed: {error_text(error, self.task)}"
        self.settle()
        return _ROLLED_BACK

    def put_off(self, reason: str) -> str | None:
        """Leave the rollback to the next attempt, and return that, for the record's decision.

        :param reason: why nothing may be undone now.
        """
        return f"rollback owed: {reason}" if self.is_owed else self._nothing()

    def settle(self) -> None:
        """Owe nothing any more."""
        if self._owing:
            self._owing = False
            self._remember(owed=False)

    def is_running(self) -> bool | None:
        """Return whether Airflow still says that this very task instance is running; None when it gives no answer."""
        ti = self.context["ti"]
        map_index = ti.map_index if isinstance(ti.map_index, int) and ti.map_index >= 0 else None
        try:
            states = task_states(ti.dag_id, ti.run_id, task_ids=[ti.task_id], map_index=map_index)
        except Exception as error:  # noqa: BLE001  no answer is an answer
            log.warning("Airflow does not answer for %s: %s", ti.task_id, error)
            return None
        return "running" in states.values()

    def _nothing(self) -> str | None:
        """Return that the attempt ends before its own work began; the next one, too, has nothing to pay."""
        return _NOTHING_LOADED if self.wanted else None

    def _call(self) -> None:
        function = self.spec.transfer.rollback
        if function:
            # ``execution_timeout`` counts for it again: its alarm has been spent on the transfer.
            limit = self.task.execution_timeout
            call_within(
                limit.total_seconds() if limit is not None else ROLLBACK_LIMIT,
                "the rollback",
                lambda: call_user_function(self.spec, function, {"context": {**self.context, "task": self.task}}),
            )

    def _is_owed(self) -> bool:
        known = recall(self.context, _STATE_KEY)
        return True if known is None else bool(known.get("owed", True))

    def _is_owed_by_another(self) -> bool:
        """Return whether an attempt before this one owes; what this one owes is to be undone when it fails only."""
        known = recall(self.context, _STATE_KEY)
        if known is None:
            return not self._was_settled()
        if known.get("attempt") == self.key.attempt:
            return False
        return bool(known.get("owed", True)) or self._has_failed_after_all()

    def _was_settled(self) -> bool:
        """Return whether the record of the attempt before says, by its own task's word, that nothing is owed."""
        record = self._record_before()
        if record is None or record.get("closed_by") != "task":
            return False
        reasons = str(record.get("decision") or "").split("; ")
        return record["transfer_status"] == COMPLETED or not {_ROLLED_BACK, _NOTHING_LOADED}.isdisjoint(reasons)

    def _has_failed_after_all(self) -> bool:
        """Return whether the attempt before has begun, and Airflow failed it when it had settled."""
        record = self._record_before() or {}
        has_begun = record.get("transfer_start_timestamp") is not None
        return has_begun and record.get("transfer_status") == FAILED and record.get("closed_by") != "task"

    def _record_before(self) -> Mapping[str, Any] | None:
        before = replace(self.key, attempt=self.key.attempt - 1)
        try:
            return self.store.read_record(before.record_id, pipeline_ids(self.spec, self.key.dag_id))
        except Exception as error:  # noqa: BLE001  not to know is an answer too
            log.warning("The record of %s cannot be read: %s", before.record_id, error)
            return None

    def _remember(self, *, owed: bool) -> None:
        remember(self.context, _STATE_KEY, {"owed": owed, "attempt": self.key.attempt})
