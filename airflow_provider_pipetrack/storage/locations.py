"""Location strings: what stands in ``tracking_location``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from airflow_provider_pipetrack.errors import LocationError

SEPARATOR = "||"
#: Where a login begins: behind it stands its password.
_LOGIN = re.compile(r"://[^:/@|\s]*:|(?:^|(?<=[\s|,;=]))[^:/@|\s,;=]+:(?!/)")
#: What a login stands in as a whole, and what ends at the last @ there, since a password may hold one.
_IN_ONE_PIECE = re.compile(r"(?:[^|\s]|\|(?!\|))+")
#: As Oracle's clients write it.
_SLASH_LOGIN = re.compile(r"(?:^|(?<=[\s|,;=]))([^:/@|\s,;=]+/)[^/@|\s,;]+(?=@\w)")
#: A name is looked at from its beginning only, since an error may be as long as what a server answers.
_NAMED_SECRET = re.compile(
    r"""(?ix) (
        ["']? (?<![\w-]) [\w-]*(?:password|passwd|passphrase|pwd|secret|token|credentials?) ["']? \s*[=:]\s*
        | ["']? (?<![\w-]) [\w-]*(?:api|access|account|private|secret)[_-]?key ["']? \s*:\s*
        | ["']? (?: (?<![\w-]) [\w-]*(?:key|signature) | \b(?:pass|sig|auth) ) ["']? \s*=\s*
        | \bbearer\s+
        | \bbasic\s+ (?=(?-i:\S*[A-Z0-9=]))  # base64, and no word of a sentence
    ) (?: "[^"]*" | '[^']*' | [^;&|,\s}]+ )"""
)
DEFAULT_TABLE = "pipeline_tracking"

#: For each type, what follows it. The database types may leave out schema and table in the dotted form.
FORMS = {
    "snowflake": ("database", "schema", "table"),
    "postgres": ("database", "schema", "table"),
    "local_postgres": ("database", "schema", "table"),
    "mongodb": ("database", "collection"),
    "aws_s3": ("s3://bucket/prefix/",),
    "local_file": ("/path/of/a/file",),
    "sqlite": ("/path/of/a/file", "table"),
}
_DOTTED_TYPES = ("snowflake", "postgres", "local_postgres", "mongodb")
_POSTGRES_TYPES = ("postgres", "local_postgres")
_PATH_TYPES = ("local_file", "sqlite")
_NO_LOGIN = (
    "a location names no server and no user: put those into an Airflow connection, and name that, for example as "
    "postgres@my_connection||database||schema||table"
)
_LONGEST_NAME = 255
#: PostgreSQL cuts longer names off; the history's name is the table's with ``_history``.
_LONGEST_IN_POSTGRES = 63 - len("_history")


@dataclass(frozen=True)
class Location:
    """A place where tracking records are kept.

    It unpacks as ``storage_type, details``, where details are the parts joined by ``||``.

    :param type: ``postgres``, ``sqlite`` … or a type of the user's own.
    :param conn_id: the Airflow connection that the text names, or None.
    :param parts: what follows the type, for example database, schema and table.
    :param text: the location as it was written.
    """

    type: str
    conn_id: str | None
    parts: tuple[str, ...]
    text: str

    @property
    def details(self) -> str:
        """The parts as one text."""
        return SEPARATOR.join(self.parts)

    @property
    def name(self) -> str:
        """A stable name: the location written in its full form, without secrets."""
        head = f"{self.type}@{self.conn_id}" if self.conn_id else self.type
        return masked(SEPARATOR.join((head, *self.parts)))

    def __iter__(self) -> Iterator[str]:
        return iter((self.type, self.details))


def masked(text: str) -> str:
    """Return a location without the secrets that a user's own form may hold: ``user:password@``, ``key=value``."""
    if "@" in text:
        text = _SLASH_LOGIN.sub(r"\1***", _IN_ONE_PIECE.sub(_without_password, text))
    return _NAMED_SECRET.sub(r"\1***", text)


def _without_password(piece: re.Match[str]) -> str:
    text = piece[0]
    end = _end_of_login(text)
    return text if end is None else f"{text[: end[0]]}***{text[end[1] :]}"


def _end_of_login(piece: str) -> tuple[int, int] | None:
    """Return where in a text without blanks a password begins and ends; None where there is none."""
    last = piece.rfind("@")
    begin = _LOGIN.search(piece, 0, last) if last > 0 else None
    return None if begin is None else (begin.end(), last)


def _has_login(text: str) -> bool:
    return any(_end_of_login(piece) is not None for piece in _IN_ONE_PIECE.findall(text))


def parse_location_string(text: str, custom_types: Collection[str] = ()) -> Location:
    """Return the location that ``text`` means.

    :param text: ``type||part||…``, ``type@connection||part||…``, ``type.database.table`` or ``s3://bucket/prefix/``.
    :param custom_types: types of the user's own, whose parts are not looked at.
    :raises LocationError: says what is wrong and what was expected, without repeating a secret.
    """
    try:
        return _parsed(text, custom_types)
    except LocationError as error:
        raise LocationError(masked(error.location), masked(error.message)) from None


def _parsed(text: str, custom_types: Collection[str]) -> Location:
    if not isinstance(text, str) or not text.strip():
        raise LocationError(str(text), "is empty; write for example sqlite||/path/tracking.db")
    written = text.strip()
    if "\0" in written or "\n" in written:
        raise LocationError(text, "contains a line break or a NUL character")
    if written[:5].lower() == "s3://":
        return Location("aws_s3", None, (_bucket(written, text),), text)
    if "://" in written.partition(SEPARATOR)[0]:
        raise LocationError(text, f"is a URL, and {_NO_LOGIN}")
    if SEPARATOR not in written:
        return _dotted(written, text, custom_types)
    head, *parts = (part.strip() for part in written.split(SEPARATOR))
    kind, _, conn_id = head.partition("@")
    if "@" in head and not conn_id:
        raise LocationError(text, f"names no connection after {kind}@")
    if kind in custom_types:
        return Location(kind, conn_id or None, tuple(parts), text)
    return Location(kind, conn_id or None, _checked(kind, parts, text), text)


def _checked(kind: str, parts: list[str], text: str) -> tuple[str, ...]:
    if kind not in FORMS:
        raise LocationError(text, _unknown(kind))
    if kind == "sqlite" and len(parts) == 1:
        parts = [*parts, DEFAULT_TABLE]
    expected = FORMS[kind]
    if len(parts) != len(expected) or not all(parts):
        raise LocationError(text, f"expected {SEPARATOR.join((kind, *expected))}")
    if kind == "aws_s3":
        return (_bucket(parts[0], text),)
    if kind not in _PATH_TYPES and any(map(_has_login, parts)):
        raise LocationError(text, f"holds a password, and {_NO_LOGIN}")
    if kind in _PATH_TYPES:
        _check_path(parts[0], text)
    names = parts[1:] if kind in _PATH_TYPES else parts
    for name in names:
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise LocationError(text, f"{name[:40]!r} cannot be the name of a table or database")
    if kind in _POSTGRES_TYPES and len(parts[-1].encode("utf-8", "replace")) > _LONGEST_IN_POSTGRES:
        message = "the name of the table is too long: PostgreSQL cuts names at 63 bytes, of which pipetrack needs 8"
        raise LocationError(text, message)
    return tuple(parts)


def _dotted(written: str, text: str, custom_types: Collection[str]) -> Location:
    kind, _, rest = written.partition(".")
    base, _, conn_id = kind.partition("@")
    if "@" in kind and not conn_id:
        raise LocationError(text, f"names no connection after {base}@")
    if base in custom_types:
        return Location(base, conn_id or None, tuple(part for part in rest.split(".") if part), text)
    if base not in _DOTTED_TYPES:
        known = base in FORMS
        raise LocationError(text, f"expected {SEPARATOR.join((base, *FORMS[base]))}" if known else _unknown(base))
    parts = [part.strip() for part in rest.split(".")]
    if len(parts) == 2 and base != "mongodb":
        parts = [parts[0], "PUBLIC" if base == "snowflake" else "public", parts[1]]
    return Location(base, conn_id or None, _checked(base, parts, text), text)


def _bucket(uri: str, text: str) -> str:
    if _has_login(uri):
        raise LocationError(text, f"holds a password, and {_NO_LOGIN}")
    bucket, _, prefix = uri[5:].partition("/")
    if uri[:5].lower() != "s3://" or not bucket or " " in bucket or SEPARATOR in uri:
        raise LocationError(text, "expected aws_s3||s3://bucket/prefix/")
    return f"s3://{bucket}/{prefix.strip('/')}/".replace("//", "/").replace("s3:/", "s3://")


def _check_path(path: str, text: str) -> None:
    if not PurePosixPath(path).is_absolute():
        raise LocationError(text, f"the path {path!r} must be absolute; every process must find the same file")
    if path.endswith("/"):
        raise LocationError(text, f"{path!r} is a folder; name a file in it")


def _unknown(kind: str) -> str:
    import difflib  # for mistakes only, and slow to import

    close = difflib.get_close_matches(kind.lower(), FORMS, n=1, cutoff=0.6)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"there is no storage type {kind!r}{hint}; known are {', '.join(FORMS)}, and those of storage_adapters"
