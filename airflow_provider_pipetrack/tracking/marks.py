"""Which attempts of this host are under way: a small file for each, whose lock its process holds while it lives.

The file goes when the attempt's end is written, or when the attempt waits for a later process. What is found with a
free lock was left by a process that died, so that the next task of the run need not read its records to know of it.
A process that it has forked, and that may live longer, has no part in the lock.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.chain_form import is_chain
from airflow_provider_pipetrack.tracking.journal import FOLDER_MODE
from airflow_provider_pipetrack.tracking.locks import take_lock

log = logging.getLogger("airflow_provider_pipetrack.tracking")

#: What was left for longer is forgotten, in seconds; people are told of such attempts, and nobody closes them any more.
KEPT_FOR = 14 * 86_400.0
#: Where marks are, in the host's journal folder. All in one, since to remove a folder costs many disks milliseconds.
_FOLDER = "open"
_HALF_MADE = "."


class Mark:
    """The mark of one attempt in the process that runs it.

    :param path: its file.
    :param descriptor: the open file, with the lock.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        _HELD.add(self)

    def remove(self) -> None:
        """Take the mark away: the attempt's end is written, or another process goes on with it."""
        if self._descriptor >= 0:
            _remove(self._path)
            self.let_go()

    def let_go(self) -> None:
        """Leave the mark for others to find: this process speaks for the attempt no more."""
        _HELD.discard(self)
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


#: Whose files are open: each is known as long as a forked process would get its lock too.
_HELD: set[Mark] = set()


def _after_fork_in_child() -> None:
    for mark in list(_HELD):
        mark.let_go()  # closed, not unlocked: the lock is one for both


os.register_at_fork(after_in_child=_after_fork_in_child)


@dataclass(frozen=True)
class Left:
    """The mark of an attempt whose process died.

    :param pipeline_ids: the pipelines under which its record may stand.
    :param chain: where its record goes, as a store describes it.
    """

    path: Path
    key: RecordKey
    pipeline_ids: tuple[str, ...]
    chain: Mapping[str, Any]


def set_mark(folder: Path, key: RecordKey, pipeline_ids: Sequence[str], chain: Mapping[str, Any]) -> Mark | None:
    """Mark an attempt that begins, or goes on, in this process; None where that cannot be done, which does no harm.

    :param folder: the host's journal folder.
    """
    content = {"record_id": key.record_id, "pipeline_ids": pipeline_ids, "chain": chain}
    try:
        return _made(folder / _FOLDER / _name(key), json.dumps(content).encode())
    except (OSError, TypeError, ValueError) as error:
        log.debug("pipetrack cannot mark that %s runs: %s", key.record_id, error)
        return None


def left_of_run(folder: Path, own: RecordKey) -> list[Left]:
    """Return what processes that died have left of a run on this host, but not the attempt ``own`` itself."""
    return list(_left(path for path in _paths(folder, _run(own)) if path.name != _name(own)))


def left_on_host(folder: Path) -> list[Left]:
    """Return what processes that died have left on this host."""
    return list(_left(path for path in _paths(folder) if not _is_half_made(path)))


def forget(left: Iterable[Left]) -> None:
    """Take marks away whose attempts are closed."""
    for mark in left:
        _remove(mark.path)


def forget_run(folder: Path, dag_id: str, run_id: str) -> None:
    """Take away what processes that died have left of a run that is closed."""
    forget(_left(_paths(folder, _run(RecordKey(dag_id, run_id, "")))))


def forget_old(folder: Path, *, older_than: float = KEPT_FOR) -> None:
    """Take away what was left long ago, and what was only half made then, which needs no lock.

    :param older_than: age in seconds.
    """
    before = time.time() - older_than
    for path in _paths(folder):
        with suppress(OSError):
            if path.stat().st_mtime < before and (_is_half_made(path) or _content(path) is not None):
                _remove(path)


def _made(path: Path, content: bytes) -> Mark | None:
    """Make a mark; it has its lock before it has the name by which it is found."""
    new = path.with_name(f"{_HALF_MADE}{path.name}.{os.getpid()}")
    descriptor = None
    try:
        descriptor = _open(new)
        if descriptor is None:
            return None
        _write(descriptor, content)
        new.rename(path)
    except OSError:  # on a disk without locks, when the file is there
        _remove(new)
        if descriptor is not None:
            os.close(descriptor)
        raise
    return Mark(path, descriptor)


def _open(path: Path) -> int | None:
    try:
        return take_lock(path, create=True)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        return take_lock(path, create=True)


def _write(descriptor: int, content: bytes) -> None:
    if os.write(descriptor, content) != len(content):
        raise OSError(errno.ENOSPC, "the disk is full")


def _left(paths: Iterable[Path]) -> Iterator[Left]:
    """Yield the marks among these whose process does not live."""
    for path in paths:
        content = _content(path)
        left = None if content is None else _read(path, content)
        if left is not None:
            yield left
        elif content is not None:
            _remove(path)  # of another version, or damaged: the record is found without it, later


def _read(path: Path, content: bytes) -> Left | None:
    """Return what a mark says, or None when it cannot be understood."""
    try:
        said = json.loads(content)
        left = Left(path, RecordKey.parse(said["record_id"]), tuple(said["pipeline_ids"]), said["chain"])
    except (ValueError, KeyError, TypeError):
        return None
    return left if is_chain(left.chain) and all(isinstance(name, str) for name in left.pipeline_ids) else None


def _content(path: Path) -> bytes | None:
    """Return what stands in a mark that was left; None while its process lives, or where it is gone."""
    try:
        descriptor = take_lock(path)
    except OSError:
        return None
    if descriptor is None:
        return None
    try:
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _is_half_made(path: Path) -> bool:
    return path.name.startswith(_HALF_MADE)


def _paths(folder: Path, begin: str = "") -> list[Path]:
    try:
        return [path for path in (folder / _FOLDER).iterdir() if path.name.startswith(begin)]
    except OSError:
        return []  # there is none yet, or it may not be seen


def _name(key: RecordKey) -> str:
    return f"{_run(key)}{_hash(key.record_id)}"


def _run(key: RecordKey) -> str:
    """Return what the names of all marks of a run begin with."""
    return _hash("/".join(key.record_id.split("/")[:2])) + "-"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
