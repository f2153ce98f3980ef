"""Asking for a page: with the reader's rights, bounded in time, by a bounded number of pages at once."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any, TypeVar

from fastapi import HTTPException, Request

from airflow_provider_pipetrack.compat import Task, Viewer, who_set_to_success
from airflow_provider_pipetrack.tracking.health import Health, health
from airflow_provider_pipetrack.tracking.questions import Answer, Questions, questions_from_settings
from airflow_provider_pipetrack.ui.airflow_says import AskAirflow, asks_airflow, compared, in_words
from airflow_provider_pipetrack.ui.configured import Configurations, Configured, Upstreams
from airflow_provider_pipetrack.ui.helpers import Helpers
from airflow_provider_pipetrack.ui.rights import Reader, reader_of, viewer_of

T = TypeVar("T")

#: Seconds that all questions of one page may take together.
PAGE_LIMIT = 10.0
#: Pages that may ask at once; the api-server needs its threads for Airflow's own pages too.
PAGES_AT_ONCE = 8
#: Seconds that a page waits for its turn.
_TURN_LIMIT = 2.0
#: What is said when all turns are taken for longer than that.
BUSY = "Too many pages wait for the tracking storage. Try again in a moment."
#: Seconds for which it is believed how the tracking is, so that many readers do not ask all locations all the time.
_HEALTH_AGE = 10.0
#: Seconds that Airflow may take to say who did something; the page says less then.
_AIRFLOW_LIMIT = 2.0
#: Seconds for which it is believed which chains there are.
_CHAINS_AGE = 10.0


class Desk:
    """What all pages of a process share: the stores, made when they are first asked, helpers, and a number of turns.

    :param make: makes the questions; by default those of ``[pipetrack]`` and of the chains that are known here.
    """

    def __init__(self, make: Callable[[], Questions] = questions_from_settings) -> None:
        self._make = make
        self._made: tuple[float, Questions] | None = None
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(PAGES_AT_ONCE)
        self._health: tuple[float, Health] | None = None
        self._configurations = Configurations()
        self.helpers = Helpers(PAGES_AT_ONCE)

    @property
    def questions(self) -> Questions:
        """The questions of all that is shown; every few seconds it is looked whether that has become more.

        :raises PipetrackError: when ``[pipetrack]`` cannot be understood.
        """
        with self._lock:
            if self._made is None or time.monotonic() - self._made[0] > _CHAINS_AGE:
                made = self._make()
                if self._made is not None and self._made[1].asks_as(made):
                    made = self._made[1]
                self._made = time.monotonic(), made
            return self._made[1]

    def health(self) -> Health:
        """Return how the tracking is, asked at most every ten seconds."""
        known = self._health
        if known is None or time.monotonic() - known[0] > _HEALTH_AGE:
            known = self._health = time.monotonic(), health(*self.questions.stores)
        return known[1]

    def configured(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Configured]:
        """Return what is known of the configurations of records or runs, by their hashes."""
        return self._configurations.of(self.questions.stores, rows)

    def upstreams(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Upstreams]:
        """Return which transfers wait for which, by the hashes of the records' configurations."""
        return self._configurations.upstreams(self.questions.stores, rows)

    def turn(self, limit: float | None = None) -> Turn:
        """Wait for a turn, and return what gives it back.

        :param limit: seconds to wait; a page's when None.
        :raises HTTPException: 503 when too many pages wait for their answers.
        """
        if not self._turns.acquire(timeout=_TURN_LIMIT if limit is None else limit):
            raise HTTPException(503, BUSY, {"Retry-After": "5"})
        return Turn(self._turns)


class Turn:
    """A page's turn to ask; it is given back once, however often that is said."""

    def __init__(self, turns: threading.BoundedSemaphore) -> None:
        self._turns: threading.BoundedSemaphore | None = turns

    def give_back(self) -> None:
        """Let another page ask."""
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.release()


