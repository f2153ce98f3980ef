"""Run the benchmarks and print ratios; see README.md beside this file."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.shapes import Shape, check, cpu_seconds

FACTORIES = ("pipetrack", "pipetrack_unchanged", "dagfactory", "gusty_yaml", "blueprint_yaml")
SHAPES = ("1x50", "1x500", "1x2000", "200x10", "1x500:bash")
LIMITS = {"pipetrack": 2.0, "pipetrack_unchanged": 1.5}
MOST_SIZE = 1.2
#: Milliseconds that an import may take: of what builds Dags over a bare ``airflow.sdk``, and of the package root alone.
MOST_IMPORT, MOST_ROOT_IMPORT = 100.0, 30.0
#: CPU seconds for which short pairs are repeated, and how many of them at most.
PAIRS_SECONDS, MOST_PAIRS = 4.0, 200
PROBE = """
import json, sys, time, logging, warnings
warnings.simplefilter("ignore"); logging.disable(logging.WARNING)
from airflow.sdk import DAG
begin, modules = time.process_time(), len(sys.modules)
{statement}
print(json.dumps([time.process_time() - begin, len(sys.modules) - modules]))
"""


def available(name: str) -> bool:
    """Return whether a factory is installed."""
    statement = factory(name).IMPORT
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, timeout=120, check=False)
    return done.returncode == 0


def factory(name: str) -> Any:
    """Return the module of a factory."""
    return importlib.import_module(f"benchmarks.factories.{name}")


class Comparison(NamedTuple):
    """A factory against the hand-written loop.

    :param ratio: the median of the ratios of all pairs; ``low`` and ``high`` are their quartiles.
    :param of_least: the ratio of the shortest times.
    :param size: the ratio of the serialized sizes.
    """

    ratio: float
    low: float
    high: float
    of_least: float
    size: float


def compare(name: str, shape: Shape, runs: int) -> Comparison:
    """Time a factory and the hand-written loop in pairs, each of them first in every other pair.

    :param runs: the least number of pairs; short ones are repeated for ``PAIRS_SECONDS``.
    """
    ours, base = factory(name), factory("handwritten")
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    ours.write(folder / "files", shape)
    base_dags, dags = base.build(folder, shape), ours.build(folder / "files", shape)
    check(base_dags, shape, base.NAME)
    check(dags, shape, ours.NAME)
    sizes = size(dags) / size(base_dags)
    del base_dags, dags  # what still lives takes the collector's time, and memory near the processor
    pairs: list[tuple[float, float]] = []
    while len(pairs) < max(runs, 2) or (sum(map(sum, pairs)) < PAIRS_SECONDS and len(pairs) < MOST_PAIRS):
        sides = [(base, folder), (ours, folder / "files")]
        turn = -1 if len(pairs) % 2 else 1
        seconds = {side: timed(side, where, shape) for side, where in sides[::turn]}
        pairs.append((seconds[base], seconds[ours]))
    low, ratio, high = statistics.quantiles([our / hand for hand, our in pairs], n=4)
    of_least = min(our for _, our in pairs) / min(hand for hand, _ in pairs)
    shutil.rmtree(folder)
    return Comparison(ratio, low, high, of_least, sizes)


def timed(side: Any, folder: Path, shape: Shape) -> float:
    """Return the CPU seconds that a factory takes in a process that knows nothing of the files yet."""
    forget = getattr(side, "forget", None)
    if forget is not None:
        forget()
    return cpu_seconds(lambda: side.build(folder, shape))


def size(dags: list[Any]) -> int:
    """Return the bytes of the Dags as Airflow stores them."""
    from airflow.serialization.serialized_objects import DagSerialization

    return sum(len(json.dumps(DagSerialization.to_dict(dag))) for dag in dags)


def import_cost(name: str, runs: int) -> tuple[float, int]:
    """Return the CPU milliseconds and the modules of an import over a bare SDK, in fresh processes."""
    # As installed: with compiled modules.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found = []
    for _ in range(runs):
        code = PROBE.format(statement=factory(name).IMPORT)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True, env=environment
        )
        found.append(json.loads(done.stdout.strip().splitlines()[-1]))
    return statistics.median(row[0] for row in found) * 1000, found[0][1]


def root_import(runs: int) -> float:
    """Return the milliseconds of importing the package root alone."""
    code = "import time; b = time.perf_counter(); import airflow_provider_pipetrack; print(time.perf_counter() - b)"
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(runs)
    ]
    return statistics.median(times) * 1000


def main() -> int:
    """Print the report; return 1 when pipetrack misses a limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs and shapes")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="such as 1x500 or 1x500:bash")
    parser.add_argument("--runs", type=int, default=15, help="pairs of each comparison, at least")
    parser.add_argument("--only-factories", action="store_true", help="leave tracking, questions and pages out")
    options = parser.parse_args()
    if options.quick:
        options.shapes, options.runs = ("1x50", "1x500"), 3
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="bench-home-")
    os.environ.update(AIRFLOW__DAG_FACTORY__ENABLE_TELEMETRY="False", DO_NOT_TRACK="1", SCARF_NO_ANALYTICS="1")
    missed = report_factories(options)
    if not options.only_factories:
        missed += report_tracking(quick=options.quick)
    return 1 if missed else 0


