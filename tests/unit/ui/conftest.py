"""Airflow's login, and the pages for somebody who has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def airflow_auth() -> Iterator[None]:
    """Airflow's default auth manager, as the api-server has it."""
    from airflow.api_fastapi import app

    app.create_auth_manager()
    yield
    app.purge_cached_app()
