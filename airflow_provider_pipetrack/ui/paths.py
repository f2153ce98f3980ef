"""Addresses of pages: any text as one part of a path, and links that hold wherever Airflow is mounted."""

from __future__ import annotations

import functools
import re
from typing import Any, Final
from urllib.parse import quote, quote_plus

_AWKWARD: Final = re.compile(r"[~/%\x00-\x1f\x7f]")
_ESCAPED: Final = re.compile("~([0-9a-f]{2})")


# A page names the same few pipelines and runs again and again.
@functools.lru_cache(maxsize=4096)
def segment(text: str) -> str:
    """Return a text as one part of a path.

    A slash would make two parts of it, however it is encoded; dots alone would walk up; a line break ends the path for
    some servers; and what has been encoded twice is decoded twice by others. All of them are written with a tilde.
    """
    escaped = _AWKWARD.sub(lambda found: f"~{ord(found[0]):02x}", text)
    if not escaped.strip("."):
        escaped = escaped.replace(".", "~2e") or "~"
    return quote(escaped, safe="~", errors="replace")


def from_segment(part: str) -> str:
    """Return the text that :func:`segment` wrote; the server has undone the percent signs already."""
    return "" if part == "~" else _ESCAPED.sub(lambda found: chr(int(found[1], 16)), part)


def link(root: str, *parts: str, **query: Any) -> str:
    """Return a relative link.

    :param root: the overview's relative address, as seen from the page with the link.
    :param parts: texts that make the path.
    :param query: what stands behind the question mark; None and empty texts are left out.
    """
    return _link(root, parts, tuple((name, str(value)) for name, value in query.items() if value not in (None, "")))


@functools.lru_cache(maxsize=4096)
def _link(root: str, parts: tuple[str, ...], query: tuple[tuple[str, str], ...]) -> str:
    path = root + "/".join([segment(part) for part in parts])
    asked = [f"{name}={_value(value)}" for name, value in query]
    return f"{path}?{'&'.join(asked)}" if asked else path


def pipeline_link(root: str, row: Any, **query: Any) -> str:
    """Return the link to the page of a row's pipeline."""
    return link(root, "p", row["pipeline_id"], dag_id=_other_dag(row), **query)


def run_link(root: str, row: Any, **query: Any) -> str:
    """Return the link to the page of a row's run."""
    return link(root, "p", row["pipeline_id"], "r", row["run_id"], dag_id=_other_dag(row), **query)


def transfer_link(root: str, row: Any, **query: Any) -> str:
    """Return the link to the page of a row's transfer."""
    return link(root, "p", row["pipeline_id"], "t", row["task_id"], dag_id=_other_dag(row), **query)


def transfers_link(root: str, row: Any, **query: Any) -> str:
    """Return the link to the transfers of a row's run.

    :param row: a run; without a pipeline the transfers of all its pipelines are meant.
    """
    of_run = {name: row[name] for name in ("pipeline_id", "dag_id", "run_id")}
    return link(root, "transfers", **of_run, **query)


def attempts_of(root: str, row: Any, **query: Any) -> str:
    """Return the link to the list of attempts of a row's transfer in its Dag, whatever their run."""
    return link(root, "p", row["pipeline_id"], "t", row["task_id"], dag_id=row["dag_id"], **query) + "#attempts"


def attempts_link(root: str, row: Any) -> str:
    """Return the link to what a row's transfer and map index did in its run."""
    index = None if row["map_index"] == -1 else row["map_index"]
    return transfer_link(root, row, run_id=row["run_id"], map_index=index)


@functools.lru_cache(maxsize=4096)
def _value(text: str) -> str:
    """Return a text as it stands behind the equals sign of an address."""
    return quote_plus(text, errors="replace")


def airflow_link(root: str, dag_id: str, run_id: str | None = None) -> str:
    """Return the link to Airflow's own page of a Dag, or of a run of it."""
    parts = ["dags", dag_id, *(["runs", run_id] if run_id else [])]
    return f"{root}../" + "/".join(quote(part, safe="", errors="replace") for part in parts)


def _other_dag(row: Any) -> str | None:
    """Return the Dag's id where the pipeline's does not say it."""
    return None if row["dag_id"] == row["pipeline_id"] else row["dag_id"]


def log_address(url: str | None) -> str | None:
    """Return the address of an attempt's log in Airflow; what is no address of a page is none."""
    return url if url and url.startswith(("http://", "https://", "/")) else None
