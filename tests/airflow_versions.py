"""Which Airflow runs the tests, and a mark for tests of what only later ones have."""

from __future__ import annotations

from importlib.metadata import version

import pytest

AIRFLOW = tuple(int(part) for part in version("apache-airflow-core").split(".")[:2])

needs_provider_commands = pytest.mark.skipif(AIRFLOW < (3, 2), reason="Airflow has commands of providers from 3.2 on")
