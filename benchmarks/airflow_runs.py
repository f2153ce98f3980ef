"""What tracking costs in a running Airflow: task processes and scheduler, tracked, untracked, and with OpenLineage.

Called by itself, since it starts Airflow twice: ``.venv-bench/bin/python benchmarks/airflow_runs.py --transfers 50``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo.airflow_process import AirflowStack

#: The same Dag twice: transfers that do not wait for each other, each an empty function.
DAGS = """
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG

from airflow_provider_pipetrack import tracked

def nothing():
    pass

def build(dag_id, make):
    with DAG(dag_id, schedule=None, max_active_tasks=1000) as dag:
        for number in range({transfers}):
            make(task_id=f"t{{number:03d}}", python_callable=nothing, retries=0)
    return dag

def tracked_task(**arguments):
    return tracked(PythonOperator)(transfer={{"stage_i_details": "a", "stage_i_plus_1_details": "b"}}, **arguments)

untracked = build("untracked", PythonOperator)
tracked_dag = build("tracked", tracked_task)
"""
_LINE = re.compile(r"^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d+)\S* .*?ti_id=([0-9a-f-]{36})", re.MULTILINE)
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Run:
    """One Dag run, or its first transfers.

    :param makespan: seconds from its start to its end.
    :param scheduler: CPU seconds of the scheduler's own process.
    :param child: median milliseconds from the first to the last line that a task's process and its supervisor log.
    """

    makespan: float
    scheduler: float
    child: float


def measure(stack: AirflowStack, dag_id: str, run_id: str, first: int | None = None) -> Run:
    """Run a Dag and say what it took.

    :param first: stop when so many transfers have ended; None for all.
    """
    log = stack.home / "scheduler.out"
    begin, before, started = log.stat().st_size, _cpu(stack), time.monotonic()
    stack.trigger(dag_id, dag_run_id=run_id)
    if first is None:
        state = stack.wait_run(dag_id, run_id, timeout=3600)
        assert state == "success", state
    else:
        stack._wait(f"{first} transfers of {dag_id}", lambda: _ended(stack, dag_id, run_id) >= first, 3600)
    after, makespan = _cpu(stack), time.monotonic() - started
    if first is not None:
        _cut(stack, dag_id, run_id)
    time.sleep(2)  # the last supervisor's last line
    with log.open("rb") as reading:
        reading.seek(begin)
        text = _COLOR.sub("", reading.read().decode(errors="replace"))
    if first is None:
        makespan = _makespan(stack, dag_id, run_id)
    return Run(makespan, after - before, _child(text))


def _ended(stack: AirflowStack, dag_id: str, run_id: str) -> int:
    time.sleep(1)
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances?state=success&limit=1"
    return int(stack._request("GET", path).json()["total_entries"])


def _cut(stack: AirflowStack, dag_id: str, run_id: str) -> None:
    """Stop a run and wait until nothing of it runs."""
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}"
    stack._request("PATCH", path, json={"state": "failed"}).raise_for_status()
    running = f"{path}/taskInstances?state=running&state=queued&limit=1"
    stack._wait("the run's end", lambda: stack._request("GET", running).json()["total_entries"] == 0, 120)


def _makespan(stack: AirflowStack, dag_id: str, run_id: str) -> float:
    run = stack._request("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}").json()
    begin, end = (datetime.fromisoformat(run[name].replace("Z", "+00:00")) for name in ("start_date", "end_date"))
    return (end - begin).total_seconds()


def _child(text: str) -> float:
    spans: dict[str, list[datetime]] = {}
    for moment, task in _LINE.findall(text):
        spans.setdefault(task, []).append(datetime.fromisoformat(moment.replace(" ", "T")))
    assert spans, "the scheduler's log names no task instance"
    # What was cut off has one line only.
    ran = [span for span in spans.values() if len(span) > 1]
    return statistics.median((max(span) - min(span)).total_seconds() for span in ran or [*spans.values()]) * 1000


def _cpu(stack: AirflowStack) -> float:
    """Return the CPU seconds of the scheduler's process, without those of its workers."""
    fields = Path(f"/proc/{stack._processes['scheduler'].pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def airflow(transfers: int, **environment: str) -> Iterator[AirflowStack]:
    """Start an Airflow that knows both Dags."""
    folder = Path(tempfile.mkdtemp(prefix="bench-airflow-"))
    (folder / "dags").mkdir()
    (folder / "dags" / "runs.py").write_text(DAGS.format(transfers=transfers))
    with AirflowStack(folder / "airflow", folder / "dags", env=environment, parallelism=2) as stack:
        for dag_id in ("untracked", "tracked"):
            stack.wait_dag(dag_id, timeout=180)
            stack.unpause(dag_id)
        yield stack


def compare(transfers: int, runs: int, *, first: int | None, lineage: bool) -> dict[str, list[Run]]:
    """Return the runs of each way; tracked and untracked take turns in one Airflow, behind a first run of each."""
    found: dict[str, list[Run]] = {"untracked": [], "tracked": []}
    off = {"AIRFLOW__OPENLINEAGE__DISABLED": "True"}
    with airflow(transfers, **off) as stack:
        for number in range(runs + 1):
            for dag_id in ("untracked", "tracked"):
                run = measure(stack, dag_id, f"bench_{number}", first)
                print(f"  {dag_id}, {'counted' if number or runs == 0 else 'not counted'}: {run}", flush=True)
                if number or runs == 0:
                    found[dag_id].append(run)
    if not lineage or importlib.util.find_spec("airflow.providers.openlineage") is None:
        return found
    events = Path(tempfile.mkdtemp(prefix="bench-lineage-")) / "events.ndjson"
    transport = json.dumps({"type": "file", "log_file_path": str(events), "append": True})
    on = {
        "AIRFLOW__OPENLINEAGE__DISABLED": "False",
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "bench",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": transport,
    }
    with airflow(transfers, **on) as stack:
        name = "untracked, with OpenLineage's file transport"
        found[name] = [measure(stack, "untracked", f"bench_{number}") for number in range(runs + 1)][min(1, runs) :]
    lines = events.read_text().count("\n") if events.exists() else 0
    assert lines >= 2 * transfers, f"OpenLineage wrote {lines} events only"
    return found


def main() -> int:
    """Print the table; return 1 when the scheduler needs more than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transfers", type=int, default=50)
    parser.add_argument(
        "--runs", type=int, default=3, help="counted runs of each, behind a first one; 0 counts the first"
    )
    parser.add_argument("--first", type=int, help="measure only until so many transfers of each run have ended")
    parser.add_argument("--without-lineage", action="store_true", help="leave OpenLineage out")
    options = parser.parse_args()
    found = compare(options.transfers, options.runs, first=options.first, lineage=not options.without_lineage)
    base = {
        name: statistics.median(getattr(run, name) for run in found["untracked"])
        for name in vars(found["untracked"][0])
    }
    what = f"{options.transfers} empty transfers, 2 at once" + (f", the first {options.first}" if options.first else "")
    print(f"{what:50}{'run':>18}{'scheduler CPU':>18}{'a task process':>20}")
    ratios = {}
    for name, runs in found.items():
        run, cpu, child = (statistics.median(getattr(one, part) for one in runs) for part in vars(runs[0]))
        ratios[name] = cpu / base["scheduler"]
        print(
            f"{name:50}{run:8.1f} s, {run / base['makespan']:.2f}{cpu:9.2f} s, {ratios[name]:.2f}"
            f"{child:9.0f} ms, {child - base['child']:+.0f}"
        )
    return int(ratios["tracked"] > 1.1)


if __name__ == "__main__":
    sys.exit(main())
