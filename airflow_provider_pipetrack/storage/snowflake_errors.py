"""What Snowflake says when it refuses, in words that say what to do."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.folding import FoldingStatements
from airflow_provider_pipetrack.storage.sql import OLDER_TABLE

_MISSING = 2003
_NO_SCHEMA = 2043
_NO_RIGHT = 3001
_OTHER_COLUMN = 904
#: The class of states that come again with the same record: what a column does not take.
_DATA = "22"
_TAKEN = 2002
_NO_WAREHOUSE = 606
#: What it says of a session that has ended, as each does that was not used for some hours.
_OVER = {390111, 390112, 390113, 390114, 390115}
_WRONG_USER = {390100, 390102, 390144, 390186, 390422}


def is_missing(error: BaseException) -> bool:
    """Return whether a table, view or schema is not there, or may not be seen."""
    return _number(error) in {_MISSING, _NO_SCHEMA} and not _other_columns(error)


def is_over(error: BaseException | None) -> bool:
    """Return whether the session has ended, so that one has to log in anew."""
    return _number(error) in _OVER


def lacks_schema(error: BaseException) -> bool:
    """Return whether it is the schema that is not there."""
    return is_missing(error) and "schema" in str(error).lower()


def explained(error: BaseException, location: str, conn_id: str, statements: FoldingStatements) -> StorageError:
    """Return an error that says what happened and what to do, without repeating the connection's secrets."""
    text = " ".join(str(getattr(error, "msg", None) or error).split())[:500] or type(error).__name__
    name = f"connection {conn_id!r}"
    for applies, message in _lasting_reasons(error, text, statements):
        if applies:
            return StorageError(location, f"{name}: {message}", transient=False)
    if _is_network(error):
        return StorageError(location, f"{name} cannot be reached: {text}")
    return StorageError(location, f"{name}: {type(error).__name__}: {text}")


def _lasting_reasons(error: BaseException, text: str, statements: FoldingStatements) -> Iterator[tuple[bool, str]]:
    """Yield what stays wrong until a person changes something: whether it is this, and what to do."""
    number, table, schema = _number(error), statements.name, statements.schema_name
    undefined = "there is no such Airflow connection; define it, or name another under tracking.connections"
    yield "isn't defined" in text, undefined
    yield _other_columns(error), f"{table} has other columns than pipetrack's ({text}); {OLDER_TABLE}"
    yield number in _WRONG_USER or "Incorrect username or password" in text, "wrong user or password"
    rights = (
        f"GRANT SELECT, INSERT ON {statements.history_name}, {statements.owed_name} and {statements.configs_name}, "
        f"SELECT ON VIEW {table} to it, "
        f"and USAGE, CREATE TABLE, CREATE VIEW ON SCHEMA {schema} if they are to be made"
    )
    yield is_missing(error), f"{schema} is missing, or its role may not see it ({text}): {rights}"
    yield number == _NO_RIGHT, f"its role may not write {table}: {rights}"
    yield number == _TAKEN, f"{table} is something else than pipetrack's view ({text}); choose another name"
    yield number == _NO_WAREHOUSE, f"has no warehouse that runs its statements ({text}); name one in its extra"
    refused = str(getattr(error, "sqlstate", None) or "").startswith(_DATA)
    yield refused, f"{table} does not take it: {text}"
    yield isinstance(error, (ValueError, TypeError, AttributeError)), f"cannot be used: {text}"


def _other_columns(error: BaseException) -> bool:
    text = str(error)
    return _number(error) == _OTHER_COLUMN or "invalid identifier" in text or "Referenced column" in text


def _number(error: BaseException | None) -> int:
    number = getattr(error, "errno", None)
    return number if isinstance(number, int) else -1


def _is_network(error: BaseException) -> bool:
    from snowflake.connector.errors import HttpError, OperationalError

    return isinstance(error, (OperationalError, HttpError, OSError))