@dataclass
class Asker:
    """Asks the questions of one page.

    :param reader: who asks; only rows of their Dags are answered and counted.
    :param now: the moment that everything on the page is measured at.
    :param unreachable: why a location could not be asked, by its name; filled by the questions.
    :param viewer: the same reader as Airflow's own API knows them; None where it cannot be asked.
    :param turn: the page's turn to ask, where turns are taken.
    """

    desk: Desk
    reader: Reader
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    unreachable: dict[str, str] = field(default_factory=dict)
    limit: float = field(default_factory=lambda: PAGE_LIMIT)
    viewer: Viewer | None = None
    turn: Turn | None = None
    _ends: float = field(init=False)
    _airflow: AskAirflow | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._ends = time.monotonic() + self.limit
        if self.viewer is not None:
            # Several tables of a page may be about one run.
            self._airflow = functools.cache(asks_airflow(self.viewer, self._left))

    @property
    def questions(self) -> Questions:
        """What it asks."""
        return self.desk.questions

    def again(self) -> Asker:
        """Return one with the time of a page, and nothing unreachable yet."""
        return replace(self, unreachable={})

    def in_turns(self, parts: Iterator[T], too_many: T) -> Iterator[T]:
        """Yield the parts of a long answer, each made in a turn of its own.

        Whoever takes them slowly, or no more, keeps nobody else from asking meanwhile.

        :param too_many: what is the last part when others keep all turns for longer than a page may take.
        """
        if self.turn is not None:
            self.turn.give_back()
        while True:
            try:
                turn = self.desk.turn(self.limit)
            except HTTPException:
                yield too_many
                return
            try:
                part = next(parts, None)
            finally:
                turn.give_back()
            if part is None:
                return
            yield part

    def health(self) -> Health | None:
        """Return how the tracking is; None for a reader who may not see it, or when it takes too long."""
        return self.bounded(self.desk.health) if self.reader.sees_health else None

    def ask(self, question: str, **more: Any) -> Answer:
        """Return the answer; what could not be asked in time is empty and said in :attr:`unreachable`."""
        answer = self.bounded(lambda: self.questions.ask(question, dag_ids=self.reader.dag_ids, **more))
        if answer is None:
            return Answer([], 0, dict(self.unreachable))
        # The first reason says most: who has not answered is left alone for a while.
        self.unreachable.update({**answer.unreachable, **self.unreachable})
        return answer

    def compared(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Return records of one run; those that are open although Airflow has decided are marked as stale."""
        return [in_words(row) for row in compared(rows, self._airflow, self.now)]

    def configured(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Configured]:
        """Return what is known of the configurations that the rows were made by, by their hashes."""
        return self.bounded(lambda: self.desk.configured(rows)) or {}

    def upstreams(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Upstreams]:
        """Return which transfers wait for which, by the hashes of the configurations that the rows were made by."""
        return self.bounded(lambda: self.desk.upstreams(rows)) or {}

    def who_set_to_success(self, tasks: Sequence[Task]) -> Mapping[Task, str | None]:
        """Return who set tasks to success, None where that is not to be known; only what is answered in time."""
        return who_set_to_success(self.viewer, tasks, min(_AIRFLOW_LIMIT, self._left())) if self.viewer else {}

    def _left(self) -> float:
        """Return how many seconds of the page's time are left."""
        return self._ends - time.monotonic()

    def bounded(self, work: Callable[[], T]) -> T | None:
        """Return what ``work`` returns, or None when it does not within what is left of the page's time."""
        outcome: dict[str, Any] = {}

        def run() -> None:
            try:
                outcome["result"] = work()
            except BaseException as error:  # noqa: BLE001  raised below, in the page's own thread
                outcome["error"] = error

        left = self._left()
        if left > 0:
            self.desk.helpers.do(run, left)
        if "error" in outcome:
            raise outcome["error"]
        if "result" not in outcome:
            self.unreachable.setdefault("tracking", f"did not answer within {self.limit:g} s")
            return None
        result: T = outcome["result"]
        return result


def asker_of(request: Request) -> Iterator[Asker]:
    """Give a page what it asks with; a dependency."""
    desk: Desk = request.app.state.desk
    turn = desk.turn()
    try:
        yield Asker(desk, reader_of(request), viewer=viewer_of(request), turn=turn)
    finally:
        turn.give_back()
