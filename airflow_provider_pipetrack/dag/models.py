"""What an earlier process has read and built: models of a folder's pipeline files, in one private file a folder.

The file is appended to, an entry for each model: a line that says what it was made from, and the model. The last
entry of a path counts. Trouble with it is never a reason to fail; the pipeline file is then read again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.config import PipelineConfig

log = logging.getLogger("airflow_provider_pipetrack.loader")

#: Outdated entries that a file may have, beside as many as it has pipelines, before it is begun anew.
MOST_OUTDATED = 50
_KEPT_DAYS = 30
_MARK = b"\n#"


@dataclass
class _Pack:
    """The entries of one folder: what each model was made from, and the model as it was written."""

    file: Path
    entries: dict[str, tuple[dict[str, str], bytes]] = field(default_factory=dict)
    outdated: int = 0


_PACKS: dict[Path, _Pack] = {}


def remembered(path: Path, key: str) -> tuple[PipelineConfig | None, bool]:
    """Return a file's model as an earlier process has read it, or None; and whether its Dag was serialized.

    :param key: what the model depends on; another key makes another model.
    """
    made_from, body = _pack(path.parent).entries.get(path.name, ({}, b""))
    try:
        functions = made_from.get("functions")
        if made_from.get("key") != key or (functions and made_from["state"] != state_of(Path(functions))):
            return None, False
        return PipelineConfig.from_json(body, path.stem, path), bool(made_from.get("serialized"))
    except (ValueError, KeyError, TypeError) as error:
        log.debug("no remembered model of %s: %s", path, error)
        return None, False


def remember(path: Path, key: str, config: PipelineConfig, *, serialized: bool = False) -> None:
    """Keep a model for later processes.

    :param serialized: whether Airflow could serialize its Dag, too.
    """
    functions = config.functions.file()
    made_from = {
        "key": key,
        "functions": str(functions) if functions else "",
        "state": state_of(functions) if functions else "",
        "serialized": "yes" if serialized else "",
    }
    try:
        _keep(path, made_from, config.to_json().encode())
    except ValueError as error:
        log.debug("the model of %s cannot be kept: %s", path, error)


def forget_model(path: Path) -> None:
    """Have later processes read a file anew."""
    _keep(path, {"key": ""}, b"")


def _keep(path: Path, made_from: dict[str, str], body: bytes) -> None:
    pack = _pack(path.parent)
    made_from = {"name": path.name, **made_from}
    try:
        pack.outdated += path.name in pack.entries
        pack.entries[path.name] = made_from, body
        if pack.outdated > len(pack.entries) + MOST_OUTDATED:
            _begin_anew(pack)
        else:
            is_new = not pack.file.exists()
            _write(pack.file, _entry(made_from, body), os.O_APPEND)
            if is_new:
                _sweep(pack.file.parent)
    except OSError as error:
        log.debug("the model of %s cannot be kept: %s", path, error)


def state_of(path: Path) -> str:
    """Return what tells whether a file has changed."""
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return f"{status.st_mtime_ns}.{status.st_size}"


def forget() -> None:
    """Forget what this process knows, as a fresh one does."""
    _PACKS.clear()


def _pack(folder: Path) -> _Pack:
    if folder not in _PACKS:
        name = hashlib.sha256(str(folder).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        _PACKS[folder] = _read(settings.state_dir() / "cache" / f"{name}.models")
    return _PACKS[folder]


def _read(file: Path) -> _Pack:
    pack = _Pack(file)
    try:
        data = file.read_bytes()
    except OSError:
        return pack
    for entry in data.split(_MARK)[1:]:
        head, _, body = entry.partition(b"\n")
        try:
            made_from = json.loads(head)
            pack.outdated += made_from["name"] in pack.entries
            pack.entries[made_from["name"]] = made_from, body
        except (ValueError, KeyError, TypeError):
            pack.outdated += 1  # cut short, or not ours
    return pack


def _entry(made_from: dict[str, str], body: bytes) -> bytes:
    return b"".join((_MARK, json.dumps(made_from).encode(), b"\n", body))


def _begin_anew(pack: _Pack) -> None:
    fresh = pack.file.with_name(f"{pack.file.name}.{os.getpid()}.tmp")
    try:
        _write(fresh, b"".join(_entry(*entry) for entry in pack.entries.values()), os.O_TRUNC)
        fresh.replace(pack.file)
    finally:
        with suppress(OSError):
            fresh.unlink()
    pack.outdated = 0


def _sweep(folder: Path) -> None:
    """Remove packs that were not written to for long: versioned bundles have a new folder for each version."""
    oldest = time.time() - _KEPT_DAYS * 86400
    for file in folder.iterdir():
        with suppress(OSError):
            if file.stat().st_mtime < oldest:
                file.unlink()


def _write(file: Path, data: bytes, how: int) -> None:
    """Write to a file that only its owner can read, in one piece; make its folder when it is missing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how
    try:
        descriptor = os.open(file, flags, 0o600)
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, flags, 0o600)
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError("the disk is full")
    finally:
        os.close(descriptor)
