"""Find pipeline files, and read each of them only when it has changed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from airflow_provider_pipetrack import __version__
from airflow_provider_pipetrack.compat import keeps_dags
from airflow_provider_pipetrack.config import PipelineConfig
from airflow_provider_pipetrack.config.reader import MAX_BYTES, looks_like_pipeline
from airflow_provider_pipetrack.dag.factory import read_config
from airflow_provider_pipetrack.dag.models import forget_model, remember, remembered, state_of
from airflow_provider_pipetrack.errors import ConfigError, PipetrackError, Problem

log = logging.getLogger("airflow_provider_pipetrack.loader")

SUFFIXES = (".yaml", ".yml", ".json")
#: Folders that are nobody's pipelines; the last is a volume's own, which only root may read.
_SKIPPED = {"__pycache__", "node_modules", "lost+found"}


@dataclass(frozen=True)
class Verdict:
    """What became of one file: its model, or its problems.

    :param proven: whether Airflow has taken the Dag of this model before: made it and, where it keeps Dags, serialized
        it.
    """

    path: Path
    config: PipelineConfig | None
    problems: tuple[Problem, ...] = ()
    proven: bool = False


def pipeline_files(folder: Path, unread: Callable[[Path], None] = lambda _: None) -> Iterator[tuple[Path, bytes]]:
    """Yield the pipeline files in a folder and below, in a stable order, with their bytes.

    ``.airflowignore`` is respected; hidden folders and files that mention no ``stage_transfers`` are left alone.

    :param unread: called with each folder below that is there and cannot be read.
    :raises PipetrackError: when ``folder`` is no folder, or cannot be read.
    """
    insist_on_folder(folder)
    from airflow_provider_pipetrack.dag.ignoring import Ignored

    def failed(error: OSError) -> None:
        here = Path(error.filename or folder)
        if here == folder:  # all would seem to be gone
            raise PipetrackError(f"the folder {folder} with pipeline files cannot be read: {error.strerror}")
        if not isinstance(error, FileNotFoundError):
            log.warning("%s cannot be read, so its pipelines are left out: %s", here, error.strerror)
            unread(here)

    ignored = Ignored(folder)
    seen: set[tuple[int, int]] = set()
    for current, folders, names in os.walk(folder, followlinks=True, onerror=failed):
        here = Path(current)
        identity = _identity(here)
        if identity is None or identity in seen:
            folders[:] = []  # gone meanwhile, or a symbolic link that leads back
            continue
        seen.add(identity)
        ignored.enter(here)
        folders[:] = sorted(
            name
            for name in folders
            if name not in _SKIPPED and not name.startswith(".") and not ignored.matches(here / name, folder=True)
        )
        for name in sorted(names):
            path = here / name
            if path.suffix.lower() in SUFFIXES and not name.startswith(".") and not ignored.matches(path):
                data = _bytes(path)
                if data is not None:
                    yield path, data


def insist_on_folder(folder: Path) -> None:
    """Raise when there is no such folder.

    :raises PipetrackError: with a sentence for who named it.
    """
    if not folder.is_dir():
        raise PipetrackError(f"there is no folder {folder} with pipeline files")


def read_pipeline(path: Path) -> Verdict:
    """Return the model of a file or its problems; an unchanged file is not read again."""
    try:
        key = _key(path)
    except OSError as error:
        return Verdict(path, None, (Problem(str(path), 0, 0, "", f"cannot be read: {error.strerror}"),))
    known = _VERDICTS.get(path)
    if known is not None and known[0] == key and not _functions_changed(known[1]):
        return known[1]
    config, serialized = remembered(path, key)
    verdict = Verdict(path, config, proven=serialized or not keeps_dags()) if config is not None else _read(path)
    if verdict.config is not None:
        functions = verdict.config.functions.file()
        if functions is not None:
            _STATES[path] = state_of(functions)
    _VERDICTS[path] = (key, verdict)
    return verdict


def settle(verdict: Verdict, *, taken: bool) -> None:
    """Keep, for later calls and processes, whether Airflow took the Dag of a file's model."""
    known = _VERDICTS.get(verdict.path)
    if verdict.config is None or verdict.proven == taken or known is None or known[1] is not verdict:
        return
    _VERDICTS[verdict.path] = (known[0], replace(verdict, proven=taken))
    if taken:
        remember(verdict.path, known[0], verdict.config, serialized=keeps_dags())
    else:
        forget_model(verdict.path)


def _read(path: Path) -> Verdict:
    try:
        return Verdict(path, read_config(path))
    except ConfigError as error:
        return Verdict(path, None, error.problems)
    except Exception as error:
        log.exception("%s: the file cannot be checked", path)
        reason = f"the file cannot be checked: {type(error).__name__}: {error}"
        return Verdict(path, None, (Problem(str(path), 0, 0, "", reason),))


def is_there(path: Path) -> bool | None:
    """Return whether there is such a file or folder; None for one that cannot be looked at, so that it is not gone."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None
    return True


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _bytes(path: Path) -> bytes | None:
    """Return the bytes of a pipeline file, None for another or one that is gone; of a longer one only the first.

    One that cannot be read counts as a pipeline without text, so that reading it says why; else it would just be gone.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # a file of data may have any size
    except FileNotFoundError:
        return None
    except OSError:
        return b""
    return data if looks_like_pipeline(data) else None


def _key(path: Path) -> str:
    status = path.stat()
    return f"{path}\0{status.st_mtime_ns}\0{status.st_size}\0{__version__}"


_VERDICTS: dict[Path, tuple[str, Verdict]] = {}


def _functions_changed(verdict: Verdict) -> bool:
    """Return whether the functions beside a file may have changed since it was judged."""
    if verdict.config is None:
        return True  # a mistake may be mended in another file
    path = verdict.config.functions.file()
    return path is not None and state_of(path) != _STATES.get(verdict.path)


#: The state of the functions beside each file when it was judged.
_STATES: dict[Path, str] = {}
