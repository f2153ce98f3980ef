"""Find pipeline files, and read each of them only when it has changed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_pipetrack import __version__, settings
from airflow_provider_pipetrack.config import PipelineConfig
from airflow_provider_pipetrack.config.reader import looks_like_pipeline
from airflow_provider_pipetrack.errors import ConfigError, Problem

log = logging.getLogger("airflow_provider_pipetrack.loader")

SUFFIXES = (".yaml", ".yml", ".json")
_SKIPPED = {"__pycache__", "node_modules"}


@dataclass(frozen=True)
class Verdict:
    """What became of one file: its model, or its problems."""

    path: Path
    config: PipelineConfig | None
    problems: tuple[Problem, ...] = ()


def pipeline_files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield the pipeline files in a folder and below, in a stable order, with their bytes.

    ``.airflowignore`` is respected; hidden folders and files that mention no ``stage_transfers`` are left alone.
    """
    from airflow_provider_pipetrack.dag.ignoring import Ignored

    ignored = Ignored(folder)
    seen: set[tuple[int, int]] = set()
    for current, folders, names in os.walk(folder, followlinks=True):
        here = Path(current)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            folders[:] = []  # a symbolic link that leads back
            continue
        seen.add((status.st_dev, status.st_ino))
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
                if data is not None and looks_like_pipeline(data):
                    yield path, data


def read_pipeline(path: Path) -> Verdict:
    """Return the model of a file or its problems; an unchanged file is not read again."""
    try:
        key = _key(path)
    except OSError as error:
        return Verdict(path, None, (Problem(str(path), 0, 0, "", f"cannot be read: {error.strerror}"),))
    known = _VERDICTS.get(path)
    if known is not None and known[0] == key and not _functions_changed(known[1]):
        return known[1]
    config = _from_cache(path, key)
    if config is not None:
        verdict = Verdict(path, config)
    else:
        verdict = _read(path)
        if verdict.config is not None:
            _to_cache(path, key, verdict.config)
    _VERDICTS[path] = (key, verdict)
    return verdict


def _read(path: Path) -> Verdict:
    try:
        return Verdict(path, PipelineConfig.from_file(path))
    except ConfigError as error:
        return Verdict(path, None, error.problems)


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error)
        return None


def _key(path: Path) -> str:
    status = path.stat()
    return f"{path}\0{status.st_mtime_ns}\0{status.st_size}\0{__version__}"


_VERDICTS: dict[Path, tuple[str, Verdict]] = {}


def _functions_changed(verdict: Verdict) -> bool:
    """Return whether the functions beside a file may have changed since it was judged."""
    if verdict.config is None:
        return True  # a mistake may be mended in another file
    path = verdict.config.functions.file()
    return path is not None and _functions_state(path) != _STATES.get(path)


_STATES: dict[Path, str] = {}


def _functions_state(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return f"{status.st_mtime_ns}.{status.st_size}"


def _cache_file(path: Path) -> Path:
    name = hashlib.sha256(str(path).encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return settings.state_dir() / "cache" / f"{name}.json"


def _from_cache(path: Path, key: str) -> PipelineConfig | None:
    """Return a model that an earlier process has read from the same content, or None. Trouble is no reason to fail."""
    try:
        head, _, body = _cache_file(path).read_bytes().partition(b"\n")
        stored = json.loads(head)
        functions = Path(stored["functions"]) if stored["functions"] else None
        if stored["key"] != key or (functions and stored["state"] != _functions_state(functions)):
            return None
        config = PipelineConfig.from_json(body, path.stem, path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.debug("no cached model of %s: %s", path, error)
        return None
    if functions:
        _STATES[functions] = stored["state"]
    return config


def _to_cache(path: Path, key: str, config: PipelineConfig) -> None:
    functions = config.functions.file()
    state = _functions_state(functions) if functions else ""
    if functions:
        _STATES[functions] = state
    head = json.dumps({"key": key, "functions": str(functions) if functions else "", "state": state})
    target = str(_cache_file(path))
    fresh = f"{target}.{os.getpid()}.tmp"
    try:
        _write_private(fresh, f"{head}\n{config.to_json()}".encode())
        os.replace(fresh, target)  # noqa: PTH105  for hundreds of files, pathlib costs as much as the writing
    except (OSError, ValueError) as error:
        log.debug("the model of %s cannot be cached: %s", path, error)
        with suppress(OSError):
            os.unlink(fresh)  # noqa: PTH108


def _write_private(path: str, data: bytes) -> None:
    """Write a file that only its owner can read; make its folder when it is missing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileNotFoundError:
        Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, flags, 0o600)
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError("the disk is full")
    finally:
        os.close(descriptor)
