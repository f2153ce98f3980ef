"""What tracking adds to a transfer, and the journal beside a raw append."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path

ROUNDS = 30
APPENDS = 400
WRITERS = 8


def added_by_sqlite() -> list[float]:
    """Return, for fresh processes, the milliseconds of a start, an end and the wait for both, on SQLite."""
    folder = Path(tempfile.mkdtemp())
    os.environ["AIRFLOW_HOME"] = str(folder)
    times = [_in_child(lambda: _track_once(folder)) for _ in range(ROUNDS)]
    return sorted(times[1:])  # the first one makes the table


def journal_ratio() -> float:
    """Return the appends a second of the journal against raw append and fdatasync, eight processes each."""
    folder = Path(tempfile.mkdtemp())
    raw = _together(lambda number: _append_raw(folder / f"raw-{number}"))
    journal = _together(lambda number: _append_journal(folder / "journal"))
    return raw / journal


def _track_once(folder: Path) -> float:
    from airflow_provider_pipetrack.config import StageTransfer
    from airflow_provider_pipetrack.records.change import utc_now
    from airflow_provider_pipetrack.records.key import RecordKey
    from airflow_provider_pipetrack.tracking.describe import Content, Described, Outcome, end_change, start_change
    from airflow_provider_pipetrack.tracking.pool import get_store

    transfer = StageTransfer(name="t", stage_i_details="a", stage_i_plus_1_details="b")
    begin = time.perf_counter()
    store = get_store([f"sqlite||{folder}/tracking.db"], mode="fallback", connections={}, adapters={})
    described = Described(transfer, Content("p", "a", "a", "b", "b", "p/t"))
    start = start_change(
        described, RecordKey("d", "r", f"t{os.getpid()}"), started=utc_now(), operator="x", log_url=None
    )
    store.submit([start], durable=False)
    store.submit([end_change(start, Outcome("completed", utc_now(), 0.0), by="task")], durable=True)
    assert store.flush()
    return (time.perf_counter() - begin) * 1000


def _append_raw(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for _ in range(APPENDS):
        os.write(descriptor, b"x" * 1100)
        os.fdatasync(descriptor)


def _append_journal(folder: Path) -> None:
    from airflow_provider_pipetrack.tracking.journal import Journal

    journal = Journal(folder)
    for _ in range(APPENDS):
        journal.append(b"x" * 1100, durable=True)


def _flush_once() -> float:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x" * 1100)
        file.flush()
        begin = time.perf_counter()
        os.fdatasync(file.fileno())
        return (time.perf_counter() - begin) * 1000


def _together(work) -> float:
    children = [multiprocessing.get_context("fork").Process(target=work, args=(number,)) for number in range(WRITERS)]
    begin = time.perf_counter()
    for child in children:
        child.start()
    for child in children:
        child.join()
    return time.perf_counter() - begin


def _in_child(work) -> float:
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, str(work()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        return float(answer.read())


def report() -> list[tuple[str, str, str]]:
    """Return the rows of the report: what, measured, to reach."""
    # A task process has these before execute begins: it has parsed its Dag.
    import airflow_provider_pipetrack.dag
    import airflow_provider_pipetrack.operators.tracked  # noqa: F401

    added = added_by_sqlite()
    flush = statistics.median(_flush_once() for _ in range(30))
    ratio = statistics.median(journal_ratio() for _ in range(3))
    return [
        (
            "tracking added to an empty transfer, SQLite",
            f"p50 {statistics.median(added):.1f} ms, p90 {added[int(len(added) * 0.9)]:.1f} ms; "
            f"one fdatasync here {flush:.1f} ms",
            "10 ms",
        ),
        ("journal against raw append + fdatasync, 8 processes", f"{ratio:.2f}", "at least 0.7"),
    ]
