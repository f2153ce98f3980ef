"""One attempt as its task process sees it: from the start record, through user code, to the end record."""

from __future__ import annotations

import _thread
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from time import monotonic
from typing import Any

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.attempts import counts as counting
from airflow_provider_pipetrack.attempts.announce import announce_run, announced
from airflow_provider_pipetrack.attempts.binding import Spec, is_consumed, is_root
from airflow_provider_pipetrack.attempts.bounded import call_within, disarm_timeout
from airflow_provider_pipetrack.attempts.content import describe_attempt, resolved_stages
from airflow_provider_pipetrack.attempts.declare import complete_binding
from airflow_provider_pipetrack.attempts.errors import (
    PartialDataRefusedError,
    TrackingUnavailableError,
    error_text,
    masked_text,
    tracking_step,
)
from airflow_provider_pipetrack.attempts.gate import XCOM_KEY
from airflow_provider_pipetrack.attempts.meanwhile import Meanwhile
from airflow_provider_pipetrack.attempts.outlets import own_asset, say_stage_ready, sum_of
from airflow_provider_pipetrack.attempts.past import past_reason
from airflow_provider_pipetrack.attempts.rollback import Rollback
from airflow_provider_pipetrack.attempts.starting import first_start, goes_on
from airflow_provider_pipetrack.attempts.stores import pipeline_ids, store_for
from airflow_provider_pipetrack.attempts.telling import tell
from airflow_provider_pipetrack.attempts.users import call_user_function
from airflow_provider_pipetrack.attempts.verdicts import SUPERSEDED
from airflow_provider_pipetrack.compat import AirflowSkipException, may_ask_from_threads
from airflow_provider_pipetrack.records.change import Authority, Change, utc_now
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.skips import SKIPPED
from airflow_provider_pipetrack.tracking.describe import (
    COMPLETED,
    FAILED,
    PENDING,
    Outcome,
    end_change,
    seconds_between,
    start_change,
    stop_event,
)
from airflow_provider_pipetrack.tracking.marks import Mark, set_mark

log = logging.getLogger("airflow_provider_pipetrack.tracking")

#: How long a user's ``counts`` function may take before the attempt ends without counts, in seconds.
COUNTS_LIMIT = 60.0


def key_of(ti: Any) -> RecordKey:
    """Return the identity of the attempt that a task instance is."""
    map_index = ti.map_index if isinstance(ti.map_index, int) else -1
    return RecordKey(ti.dag_id, ti.run_id, ti.task_id, map_index, max(1, ti.try_number or 1))


