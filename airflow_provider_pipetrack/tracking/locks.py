"""Files whose lock says whether their owner lives; the system gives the lock back when a process ends, however."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def take_lock(path: Path, *, create: bool = False) -> int | None:
    """Return the descriptor of a file with its lock, or None when it has a living owner or is another user's.

    :param create: whether to make the file when it is missing.
    :raises FileNotFoundError: when it is missing, or its folder is.
    :raises OSError: when it cannot be opened, or the disk knows no locks.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o660)
    except PermissionError:
        if not path.exists():
            raise
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
