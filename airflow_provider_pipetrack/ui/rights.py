"""Who is asking, and what of the tracking records they may see."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from airflow_provider_pipetrack.compat import AIRFLOW, Viewer, login_cookie, may_see_health, readable_dags


@dataclass(frozen=True)
class Reader:
    """Somebody who is logged in to Airflow.

    :param dag_ids: the Dags that they may read; rows of others do not exist for them, in lists and in counts alike.
    :param sees_health: whether they may see how Airflow, and so the tracking itself, is doing.
    """

    dag_ids: frozenset[str]
    sees_health: bool


def remember_user(login: Any) -> Any:
    """Return a dependency that lets in whom ``login`` lets in, and keeps the user for :func:`reader_of`.

    Beside the user it keeps the server's loop, in which Airflow can be asked for them.
    """
    from fastapi import Depends

    async def remember(request: Request, user: Any = Depends(login)) -> None:
        request.state.pipetrack_user = user
        request.state.pipetrack_loop = asyncio.get_running_loop()

    return remember


def viewer_of(request: Request) -> Viewer | None:
    """Return who is asking as Airflow's own API would know them; None outside of Airflow's api-server."""
    airflow = request.scope.get(AIRFLOW)
    if airflow is None:
        return None
    # By the token alone: Airflow would renew the login of a cookie a second time.
    token = request.cookies.get(login_cookie())
    known_by = request.headers.get("authorization") or (token and f"Bearer {token}")
    address = (request.client.host, request.client.port) if request.client else ("", 0)
    return Viewer(airflow, {"authorization": known_by} if known_by else {}, request.state.pipetrack_loop, address)


def reader_of(request: Request) -> Reader:
    """Return who is asking; a dependency of every page that shows records."""
    user = request.state.pipetrack_user
    return Reader(frozenset(readable_dags(user)), may_see_health(user))
