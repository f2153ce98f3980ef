"""Templates to answers: one environment, every value escaped, every link relative."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from airflow_provider_pipetrack.ui import assets, markup, paths, words
from airflow_provider_pipetrack.ui.rights import Reader

#: The pages of the menu: their address below the overview's, and their name.
MENU = (
    ("", "Pipelines"),
    ("runs", "Runs"),
    ("transfers", "Transfers"),
    ("attention", "Needs attention"),
    ("ready", "Readiness"),
    ("audits", "Audits"),
    ("health", "Health"),
)
#: What filters are called.
LABELS = {
    "search": "Search",
    "pipeline_id": "Pipeline",
    "dag_id": "Dag",
    "run_id": "Run",
    "task_id": "Transfer",
    "status": "State",
    "state": "State",
    "audit_result": "Audit",
    "reason": "Why",
    "include_recovered": "Completed since",
    "owner": "Owner",
    "stage": "Stage",
    "target": "To",
    "date": "Date",
    "host": "Host",
    "location": "Held by",
    "kind": "Kind",
    "sending": "State",
    "since": "Since",
    "until": "Until",
}
_TITLES = {401: "Please log in", 403: "Not for you", 404: "Not found", 405: "Not possible", 503: "Not available"}
_HINTS = {
    401: "These pages are for people who are logged in to Airflow. Log in there, then open this page again.",
}
_WORDS = (
    "ago",
    "attempt_words",
    "duration",
    "exact",
    "first_line",
    "location_words",
    "number",
    "of_newest",
    "plural",
    "run_state",
    "times",
    "took",
)
_LINKS = ("airflow_link", "attempts_of", "link", "log_address", "run_link", "transfer_link", "transfers_link")


def page(request: Request, template: str, *, reader: Reader, status: int = 200, **values: Any) -> Response:
    """Answer with a page.

    :param template: name of its template.
    :param values: what the template shows.
    """
    here = _path(request).strip("/")
    shown = {"root": root_of(request), "here": here, "reader": reader, "stranger": False, **values}
    text = environment().get_template(template).render(shown)
    return HTMLResponse(text, status, {"Cache-Control": "no-store"})


def error_page(request: Request, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Answer that a page cannot be shown: as JSON to programs, as a page to people."""
    sent = {**(headers or {}), "Cache-Control": "no-store"}
    if is_api(request):
        return JSONResponse({"detail": message}, status, sent)
    shown = {
        "root": root_of(request),
        "reader": None,
        "stranger": status == 401,  # who is not logged in is refused the style sheet too
        "title": _TITLES.get(status, "Something went wrong"),
        "message": _HINTS.get(status, message),
    }
    text = environment().get_template("error.html").render(shown)
    return HTMLResponse(text, status, sent)


def is_api(request: Request) -> bool:
    """Return whether a request is for the JSON API."""
    return _path(request).startswith("/api/")


def root_of(request: Request) -> str:
    """Return the relative address of the overview, as seen from the page that is asked for."""
    return "../" * (_path(request).count("/") - 1) or "./"


@functools.cache
def environment() -> Environment:
    """Return the templates, in which every value is escaped and an unknown name is an error."""
    made = Environment(
        loader=PackageLoader("airflow_provider_pipetrack.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(
        assets_version=assets.version,
        menu=MENU,
        labels=LABELS,
        short=lambda text: words.first_line(text, 80),
        table_rows=markup.table_rows,
        chart_points=markup.chart_points,
        graph_boxes=markup.graph_boxes,
        state_shape=markup.shape,
        **{name: getattr(words, name) for name in _WORDS},
        **{name: getattr(paths, name) for name in _LINKS},
    )
    return made


def _path(request: Request) -> str:
    """Return the path below ``/pipetrack`` as the browser sees it.

    A proxy that cuts off what is before finds neither these pages nor Airflow's own files, which are mounted too.
    """
    raw: str = request.scope.get("raw_path", b"").decode("latin-1") or request.scope["path"]
    return raw.removeprefix(request.scope.get("root_path", ""))
