"""The style sheet, the script and the icons that the pages bring along."""

from __future__ import annotations

import functools
import hashlib
import mimetypes
from importlib.resources import files

from fastapi import HTTPException, Response

_FOLDER = files("airflow_provider_pipetrack.ui").joinpath("static")
_NAMES = ("pipetrack.css", "pipetrack.js", "icon.svg", "icon-dark.svg")


def asset(name: str) -> Response:
    """Answer with a file; its address changes with its content, so that browsers may keep it."""
    if name not in _NAMES:
        raise HTTPException(404, "There is no such page.")
    kind = mimetypes.guess_type(name)[0] or "text/plain"
    return Response(_content(name), media_type=kind, headers={"Cache-Control": "private, max-age=86400"})


@functools.cache
def version() -> str:
    """Return a short text that changes when one of the files does."""
    digest = hashlib.sha256()
    for name in _NAMES:
        digest.update(_content(name))
    return digest.hexdigest()[:12]


@functools.cache
def _content(name: str) -> bytes:
    return _FOLDER.joinpath(name).read_bytes()
