"""One location of a chain: its adapter, its breaker, and a hard limit on every call."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.storage.locations import Location, masked
from airflow_provider_pipetrack.storage.registry import make_adapter
from airflow_provider_pipetrack.tracking.breaker import Breaker
from airflow_provider_pipetrack.tracking.own_functions import functions_of

log = logging.getLogger("airflow_provider_pipetrack.delivery")

T = TypeVar("T")

#: Seconds between two looks at whether another process has found the location to be away.
_LOOK_AROUND = 0.05
#: Seconds for which a location must have been silent to count as away.
_EVIDENCE = 0.5
#: The part of a location's own limit that a probe gets.
_PROBE_PART = 5


class _GivenUpError(StorageError):
    """The location was given up for a reason that says nothing about it."""


class _SilentError(_GivenUpError):
    """The location was given up before it had the time that a first answer may take."""

    def __init__(self, location: str, message: str, *, seconds: float) -> None:
        super().__init__(location, message)
        self.seconds = seconds


class _BusyError(_GivenUpError):
    """The location was answering somebody else all the time."""


class Leg:
    """A location that can be called.

    :param location: the location.
    :param connections: Airflow connection of each type.
    :param adapters: class of each type of the user's own.
    :param breakers: folder of the host's breakers.
    """

    def __init__(
        self, location: Location, connections: Mapping[str, str], adapters: Mapping[str, Any], breakers: Path
    ) -> None:
        # With its connection, since the same text means another place for whoever has another connection.
        self.location = replace(location, conn_id=location.conn_id or connections.get(location.type))
        self.name = self.location.name
        self._connections = connections
        self._adapters = adapters
        self._breaker = Breaker(breakers, self.name)
        self._adapter: StorageAdapter | None = None
        self._held: Callable[[], Any] | None = None
        self._answered = False
        self._lock = threading.Lock()

    @property
    def identity(self) -> tuple[Any, ...]:
        """What two chains have in common when they name the same place."""
        place = self.location
        return place.type, place.conn_id, place.parts, self._adapters.get(place.type)

    @property
    def adapter(self) -> StorageAdapter:
        """The location's adapter, made when first needed.

        :raises StorageError: when there is none.
        """
        if self._adapter is None:
            self._adapter = make_adapter(
                self.location,
                connections=self._connections,
                adapters=self._adapters,
                functions=functions_of(self._adapters),
            )
            self._adapter.held = self._held
        return self._adapter

    @property
    def keeps_owed(self) -> bool:
        """Whether the location can note which others lack a record."""
        return self._has("keeps_owed")

    @property
    def keeps_history(self) -> bool:
        """Whether the location keeps every change apart."""
        return self._has("keeps_history")

    @property
    def keeps_configs(self) -> bool:
        """Whether the location keeps the configurations that records were made by."""
        return self._has("keeps_configs")

    @property
    def can_list(self) -> bool:
        """Whether the location can list all it has."""
        return self._has("can_list")

    @property
    def host_local(self) -> bool:
        """Whether only this host can see what the location holds."""
        return self._has("host_local")

    @property
    def is_here(self) -> bool:
        """Whether this host can see what the location holds; only a file of another host, or none yet, is not here.

        :raises StorageError: when that cannot be found out, such as for an unknown connection.
        """
        adapter = self.adapter
        try:
            return adapter.is_here()
        except StorageError:
            raise
        except Exception as error:
            raise self._failed(adapter, "failed", error) from error

    def _has(self, ability: str) -> bool:
        try:
            return bool(getattr(self.adapter, ability))
        except StorageError:
            return False

    @property
    def is_left_alone(self) -> bool:
        """Whether nobody on this host tries the location for now."""
        return self._breaker.is_open()

    @property
    def down_since(self) -> datetime | None:
        """Since when nobody on this host has had an answer of the location; None when it answered last."""
        return self._breaker.down_since

    def call(
        self,
        work: Callable[[StorageAdapter], T],
        limit: float,
        *,
        patient: bool = False,
        large: bool = False,
        until: Callable[[], float] | None = None,
    ) -> T:
        """Return ``work(adapter)``, or give up after ``limit`` seconds.

        What hangs is abandoned: its socket is shut, and the next call gets a new adapter. Loading the storage's client
        is not counted, and neither is a first answer that takes no longer than the storage's ``cold_start``, so that a
        cold start is no failure.

        :param patient: True for work that no task waits for: it does not give up because others have.
        :param large: True for an answer that may be long: that it takes too much time says nothing of a location that
            gives a sign of life after it.
        :param until: for work that goes on while a task does something else: says, again and again, when to give up
            even so, by the monotonic clock.
        :raises StorageError: when the location refused, failed, did not answer, or is left alone for a while.
        """
        if self._breaker.is_open():
            raise self._left_alone()
        adapter = self._ready()
        if not self._breaker.may_try():
            raise self._left_alone()
        if self._breaker.is_probing and not patient and until is None:
            # Whoever tries after a pause pays for all; a location that is well again answers soon.
            limit = min(limit, adapter.time_limit / _PROBE_PART)
        return self._judged(adapter, work, limit, patient=patient, large=large, until=until)

    def make_ready(self, limit: float, *, until: Callable[[], float] | None = None) -> bool:
        """Load the location's client and connect, unless the location has failed lately.

        That it works is no sign of life, since some clients connect later; that it does not, is a failure like any.

        :param limit: seconds, and ``until``, as for :meth:`call`.
        :return: False when it has failed lately: to try again is for who has something to bring.
        :raises StorageError: when it failed or took too long.
        """
        if self._breaker.has_failed():
            return False
        adapter = self._ready()
        self._judged(adapter, lambda adapter: adapter.make_ready(), limit, patient=False, until=until, proves=False)
        return True

    def hold_connection(self) -> None:
        """Ask Airflow for the location's connection in this thread; who calls the location later need not ask."""
        from airflow_provider_pipetrack.storage.clients import ask_once  # seldom needed

        with suppress(StorageError):  # what is wrong with a location is said where it is called
            self._hold(ask_once(self.adapter.conn_id) if self.adapter.conn_id else None)

    def release_connection(self) -> None:
        """Forget what Airflow has answered."""
        self._hold(None)

    def _hold(self, held: Callable[[], Any] | None) -> None:
        self._held = held
        if self._adapter is not None:
            self._adapter.held = held

    def knock(self, *, writing: bool = False) -> None:
        """Ask a location for a sign of life even if it is left alone, so that all on this host know how it is.

        :param writing: True to ask whether it would take a record, too.
        :raises StorageError: when there is none.
        """
        adapter = self._ready()
        self._judged(adapter, lambda adapter: adapter.check(), adapter.time_limit, patient=True)
        if writing:
            self._judged(adapter, lambda adapter: adapter.check_writing(), adapter.time_limit, patient=True)

    def _judged(
        self,
        adapter: StorageAdapter,
        work: Callable[[StorageAdapter], T],
        limit: float,
        *,
        patient: bool,
        large: bool = False,
        until: Callable[[], float] | None = None,
        proves: bool = True,
    ) -> T:
        """Return ``work(adapter)``, and tell the breaker what that says of the location.

        :param proves: whether it answers when the work is done.
        """
        try:
            result = self._bounded(adapter, work, limit, patient=patient, until=until)
        except _SilentError as error:
            self._breaker.silent(error.seconds, adapter.cold_start)
            raise
        except _GivenUpError:
            self._breaker.undecided()
            raise
        except StorageError as error:
            if error.transient and not adapter.host_local and not (large and self._lives()):
                self._breaker.failed()
            else:
                self._breaker.succeeded()
            raise
        except Exception as error:
            self._breaker.succeeded()
            raise self._failed(adapter, "failed", error) from error
        if proves:
            self._breaker.succeeded()
            self._answered = True
        return result

    def _lives(self) -> bool:
        """Return whether the location gives a sign of life within the time that a probe gets."""
        try:
            adapter = self._ready()
            limit = max(adapter.cold_start, adapter.time_limit / _PROBE_PART)
            self._bounded(adapter, lambda adapter: adapter.check(), limit, patient=True, until=None)
        except _BusyError:
            return True  # who is asking it learns how it is
        except Exception as error:  # noqa: BLE001  whatever it is, it is no sign of life
            log.debug("%s gives no sign of life: %s", self.name, error)
            return False
        return True

    def close(self) -> None:
        """Close the adapter, or give it up when a call is under way."""
        adapter, self._adapter = self._adapter, None
        self._answered = False
        if adapter is None:
            return
        lock = self._lock
        if not lock.acquire(blocking=False):
            # To close an SQLite file below a statement that runs in another thread would end the process.
            self._abandon(adapter)
            return
        try:
            adapter.close()
        finally:
            lock.release()

    def _left_alone(self) -> StorageError:
        return StorageError(self.name, "did not answer a moment ago and is left alone for a while")

    def _ready(self) -> StorageAdapter:
        adapter = self.adapter
        try:
            adapter.load()
        except StorageError:
            raise
        except Exception as error:
            raise self._failed(adapter, "cannot be loaded", error) from error
        return adapter

    def _failed(self, adapter: StorageAdapter, what: str, error: Exception) -> StorageError:
        text = f"{type(adapter).__name__} {what}: {type(error).__name__}: {error}"
        return StorageError(self.name, masked(text), transient=False)

    def _bounded(
        self,
        adapter: StorageAdapter,
        work: Callable[[StorageAdapter], T],
        limit: float,
        *,
        patient: bool,
        until: Callable[[], float] | None,
    ) -> T:
        outcome: dict[str, Any] = {}
        turn = partial(self._wait_and_work, adapter, work, outcome)
        thread = threading.Thread(target=turn, name=f"pipetrack: {self.location.type}", daemon=True)
        thread.start()
        started = time.monotonic()
        end = started + limit
        while thread.is_alive() and (left := min(end, until() if until else end) - time.monotonic()) > 0:
            thread.join(min(left, _LOOK_AROUND))
            if thread.is_alive() and not patient and not self._breaker.is_probing and self._breaker.is_open():
                outcome["too late"] = True
                if "began" in outcome:  # else it is another's answer, who may be more patient
                    self._abandon(adapter)
                raise _GivenUpError(self.name, "does not answer, as another process has found")
        if thread.is_alive():
            outcome["too late"] = True
            raise self._given_up(adapter, started, outcome.get("began"))
        if (error := outcome.get("error")) is not None:
            self._raise(adapter, error)
        if "began" not in outcome:  # what another had asked was broken off, and the connection with it
            left = min(end, until() if until else end) - time.monotonic()
            return self._bounded(self._ready(), work, left, patient=patient, until=until)
        result: T = outcome["result"]
        return result

    def _wait_and_work(
        self, adapter: StorageAdapter, work: Callable[[StorageAdapter], Any], outcome: dict[str, Any]
    ) -> None:
        """Do a piece of work when its turn has come, unless its adapter or the time for it has gone by then."""
        try:
            with self._lock:
                if adapter is self._adapter:
                    outcome["began"] = time.monotonic()
                    if "too late" not in outcome:
                        outcome["result"] = work(adapter)
        except BaseException as error:  # noqa: BLE001  handed to the caller
            outcome["error"] = error

    def _raise(self, adapter: StorageAdapter, error: BaseException) -> NoReturn:
        """Raise what went wrong in the thread of a call."""
        if isinstance(error, StorageError) and (told := masked(error.message)) != error.message:
            # A driver repeats what a connection has, and a user's own storage says what it likes.
            raise StorageError(error.location, told, transient=error.transient) from error
        if isinstance(error, Exception):
            raise error
        # Such as SystemExit: in this thread it is a failure of the storage's code and ends no process.
        text = f"{type(adapter).__name__} failed: {type(error).__name__}: {error}"
        raise StorageError(self.name, masked(text), transient=False) from error

    def _given_up(self, adapter: StorageAdapter, asked: float, began: float | None) -> StorageError:
        """Break off what does not answer; return the error, which says what is known of the location by that.

        :param asked: since when there is an answer to be waited for, by the monotonic clock.
        :param began: when its turn came; None when that was another's all the time, whose answer is not broken off.
        """
        seconds = time.monotonic() - (asked if began is None else began)
        if began is None:
            return _BusyError(self.name, f"was busy for {seconds:.1f} s with what others had asked")
        is_cold = not self._answered
        self._abandon(adapter)
        text = f"did not answer within {seconds:.1f} s"
        if seconds < _EVIDENCE:
            return _GivenUpError(self.name, text)
        if is_cold and seconds < adapter.cold_start:
            return _SilentError(self.name, text, seconds=seconds)
        return StorageError(self.name, text)

    def _abandon(self, adapter: StorageAdapter) -> None:
        self._adapter = None
        self._answered = False
        self._lock = threading.Lock()
        try:
            adapter.abandon()
        except Exception as error:  # noqa: BLE001  it is given up anyway
            log.debug("%s could not be abandoned: %s", self.name, error)
