"""What a hand-written Dag says of a pipeline: its transfers, as a pipeline file would say them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache, cached_property
from graphlib import TopologicalSorter
from pathlib import PurePath
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from airflow_provider_pipetrack.config.transfer import StageTransfer
from airflow_provider_pipetrack.records.clean import clean_json
from airflow_provider_pipetrack.records.masking import without_secrets

#: Fields that the Dag says in its own way, by its tasks and the arguments of its operators.
_OF_THE_DAG = frozenset({"operator", "operator_args", "python_callable", "expand"})
_MAX_DEPTH = 20
_PLAIN = frozenset({str, int, bool, float, type(None)})


@dataclass(frozen=True)
class HandWrittenPipeline:
    """The transfers of one pipeline in a hand-written Dag.

    :param pipeline_id: as it stands in the Dag, possibly a template of the run.
    :param transfers: the transfers by the names under which their records stand: their tasks' ids.
    :param rows: for each of them what it says, see :func:`said_by`; ``depends_on`` has the ids of the tasks that it
        waits for.
    :param other_tasks: the same for tasks of the Dag that are no transfers of the pipeline and stand between such.
    :param first_tasks: ids of the tasks that begin a run of the pipeline.
    """

    pipeline_id: str
    dag_id: str
    transfers: Mapping[str, StageTransfer]
    rows: Mapping[str, Mapping[str, Any]]
    other_tasks: Mapping[str, Sequence[str]]
    first_tasks: frozenset[str] = frozenset()
    #: A Dag has no key for it, and Airflow counts its versions itself.
    pipeline_version: ClassVar[str | None] = None
    on_schema_change: ClassVar[str] = "warn"

    @cached_property
    def config_hash(self) -> str:
        """SHA-256 of everything that the Dag says of the pipeline, with defaults filled in and secrets left out.

        In which order the Dag file makes its tasks does not count.
        """
        said = _text_of([_defaults(), self.pipeline_id, self.dag_id, self.rows, self.other_tasks])
        return hashlib.sha256(said).hexdigest()

    @property
    def stage_transfers(self) -> list[StageTransfer]:
        """The transfers, each behind those that it waits for."""
        return [self.transfers[name] for name in self._order]

    def public_content(self, more_secrets: tuple[str, ...] = ()) -> Any:
        """Return the content of a pipeline file that says the same, with defaults filled in and secrets left out.

        What the Dag's tasks say is not in it: operators and their arguments, schedules. Tasks that are no transfers of
        the pipeline are under ``other_tasks``.

        :param more_secrets: more words that name a secret when they stand in a key.
        """
        content = {
            "pipeline_metadata": {"pipeline_id": self.pipeline_id},
            "dag": {"dag_id": self.dag_id},
            "stage_transfers": [{"name": name, **_defaults(), **self.rows[name]} for name in self._order],
        }
        # Ids of tasks are no secrets, whatever a task is called.
        others = {task_id: [*upstreams] for task_id, upstreams in self.other_tasks.items()}
        return {**without_secrets(content, more_secrets), "other_tasks": others}

    @cached_property
    def _order(self) -> list[str]:
        waits_for = {**self.other_tasks, **{name: row["depends_on"] for name, row in self.rows.items()}}
        depth: dict[str, int] = {}
        for name in TopologicalSorter(waits_for).static_order():
            depth[name] = max((depth[upstream] + 1 for upstream in waits_for[name]), default=0)
        return sorted(self.rows, key=lambda name: (depth[name], name))


def said_by(transfer: StageTransfer, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a transfer says that differs from its defaults, as plain values without secrets.

    The same transfer gives the same in every process: sets are sorted, and an object is what its class is called.

    :param task: what the transfer's task has in place of what the transfer asks for, by the transfer's fields.
    """
    defaults, said = _defaults(), {}
    given = vars(transfer)
    for name in transfer.model_fields_set:
        if name in defaults and (given[name] or given[name] != defaults[name]):
            said[name] = given[name]
    said.update(task)
    for name, value in said.items():
        if type(value) not in _PLAIN:
            said[name] = _plain(value)
    return {name: value for name, value in said.items() if value != defaults[name]}


@cache
def _defaults() -> Mapping[str, Any]:
    """Return what a transfer says by saying nothing."""
    return StageTransfer().model_dump(mode="json", exclude={*_OF_THE_DAG, "name", "depends_on"})


def _plain(value: Any) -> Any:
    if isinstance(value, (dict, BaseModel)):
        return without_secrets(clean_json(_steady(value)))
    return _steady(value)


def _steady(value: Any, depth: int = 0) -> Any:
    """Return a value as plain ones that are the same in every process."""
    if type(value) in _PLAIN:
        return value
    if depth > _MAX_DEPTH:
        return "…"
    if isinstance(value, (list, tuple)):
        return [_steady(item, depth + 1) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_steady(item, depth + 1) for item in value), key=_text_of)
    if isinstance(value, (dict, BaseModel)):
        items = value.items() if isinstance(value, dict) else vars(value).items()
        return {_key(key): _steady(item, depth + 1) for key, item in items}
    return _steady_scalar(value)


def _steady_scalar(value: Any) -> Any:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (datetime, date, time, timedelta)):
        return to_jsonable_python(value)
    if isinstance(value, (PurePath, Decimal, UUID)):
        return str(value)
    # What it prints may have its address in it, and a module of a Dag file the place of that file.
    return f"<{getattr(value, '__qualname__', None) or type(value).__qualname__}>"


def _key(key: Any) -> str:
    return key if type(key) is str else str(_steady(key))


def _text_of(value: Any) -> bytes:
    """Return plain values as JSON, the same for the same values; quickly, since each task does it for its whole Dag."""
    import msgspec

    return msgspec.json.encode(value, order="deterministic")
