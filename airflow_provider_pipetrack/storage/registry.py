"""From a location to the adapter that keeps records there."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.storage.locations import FORMS, Location, masked
from airflow_provider_pipetrack.storage.own_functions import FUNCTIONS, Finder, functions_adapter, own_client

ENTRY_POINTS = "airflow_provider_pipetrack.storage_adapters"
_PACKAGE = "airflow_provider_pipetrack.storage"
#: Types whose storage is a file of this host.
_WITHOUT_CLIENT = {"sqlite", "local_file"}
_BUILT_IN = {
    "sqlite": f"{_PACKAGE}.sqlite.SqliteAdapter",
    "postgres": f"{_PACKAGE}.postgres.PostgresAdapter",
    "local_postgres": f"{_PACKAGE}.postgres.PostgresAdapter",
    "local_file": f"{_PACKAGE}.local_file.LocalFileAdapter",
    "snowflake": f"{_PACKAGE}.snowflake.SnowflakeAdapter",
    "aws_s3": f"{_PACKAGE}.s3.S3Adapter",
    "mongodb": f"{_PACKAGE}.mongodb.MongoAdapter",
}


def make_adapter(
    location: Location,
    *,
    connections: Mapping[str, str],
    adapters: Mapping[str, str | type[Any]],
    functions: Finder | None = None,
) -> StorageAdapter:
    """Return a new adapter for a location.

    :param connections: Airflow connection of each type, where the location names none.
    :param adapters: class, or its dotted path, of each type of the user's own.
    :param functions: returns a function of the user's by its name: those that make a storage serve the types that have
        no adapter, and the one that makes a client serves those that have one here.
    :raises StorageError: when there is no adapter for the type, or it cannot be made.
    """
    conn_id = location.conn_id or connections.get(location.type)
    own = adapters.get(location.type)
    if own is not None:
        return _users_adapter(own, location)
    if location.type in _BUILT_IN:
        made: StorageAdapter = _load(_BUILT_IN[location.type], location)(location, conn_id)
        made.connect = own_client(location, functions) if functions else None
        return made
    found = _entry_point(location)
    if found is not None:
        return _users_adapter(found, location)
    written = functions_adapter(location, functions) if functions else None
    if written is not None:
        return written
    raise StorageError(
        location.name,
        f"there is no adapter for {location.type!r} in this version; name your own under storage_adapters",
        transient=False,
    )


def types_of(locations: Iterable[str], adapters: Mapping[str, Any]) -> frozenset[str]:
    """Return the types that are not built in and that these locations may be of.

    To know those that only an entry point names takes time, so that is asked only where it may matter.
    """
    unknown = _kinds(locations) - set(FORMS)
    # Functions serve whatever type has no adapter; whether there are any is seen when they are needed.
    served = unknown if FUNCTIONS in adapters else set()
    return (custom_types(adapters) if unknown - served else frozenset(adapters)) | served


def may_need_functions(locations: Iterable[str], adapters: Mapping[str, Any]) -> tuple[bool, bool]:
    """Return whether functions of the user's own may be the storage of one of these locations, or make its client.

    :param adapters: class of each type of the user's own, which needs neither.
    """
    kinds = _kinds(locations) - set(adapters)
    return bool(kinds - set(FORMS)), bool(kinds & set(FORMS) - _WITHOUT_CLIENT)


def _kinds(locations: Iterable[str]) -> set[str]:
    """Return the types that locations name, as far as that can be said without knowing which there are."""
    heads = {text.replace("||", ".").partition(".")[0].partition("@")[0].strip() for text in map(str, locations)}
    return {"aws_s3" if head.startswith("s3:") else head for head in heads}


def custom_types(adapters: Mapping[str, Any]) -> frozenset[str]:
    """Return the types of location that are not built in."""
    from importlib.metadata import entry_points

    return frozenset(adapters) | {point.name for point in entry_points(group=ENTRY_POINTS)}


def _users_adapter(adapter: str | type[Any], location: Location) -> StorageAdapter:
    kind = _load(adapter, location) if isinstance(adapter, str) else adapter
    try:
        takes = [p for p in inspect.signature(kind).parameters.values() if p.kind is not p.VAR_KEYWORD]
        made: Any = kind(location.text) if takes else kind()
    except Exception as error:
        text = f"{getattr(kind, '__name__', kind)} cannot be made: {type(error).__name__}: {error}"
        raise StorageError(location.name, masked(text), transient=False) from error
    return adapter_of(made, location.name)


def adapter_of(made: Any, name: str) -> StorageAdapter:
    """Return an object with the three methods as an adapter, whether it has our base class or not.

    :param name: the location's name, for an adapter that was told none.
    :raises StorageError: when it lacks one of the methods.
    """
    if not isinstance(made, StorageAdapter):
        # By the user's name for it, which is the one that messages show.
        wrapped: StorageAdapter = type(type(made).__name__, (_Wrapped,), {})(made, name)
        return wrapped
    if not getattr(made, "location", ""):
        made.location = name
    return made


class _Wrapped(StorageAdapter):
    """A user's object with the three methods, without our base class."""

    def __init__(self, inner: Any, name: str) -> None:
        super().__init__(name)
        wanted = ("write_tracking_record", "read_tracking_records", "update_tracking_record")
        missing = [name for name in wanted if not callable(getattr(inner, name, None))]
        if missing:
            text = f"{type(inner).__name__} lacks {', '.join(missing)}"
            raise StorageError(name, text, transient=False)
        self.write_tracking_record = inner.write_tracking_record  # type: ignore[method-assign]
        self.read_tracking_records = inner.read_tracking_records  # type: ignore[method-assign]
        self.update_tracking_record = inner.update_tracking_record  # type: ignore[method-assign]


def _load(path: str, location: Location) -> Any:
    module, _, name = path.rpartition(".")
    if not module:
        raise StorageError(location.name, f"the adapter {path!r} names no module; write module.Class", transient=False)
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:
        text = f"the adapter {path!r} cannot be imported: {type(error).__name__}: {error}"
        raise StorageError(location.name, text, transient=False) from error


def _entry_point(location: Location) -> str | None:
    from importlib.metadata import entry_points

    found = [point for point in entry_points(group=ENTRY_POINTS) if point.name == location.type]
    return found[0].value.replace(":", ".") if found else None
