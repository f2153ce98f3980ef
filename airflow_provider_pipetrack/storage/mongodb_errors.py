"""What MongoDB says when it refuses, in words that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow_provider_pipetrack.errors import StorageError

_MISSING = "there is no such Airflow connection; define it, or name another under tracking.connections"
_DUPLICATE = 11000
#: The server's code for a user without a right.
UNAUTHORIZED = 13
_WRONG_PASSWORD = 18
#: That of Atlas for all that it has to say itself.
_ATLAS = 8000
_TOO_LARGE = (10334, 17419, 17420)
#: Document validation, invalid namespace, a view instead of a collection.
_INVALID = (121, 73, 166)


def explained(error: Exception, location: str, conn_id: str, database: str, collection: str) -> StorageError:
    """Say what happened and what to do, without repeating the connection's secrets."""
    from pymongo.errors import AutoReconnect, ExecutionTimeout, WTimeoutError

    text = " ".join(str(error).split())[:500] or type(error).__name__
    name = f"connection {conn_id!r}"
    for applies, message in _lasting_reasons(error, text, database, collection):
        if applies:
            return StorageError(location, f"{name}: {message}", transient=False)
    if isinstance(error, (ExecutionTimeout, WTimeoutError)):
        return StorageError(location, f"{name} did not answer in time: {text}")
    if isinstance(error, AutoReconnect) or getattr(error, "timeout", False):
        return StorageError(location, f"{name} cannot be reached: {text}")
    return StorageError(location, f"{name}: {type(error).__name__}: {text}")


def _lasting_reasons(error: Exception, text: str, database: str, collection: str) -> Iterator[tuple[bool, str]]:
    """Yield what stays wrong until a person changes something: whether it is this, and what to do."""
    from pymongo.errors import ConfigurationError, DocumentTooLarge, InvalidName, WriteError

    code = _code(error)
    yield "isn't defined" in text, _MISSING
    yield is_wrong_password(error), "wrong user or password"
    names = f"{database}.{collection}"
    yield (
        code == UNAUTHORIZED,
        f"its user may not write {names}: grant it readWrite on the database {database}",
    )
    too_large = isinstance(error, DocumentTooLarge) or code in _TOO_LARGE
    yield too_large, f"a record is too large for MongoDB, which takes 16 MB ({text})"
    refused = code == _DUPLICATE or code in _INVALID or isinstance(error, (WriteError, InvalidName))
    yield refused, f"{names} does not take pipetrack's documents ({text})"
    settings = isinstance(error, (ConfigurationError, ValueError, TypeError))
    wrong = settings or type(error).__name__ == "AirflowConfigException"
    yield wrong, f"cannot be used: {text}"


def is_wrong_password(error: Exception) -> bool:
    """Return whether the server does not take the user and password that a client has, or no more."""
    code = _code(error)
    return code == _WRONG_PASSWORD or (code == _ATLAS and "bad auth" in str(error).lower())


def _code(error: Exception) -> int | None:
    """Return the server's code for an error, of the first write for those of many."""
    details = getattr(error, "details", None) or {}
    failed = details.get("writeErrors") or details.get("writeConcernErrors") or [{}]
    code = failed[0].get("code", getattr(error, "code", None))
    return int(code) if code is not None else None


def only_duplicates(error: Any) -> bool:
    """Return whether a write failed only because what it writes is there already."""
    failed = error.details.get("writeErrors") or ()
    # A unique index of somebody else on another field is no race that a repetition ends.
    own = all("_id" in str(one.get("keyPattern") or one.get("errmsg", "_id")) for one in failed)
    codes = {one.get("code") for one in failed}
    return codes == {_DUPLICATE} and own and not error.details.get("writeConcernErrors")
