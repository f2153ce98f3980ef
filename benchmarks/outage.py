"""A first location that never answers: what fresh task processes wait for it, one after another and all at once."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from pathlib import Path

PROCESSES = 20
DEADLINE = 5.0


def report() -> int:
    """Print what was waited; return how many figures miss their limit."""
    from airflow.providers.postgres.hooks.postgres import PostgresHook  # noqa: F401  a task's parent may have it

    missed = 0
    with socket.create_server(("127.0.0.1", 0), backlog=128) as hole:
        fields = {"conn_type": "postgres", "host": "127.0.0.1", "port": hole.getsockname()[1], "login": "u"}
        os.environ["AIRFLOW_CONN_BENCH_HUNG"] = json.dumps({**fields, "password": "unasked"})
        for how, together in (("one after another", False), ("all at once", True)):
            folder = Path(tempfile.mkdtemp(prefix="bench-hung-"))
            waited = _run(folder, together=together)
            figure, name = (max(waited), "longest") if together else (sum(waited), "in all")
            lost = PROCESSES - _kept(folder)
            missed += figure > DEADLINE + 0.5 or lost > 0
            print(
                f"first location hung, {PROCESSES} fresh processes {how}: {figure:.1f} s {name}, {lost} records lost "
                f"(to reach: {DEADLINE:.0f} s, 0)"
            )
    return missed


def _locations(folder: Path) -> list[str]:
    return ["postgres@bench_hung||db||public||t", f"sqlite||{folder}/fallback.db||t"]


def _run(folder: Path, *, together: bool) -> list[float]:
    children = []
    for number in range(PROCESSES):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, str(_write(folder, number)).encode())
            os._exit(0)
        os.close(writing)
        children.append((child, reading))
        if not together:
            os.waitpid(child, 0)
    waited = []
    for child, reading in children:
        if together:
            os.waitpid(child, 0)
        with os.fdopen(reading) as said:
            waited.append(float(said.read()))
    return waited


def _write(folder: Path, number: int) -> float:
    from airflow_provider_pipetrack.tracking.store import TrackingStore

    started = time.perf_counter()
    store = TrackingStore(_locations(folder), journal_dir=folder / "journal", deadline=DEADLINE)
    store.make_ready()  # as a task does
    assert store.write_tracking_record({"pipeline_id": "p", "transfer_unique_id": str(number)})
    return time.perf_counter() - started


def _kept(folder: Path) -> int:
    from airflow_provider_pipetrack.tracking.store import TrackingStore

    with TrackingStore(_locations(folder)[1:], journal_dir=folder / "journal") as store:
        return len(store.read_tracking_records("p"))
