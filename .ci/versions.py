"""Run tests on every version of Airflow, each with a Python of its own, in virtual environments of their own.

Usage: versions.py [--smoke] [--only SET...] [--python PYTHON] [VERSION...], such as versions.py 3.3 --python 3.12.
A version is run with the first of its Pythons that this machine has; the newest stable one with each of them. A skip
that this version is not expected to have fails, as a failed test does.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Each version's Pythons, in the order of preference.
VERSIONS = {
    "3.1": ("3.10", "3.11", "3.12", "3.13"),
    "3.2": ("3.12", "3.11", "3.13", "3.10"),
    "3.3": ("3.10", "3.11", "3.12", "3.13"),
    "3.4": ("3.13", "3.12", "3.11"),
}
#: The newest stable version: `make test` runs everything on it, with one Python.
NEWEST = "3.3"
SETS = {"unit": "tests/unit", "integration": "tests/integration", "faults": "tests/faults", "e2e": "tests/e2e"}
SMOKE = [
    "tests/unit/dag/test_bundle.py",
    "tests/unit/dag/test_importer.py",
    "tests/unit/plugins",
    "tests/integration/storage/test_postgres_drivers.py",
    "tests/e2e/test_main_job.py",
]
#: What a version skips beside `.ci/expected_skips`, since Airflow itself lacks it.
LACKS = {
    "3.1": (
        "Airflow has commands of providers from 3.2 on",
        "Airflow's hook uses psycopg2 here",
        "this Airflow shows forms beside flask-appbuilder only",
    ),
}


@dataclass
class Cell:
    """One version with one Python, and what its tests came to.

    :param interpreter: the Python that its environment is made with; None when this machine has none.
    :param wrong: why it is not as it should be, one text each.
    """

    version: str
    python: str
    interpreter: str | None
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0
    wrong: tuple[str, ...] = ()

    @property
    def row(self) -> str:
        """Its line of the table."""
        name = f"{self.version:<8} {self.python:<7}"
        if self.interpreter is None:
            return f"{name} this machine has no such Python"
        return f"{name} {self.passed:>6} {self.failed:>6} {self.skipped:>7} {self.seconds:>7.0f}"


def main() -> int:
    """Test each version; return how many cells failed."""
    options = arguments()
    tests = SMOKE if options.smoke else [SETS[name] for name in options.only or SETS]
    cells = [cell for version in options.versions for cell in cells_of(version, options.python, smoke=options.smoke)]
    for cell in cells:
        if cell.interpreter is not None:
            print(f"== Airflow {cell.version}, Python {cell.python}", flush=True)
            test(cell, tests, smoke=options.smoke)
    print("Airflow  Python  passed failed skipped seconds", *(cell.row for cell in cells), sep="\n")
    for cell in cells:
        for text in cell.wrong:
            print(f"Airflow {cell.version}, Python {cell.python}: {text}")
    return sum(bool(cell.wrong) for cell in cells)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"of {', '.join(VERSIONS)}")
    parser.add_argument("--smoke", action="store_true", help=f"only whether it works at all; not on {NEWEST}")
    parser.add_argument("--only", action="append", choices=SETS, help="this set of tests; may be given more than once")
    parser.add_argument("--python", choices=sorted({name for names in VERSIONS.values() for name in names}))
    options = parser.parse_args()
    unknown = sorted(set(options.versions) - set(VERSIONS))
    if unknown:
        parser.error(f"there is no environment for {', '.join(unknown)}; choose from {', '.join(VERSIONS)}")
    options.versions = options.versions or [name for name in VERSIONS if not (options.smoke and name == NEWEST)]
    if not any(options.python in (None, *VERSIONS[version]) for version in options.versions):
        parser.error(f"Airflow {', '.join(options.versions)} does not run on Python {options.python}")
    return options


def cells_of(version: str, python: str | None, *, smoke: bool) -> list[Cell]:
    """Return the cells to run of a version: one, or one for each Python of the newest stable version."""
    cells = [Cell(version, name, interpreter(name)) for name in VERSIONS[version] if python in (None, name)]
    if version == NEWEST and not smoke:
        return cells
    return [cell for cell in cells if cell.interpreter][:1] or cells[:1]


def test(cell: Cell, tests: list[str], *, smoke: bool) -> None:
    """Run tests in a cell's environment and note what they came to."""
    try:
        python = installed(cell, smoke=smoke)
    except subprocess.CalledProcessError as error:
        cell.wrong = (f"its environment could not be made: {error}",)
        return
    report = python.parents[1] / "report.xml"
    report.unlink(missing_ok=True)
    begun = time.monotonic()
    command = [str(python), "-m", "pytest", "-q", f"--junitxml={report}", *tests]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    cell.seconds = time.monotonic() - begun
    if not report.exists():
        cell.wrong = (f"pytest ended with {code} and without a report",)
        return
    cases = list(ET.parse(report).iter("testcase"))
    skips = [str(skip.get("message")) for case in cases for skip in case.iter("skipped")]
    cell.failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    cell.skipped = len(skips)
    cell.passed = len(cases) - cell.failed - cell.skipped
    cell.wrong = ((f"pytest ended with {code}",) if code else ()) + unexpected(cell.version, skips)


