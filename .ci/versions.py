"""Run tests on the other versions of Airflow, each with another Python, in virtual environments of their own.

Usage: versions.py [--smoke] [VERSION...], such as versions.py 3.1. Without --smoke: every unit test, and the tests of
what differs between versions in a running Airflow.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Each version's Pythons, in the order of preference: together they are all that the package supports.
VERSIONS = {
    "3.1": ("3.10", "3.11", "3.12", "3.13"),
    "3.2": ("3.12", "3.11", "3.13", "3.10"),
    "3.4": ("3.13", "3.12", "3.11"),
}
SMOKE = [
    "tests/unit/dag/test_bundle.py",
    "tests/unit/dag/test_importer.py",
    "tests/unit/plugins",
    "tests/e2e/test_main_job.py",
]
FULL = [
    "tests/unit",
    "tests/e2e/test_main_job.py",
    "tests/e2e/test_bundle.py",
    "tests/e2e/test_ready_data.py",
    "tests/e2e/test_tracked_operators.py",
    "tests/e2e/test_tracked_beside_untracked.py",
]


def main() -> int:
    """Test each version; return how many failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=f"of {', '.join(VERSIONS)}")
    parser.add_argument("--smoke", action="store_true", help="only whether it works at all")
    options = parser.parse_args()
    unknown = sorted(set(options.versions) - set(VERSIONS))
    if unknown:
        parser.error(f"there is no environment for {', '.join(unknown)}; choose from {', '.join(VERSIONS)}")
    failed = []
    for version in options.versions or VERSIONS:
        python = installed(version)
        print(f"== Airflow {version}, {run([python, '--version'], capture=True)}", flush=True)
        tests = SMOKE if options.smoke else FULL
        if run([python, "-m", "pytest", "-q", *tests]) is None:
            failed.append(version)
    print(f"failed: {', '.join(failed)}" if failed else "every version passed")
    return len(failed)


def installed(version: str) -> str:
    """Return the Python of a version's environment, which is made when it is missing or out of date."""
    folder = ROOT / f".venv-{version}"
    python, stamp = folder / "bin" / "python", folder / ".installed"
    made_from = [ROOT / "pyproject.toml", ROOT / "constraints.txt", ROOT / ".ci" / "constraints" / f"{version}.txt"]
    if stamp.exists() and all(path.stat().st_mtime <= stamp.stat().st_mtime for path in made_from):
        return str(python)
    if not python.exists():
        require([interpreter(VERSIONS[version]), "-m", "venv", str(folder)])
    pins = folder / "constraints.txt"
    pins.write_text(constraints(version))
    groups = subprocess.run(
        [sys.executable, ROOT / ".ci" / "groups.py", "versions"], capture_output=True, text=True, check=True
    )
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", str(pins)]
    require([*pip, "--editable", f"{ROOT}[sql,sqlite,postgres,mail]", *groups.stdout.split()])
    stamp.touch()
    return str(python)


def constraints(version: str) -> str:
    """Return the pins of a version: those of every version, but for what this one needs otherwise."""
    own = (ROOT / ".ci" / "constraints" / f"{version}.txt").read_text()
    names = set(re.findall(r"^([a-z0-9-]+)==", own, re.MULTILINE))
    shared = (ROOT / "constraints.txt").read_text().splitlines()
    return own + "\n".join(line for line in shared if line.partition("==")[0] not in names) + "\n"


def interpreter(versions: tuple[str, ...]) -> str:
    """Return the first of some Pythons that this machine has."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    for version in versions:
        for candidate in (shutil.which(f"python{version}"), *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))):
            # A shim is there for every Python, also for one that is not switched on.
            if candidate and run([str(candidate), "-c", ""], capture=True) is not None:
                return str(candidate)
    sys.exit(f"none of Python {', '.join(versions)} is here")


def run(command: list[str], *, capture: bool = False) -> str | None:
    """Run a command; return what it printed when that is captured, or None when it failed."""
    done = subprocess.run(command, capture_output=capture, text=True, cwd=ROOT, check=False)
    return None if done.returncode else (done.stdout or "").strip()


def require(command: list[str]) -> None:
    """Run a command that must not fail."""
    if run(command) is None:
        sys.exit(f"failed: {' '.join(command)}")


if __name__ == "__main__":
    sys.exit(main())
