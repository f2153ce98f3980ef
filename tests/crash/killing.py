"""Processes that are killed at a chosen step, and what must be true afterwards."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from airflow_provider_pipetrack.storage import local_file, sqlite
from airflow_provider_pipetrack.tracking import dead_letters, journal
from airflow_provider_pipetrack.tracking.journal import undelivered
from airflow_provider_pipetrack.tracking.store import TrackingStore

#: System calls of the journal and of dead letters at which a process may die.
CALLS = ("open", "write", "fdatasync", "fsync", "ftruncate", "close", "pread")


class Steps:
    """Counts the steps of a process and kills it at one of them, without a word.

    :param fatal: number of the step at which to die; None to count only.
    """

    def __init__(self, fatal: int | None) -> None:
        self.fatal = fatal
        self.taken = 0

    def take(self) -> None:
        self.taken += 1
        if self.taken == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with a step before and one after it."""

        def stepping(*args: Any, **kwargs: Any) -> Any:
            self.take()
            result = function(*args, **kwargs)
            self.take()
            return result

        return stepping

    def install(self) -> None:
        """Make every system call of the journal, and every write of a storage, a step."""

        class Calls:
            def __getattr__(calls, name: str) -> Any:  # noqa: N805  the outer self is what counts
                found = getattr(os, name)
                return self.around(found) if name in CALLS else found

        journal.os = dead_letters.os = Calls()  # type: ignore[attr-defined]
        for adapter in (sqlite.SqliteAdapter, local_file.LocalFileAdapter):
            for name in ("apply", "take", "settle_all"):
                setattr(adapter, name, self.around(getattr(adapter, name)))


def run_and_kill(work: Callable[[Callable[[str], None]], None], fatal: int | None) -> tuple[list[str], int | None]:
    """Run ``work(say)`` in a child that dies at a step.

    :return: what it has said, and how many steps it took; None for the steps when it was killed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            steps = Steps(fatal)
            steps.install()
            work(lambda line: os.write(writing, f"{line}\n".encode()))
            os.write(writing, f"steps {steps.taken}\n".encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as said:
        lines = said.read().splitlines()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return lines, None
    assert os.waitstatus_to_exitcode(status) == 0, lines
    return lines[:-1], int(lines[-1].split()[1])


def every_step(work_of: Callable[[int], Callable[[Callable[[str], None]], None]]) -> Iterator[list[str]]:
    """Run work again and again, killed at its first step, its second, and so on; yield what each had said.

    :param work_of: gives the work of one run.
    """
    fatal = 1
    while True:
        said, steps = run_and_kill(work_of(fatal), fatal)
        yield said
        if steps is not None:
            return
        fatal += 1


def record(name: str) -> dict[str, Any]:
    """A record whose content can be told from its name."""
    return {
        "pipeline_id": "orders",
        "transfer_unique_id": name,
        "transfer_status": "completed",
        "records_succeeded": len(name),
        "error_message": name * 20,
    }


def check(locations: list[str], folder: Path, safe: list[str], dead: int = 0) -> int:
    """Reconcile, and compare what the first location has with what was promised: all of it, each once and whole.

    :param dead: how many entries were set aside, at least once each.
    :return: how many of the promised records are there.
    """
    with TrackingStore(locations, journal_dir=folder) as store:
        end = time.monotonic() + 40.0
        summary = store.reconcile()
        while (summary.waiting or summary.still_owed) and time.monotonic() < end:
            # A database may still hold what a client that died had begun.
            summary = store.reconcile()
        assert (summary.waiting, summary.still_owed, summary.unreachable) == (0, 0, {}), summary
        assert len({letter.payload for letter in dead_letters.DeadLetters(store.journal_folder).read()}) == dead
        again = store.reconcile()
        assert (again.drained, again.healed) == (0, 0)
        assert not list(undelivered(store.journal_folder))
    with TrackingStore(locations[:1], journal_dir=folder / "of-the-reader") as reader:
        found = reader.read_tracking_records("orders")
    names = [one["transfer_unique_id"] for one in found]
    assert len(names) == len(set(names)), "a record is there twice"
    assert set(safe) - set(names) == set(), "a record that was promised to be safe is lost"
    for one in found:
        wanted = record(one["transfer_unique_id"])
        assert {name: one[name] for name in wanted} == wanted
    return len(set(names) & set(safe))
