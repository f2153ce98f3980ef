"""The pages and the JSON API as one FastAPI application, every answer of it behind Airflow's login."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException as StarletteHTTPException

from airflow_provider_pipetrack.compat import task_reader
from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.ui import api, entries, health, overview, pipelines, readiness, runs, transfers, waiting
from airflow_provider_pipetrack.ui.asking import Desk
from airflow_provider_pipetrack.ui.assets import asset
from airflow_provider_pipetrack.ui.render import error_page
from airflow_provider_pipetrack.ui.rights import remember_user

#: Sent with every answer: nothing from another host, nothing inline, and only Airflow itself may show it in a frame.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def build_app(login: Any = None, desk: Desk | None = None) -> FastAPI:
    """Return the application that Airflow mounts under ``/pipetrack``.

    :param login: FastAPI dependency that gives the user, or refuses; Airflow's own when None.
    :param desk: where questions are asked; the store of ``[pipetrack]`` when None.
    """
    app = FastAPI(
        title="pipetrack",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        dependencies=[Depends(remember_user(login or task_reader()))],
    )
    app.add_middleware(_Headers)
    app.exception_handler(StarletteHTTPException)(_refused)
    app.exception_handler(PipetrackError)(_broken)
    app.state.desk = desk or Desk()
    for room in (overview, pipelines, runs, transfers, readiness, entries, health, waiting):
        app.include_router(room.router, include_in_schema=False)
    app.include_router(api.router)
    app.get("/static/{name}", include_in_schema=False)(asset)
    # Last: what does not exist is not told apart from what does by those who are not logged in.
    app.api_route("/{rest:path}", methods=_METHODS, include_in_schema=False)(_not_found)
    return app


def _not_found(rest: str) -> None:
    del rest
    raise HTTPException(404, "There is no such page.")


class _Headers:
    """Sends :data:`_HEADERS` with every answer, and says that none is kept that does not say otherwise.

    Whoever asks for the headers alone gets those of the answer.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers_alone = scope.get("method") == "HEAD"

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            elif headers_alone and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self.app({**scope, "method": "GET"} if headers_alone else scope, receive, send_with_headers)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteHTTPException)
    return error_page(request, error.status_code, str(error.detail), headers=error.headers)


def _broken(request: Request, error: Exception) -> Response:
    return error_page(request, 503, str(error))
