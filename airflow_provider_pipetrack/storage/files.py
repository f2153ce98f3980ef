"""Files of this host."""

from __future__ import annotations

from pathlib import Path


def file_is_here(path: Path) -> bool:
    """Return whether this host has a file; also when something stands in its way, which whoever opens it will say."""
    try:
        return path.exists() or not next(folder for folder in path.parents if folder.exists()).is_dir()
    except OSError:
        return True