def report_factories(options: argparse.Namespace) -> int:
    """Print what reading files, their Dags and imports cost; return how many limits are missed."""
    missed = 0
    names = [name for name in FACTORIES if available(name)]
    print("files to Dags, ratio to hand-written: median of all pairs [quartiles], ratio of the shortest times")
    print(f"{'':38}" + "".join(f"{shape!s:>24}" for shape in options.shapes))
    sizes = {}
    for name in names:
        cells = []
        for text in options.shapes:
            found = compare(name, Shape.parse(text), options.runs)
            sizes[name, text] = found.size
            cells.append(f"{found.ratio:.2f} [{found.low:.2f}-{found.high:.2f}] {found.of_least:.2f}")
            missed += found.ratio > LIMITS.get(name, 99)
        print(f"{factory(name).NAME:38}" + "".join(f"{cell:>24}" for cell in cells), flush=True)
    print("\nserialized size, ratio to hand-written")
    for name in names:
        print(f"{factory(name).NAME:38}" + "".join(f"{sizes[name, text]:>24.2f}" for text in options.shapes))
        missed += any(sizes[name, text] > MOST_SIZE for text in options.shapes) and name in LIMITS
    print("\nimport over a bare airflow.sdk")
    for name in names:
        milliseconds, modules = import_cost(name, 3 if options.quick else 5)
        print(f"{factory(name).NAME:38}{milliseconds:8.0f} ms, {modules} modules")
        missed += milliseconds > MOST_IMPORT and name == "pipetrack"
    milliseconds = root_import(5)
    print(f"{'the package root alone':38}{milliseconds:8.1f} ms")
    return missed + (milliseconds > MOST_ROOT_IMPORT)


def report_tracking(*, quick: bool) -> int:
    """Print what tracking and its questions cost; return how many limits are missed."""
    from benchmarks.outage import report as report_outage
    from benchmarks.reconcile import report as report_reconcile

    print("\ntracking", flush=True)
    # Not forked from here, where every factory is loaded.
    done = subprocess.run([sys.executable, str(Path(__file__).with_name("tracking.py"))], check=False)
    missed = int(done.returncode != 0) + report_outage()
    missed += report_reconcile(10_000 if quick else 100_000, rounds=1 if quick else 3)
    from benchmarks.pages import report as report_pages
    from benchmarks.questions import report as report_questions

    count, runs = (50_000, 3) if quick else (1_000_000, 5)
    missed += report_questions(count, runs=runs)
    return missed + report_pages(count, runs=runs)


if __name__ == "__main__":
    sys.exit(main())
