"""Small types that the models share."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, StrictStr, WithJsonSchema
from pydantic_core import to_jsonable_python

from airflow_provider_pipetrack.config.durations import FORMS, parse_duration

#: Printable ASCII without what separates addresses in a mail's header; what the mail server accepts is its business.
_ADDRESS = re.compile(r"[^\x00-\x20\x7f-\U0010ffff<>,;:@\"\\]+@[^\x00-\x20\x7f-\U0010ffff<>,;:@\"\\]+")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


#: A deadline that is the sum of the estimates along the longest way.
ESTIMATED = "estimated"


class Model(BaseModel):
    """Base of all models: unknown keys are mistakes, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def duration(value: Any) -> Any:
    """Return a duration that was written as text.

    :raises ValueError: when it is none; ``continuous`` is none here.
    """
    if value is None or isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, str):
        raise ValueError(f"{value!r} is no duration; {FORMS}")  # noqa: TRY004  pydantic wants ValueError
    parsed = parse_duration(value)
    if parsed is None:
        raise ValueError("continuous is no limit; " + FORMS)
    return parsed


def limit(value: Any) -> Any:
    """Return a longest time that was written as text.

    :raises ValueError: when it is no duration, or leaves no time at all.
    """
    found = duration(value)
    if found is not None and not found:
        raise ValueError(f"{value!r} leaves no time; leave the key out where there is no limit")
    return found


def _duration_text(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        return "1d12h30m"
    if isinstance(value, str):
        parse_duration(value)
        return value
    raise ValueError(f"{value!r} is no duration; {FORMS}, or continuous")


def _deadline_text(value: Any) -> Any:
    if value is None or value == ESTIMATED:
        return value
    try:
        limit(value)
    except ValueError as error:
        raise ValueError(f"{error}, or {ESTIMATED}") from None
    return value


def moment(value: Any) -> Any:
    """Return a point in time that was written as a date or a text; UTC where no zone is written.

    :raises ValueError: when it is none.
    """
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=timezone.utc)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            raise ValueError(f"{value!r} is no date; expected 2026-01-31 or 2026-01-31T06:00:00Z") from None
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)
    if value is None:
        return None
    raise ValueError(f"{value!r} is no date; expected 2026-01-31 or 2026-01-31T06:00:00Z")


def _moment_text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value  # a datetime is a date, too


def _length(value: timedelta) -> str:
    """Return a length of time as ISO 8601 text that can be read again; pydantic would count in years, too."""
    part = to_jsonable_python(timedelta(seconds=value.seconds, microseconds=value.microseconds))
    return f"P{value.days}D{'' if part == 'PT0S' else part[1:]}" if value.days else str(part)


def _dotted(value: Any) -> Any:
    if isinstance(value, str) and not _DOTTED.fullmatch(value):
        raise ValueError(f"{value!r} is no dotted path, such as package.module.Name")
    return value


def _mail_address(value: Any) -> Any:
    if isinstance(value, str) and not _ADDRESS.fullmatch(value):
        raise ValueError(f"{value!r} is no mail address, such as team@example.com")
    return value


# Editors that know the formats of JSON Schema would refuse 5m as a duration, and a day as a date-time.
_LENGTH_AS_TEXT = WithJsonSchema({"type": "string", "pattern": r"^\s*[Pp0-9][Pp0-9.TtWwDdHhMmSs\s]*$"})
_MOMENT_AS_TEXT = WithJsonSchema({"type": "string", "pattern": r"^[0-9]{4}-?[0-9W][0-9]"})
_WRITTEN = PlainSerializer(_length, return_type=str, when_used="json")
#: A length of time, written ``5m``; a ``timedelta`` once it is read.
Duration = Annotated[timedelta, BeforeValidator(duration), _WRITTEN, _LENGTH_AS_TEXT]
#: A longest time, likewise; never nothing.
Limit = Annotated[timedelta, BeforeValidator(limit), _WRITTEN, _LENGTH_AS_TEXT]
#: A length of time that is kept as it was written; may be ``continuous``.
DurationText = Annotated[StrictStr, BeforeValidator(_duration_text)]
#: A length of time that is kept as it was written, or ``estimated``.
DeadlineText = Annotated[StrictStr, BeforeValidator(_deadline_text)]
#: A point in time; UTC where no zone is written.
Moment = Annotated[datetime, BeforeValidator(moment), _MOMENT_AS_TEXT]
#: A point in time that is kept as it was written.
MomentText = Annotated[StrictStr, BeforeValidator(_moment_text)]
#: The address of a mailbox, without a name.
MailAddress = Annotated[StrictStr, BeforeValidator(_mail_address)]
#: ``package.module.Name``.
DottedPath = Annotated[StrictStr, BeforeValidator(_dotted)]


class LiteralText(Model):
    """Text that is taken as it stands, even if it looks like a function call or a template."""

    literal: StrictStr
    """The text."""
