"""The user-defined texts of a record, resolved for a run with Airflow's context."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.attempts.binding import Spec
from airflow_provider_pipetrack.attempts.bounded import call_within
from airflow_provider_pipetrack.attempts.configuration import configuration_of
from airflow_provider_pipetrack.attempts.state import recall, remember
from airflow_provider_pipetrack.attempts.stores import pipeline_ids, store_for
from airflow_provider_pipetrack.compat import redact
from airflow_provider_pipetrack.config import content as fields
from airflow_provider_pipetrack.config.defaults import default_stage_unique_id, default_transfer_unique_id
from airflow_provider_pipetrack.config.functions import UserFunctions
from airflow_provider_pipetrack.records.clean import clean_value
from airflow_provider_pipetrack.records.key import MAX_ID, RecordKey
from airflow_provider_pipetrack.tracking.describe import Content, Described

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.content")

#: How long all texts of an attempt together may take, in seconds, and which part of ``execution_timeout`` at most.
TEXTS_LIMIT = 10.0
_TEXTS_SHARE = 0.25
_STATE_KEY = "pipetrack_content"
_TEXTS = tuple(name for name in Content.__dataclass_fields__ if name != "pipeline_id")
_STAGES = (("source", "stage_i"), ("target", "stage_i_plus_1"))
_STAGE_TEXTS = tuple(f"{prefix}_details" for _, prefix in _STAGES)


def describe_announced(spec: Spec, context: Mapping[str, Any], key: RecordKey) -> Described:
    """Describe a transfer whose attempt has not begun: nothing of the user's is called, what is computed stays open."""
    transfer = spec.transfer
    pipeline_id = _pipeline_id(spec, context, key)
    computed = _computed(spec)
    known = {name: _known_text(getattr(transfer, name), computed=name in computed) for name in _TEXTS}
    filled = _with_defaults(known, pipeline_id, key)
    texts = {name: None if name in computed else filled[name] for name in _TEXTS}
    return _described(spec, context, Content(pipeline_id, **texts))


def describe_attempt(
    spec: Spec, context: Mapping[str, Any], key: RecordKey, store: TrackingStore, *, goes_on: bool = False
) -> Described:
    """Describe an attempt, with all its texts. A retry reuses what was resolved before, and tries what was not.

    :param goes_on: whether the attempt was deferred or rescheduled, so that it has resolved them itself.
    """
    computed = _computed(spec)
    if not computed:
        return describe_announced(spec, context, key)
    pipeline_id = _pipeline_id(spec, context, key)
    texts = _earlier_texts(spec, context, key, store, goes_on=goes_on)
    if texts is None or (not goes_on and any(texts[name] is None for name in computed)):
        texts = _with_defaults(_Resolver(spec, context, pipeline_id, texts or {}).all(), pipeline_id, key)
        remember(context, _STATE_KEY, texts)
    return _described(spec, context, Content(pipeline_id, **texts))


