"""What tracking adds to a transfer in a running Airflow: wall time inside ``execute``, less the user's own code.

Called by itself, since it starts Airflow twice: ``.venv-bench/bin/python benchmarks/inside_tasks.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.tracking import BUSY, in_child, prepare, servers
from demo.airflow_process import AirflowStack

#: A Dag of equal transfers for each kind. What is timed lies in the task's process, from the first to the last line of
#: ``execute``; the user's code times itself.
DAGS = """
import json, os, sys, time
from pathlib import Path
from threading import Thread

sys.path.insert(0, {root!r})

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

from airflow_provider_pipetrack import tracked
from benchmarks.tracking import import_once, write_by_hand

users = 0.0
by_hand = {{"import": import_once, "write": write_by_hand}}

def work(seconds, rounds, what=None, *arguments):
    global users
    beside = Thread(target=by_hand[what], args=arguments) if what else None
    if beside:
        beside.start()
    if beside and not rounds:
        beside.join()
    begin, value = time.perf_counter(), 0
    if seconds:
        time.sleep(seconds)
    users = time.perf_counter() - begin
    for number in range(rounds):
        value ^= number
    if beside:
        beside.join()

def timed(operator):
    class Timed(operator):
        def prepare_for_execution(self):
            if {alone}:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
            return super().prepare_for_execution()

        def execute(self, context):
            begin, cpu = time.perf_counter(), time.process_time()
            super().execute(context)
            wall, cpu = time.perf_counter() - begin - users, time.process_time() - cpu
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            attempt = getattr(self, "_pipetrack_attempt", None)
            assert attempt is None or attempt.store.flush(0.0), "the record was not delivered"
            with Path({times!r}, self.dag_id).open("a") as file:
                file.write(json.dumps([wall * 1000, cpu * 1000]) + "\\n")
    return Timed

Plain, Tracked = timed(PythonOperator), timed(tracked(PythonOperator))

def build(name, seconds, rounds, hand, location):
    with DAG(name, schedule=None, max_active_tasks=1000) as dag:
        for number in range({transfers}):
            given = [seconds, rounds, *hand]
            arguments = dict(task_id=f"t{{number:03d}}", python_callable=work, op_args=given, retries=0)
            if location is None:
                Plain(**arguments)
            else:
                stages = {{"stage_i_details": "a", "stage_i_plus_1_details": "b", "tracking_location": [location]}}
                Tracked(transfer=stages, **arguments)
    return dag

for name, *kind in json.loads({kinds!r}):
    globals()[name] = build(name, *kind)
"""


@dataclass(frozen=True)
class Kind:
    """A way to run a transfer.

    :param name: for the table; the Dag's id is made of it.
    :param seconds: what the user's code waits, for others as one does that moves data between servers.
    :param location: where it is tracked; None for the same operator untracked.
    :param limit: to reach at the median: milliseconds, or the name of the kind that adds as much; None for no limit.
    :param rounds: of a loop that the user's code computes; its time counts, so that what delivers beside it is seen.
    :param by_hand: what the user's code does of the tracking's work, so that it counts: ``import`` and modules, or
        ``write``, a server's name and its Airflow connection. It does that in a thread, beside what it computes.
    """

    name: str
    seconds: float
    location: str | None
    limit: float | str | None = None
    rounds: int = 0
    by_hand: tuple[Any, ...] = ()

    @property
    def dag_id(self) -> str:
        """The Dag of this kind."""
        return "".join(letter if letter.isalnum() else "_" for letter in self.name)


@dataclass(frozen=True)
class Server:
    """A storage and its Airflow connection, in the environment under one id and in the metadata database under another.

    :param location: a location that is reached by the connection ``conn_id``.
    :param modules: those of its client.
    """

    name: str
    location: str
    conn_id: str
    modules: tuple[str, ...]

    @property
    def stored_id(self) -> str:
        """The connection that stands in Airflow's metadata database."""
        return f"{self.conn_id}_stored"

    def at(self, conn_id: str) -> str:
        """Return the location that is reached by a connection."""
        return self.location.replace(self.conn_id, conn_id)


