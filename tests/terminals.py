"""Terminals, as a command sees one."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys


def run_looking_on(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose errors go to a terminal; what is shown there is its ``stderr``."""
    controller, terminal = pty.openpty()
    called = [sys.executable, "-m", "airflow_provider_pipetrack.cli.main", *arguments]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(called, stdout=subprocess.PIPE, stderr=terminal, env=environment, text=True) as process:
        os.close(terminal)
        shown = read_all(controller)
        printed = process.stdout.read()
    return subprocess.CompletedProcess(called, process.returncode, printed, shown)


def read_all(controller: int) -> str:
    """Return what is written to a terminal until the last process has left it, without colors; closes it."""
    shown = b""
    with contextlib.suppress(OSError):  # the terminal is gone when the command has ended
        while chunk := os.read(controller, 65536):
            shown += chunk
    os.close(controller)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
