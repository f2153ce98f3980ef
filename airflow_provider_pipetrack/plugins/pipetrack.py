"""The Airflow plugin: pages under ``/pipetrack/``, and the links to them in Airflow's own pages.

Airflow imports this in each of its processes, so it is light; the pages are built in the api-server alone, when they
are first asked for. The scheduler imports it before LocalExecutor forks the first worker: what tasks need of this
package is imported here once, and not by each of them. A ``href`` has no leading slash, so that Airflow may live below
a path of a reverse proxy.
"""

from __future__ import annotations

from typing import Any, ClassVar

from airflow_provider_pipetrack.compat import AIRFLOW, plugin_base
from airflow_provider_pipetrack.plugins.preload import preload_tasks

_Base: Any = plugin_base()

preload_tasks()


class LazyApp:
    """The pages as an ASGI application that is built at its first request."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if self._app is None:
            from airflow_provider_pipetrack.ui.app import build_app

            self._app = build_app()
        # Whoever mounts an application leaves itself here, until that one takes its place.
        await self._app({**scope, AIRFLOW: scope.get("app")}, receive, send)


class PipetrackPlugin(_Base):  # type: ignore[misc]  # the base class has another home in each version of Airflow
    """Shows tracking records inside Airflow."""

    name = "pipetrack"
    fastapi_apps: ClassVar[list[dict[str, Any]]] = [{"app": LazyApp(), "url_prefix": "/pipetrack", "name": "pipetrack"}]
    external_views: ClassVar[list[dict[str, Any]]] = [
        {
            "name": "Pipetrack",
            "href": "pipetrack/",
            "destination": "nav",
            "nav_top_level": True,
            "icon": "pipetrack/static/icon.svg",
            "icon_dark_mode": "pipetrack/static/icon-dark.svg",
            "url_route": "pipetrack",
        },
        {
            "name": "Tracking",
            "href": "pipetrack/dag?dag_id={DAG_ID}",
            "destination": "dag",
            "icon": "pipetrack/static/icon.svg",
            "icon_dark_mode": "pipetrack/static/icon-dark.svg",
            "url_route": "pipetrack_dag",
        },
        {
            "name": "Tracking",
            "href": "pipetrack/dag_run?dag_id={DAG_ID}&run_id={RUN_ID}",
            "destination": "dag_run",
            "icon": "pipetrack/static/icon.svg",
            "icon_dark_mode": "pipetrack/static/icon-dark.svg",
            "url_route": "pipetrack_run",
        },
        {
            "name": "Tracking",
            "href": "pipetrack/task?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}",
            "destination": "task_instance",
            "icon": "pipetrack/static/icon.svg",
            "icon_dark_mode": "pipetrack/static/icon-dark.svg",
            "url_route": "pipetrack_task",
        },
    ]