def kinds_of(servers: list[Server], waits: float) -> list[Kind]:
    """Return what is compared in the first Airflow."""
    kinds = [
        Kind("untracked, empty", 0.0, None),
        Kind(f"untracked, waits {waits:.0f} s", waits, None),
        Kind("untracked, computes", 0.0, None, rounds=BUSY),
        Kind("SQLite, empty", 0.0, "sqlite||{folder}/tracking.db", 10.0),
        Kind(f"SQLite, waits {waits:.0f} s", waits, "sqlite||{folder}/tracking.db", 10.0),
    ]
    for server in servers:
        by_hook = ("write", server.name, server.conn_id)
        imports = f"untracked, imports the client of {server.name}"
        beside = f"untracked, computes, imports {server.name}'s beside"
        kinds += [
            Kind(imports, 0.0, None, by_hand=("import", server.modules)),
            Kind(beside, 0.0, None, rounds=BUSY, by_hand=("import", server.modules)),
            Kind(f"untracked, one write to {server.name} by its hook", 0.0, None, by_hand=by_hook),
            Kind(f"{server.name}, waits {waits:.0f} s", waits, server.at(server.conn_id), 30.0),
            Kind(f"{server.name}, waits {waits:.0f} s, connection stored", waits, server.at(server.stored_id), 50.0),
            Kind(f"{server.name}, empty", 0.0, server.at(server.conn_id), imports),
            Kind(f"{server.name}, computes", 0.0, server.at(server.conn_id), beside, rounds=BUSY),
        ]
    return kinds


def preloaded_of(servers: list[Server], waits: float) -> list[Kind]:
    """Return what is compared in the second Airflow, whose workers have the clients before they fork."""
    limits = {"PostgreSQL": 40.0}
    kinds = [Kind("untracked, empty", 0.0, None), Kind(f"untracked, waits {waits:.0f} s", waits, None)]
    for server in servers:
        at = server.at(server.conn_id)
        kinds.append(Kind(f"{server.name}, preload, empty", 0.0, at, limits.get(server.name)))
        kinds.append(Kind(f"{server.name}, preload, waits {waits:.0f} s", waits, at, 30.0))
    return kinds


def measure(kinds: list[Kind], servers: list[Server], options: argparse.Namespace, *, preload: bool) -> int:
    """Run the Dags of all kinds in turn, again and again; print what was seen and return how many limits are missed."""
    until = time.monotonic() + options.minutes * 60
    with airflow(kinds, servers, options, preload=preload) as (stack, times):
        for number in range(options.rounds):
            for kind in kinds:
                if time.monotonic() > until:
                    break
                run_id = f"round_{number}"
                stack.trigger(kind.dag_id, dag_run_id=run_id)
                state = stack.wait_run(kind.dag_id, run_id, timeout=600)
                assert state == "success", (kind.name, state, stack.logs())
        # The first of each makes tables and compiles modules.
        found = {kind: [json.loads(row) for row in _lines(times / kind.dag_id)[1:]] for kind in kinds}
    plain = [kind for kind in kinds if kind.location is None and not kind.by_hand and found[kind]]
    base = {(kind.seconds, kind.rounds): _middle(found[kind]) for kind in plain}
    added: dict[str, float] = {}
    missed = 0
    for kind, rows in found.items():
        if rows:
            added[kind.name] = _middle(rows) - base.get((kind.seconds, kind.rounds), 0.0)
            limit = added.get(kind.limit) if isinstance(kind.limit, str) else kind.limit
            missed += limit is not None and added[kind.name] > limit
            print(line(kind.name, rows, added[kind.name], limit), flush=True)
    return missed


def _middle(rows: list[list[float]]) -> float:
    """Return the median of the wall milliseconds."""
    return statistics.median(row[0] for row in rows)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def line(name: str, rows: list[list[float]], added: float, limit: float | None) -> str:
    """Return a line of the table.

    :param rows: wall and CPU milliseconds of each transfer.
    :param added: what its median is above that of the same operator untracked.
    :param limit: what that should be at most, if there is a limit.
    """
    walls, cpus = (sorted(column) for column in zip(*rows, strict=True))
    wanted = "" if limit is None else f"  (to reach: {limit:.0f} ms)"
    return (
        f"{name:48}{len(rows):4}{walls[0]:10.1f}{statistics.median(walls):8.1f}{walls[int(len(walls) * 0.9)]:8.1f}"
        f"{cpus[0]:9.1f}{statistics.median(cpus):8.1f}{added:+9.1f}{wanted}"
    )


