"""A folder of stubs: one small Python file for each pipeline file, for an Airflow that looks for Python files only."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.dag.files import insist_on_folder, is_there, pipeline_files

#: Characters of a pipeline file that its stub shows at most.
MOST_SHOWN = 1_000_000
_HEAD = """from airflow_provider_pipetrack.dag.loader import load_pipeline  # an Airflow Dag of the file below
load_pipeline(globals(), {path!a}, {folder!a})
#
# Made from {path!a}; change that file, not this one.
#
"""
_OTHERS_MAY_WRITE = 0o022
_ABANDONED_AFTER = 60.0


def stub_text(path: Path, folder: Path, data: bytes) -> str:
    """Return the stub of a pipeline file: two lines of code, and the file's text as comments for Airflow's code tab.

    :param folder: the folder of pipelines that the file was found in.
    :param data: the file's bytes; whatever they are, none of them becomes code.
    """
    shown = data.decode("utf-8", "backslashreplace")
    cut = "# (the rest is left out here)\n" if len(shown) > MOST_SHOWN else ""
    # splitlines() knows all line ends that Python knows, and more.
    lines = (_harmless(line) for line in shown[:MOST_SHOWN].splitlines())
    head = _HEAD.format(path=str(path), folder=str(folder))
    return head + "".join(f"# {line}".rstrip() + "\n" for line in lines) + cut


def write_stubs(source: Path, target: Path) -> None:
    """Make a folder hold the stubs of the pipeline files in another, and nothing else.

    Of a folder below that cannot be read the stubs stay: its pipelines are not gone.

    A stub is replaced in one step, and only when it changes, so that several processes may do this at once and a
    folder that cannot be written to is good enough while it is right.

    :param source: the folder of pipeline files.
    :param target: the folder of stubs; it is made when it is missing.
    :raises PipetrackError: when ``source`` is no folder, or cannot be read.
    :raises OSError: when ``target`` is not right and cannot be made so, or is somebody else's.
    """
    insist_on_folder(source)
    target.mkdir(parents=True, exist_ok=True, mode=0o755)
    _insist_on_own(target)
    with _locked(target):
        unread: list[Path] = []
        wanted = {_stub_of(path, source): (path, data) for path, data in pipeline_files(source, unread.append)}
        for name, (path, data) in wanted.items():
            _replace(target / name, stub_text(path, source, data).encode())
        kept = {folder.relative_to(source) for folder in unread}
        _clear(target, set(wanted), kept | _out_of_sight(target, source, set(wanted)))


def _harmless(line: str) -> str:
    """Return a line without control characters, which could make a stub look like an archive to Airflow."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() or char == "\t" else ascii(char)[1:-1] for char in line)


def _stub_of(path: Path, source: Path) -> Path:
    relative = path.relative_to(source)
    return relative.with_name(f"{relative.name}.py")


def _insist_on_own(folder: Path) -> None:
    """Refuse a folder that somebody else may have filled, or put there: what is in it becomes code, or is removed."""
    status = folder.lstat()
    if status.st_uid not in (os.geteuid(), 0) or status.st_mode & _OTHERS_MAY_WRITE:
        raise PermissionError(errno.EACCES, "others may write to the folder of stubs", str(folder))
    for parent, child in zip(folder.parents, (folder, *folder.parents), strict=False):
        # In a folder such as /tmp, where Airflow keeps its bundles by default, everybody may have made what is there.
        if parent.stat().st_mode & stat.S_ISVTX and child.lstat().st_uid not in _trusted():
            raise PermissionError(errno.EACCES, "the folder of stubs is in a folder of somebody else", str(child))


def _trusted() -> set[int]:
    """Return the users who may do what they like here anyway: this one, root, and whose Airflow it is."""
    users = {os.geteuid(), 0}
    with suppress(OSError):
        users.add(settings.airflow_home().stat().st_uid)
    return users


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time work on a folder; where the file system knows no locks, go on without."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(file: Path, data: bytes) -> None:
    with suppress(OSError):
        if not file.is_symlink() and file.read_bytes() == data:
            return
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    descriptor, fresh = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as writing:
            writing.write(data)
        Path(fresh).replace(file)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise


def _out_of_sight(target: Path, source: Path, wanted: set[Path]) -> set[Path]:
    """Return the folders of stubs of which nobody knows whether their pipelines are gone.

    A link to a file server that is away looks like a file to who lists its folder.
    """
    needed = {parent for name in wanted for parent in name.parents}
    have = {Path(current).relative_to(target) for current, _, _ in os.walk(target)}
    return {folder for folder in have - needed - {Path()} if is_there(source / folder) is None}


def _clear(target: Path, wanted: set[Path], unread: set[Path]) -> None:
    """Remove what belongs to no pipeline file.

    :param unread: folders of which nobody knows what is in them; what was there stays.
    """
    needed = {parent for name in wanted | unread for parent in name.parents}
    for current, folders, names in os.walk(target):
        here = Path(current).relative_to(target)
        folders[:] = [name for name in folders if here / name not in unread]
        for name in [name for name in folders if here / name not in needed]:
            folders.remove(name)
            if name != "__pycache__":
                _remove(target / here / name)
        for name in names:
            if here / name not in wanted and not _is_being_written(target / here / name):
                (target / here / name).unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def _is_being_written(file: Path) -> bool:
    """Return whether another process may be writing this file just now, where locks do not work."""
    try:
        return file.suffix == ".tmp" and time.time() - file.stat().st_mtime < _ABANDONED_AFTER
    except FileNotFoundError:
        return False