def unexpected(version: str, skips: list[str]) -> tuple[str, ...]:
    """Return the reasons for which tests were skipped although this version has what they need."""
    patterns = [*(ROOT / ".ci" / "expected_skips").read_text().splitlines(), *map(re.escape, LACKS.get(version, ()))]
    reasons = {reason for reason in skips if not any(re.fullmatch(pattern, reason) for pattern in patterns)}
    return tuple(f"this skip was not expected: {reason}" for reason in sorted(reasons))


def installed(cell: Cell, *, smoke: bool) -> Path:
    """Return the Python of a cell's environment, which is made when it is missing or out of date.

    A smoke test needs a part of it only, which takes a fraction of the time to install.
    """
    folder = ROOT / f".venv-{cell.version}-{cell.python}"
    python, stamp = folder / "bin" / "python", folder / (".installed-smoke" if smoke else ".installed")
    made_from = [ROOT / "pyproject.toml", ROOT / "constraints.txt", *own_constraints(cell.version)]
    newest = max(path.stat().st_mtime for path in made_from)
    if any(mark.exists() and mark.stat().st_mtime >= newest for mark in (stamp, folder / ".installed")):
        return python
    if not python.exists():
        subprocess.run([str(cell.interpreter), "-m", "venv", str(folder)], check=True)
    pins = folder / "constraints.txt"
    pins.write_text(constraints(cell.version))
    group, extras = ("smoke", "sql,sqlite,postgres,mail") if smoke else ("test", "all")
    needed = subprocess.run(
        [sys.executable, ROOT / ".ci" / "groups.py", group], capture_output=True, text=True, check=True
    )
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", str(pins)]
    subprocess.run([*pip, "--editable", f"{ROOT}[{extras}]", *needed.stdout.split()], check=True)
    stamp.touch()
    return python


def constraints(version: str) -> str:
    """Return the pins of a version: those of the newest stable one, but for what this one needs otherwise."""
    own = "".join(path.read_text() for path in own_constraints(version))
    names = set(re.findall(r"^([a-z0-9-]+)==", own, re.MULTILINE))
    shared = (ROOT / "constraints.txt").read_text().splitlines()
    return own + "\n".join(line for line in shared if line.partition("==")[0] not in names) + "\n"


def own_constraints(version: str) -> list[Path]:
    """Return the file of what a version needs in other versions than `constraints.txt` has, if there is one."""
    path = ROOT / ".ci" / "constraints" / f"{version}.txt"
    return [path] if path.exists() else []


def interpreter(version: str) -> str | None:
    """Return this machine's Python of a version."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for candidate in (shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))):
        # A shim is there for every Python, also for one that is not switched on.
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(candidate)
    return None


if __name__ == "__main__":
    sys.exit(main())
