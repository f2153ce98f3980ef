"""The Airflow connection of type ``pipetrack``, which holds a whole chain of locations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.hooks.form import FIELDS, HIDDEN

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.leg import Leg
    from airflow_provider_pipetrack.tracking.store import TrackingStore


class ChainError(PipetrackError):
    """A connection of type ``pipetrack`` cannot be used."""

    def __init__(self, conn_id: str, message: str) -> None:
        super().__init__(f"connection {conn_id!r}: {message}")


@dataclass(frozen=True)
class Chain:
    """What a connection holds.

    :param locations: in the order of preference.
    :param mode: ``fallback`` or ``mirror``; None when the connection does not say.
    :param connections: Airflow connection of each type of location.
    """

    locations: tuple[str, ...]
    mode: str | None = None
    connections: Mapping[str, str] = field(default_factory=dict)


class PipetrackHook(BaseHook):
    """Gives the tracking store of a connection.

    The connection's extra has ``tracking_location`` (a list, or a text with one location a line), ``mode`` and
    ``connections``. Name the connection under ``tracking.conn_id`` of a pipeline file.

    :param pipetrack_conn_id: the connection.
    """

    conn_name_attr = "pipetrack_conn_id"
    default_conn_name = "pipetrack_default"
    conn_type = "pipetrack"
    hook_name = "pipetrack"

    def __init__(self, pipetrack_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pipetrack_conn_id = pipetrack_conn_id

    def chain(self) -> Chain:
        """Return what the connection holds.

        :raises ChainError: when there is no such connection, or it holds no chain.
        """
        conn_id = self.pipetrack_conn_id
        try:
            connection = self.get_connection(conn_id)
        except Exception as error:
            text = "there is no such Airflow connection" if "isn't defined" in str(error) else str(error)
            raise ChainError(conn_id, text) from error
        if connection.conn_type != self.conn_type:
            raise ChainError(conn_id, f"is of type {connection.conn_type!r}; expected {self.conn_type!r}")
        extra: Any = connection.extra_dejson
        if not isinstance(extra, dict):  # Airflow takes any JSON from the environment and from secrets backends
            message = 'extra must be a JSON object, such as {"tracking_location": ["sqlite||/path/tracking.db"]}'
            raise ChainError(conn_id, message)
        return Chain(
            _locations(conn_id, extra.get("tracking_location")),
            _mode(conn_id, extra.get("mode")),
            _connections(conn_id, extra.get("connections")),
        )

    def get_conn(self) -> TrackingStore:
        """Return the tracking store of the connection's chain; close it when done.

        :raises PipetrackError: when the connection or a location in it cannot be used.
        """
        from airflow_provider_pipetrack import settings
        from airflow_provider_pipetrack.tracking.store import TrackingStore

        chain = self.chain()
        return TrackingStore(
            chain.locations,
            mode=chain.mode or settings.mode(),
            connections=chain.connections,
            deadline=settings.delivery_deadline(),
        )

    def test_connection(self) -> tuple[bool, str]:
        """Ask every location of the chain whether it would take a record; return whether all do, and how each is."""
        try:
            with self.get_conn() as store:
                answers = [_answer(leg) for leg in store.legs]
        except PipetrackError as error:
            return False, str(error)
        return not any(answer for _, answer in answers), "; ".join(f"{name}: {text or 'up'}" for name, text in answers)

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form's own fields, for versions of Airflow before 3.3."""
        from wtforms import StringField  # type: ignore[import-untyped]

        return {name: StringField(row["label"], description=row["description"]) for name, row in FIELDS.items()}

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return what the form hides, for versions of Airflow before 3.3."""
        return {"hidden_fields": list(HIDDEN), "relabeling": {}}


def _answer(leg: Leg) -> tuple[str, str]:
    """Return a location's name and what is wrong with it, which is nothing when it answers."""
    try:
        # Now, even if it did not answer a moment ago: it may be what was just mended.
        leg.knock(writing=True)
    except PipetrackError as error:
        return leg.name, getattr(error, "message", str(error))
    return leg.name, ""


def _locations(conn_id: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        text = value.strip()
        try:
            value = json.loads(text) if text.startswith("[") else text.splitlines()
        except (ValueError, RecursionError) as error:
            raise ChainError(conn_id, f"tracking_location is no JSON list: {error}") from None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ChainError(conn_id, "tracking_location must be a list of locations, or a text with one a line")
    found = tuple(item.strip() for item in value if item.strip())
    if not found:
        raise ChainError(conn_id, "names no location; write for example sqlite||/path/tracking.db")
    return found


def _mode(conn_id: str, value: Any) -> str | None:
    if value in (None, "", "fallback", "mirror"):
        return value or None
    raise ChainError(conn_id, f"mode {value!r}: expected fallback or mirror")


def _connections(conn_id: str, value: Any) -> Mapping[str, str]:
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ChainError(conn_id, f"connections is no JSON: {error}") from None
    if not value:
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        raise ChainError(conn_id, 'connections must map types to connections, such as {"postgres": "tracking_db"}')
    return dict(value)