class Attempt:
    """The tracking of one try of one transfer, in the process that runs it.

    :param task: the tracked task.
    :param context: Airflow's task context.
    :param spec: the transfer and its pipeline.
    :param resumed: True when the task was deferred before and goes on now.
    """

    def __init__(self, task: Any, context: Mapping[str, Any], spec: Spec, *, resumed: bool) -> None:
        self.task = task
        self.context = context
        self.spec = spec
        self.ti = context["ti"]
        self.key = key_of(self.ti)
        self.store = store_for(spec)
        self.rollback = Rollback(spec, context, task, self.key, self.store)
        self.decision: str | None = None
        self.end: Change | None = None
        #: Whether Airflow has decided about this attempt without asking it; it has no say any more.
        self.left_open = False
        self._start: Change | None = None
        self._started: datetime = utc_now()
        self._resumed = resumed
        self._went_on = resumed
        with tracking_step("find out whether the attempt has begun before"):
            self._went_on = goes_on(task, context, self.store, spec, self.key, resumed=resumed)
        self._parent = os.getppid()
        self._killed = False
        self._mark: Mark | None = None
        self._meanwhile = Meanwhile(self.store, spec, self.key, is_async=self._is_async)
        self._began = monotonic()
        self._overhead = 0.0

    def begin(self) -> None:
        """Announce the run's transfers, write the start record, and make sure that it can be kept if asked to.

        :raises TrackingUnavailableError: in strict mode, before any user code has run.
        :raises AirflowSkipException: when the run is about the past and the transfer cannot access historical data.
        """
        counting.forget()
        self._started = self._first_start()
        with tracking_step("announce the run's transfers"):
            complete_binding(self.task.dag)
            if not self._went_on and is_root(self.task.dag, self.task.task_id):
                asks_here = self._is_async or not may_ask_from_threads()
                announce_run(self.store, self.task.dag, self.context, asks_here=asks_here)
        if not self._went_on and not self.spec.transfer.can_access_historical_data:
            self._decline_past()
        with tracking_step("write the start record"):
            self._start = self._make_start()
            self._mark = set_mark(
                self.store.journal_folder, self.key, pipeline_ids(self.spec, self.key.dag_id), self.store.chain()
            )
            if not self._went_on:
                self.store.submit([*self._ends_before(), self._start], durable=False)
        if settings.strict() and not self._went_on:
            self._insist()
        if self._is_async:
            with tracking_step("leave the event loop alone"):
                self.store.flush()
                self.store.hold_connections()
        with tracking_step("do more while the transfer runs"):
            self._meanwhile.begin(self._start, seconds_between(self._started) or 0.0, goes_on=self._went_on)

    def user_code_begins(self) -> None:
        """Note how long it took to come this far, which does not count as the transfer's own time."""
        self._overhead = monotonic() - self._began

    def complete(self, result: Any) -> None:
        """Judge what the transfer moved and record the end.

        :raises PartialDataRefusedError: when the data is partial and that is not accepted.
        """
        ended = utc_now()
        self._user_code_is_over()
        self._recall()
        counts = self._counts(result)
        verdict = counting.judge(counts, can_partial_data_be_collected=self.spec.transfer.can_partial_data_be_collected)
        if not verdict.accepted:
            error = PartialDataRefusedError(f"{self.task.task_id}: {verdict.decision}")
            self._fail(error, ended, counts, verdict)
            raise error
        outcome = Outcome(
            COMPLETED,
            ended=ended,
            records_succeeded=counts.records_succeeded,
            records_failed=counts.records_failed,
            is_partial=verdict.is_partial,
            decision=self._reasons(verdict.decision),
        )
        self._finish(outcome)
        with tracking_step("say that the stage has its data"):
            self._say_ready(outcome)
        self.rollback.settle()

    def fail(self, error: BaseException) -> None:
        """Undo what can be undone and record that the attempt failed."""
        ended = utc_now()
        self._user_code_is_over()
        self._recall()
        self._fail(error, ended, counting.reported(), None)

    def skip(self, error: BaseException) -> None:
        """Record that user code chose to skip."""
        ended = utc_now()
        self._user_code_is_over()
        self._recall()
        reason = str(error).strip()
        said = f"{SKIPPED}: {reason}" if reason else SKIPPED
        decision = f"{said}; {self.decision}" if self.decision else said
        self._finish(Outcome(COMPLETED, ended=ended, decision=decision), delivered=False)
        self.rollback.settle()

    def pause(self) -> None:
        """Leave the attempt open: it was deferred or rescheduled and goes on in another process."""
        self._user_code_is_over()
        counting.keep(self.context, self.key.attempt, self.decision, went_on=self._went_on)
        with tracking_step("deliver the start record"):
            self.store.flush()
        self.is_over()

    def is_over(self) -> None:
        """Note that no process has to be looked for: the attempt's end is written, or it waits for another process."""
        if self._mark is not None:
            self._mark.remove()

    @property
    def is_first_leg(self) -> bool:
        """Whether the attempt begins here, and does not go on after a deferral or a reschedule."""
        return not self._went_on

    def has_ended(self, status: str) -> bool:
        """Return whether this process has already recorded that the attempt ended with ``status``, or never began."""
        return self.end is not None and self.end.columns["transfer_status"] in {status, PENDING}

    def killed(self) -> None:
        """Remember that Airflow or somebody else asked this process to stop, and add that to the record's history.

        Called in a signal handler, which may interrupt whoever holds a lock of the journal or of ``threading``: another
        thread writes, and is started without any lock.
        """
        if self._killed or self.end is not None:
            return
        self._killed = True
        if self._start is None:
            return
        event = stop_event(self._start)
        _thread.start_new_thread(self.store.submit, ([event],), {"durable": True})

    def note(self, decision: str | None) -> None:
        """Add a reason to the record's decision."""
        self.decision = self._reasons(decision)

    def _fail(
        self, error: BaseException, ended: datetime, counts: counting.Counts, verdict: counting.Verdict | None
    ) -> None:
        running = None if self._is_orphan() else self.rollback.is_running()
        # Without an answer: told to stop, or without a supervisor, this process speaks for the attempt no more.
        if running is False or (running is None and (self._killed or self._is_orphan())):
            log.warning("pipetrack leaves %s open: Airflow no longer runs this attempt here", self.key.record_id)
            self.left_open = True
            self._leave_mark()
            return
        reasons = [verdict.decision if verdict else None, self._undo(running=running)]
        self._finish(
            Outcome(
                FAILED,
                ended=ended,
                records_succeeded=counts.records_succeeded,
                records_failed=counts.records_failed,
                is_partial=verdict.is_partial if verdict else None,
                decision=self._reasons(*reasons),
                error_message=error_text(error, self.task),
            )
        )

    def _undo(self, *, running: bool | None) -> str | None:
        """Roll back, or leave that to the next attempt where a rollback could undo what a newer one has loaded."""
        if self._killed:
            # Airflow may have given up on this process, and the attempt that it says is running be another.
            return self.rollback.put_off("this attempt was asked to stop")
        if not running:
            return self.rollback.put_off("Airflow did not say that this attempt still runs")
        return self.rollback.undo()

    def _finish(self, outcome: Outcome, *, delivered: bool = True) -> None:
        """Write the end.

        :param delivered: whether later tasks may count on the data; they are told nothing about a skip.
        """
        with tracking_step("write the end record"):
            if self._is_orphan():
                log.warning("pipetrack does not end %s: its supervisor is gone", self.key.record_id)
                self._leave_mark()
                return
            start = self._start or self._make_start()
            seconds = seconds_between(self._started, outcome.ended)
            outcome = replace(outcome, seconds=None if seconds is None else max(0.0, seconds - self._overhead))
            self.end = end_change(start, outcome, by="task", sequence=1)
            self.store.submit([self.end], durable=True)
            self.is_over()
        if delivered:
            with tracking_step("tell later tasks how it ended"):
                self._tell_downstream(outcome)
        with tracking_step("deliver the end record"):
            if self.store.flush():
                self.store.bring_home()
            elif self.end is not None:
                tell(self.spec, "undelivered", self.end.columns)
        self._meanwhile.finish()

    def _say_ready(self, outcome: Outcome) -> None:
        asset = own_asset(self.task, self.spec.transfer)
        if asset is not None:
            moved = sum_of([vars(outcome)])
            say_stage_ready(self.task, self.context, asset, {"record_id": self.key.record_id, **moved})

    def _tell_downstream(self, outcome: Outcome) -> None:
        counted = outcome.records_succeeded is not None or outcome.records_failed is not None
        if outcome.status != COMPLETED or not (counted or is_consumed(self.task.dag, self.task.task_id)):
            return
        self.ti.xcom_push(
            key=XCOM_KEY,
            value={
                "record_id": self.key.record_id,
                "map_index": self.key.map_index,
                "is_partial": bool(outcome.is_partial),
                "records_succeeded": outcome.records_succeeded,
                "records_failed": outcome.records_failed,
                "decision": outcome.decision,
                **(resolved_stages(self.spec, self._start.columns) if self._start else {}),
            },
        )

    def _recall(self) -> None:
        """Add what was said in earlier processes: Airflow is asked at the end, and not each time a sensor looks."""
        if self._went_on and not self._is_orphan():
            with tracking_step("go on with the counts"):
                before = counting.restore(self.context, self.key.attempt)
                self.decision = "; ".join(filter(None, (before, self.decision))) or None

    def _counts(self, result: Any) -> counting.Counts:
        try:
            return counting.collect(result, self._counter(result))
        except Exception as error:  # noqa: BLE001  the load is done; only its numbers are unknown
            log.warning("pipetrack knows no counts of %s: %s", self.key.record_id, error)
            self.note(f"counts unknown: {masked_text(str(error))}")
            return counting.Counts()

    def _counter(self, result: Any) -> Callable[[], Any] | None:
        """Return what calls the user's ``counts`` function, or None when there is none."""
        function = self.spec.transfer.counts
        if not function:
            return None
        # That of the context is not always the one that runs, with its templates rendered (Airflow 3.1.1).
        given = {"result": result, "context": {**self.context, "task": self.task}}
        return lambda: call_within(
            COUNTS_LIMIT, "the counts function", lambda: call_user_function(self.spec, function, given)
        )

    def _ends_before(self) -> list[Change]:
        """Return the end of the attempt before this one, in case that it was killed: it is over, whatever else it was.

        It is only a guess, so that everybody who knows better has the last word.
        """
        if self.key.attempt == 1:
            return []
        before = replace(self.key, attempt=self.key.attempt - 1)
        outcome = Outcome(FAILED, error_message=SUPERSEDED)
        base = announced(self.spec, self.context, before)
        return [end_change(base, outcome, by="task", authority=Authority.GUESS, sequence=0)]

    def _make_start(self) -> Change:
        described = describe_attempt(self.spec, self.context, self.key, self.store, goes_on=self._went_on)
        return start_change(
            described,
            self.key,
            started=self._started,
            operator=type(self.task).operator_path,
            log_url=getattr(self.ti, "log_url", None),
            resumed=self._went_on,
        )

    def _first_start(self) -> datetime:
        first = None
        if self._went_on or self._resumed:
            with tracking_step("find the attempt's first start"):
                first = first_start(self.context, self.store, self.spec, self.key)
        return first or utc_now()

    def _decline_past(self) -> None:
        """Skip a transfer that can only load what is current, in a run about the past; it counts as never begun."""
        reason = past_reason(self.task.dag, self.context)
        if reason is None:
            return
        reason = f"can_access_historical_data is false and {reason}"
        with tracking_step("record that the transfer is skipped"):
            base = announced(self.spec, self.context, self.key)
            self.end = end_change(base, Outcome(PENDING, decision=f"{SKIPPED}: {reason}"), by="task")
            self.store.submit([self.end], durable=True)
            self.store.flush()
        raise AirflowSkipException(f"{self.task.task_id}: {reason}")

    def _user_code_is_over(self) -> None:
        """Stop what watches the time: what follows is ours and has its own limits."""
        disarm_timeout(self.task)
        if self._is_async:
            self.store.release_connections()
        self._meanwhile.stop()

    def _leave_mark(self) -> None:
        if self._mark is not None:
            self._mark.let_go()

    def _insist(self) -> None:
        if not self.store.keeps():
            raise TrackingUnavailableError(
                "[pipetrack] strict is on, and neither the local journal nor any tracking location can keep the "
                "record of this attempt: check [pipetrack] journal_dir and the connections of tracking_location"
            )

    @property
    def _is_async(self) -> bool:
        """Whether its code talks to Airflow in an event loop, and fails where a thread is asking for a connection."""
        return bool(getattr(self.task, "is_async", False))

    def _is_orphan(self) -> bool:
        return os.getppid() != self._parent

    def _reasons(self, *more: str | None) -> str | None:
        return "; ".join(reason for reason in (self.decision, *more) if reason) or None
