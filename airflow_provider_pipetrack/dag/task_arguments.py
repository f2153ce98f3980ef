"""Arguments of every Airflow task, as a pipeline file may write them under ``operator_args`` and ``default_args``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from airflow_provider_pipetrack.config.checks import Mistake
from airflow_provider_pipetrack.config.types import duration, limit, moment

_READ_AS: dict[str, Callable[[Any], Any]] = {
    "retry_delay": duration,
    "max_retry_delay": duration,
    "execution_timeout": limit,
    "start_date": moment,
    "end_date": moment,
}
#: What a transfer's own fields say, and so nobody else.
_SAID_BY = {"task_id": "name", "retries": "max_retry_attempts", "owner": "transfer_process_owner_name"}
#: What pipetrack itself gives to every task.
NOT_TO_GIVE = {"dag", "task_group", "transfer", "pipeline_id"}
_FUNCTIONS = re.compile(r"on_\w+_callback|(pre|post)_execute")


def task_arguments(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments as Airflow takes them: durations and dates that were written as texts are read.

    :param written: the arguments, without mistakes.
    """
    return {name: _READ_AS[name](value) if name in _READ_AS else value for name, value in written.items()}


def task_argument_mistakes(written: Mapping[str, Any], place: str, *, of_all: bool = False) -> Iterator[Mistake]:
    """Yield what is wrong with arguments that every Airflow task has.

    :param place: the key that they stand under.
    :param of_all: whether they are meant for all tasks of a Dag.
    """
    for name, value in written.items():
        message = _mistake(name, value, of_all=of_all)
        if message:
            yield (place, name), message, ""


def _mistake(name: str, value: Any, *, of_all: bool) -> str | None:
    if name in NOT_TO_GIVE:
        return f"pipetrack sets {name}; leave it out"
    if name == "owner" and of_all:
        return None  # for the transfers that name none
    if name in _SAID_BY:
        where = " under defaults" if of_all else ""
        return f"each transfer says this by {_SAID_BY[name]}; write {_SAID_BY[name]}{where} instead"
    if _FUNCTIONS.fullmatch(name) and value is not None:
        return f"{name} takes functions, which a file cannot give; for notifications there are alerts"
    try:
        _READ_AS.get(name, bool)(value)
    except ValueError as error:
        return str(error)
    return None
