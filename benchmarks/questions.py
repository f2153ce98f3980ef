"""Questions about a million records: through ``Questions`` against the bare SQL of the same template."""

from __future__ import annotations

import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from airflow_provider_pipetrack.records.columns import COLUMNS
from airflow_provider_pipetrack.records.indexes import INDEXES
from airflow_provider_pipetrack.records.queries import DIALECTS, QUESTIONS, Asked
from airflow_provider_pipetrack.records.rows import record_row
from airflow_provider_pipetrack.records.statements import quoted
from airflow_provider_pipetrack.tracking.questions import Questions
from airflow_provider_pipetrack.tracking.store import TrackingStore

NAMES = [column.name for column in COLUMNS]
FIRST = datetime(2026, 1, 1, tzinfo=timezone.utc)
#: What pages ask: a name, and how.
ASKED: dict[str, dict[str, Any]] = {
    **{question: {} for question in QUESTIONS},
    "runs of a Dag": {"dag_id": "dag_1"},
    "transfers of a run": {"dag_id": "dag_1", "run_id": "scheduled__42", "limit": None},
    "estimates of a pipeline": {"pipeline_id": "pipeline_1"},
    "durations of a transfer": {"dag_id": "dag_1", "task_id": "transfer_3"},
    "failed runs": {"status": "failed"},
}
LIMIT = 2.0
#: Seconds of difference that count as nothing.
_NOTHING = 0.002


def records(count: int) -> Iterator[dict[str, Any]]:
    """Yield records of pipelines with 100 daily runs of 49 transfers, of which one is always tried twice."""
    for number in range(count):
        pipeline, rest = divmod(number, 50 * 100)
        run, place = divmod(rest, 50)
        transfer, attempt = (7, 1) if place == 49 else (place, 0)
        begun = FIRST + timedelta(days=run, seconds=pipeline * 60, hours=attempt)
        failed = transfer == 7 and (attempt == 0 or run % 20 == 0)
        yield record(pipeline, run, transfer, attempt, begun, failed=failed)


def record(pipeline: int, run: int, transfer: int, attempt: int, begun: datetime, *, failed: bool) -> dict[str, Any]:
    """Return one stored record."""
    seconds = 30.0 + (run * 7 + transfer) % 90
    return {
        "record_id": f"dag_{pipeline}/scheduled__{run}/transfer_{transfer}/-1/{attempt + 1}",
        "dag_id": f"dag_{pipeline}",
        "run_id": f"scheduled__{run}",
        "task_id": f"transfer_{transfer}",
        "map_index": -1,
        "retry_attempt_number": attempt,
        "pipeline_id": f"pipeline_{pipeline}",
        "pipeline_version": "1.0",
        "logical_date": begun,
        "stage_i_details": f"stage {transfer}",
        "stage_i_plus_1_details": f"stage {transfer + 1}",
        "transfer_order_number": float(transfer),
        "transfer_enabled": True,
        "transfer_unique_id": f"pipeline_{pipeline}-scheduled__{run}-transfer_{transfer}",
        "estimated_duration": "1m",
        "estimated_seconds": 60.0,
        "transfer_start_timestamp": begun,
        "max_retry_attempts": 3,
        "audit_enabled": transfer % 5 == 0,
        "audit_result": "matched" if transfer % 5 == 0 else None,
        "audit_metadata": {"rows": transfer},
        "transfer_process_owner_name": f"team_{pipeline % 10}",
        "config_hash": "0" * 64,
        "operator": "PythonOperator",
        "transfer_status": "failed" if failed else "completed",
        "transfer_end_timestamp": begun + timedelta(seconds=seconds),
        "actual_seconds": seconds,
        "records_succeeded": 1000,
        "records_failed": 0,
        "is_partial": False,
        "error_message": "the warehouse is away" if failed else None,
        "closed_by": "task",
        "created_timestamp": begun,
        "updated_timestamp": begun + timedelta(seconds=seconds),
        "start_key": "1.1.0.000000000001.x",
        "end_key": "2.1.0.000000000001.x",
    }


def fill_sqlite(adapter: Any, count: int) -> None:
    """Write the records past the merge."""
    places = ", ".join(f":{name}" for name in NAMES)
    with _indexed_afterwards(adapter), adapter._transaction() as connection:
        connection.execute("PRAGMA cache_size = -200000")
        rows = (record_row(r, (), native_times=False) for r in records(count))
        connection.executemany(f"INSERT INTO {adapter.statements.name} ({', '.join(NAMES)}) VALUES ({places})", rows)
    adapter.tidy()  # as each reconcile does
    adapter.close()  # a new connection has the cache that those of tasks and pages have


