"""Who is logged in to Airflow's pages, and what they may see."""

from __future__ import annotations

from typing import Any, Final

#: Under which key a request for a page holds Airflow's own application, which the pages are mounted in.
AIRFLOW: Final = "pipetrack.airflow"


def task_reader() -> Any:
    """Return FastAPI's dependency that gives the user who is logged in and may read tasks' states.

    Without a login it answers 401, without the right 403: as Airflow's own API does for task instances.
    """
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
    from fastapi import Depends

    allowed = requires_access_dag("GET", DagAccessEntity.TASK_INSTANCE)

    async def user_with_rights(user: Any = Depends(get_user), _: None = Depends(allowed)) -> Any:  # noqa: B008
        return user

    return user_with_rights


def login_cookie() -> str:
    """Return the name of the cookie that holds the token of who is logged in."""
    from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN

    return COOKIE_NAME_JWT_TOKEN


def readable_dags(user: Any) -> set[str]:
    """Return the ids of the Dags that a user of Airflow's pages may read."""
    from airflow.api_fastapi.app import get_auth_manager

    return set(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))


def may_see_health(user: Any) -> bool:
    """Return whether a user of Airflow's pages may see how Airflow itself is doing."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView

    return bool(get_auth_manager().is_authorized_view(access_view=AccessView.CLUSTER_ACTIVITY, user=user))