@contextmanager
def airflow(
    kinds: list[Kind], servers: list[Server], options: argparse.Namespace, *, preload: bool
) -> Iterator[tuple[AirflowStack, Path]]:
    """Start an Airflow that knows the Dags and has the connections; give it and the folder of the times."""
    folder = Path(tempfile.mkdtemp(prefix="bench-inside-"))
    times = folder / "times"
    for one in (times, folder / "dags"):
        one.mkdir()
    placed = [
        [kind.dag_id, kind.seconds, kind.rounds, kind.by_hand,
         kind.location and kind.location.replace("{folder}", str(folder))]
        for kind in kinds
    ]  # fmt: skip
    given = {"times": str(times), "transfers": options.transfers, "alone": options.alone, "root": str(ROOT)}
    text = DAGS.format(kinds=json.dumps(placed), **given)
    (folder / "dags" / "kinds.py").write_text(text)
    environment = {"AIRFLOW__OPENLINEAGE__DISABLED": "True"}
    if preload:
        environment["AIRFLOW__PIPETRACK__PRELOAD"] = "postgres, aws_s3"
    with AirflowStack(folder / "airflow", folder / "dags", env=environment, parallelism=1) as stack:
        for server in servers:
            connection = os.environ[f"AIRFLOW_CONN_{server.conn_id.upper()}"]
            stack._run("connections", "add", server.stored_id, "--conn-json", connection)
        for kind in kinds:
            stack.wait_dag(kind.dag_id, timeout=180)
            stack.unpause(kind.dag_id)
        yield stack, times


def _processes(servers: list[Server]) -> Iterator[int]:
    """Yield the processes of the servers; PostgreSQL's has left its parent, and says itself which it is."""
    yield from _descendants(os.getpid())
    for server in servers:
        host = json.loads(os.environ[f"AIRFLOW_CONN_{server.conn_id.upper()}"]).get("host") or ""
        written = Path(host, "postmaster.pid")
        if written.is_file():
            yield int(written.read_text().split()[0])


def _descendants(pid: int) -> Iterator[int]:
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in path.read_text().split():
            yield int(child)
            yield from _descendants(int(child))


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transfers", type=int, default=5, help="of each Dag run")
    parser.add_argument("--rounds", type=int, default=4, help="runs of each kind")
    parser.add_argument("--minutes", type=float, default=15.0, help="begin no run in either Airflow after so long")
    parser.add_argument("--waits", type=float, default=2.0, help="seconds of a transfer that waits")
    parser.add_argument("--only", choices=("default", "preload"), help="one of the two Airflows")
    parser.add_argument("--match", default="", help="kinds whose name has this in it, and the untracked ones")
    parser.add_argument(
        "--alone",
        action="store_true",
        help="let transfers and servers go before all else on this machine, as if it were quiet; root may",
    )
    options = parser.parse_args()
    sys.dont_write_bytecode = False  # as installed: with compiled modules
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    missed = 0
    with ExitStack() as stack:
        found = [Server(*server) for server in servers(stack)]
        for server in found:
            in_child(lambda server=server: prepare(server.location))
        if options.alone:
            for pid in _processes(found):
                os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(5))
        for preload, kinds in (
            (False, kinds_of(found, options.waits)),
            (True, preloaded_of(found, options.waits)),
        ):
            if options.only == ("default" if preload else "preload"):
                continue
            chosen = [kind for kind in kinds if kind.location is None or options.match in kind.name]
            if not chosen:
                continue
            title = "added inside execute, LocalExecutor, ms" + (", clients preloaded" if preload else "")
            print(f"\n{title:48}{'n':>4}{'wall min':>10}{'p50':>8}{'p90':>8}{'CPU min':>9}{'p50':>8}{'added':>9}")
            missed += measure(chosen, found, options, preload=preload)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