def resolved_stages(spec: Spec, columns: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the stage texts of an attempt that are computed, so that nobody else knows them but its record.

    :param columns: those of its record.
    """
    # As the record keeps them: Airflow's database may refuse what a storage would, and all that is said with it.
    return {name: clean_value(name, columns[name]) for name in _STAGE_TEXTS if _is_computed(spec, name)}


class _Resolver:
    """Resolves the texts of one attempt with the user's functions and Airflow's templates.

    :param known: texts that an earlier attempt has resolved, which stay as they are.
    """

    def __init__(
        self, spec: Spec, context: Mapping[str, Any], pipeline_id: str, known: Mapping[str, str | None]
    ) -> None:
        self.spec = spec
        self.transfer = spec.transfer
        self.context = context
        self.pipeline_id = pipeline_id
        self.known = known
        self.functions = _functions(spec)
        self._until = time.monotonic() + _limit(context)

    def all(self) -> dict[str, str | None]:
        """Return every text; one that cannot be resolved is None, and the log says why."""
        texts: dict[str, str | None] = {}
        for stage, prefix in _STAGES:
            details = self._text(f"{prefix}_details", "generate_stage_details", self._stage_info(stage, prefix))
            texts[f"{prefix}_details"] = details
            unique = f"{prefix}_unique_identifier"
            texts[unique] = self._text(unique, "generate_stage_unique_id", details or "", self._run())
        info = {**self._run(), **texts, "transfer": self.transfer.model_dump(mode="json")}
        texts["transfer_unique_id"] = self._text("transfer_unique_id", "generate_transfer_unique_id", info)
        return texts

    def _text(self, name: str, function: str, *arguments: Any) -> str | None:
        """Return a text that is known, a configured one, or what the user's function makes of an empty one."""
        known = self.known.get(name)
        if known is not None:
            return known
        value = getattr(self.transfer, name)
        generate = self.functions.get(function)
        if _is_empty(value):
            if generate is None:
                return None
            return self._guarded(name, lambda: generate(*arguments))
        plain = fields.plain_text(value)
        if plain is not None:
            return redact(plain)
        return self._guarded(
            name,
            lambda: fields.resolve(
                value,
                variables=self.spec.variables,
                functions=self.functions,
                context=self.context,
                render=lambda text: _render(text, self.spec, self.context),
            ),
        )

    def _guarded(self, name: str, make: Callable[[], Any]) -> str | None:
        """Call user code for a text; a failure costs the text, never the transfer."""
        left = round(self._until - time.monotonic(), 2)
        if left <= 0:
            log.warning("%s of %s: the time for texts is up; the record has no such text", name, self.transfer.name)
            return None
        try:
            made = call_within(left, f"what makes {name}", make)
        except Exception as error:  # noqa: BLE001  it is the user's code
            reason = f"{type(error).__name__}: {error}"
            log.warning("%s of %s: %s; the record has no such text", name, self.transfer.name, reason)
            return None
        if made is not None and not isinstance(made, (str, int, float)):
            log.error("%s of %s: expected a text, got %r; the record has no such text", name, self.transfer.name, made)
            return None
        return None if made is None else redact(str(made))

    def _stage_info(self, stage: str, prefix: str) -> dict[str, Any]:
        configured = getattr(self.transfer, f"{prefix}_details")
        return {
            **self._run(),
            "stage": stage,
            "configured": None if _is_empty(configured) else fields.plain_text(configured),
            "transfer": self.transfer.model_dump(mode="json"),
        }

    def _run(self) -> dict[str, Any]:
        ti = self.context["ti"]
        return {
            "pipeline_id": self.pipeline_id,
            "variables": dict(self.spec.variables),
            "dag_id": ti.dag_id,
            "run_id": ti.run_id,
            "task_id": ti.task_id,
            "map_index": ti.map_index,
            "try_number": ti.try_number,
            "logical_date": self.context.get("logical_date"),
        }


def _limit(context: Mapping[str, Any]) -> float:
    """Return how many seconds the texts may take, so that the transfer itself has most of its time left."""
    timeout = getattr(getattr(context["ti"], "task", None), "execution_timeout", None)
    return TEXTS_LIMIT if timeout is None else min(TEXTS_LIMIT, timeout.total_seconds() * _TEXTS_SHARE)


def _described(spec: Spec, context: Mapping[str, Any], content: Content) -> Described:
    configuration = configuration_of(spec, context["dag"])
    return Described(
        transfer=spec.transfer,
        content=content,
        locations=store_for(spec).shown_locations,
        facts={
            "logical_date": context.get("logical_date"),
            "pipeline_version": configuration.pipeline_version if configuration else None,
            "config_hash": configuration.config_hash if configuration else None,
        },
    )


def _pipeline_id(spec: Spec, context: Mapping[str, Any], key: RecordKey) -> str:
    """Return the pipeline's id in this run; where it cannot be rendered, the Dag's id stands for it."""
    text = spec.pipeline_id or key.dag_id
    try:
        made = _render(text, spec, context) if "{{" in text or "{%" in text else text
    except Exception as error:  # noqa: BLE001  a record without a pipeline could not be found again
        return _dag_instead(key, f"pipeline_id {text!r} cannot be rendered here ({error})")
    return made if len(made) <= MAX_ID else _dag_instead(key, f"pipeline_id {made!r} has more than {MAX_ID} characters")


def _dag_instead(key: RecordKey, reason: str) -> str:
    log.warning("%s; %s stands for it", reason, key.dag_id)
    return key.dag_id


def _render(text: str, spec: Spec, context: Mapping[str, Any]) -> str:
    """Render a template as the Dag does, in a sandbox; the file's ``variables`` come before the run's."""
    # Airflow's own sandbox is off where templates are to give Python values; here they only give texts.
    environment = context["dag"].get_template_env(force_sandboxed=True)
    return str(environment.from_string(text).render({**context, **spec.variables}))


def _with_defaults(texts: Mapping[str, str | None], pipeline_id: str, key: RecordKey) -> dict[str, str | None]:
    filled = dict(texts)
    for _stage, prefix in _STAGES:
        details = filled[f"{prefix}_details"]
        if filled[f"{prefix}_unique_identifier"] is None and details:
            filled[f"{prefix}_unique_identifier"] = default_stage_unique_id(pipeline_id, details)
    if filled["transfer_unique_id"] is None:
        filled["transfer_unique_id"] = default_transfer_unique_id(pipeline_id, key.name, key.run_id, key.map_index)
    return filled


def _computed(spec: Spec) -> set[str]:
    """Return the names of the texts that are only known when an attempt runs."""
    return {name for name in _TEXTS if _is_computed(spec, name)}


def _is_computed(spec: Spec, name: str) -> bool:
    """Return whether a text is only known when an attempt runs."""
    value = getattr(spec.transfer, name)
    if not _is_empty(value):
        return fields.plain_text(value) is None
    generator = {"details": "generate_stage_details", "identifier": "generate_stage_unique_id"}.get(
        name.rpartition("_")[2], "generate_transfer_unique_id"
    )
    return generator in _functions(spec).names()


def _known_text(value: Any, *, computed: bool) -> str | None:
    return None if computed or _is_empty(value) else fields.plain_text(value)


def _is_empty(value: Any) -> bool:
    return value is None or value == ""


def _functions(spec: Spec) -> UserFunctions:
    return spec.pipeline.functions if spec.pipeline else UserFunctions()


def _earlier_texts(
    spec: Spec, context: Mapping[str, Any], key: RecordKey, store: TrackingStore, *, goes_on: bool
) -> dict[str, str | None] | None:
    """Return what was resolved before, from Airflow's task state or from the record of the attempt that did so."""
    if key.attempt == 1 and not goes_on:
        return None
    known = recall(context, _STATE_KEY)
    if known is not None and set(known) == set(_TEXTS):
        return dict(known)
    before = key if goes_on else replace(key, attempt=key.attempt - 1)
    record = store.read_record(before.record_id, pipeline_ids(spec, key.dag_id))
    if record is None or record.get("transfer_start_timestamp") is None:
        return None
    return {name: record.get(name) for name in _TEXTS}
