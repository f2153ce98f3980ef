"""Airflow's public REST API, asked inside the api-server as the browser of who looks at a page would ask it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger("airflow_provider_pipetrack.ui")

T = TypeVar("T")


class Viewer(NamedTuple):
    """Who looks at a page of the api-server; Airflow answers what they may see.

    :param airflow: the api-server's own application.
    :param headers: what the viewer is known by.
    :param loop: where the application runs, and answers everything else.
    :param address: host and port of the viewer, for Airflow's log of requests.
    """

    airflow: Any
    headers: Mapping[str, str]
    loop: asyncio.AbstractEventLoop
    address: tuple[str, int]

    def ask(self, questions: Callable[[Any], Awaitable[T]], limit: float) -> T | None:
        """Return what ``questions`` returns, or None where Airflow does not answer.

        :param questions: gets a client of httpx whose addresses begin behind ``/api/v2/``.
        :param limit: seconds to wait for all answers.
        """
        import asyncio

        import httpx

        async def answered() -> T:
            transport = httpx.ASGITransport(app=self.airflow, raise_app_exceptions=False, client=self.address)
            below = getattr(self.airflow, "root_path", "").rstrip("/")  # the path that Airflow is served under
            options: dict[str, Any] = {"base_url": f"http://airflow{below}/api/v2/", "headers": self.headers}
            async with httpx.AsyncClient(transport=transport, timeout=limit, **options) as client:
                return await questions(client)

        asking = asyncio.run_coroutine_threadsafe(answered(), self.loop)
        try:
            return asking.result(limit)
        except Exception as error:  # noqa: BLE001  the page says less then
            asking.cancel()
            log.debug("Airflow does not answer: %s: %s", type(error).__name__, error)
            return None
