"""The only reader of the ``[pipetrack]`` section of Airflow's configuration and of the environment."""

from __future__ import annotations

import configparser
import functools
import json
import logging
import os
import socket
from pathlib import Path

from airflow_provider_pipetrack.errors import PipetrackError

log = logging.getLogger("airflow_provider_pipetrack.tracking")

SECTION = "pipetrack"
_MODES = ("fallback", "mirror")
_FALSE = ("0", "f", "false", "no", "off")
_TRUE = ("1", "t", "true", "yes", "on")


class SettingError(PipetrackError):
    """An option of ``[pipetrack]`` has a value that cannot be used."""

    def __init__(self, option: str, value: str, wanted: str) -> None:
        super().__init__(f"[{SECTION}] {option} = {value!r}: {wanted}; set it in airflow.cfg or as {_variable(option)}")


def tracking_location() -> list[str]:
    """Return the chain of locations for records whose pipeline names none; empty means the built-in default.

    :raises SettingError: when the option is neither a JSON list of texts nor one location.
    """
    raw = _option("tracking_location", "").strip()
    if not raw:
        return []
    if not raw.startswith("["):
        return [raw]
    try:
        locations = json.loads(raw)
    except (ValueError, RecursionError):
        locations = None
    if not isinstance(locations, list) or not all(isinstance(item, str) for item in locations):
        # A location of the user's own may hold a password.
        raise SettingError(
            "tracking_location", "[…", 'expected a JSON list of texts, such as ["sqlite||/path/tracking.db"]'
        )
    return locations


def also_shown() -> list[list[str]]:
    """Return the chains that people are shown beside those that are known on this host.

    :raises SettingError: when the option is no JSON list of locations and of lists of them.
    """
    raw = _option("also_shown", "").strip()
    if not raw:
        return []
    try:
        named = json.loads(raw)
    except (ValueError, RecursionError):
        named = None
    chains = [[item] if isinstance(item, str) else item for item in named] if isinstance(named, list) else [[]]
    for chain in chains:
        if not isinstance(chain, list) or not chain or not all(isinstance(item, str) for item in chain):
            raise SettingError(
                "also_shown", "[…", 'expected a JSON list of locations, or of chains of them, such as [["a", "b"], "c"]'
            )
    return chains


def default_location() -> str:
    """Return the location that is used when nothing is configured: SQLite under ``AIRFLOW_HOME``."""
    return f"sqlite||{state_dir()}/tracking.db||pipeline_tracking"


def mode() -> str:
    """Return ``fallback`` (first location that answers) or ``mirror`` (all of them)."""
    value = _option("mode", "fallback").strip().lower()
    if value not in _MODES:
        raise SettingError("mode", value, "expected fallback or mirror")
    return value


def journal_dir() -> Path:
    """Return the folder of the local journal; it should be on a disk that outlives the process.

    An option that cannot be used must not stop a transfer: it is named in the log, and the built-in default is used.
    """
    try:
        value = _option("journal_dir", "").strip()
        return _folder("journal_dir", value) if value else state_dir() / "journal"
    except SettingError as error:
        _complain(str(error))
        return state_dir() / "journal"


def delivery_deadline() -> float:
    """Return how many seconds a task waits at most for its tracking to be delivered."""
    raw = _option("delivery_deadline", "5.0")
    try:
        seconds = float(raw)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 600:
        raise SettingError("delivery_deadline", raw, "expected seconds above 0 and up to 600")
    return seconds


def strict() -> bool:
    """Return whether a transfer may only start when its tracking can be kept."""
    return _flag("strict", default=False)


def inner_stage_events() -> bool:
    """Return whether transfers say that a stage is ready which the Dag does not declare as an asset."""
    return _flag("inner_stage_events", default=True)


def preload() -> list[str]:
    """Return the types of location whose clients are imported early; ``["True"]`` for those of the chain."""
    names = [name.strip() for name in _option("preload", "False").split(",") if name.strip()]
    if len(names) == 1 and names[0].lower() in (*_TRUE, *_FALSE):
        return ["True"] if names[0].lower() in _TRUE else []
    return names


def mask_fields() -> list[str]:
    """Return more names of configuration keys whose values never leave the host."""
    return [name.strip() for name in _readable("mask_fields").split(",") if name.strip()]


def smtp_conn_id() -> str:
    """Return the Airflow connection of the mail server that sends alerts."""
    return _option("smtp_conn_id", "").strip() or "smtp_default"


def airflow_home() -> Path:
    """Return Airflow's home folder."""
    return Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()


def state_dir() -> Path:
    """Return the folder where pipetrack keeps what belongs to this host."""
    return _state_dir(os.environ.get("AIRFLOW_HOME", "~/airflow"), os.environ.get("HOME"))


def alerts_dir() -> Path:
    """Return the folder of alerts that wait to be sent; beside the journals, on the disk that outlives a process."""
    return journal_dir() / "_alerts"


def chains_dir() -> Path:
    """Return the folder that says which chains were used; beside the journals, so that all who share those know it."""
    return journal_dir() / "_chains"


def host_name() -> str:
    """Return this host's name, which keeps the journals of hosts that share a disk apart."""
    return socket.gethostname() or "localhost"


def child_environment(**changes: str) -> dict[str, str]:
    """Return the environment for a process to be started, with some variables changed."""
    return {**os.environ, **changes}


@functools.lru_cache(maxsize=8)
def _state_dir(airflow_home: str, user_home: str | None) -> Path:
    """Return the folder for this home; it is asked for many times in each task."""
    del user_home  # what ``~`` means
    return Path(airflow_home).expanduser() / "pipetrack"


def _folder(option: str, value: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError:  # this host does not know the user, or has no home for him
        raise SettingError(option, value, "there is no home folder of this user here; write the whole path") from None


def _flag(option: str, *, default: bool) -> bool:
    """Return whether an option is on; a word that says neither is named in the log, since it must stop no transfer."""
    word = _readable(option).strip()
    if word and word.lower() not in (*_TRUE, *_FALSE):
        _complain(str(SettingError(option, word, f"expected True or False; {default} is taken")))
        return default
    return word.lower() in _TRUE if word else default


def _readable(option: str) -> str:
    """Return an option's text; one that cannot be read counts as not set, and is named in the log."""
    try:
        return _option(option, "")
    except SettingError as error:
        _complain(str(error))
        return ""


def _complain(text: str) -> None:
    """Say once in a process what is wrong."""
    _say_once(os.getpid(), text)


@functools.cache
def _say_once(pid: int, text: str) -> None:
    del pid  # a task is forked from a process that has said it in another log
    log.error("pipetrack: %s", text)


def _variable(option: str) -> str:
    return f"AIRFLOW__{SECTION.upper()}__{option.upper()}"


def _option(option: str, default: str) -> str:
    """Return the option's text; the environment is asked first, since that needs no import of Airflow.

    :raises SettingError: when airflow.cfg has it in a form that cannot be read.
    """
    from_environment = os.environ.get(_variable(option))
    if from_environment is not None:
        return from_environment
    from airflow_provider_pipetrack.compat import airflow_option

    try:
        found = airflow_option(SECTION, option)
    except configparser.InterpolationError:
        raise SettingError(option, "…", "a % in airflow.cfg has to be written %%") from None
    return default if found is None else found
