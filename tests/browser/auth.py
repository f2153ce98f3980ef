"""An auth manager that gives one of its users one Dag only, as roles of bigger auth managers do."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

LIMITED, DAG = "eve", "customers"


class OneDagAuthManager(SimpleAuthManager):
    """Airflow's simple auth manager, in which ``eve`` may read the Dag ``customers`` and nothing else."""

    def is_authorized_dag(self, *, user: Any, details: Any = None, **more: Any) -> bool:
        """Return whether a Dag may be read."""
        if user.username == LIMITED and details is not None and details.id not in (None, DAG):
            return False
        return super().is_authorized_dag(user=user, details=details, **more)

    def is_authorized_view(self, *, access_view: Any, user: Any) -> bool:
        """Return whether a page of Airflow may be seen."""
        if user.username == LIMITED and access_view.name == "CLUSTER_ACTIVITY":
            return False
        return super().is_authorized_view(access_view=access_view, user=user)
