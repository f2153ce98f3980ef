"""What is done beside the user's code: telling that it takes too long, and closing what others of its run left open."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from airflow_provider_pipetrack.attempts.binding import Spec
from airflow_provider_pipetrack.attempts.errors import tracking_step
from airflow_provider_pipetrack.attempts.later import Later
from airflow_provider_pipetrack.attempts.stores import pipeline_ids
from airflow_provider_pipetrack.attempts.telling import tell
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.marks import Left, forget, left_of_run

if TYPE_CHECKING:
    from airflow_provider_pipetrack.records.change import Change
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.tracking")

#: A transfer that runs for longer looks after what died on other hosts, in seconds. A short one does not: its end would
#: have to wait for the location to answer.
LEFTOVERS_AFTER = 30.0
#: Seconds that a transfer waits at its end until what died on its host is closed.
DEAD_LIMIT = 2.0


class Meanwhile:
    """What an attempt does beside user code.

    :param is_async: whether the user's code talks to Airflow in an event loop, beside which no thread may ask; what
        asks Airflow is then done when that code is over.
    """

    def __init__(self, store: TrackingStore, spec: Spec, key: RecordKey, *, is_async: bool) -> None:
        self._store = store
        self._spec = spec
        self._key = key
        self._is_async = is_async
        self._later: list[Later] = []
        self._closing: threading.Thread | None = None
        self._is_over = False

    def begin(self, start: Change | None, elapsed: float, *, goes_on: bool) -> None:
        """Begin with it.

        :param start: the start of the attempt.
        :param elapsed: for how long it has been running, in earlier processes, in seconds.
        :param goes_on: whether it goes on after a deferral or a reschedule.
        """
        estimate = self._spec.transfer.estimated_seconds
        if estimate is not None and start is not None:
            self._later.append(Later(estimate - elapsed, lambda: self._tell_overdue(start)))
        if self._is_async:
            return
        if not goes_on:
            self._later.append(Later(LEFTOVERS_AFTER, self._close_leftovers))
        self._look_after_the_dead()

    def stop(self) -> None:
        """Begin nothing any more: the user's code is over."""
        self._is_over = True
        for later in self._later:
            later.stop()

    def finish(self) -> None:
        """Wait, a little, for what has begun; called when the end is written."""
        if self._is_async:
            with tracking_step("look for attempts of the run whose processes died"):
                self._look_after_the_dead()
        if self._closing is not None:
            self._closing.join(DEAD_LIMIT)

    def _look_after_the_dead(self) -> None:
        left = left_of_run(self._store.journal_folder, self._key)
        # That another attempt of this very task is over is said by the start of this one.
        own = [mark for mark in left if (mark.key.name, mark.key.map_index) == (self._key.name, self._key.map_index)]
        forget(own)
        others = [mark for mark in left if mark not in own]
        if not others:
            return
        self._closing = threading.Thread(
            target=self._close_dead, args=(others,), name="pipetrack: closing", daemon=True
        )
        self._closing.start()

    def _close_dead(self, left: list[Left]) -> None:
        from airflow_provider_pipetrack.attempts.dead import close_dead
        from airflow_provider_pipetrack.compat import states_of_runs

        with tracking_step("close attempts of the run whose processes died"):
            close_dead(left, states_of_runs, self._store)

    def _close_leftovers(self) -> None:
        from airflow_provider_pipetrack.attempts.closing import close_leftovers

        with tracking_step("close what other attempts of the run left open"):
            close_leftovers(self._store, self._key, pipeline_ids(self._spec, self._key.dag_id))

    def _tell_overdue(self, start: Change) -> None:
        if self._is_over:
            return
        estimate = self._spec.transfer.estimated_duration
        log.warning("%s takes longer than the estimated %s", self._key.record_id, estimate)
        if self._is_async:
            from airflow_provider_pipetrack.notifications.alerts import hold_alerts

            hold_alerts()
        tell(self._spec, "overdue", start.columns)
