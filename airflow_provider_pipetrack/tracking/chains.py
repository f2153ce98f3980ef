"""The chains of locations that processes of this host have written to, so that maintenance and readers find them all.

A pipeline may name a chain of its own, which stands in no setting. Each chain is kept as one small file beside the
journals: whoever shares the folder, such as another host or the api-server, knows it too.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.tracking.chain_form import is_chain

log = logging.getLogger("airflow_provider_pipetrack.tracking")


def remember_chain(chain: Mapping[str, Any]) -> None:
    """Keep a chain, as a store describes it; one that cannot be kept is only found again when it is used."""
    path, text = _path(chain), _text(chain)
    try:
        if path.exists():
            os.utime(path)  # says when it was last used
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        # A location of the user's own may hold a password.
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        new.replace(path)
    except OSError as error:
        log.debug("pipetrack cannot keep a chain: %s", error)


def forget_chain(chain: Mapping[str, Any]) -> bool:
    """Forget a chain until it is used again; return whether it was known."""
    try:
        _path(chain).unlink()
    except OSError as error:
        log.debug("pipetrack cannot forget a chain: %s", error)
        return False
    return True


def last_used(chain: Mapping[str, Any]) -> float | None:
    """Return when a process of this host has begun to use a chain the last time, as seconds since 1970, if one has."""
    return _used(_path(chain)) or None


def known_chains() -> Iterator[dict[str, Any]]:
    """Yield every chain that was used, the one that was used last first; what cannot be read is left out."""
    for path in sorted(_folder().glob("*.json"), key=_used, reverse=True):
        try:
            chain = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            log.warning("pipetrack cannot read %s: %s", path, error)
            continue
        if is_chain(chain):
            yield chain


def _text(chain: Mapping[str, Any]) -> str:
    return json.dumps(chain, sort_keys=True)


def _path(chain: Mapping[str, Any]) -> Path:
    return _folder() / f"{hashlib.sha256(_text(chain).encode('utf-8', 'surrogatepass')).hexdigest()[:32]}.json"


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _folder() -> Path:
    return settings.chains_dir()
