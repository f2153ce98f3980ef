"""The form of a connection of type ``pipetrack``, as Airflow's pages show it; light, since every process reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIELDS: Mapping[str, Mapping[str, Any]] = {
    "tracking_location": {
        "label": "Locations",
        "description": "One a line, in the order of preference, such as postgres||tracking||public||pipeline_tracking",
        "schema": {"type": ["string", "null"], "format": "multiline"},
    },
    "mode": {
        "label": "Mode",
        "description": "fallback: the first location that answers; mirror: all of them",
        "schema": {"type": ["string", "null"], "enum": ["fallback", "mirror", None]},
    },
    "connections": {
        "label": "Connections",
        "description": 'Airflow connection of each type of location, such as {"postgres": "tracking_db"}',
        "schema": {"type": ["object", "null"]},
    },
}
#: Fields of a usual connection that mean nothing here.
HIDDEN = ("host", "schema", "login", "password", "port")
