"""pipetrack, files that an earlier process has read: what every parse and every task start pays."""

from __future__ import annotations

from pathlib import Path

from benchmarks.factories import pipetrack
from benchmarks.shapes import Shape

NAME = "pipetrack, unchanged"
IMPORT = pipetrack.IMPORT


def write(folder: Path, shape: Shape) -> None:
    """Write the files, and have them read once."""
    pipetrack.write(folder, shape)
    pipetrack.build(folder, shape)


forget = pipetrack.forget_memory
build = pipetrack.build