def fill_postgres(adapter: Any, count: int) -> None:
    """Write the records past the merge."""
    with _indexed_afterwards(adapter), adapter._transaction() as connection, connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        with cursor.copy(f"COPY {adapter.statements.name} ({', '.join(NAMES)}) FROM STDIN") as copy:
            for found in records(count):
                row = record_row(found, (), native_times=True)
                copy.write_row([row[name] for name in NAMES])
    with adapter._transaction() as connection:
        connection.commit()
        connection.autocommit = True
        connection.execute("SET statement_timeout = 0")
        # As autovacuum does by itself after a while.
        connection.execute(f"VACUUM ANALYZE {adapter.statements.name}")
    adapter.close()


@contextmanager
def _indexed_afterwards(adapter: Any) -> Iterator[None]:
    """Make the tables, and their indexes when the records are there, which takes a part of the time."""
    adapter.prepare()
    with adapter._transaction() as connection:
        schema = f"{quoted(adapter.statements.schema)}." if adapter.statements.schema else ""
        for label in INDEXES:
            connection.execute(f"DROP INDEX {schema}{quoted(f'{adapter.statements.table}_{label}')}")
    yield
    adapter.upgrade()


def seconds_of(work: Callable[[], Any]) -> float:
    """Return how long something takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def compare(
    location: str, fill: Callable[[Any, int], None], count: int, runs: int
) -> Iterator[tuple[str, float, float]]:
    """Yield for each question the seconds of the bare SQL and of ``Questions.ask``."""
    with TrackingStore([location], journal_dir=tempfile.mkdtemp(prefix="bench-journal-")) as store:
        adapter: Any = store.legs[0].adapter
        fill(adapter, count)
        dialect = DIALECTS[adapter._query_dialect]
        questions = Questions(store)
        for name, options in ASKED.items():
            question = name.split(" ")[-1] if name == "failed runs" else name.split(" ")[0]
            filters = {key: value for key, value in options.items() if key != "limit"}
            limit = options.get("limit", 100)
            asked = Asked(question, filters, limit=limit).bounded()
            statements, values = asked.statements(dialect, adapter.statements.name), asked.values(dialect)

            def bare(asked: Asked = asked, statements: Any = statements, values: Any = values) -> None:
                with adapter._transaction() as connection:
                    if asked.total(adapter._query(connection, statements[0], values)) is None:
                        adapter._query(connection, statements[1], values)

            def through(question: str = question, limit: Any = limit, filters: Any = filters) -> None:
                answer = questions.ask(question, limit=limit, **filters)
                assert not answer.unreachable, answer.unreachable

            pairs = [(seconds_of(bare), seconds_of(through)) for _ in range(runs)]
            yield name, *(statistics.median(times) for times in zip(*pairs, strict=True))


def report(count: int, runs: int) -> int:
    """Print the figures of both databases; return how many questions take more than twice their bare SQL."""
    folder = Path(tempfile.mkdtemp(prefix="bench-questions-"))
    missed = 0
    try:
        compared = compare(f"sqlite||{folder}/tracking.db||pipeline_tracking", fill_sqlite, count, runs)
        missed += print_report(f"SQLite, {count:,} records", compared)
        from tests.postgres_server import CONN_ID, DATABASE, start

        server, handle = start()
        try:
            os.environ.update(server.environment())
            compared = compare(f"postgres@{CONN_ID}||{DATABASE}||public||pipeline_tracking", fill_postgres, count, runs)
            missed += print_report(f"PostgreSQL, {count:,} records", compared)
        finally:
            handle.cleanup()
            shutil.rmtree(server.folder, ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return missed


def print_report(title: str, compared: Iterator[tuple[str, float, float]], measured: str = "Questions") -> int:
    """Print one database's figures; return how many miss the limit.

    :param measured: what is compared with the bare SQL.
    """
    print(f"\n{title:38}{'bare SQL':>12}{measured:>12}{'ratio':>8}  (to reach: {LIMIT:g})")
    missed = 0
    for name, bare, through in compared:
        if math.isinf(through):
            missed += 1
            print(f"{name:38}  missed: no answer within the page's time", flush=True)
            continue
        # A millisecond of journal, thread and rows as dicts is not what the limit is about.
        too_long = through / bare > LIMIT and through - bare > _NOTHING
        missed += too_long
        figures = f"{bare * 1000:9.1f} ms{through * 1000:9.1f} ms{through / bare:8.2f}"
        print(
            f"{name:38}{figures}{f'  missed, by {(through - LIMIT * bare) * 1000:.1f} ms' if too_long else ''}",
            flush=True,
        )
    return missed


if __name__ == "__main__":
    sys.exit(1 if report(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, runs=5) else 0)
