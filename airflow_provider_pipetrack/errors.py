"""The package's one family of errors; each carries the fields its message needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass


class PipetrackError(Exception):
    """Base of every error that pipetrack raises on purpose; its text is written for the user."""


@dataclass(frozen=True)
class Problem:
    """One mistake in a pipeline file, with the place to look at and, where there is one, a suggestion.

    :param file: path or name of the file, as the user gave it.
    :param line: line of the mistake, from 1; 0 when the whole file is meant.
    :param column: column of the mistake, from 1; 0 when the whole file is meant.
    :param key: dotted path of the key, such as ``stage_transfers[2].retry_delay``; may be empty.
    :param message: what is wrong, as a sentence without a full stop.
    :param suggestion: a name that was probably meant, or an empty string.
    """

    file: str
    line: int
    column: int
    key: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: "
        key = f"{self.key}: " if self.key else ""
        hint = f" (did you mean {self.suggestion!r}?)" if self.suggestion else ""
        return f"{place}{key}{self.message}{hint}"

    def as_dict(self) -> dict[str, str | int]:
        """The fields as a plain dict, for ``--output json``."""
        return asdict(self)


class ConfigError(PipetrackError):
    """A pipeline file cannot be used; ``problems`` holds every mistake that was found in it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class LocationError(PipetrackError):
    """A ``tracking_location`` entry cannot be understood.

    :param location: the entry, without secrets.
    """

    def __init__(self, location: str, message: str) -> None:
        self.location = location
        self.message = message
        super().__init__(f"tracking location {location!r}: {message}")

    def __reduce__(self) -> tuple[type[LocationError], tuple[str, str]]:
        return type(self), (self.location, self.message)


class StorageError(PipetrackError):
    """A tracking storage refused or failed.

    :param location: the location string, without secrets.
    :param message: what happened and what to do about it.
    :param transient: True when trying again later may succeed (network, lock, full disk);
        False when a person has to change something (permission, wrong table, wrong name).
    """

    def __init__(self, location: str, message: str, *, transient: bool = True) -> None:
        self.location = location
        self.message = message
        self.transient = transient
        super().__init__(f"tracking location {location!r}: {message}")


class JournalError(PipetrackError):
    """The local journal cannot be written or read."""


class ContentError(PipetrackError):
    """A content field (stage details, identifiers) could not be resolved for a run."""


class TrialError(PipetrackError):
    """A pipeline that was tried did not come to its end."""


class TrialSetupError(TrialError):
    """The Airflow that a pipeline was to be tried in could not be set up."""


class ReportError(PipetrackError):
    """A transfer reported counts that cannot be true."""
