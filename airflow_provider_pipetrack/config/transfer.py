"""The model of one transfer: a row of ``stage_transfers``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr, ValidationError

from airflow_provider_pipetrack.config.durations import parse_duration
from airflow_provider_pipetrack.config.types import (
    DottedPath,
    Duration,
    DurationText,
    Limit,
    LiteralText,
    MailAddress,
    Model,
)
from airflow_provider_pipetrack.errors import ConfigError, Problem

Text = StrictStr | LiteralText
Scalar = StrictStr | StrictBool | StrictInt | float | None

#: What ``asset`` says when the stage is to be no Airflow asset.
NO_ASSET = "none"

#: Longest name, so that the audit's task id still fits into Airflow's 250 characters.
MAX_NAME = 240


class AuditSettings(Model):
    """The audit that runs after a transfer."""

    function: StrictStr | None = None
    """Function of `user_functions`, or a dotted path. Default: `execute_audit` of `user_functions`."""
    config: dict[str, Any] = Field(default_factory=dict)
    """Handed to the function as `audit_config`; texts may be templates."""
    on_mismatch: Literal["fail", "warn"] = "fail"
    """`fail` stops what comes after; `warn` records the mismatch, or that nothing was decided in time, and goes on."""
    mode: Literal["poke", "reschedule"] = "poke"
    """`reschedule` frees the worker between two questions."""
    poke_interval: Duration = timedelta(seconds=60)
    """Time between two questions while the answer is `pending`."""
    timeout: Limit = timedelta(days=1)
    """How long the answer may stay `pending`."""
    retries: Annotated[StrictInt, Field(ge=0)] = 0
    """How often an audit that could not be run is tried again."""


class StageTransfer(Model):
    """One transfer from a stage to the next."""

    name: Annotated[StrictStr, Field(max_length=MAX_NAME, pattern=r"^[A-Za-z0-9_.-]*$")] = ""
    """Static name, also the task id. Default: made from the stages, or `transfer_<order>`."""

    stage_i_details: Text = ""
    """Source stage: plain text, `a||b||c`, a template, `f"{name}"`, or a call of a user function."""
    stage_i_unique_identifier: Text = ""
    """Identifier of the source stage; made by `generate_stage_unique_id` or by default."""
    stage_i_plus_1_details: Text = ""
    """Target stage, as `stage_i_details`."""
    stage_i_plus_1_unique_identifier: Text = ""
    """Identifier of the target stage."""

    transfer_order_number: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 1.0
    """Place in the order; transfers of one number form a level."""
    transfer_enabled: StrictBool = True
    """`false` leaves the transfer out; its neighbors are joined."""
    transfer_status: Literal["pending"] = "pending"
    """Filled while the pipeline runs."""

    estimated_duration: DurationText = "1d12h30m"
    """How long it should take: `1d12h30m`, `45m`, ISO 8601, or `continuous`."""
    transfer_start_timestamp: None = None
    """Filled while the pipeline runs."""
    transfer_end_timestamp: None = None
    """Filled while the pipeline runs."""
    actual_duration: None = None
    """Filled while the pipeline runs."""

    can_partial_data_be_collected: StrictBool = True
    """Whether a part of the data is good enough to go on with."""
    can_process_be_parallelized: StrictBool = True
    """Whether it may run beside the others of its level."""
    can_access_historical_data: StrictBool = True
    """Whether it can load dates of the past."""
    upstream_completion_required: StrictBool = False
    """Whether partial or unaudited upstream data stops it."""
    dependent_on_previous_transfer: StrictBool = True
    """Whether it waits for the level before it."""

    retry_attempt_number: Literal[0] = 0
    """Filled while the pipeline runs."""
    max_retry_attempts: Annotated[StrictInt, Field(ge=0, le=1000)] = 3
    """How often Airflow tries again."""

    audit_enabled: StrictBool = True
    """Whether an audit follows the transfer."""
    audit_result: None = None
    """Filled while the pipeline runs."""
    audit_metadata: dict[str, Any] = Field(default_factory=dict)
    """Base of the audit's configuration; the audit's results are merged over it."""

    transfer_process_owner_name: StrictStr = ""
    """Who is responsible; the task's owner. Default: `owner` of `dag.default_args`."""
    transfer_process_email_alerts: tuple[MailAddress, ...] = ()
    """Mail addresses that are told when it fails, its audit finds a mismatch, or it takes too long."""

    tracking_location: tuple[StrictStr, ...] = ()
    """Where its records are kept, in the order of preference."""
    transfer_unique_id: Text = ""
    """The user's own id of the transfer; made by `generate_transfer_unique_id` or by default."""

    operator: DottedPath | None = None
    """Airflow operator to run, as `package.module.Operator`."""
    python_callable: StrictStr | None = None
    """Function to run: of `user_functions`, or a dotted path."""
    operator_args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the operator, or of the function."""
    rollback: StrictStr | None = None
    """Function that undoes a failed attempt; it must be harmless to run it twice."""
    counts: StrictStr | None = None
    """Function `(result, context)` that returns `records_succeeded` and `records_failed`."""
    depends_on: tuple[StrictStr, ...] | None = None
    """Names of the transfers to wait for; replaces what the order says."""
    audit: AuditSettings | None = None
    """What the audit does."""
    retry_delay: Duration | None = None
    """Time between two attempts."""
    execution_timeout: Limit | None = None
    """Longest time of one attempt."""
    pool: StrictStr | None = None
    """Airflow pool that limits how many run at once, across pipelines."""
    expand: dict[str, list[Any] | StrictStr] | None = None
    """Arguments to map over: lists, or `transfer.<name>` for what another transfer returned."""
    asset: StrictStr | None = None
    """URI of the target stage's Airflow asset; `none` for no asset. Default: made from the Dag id and the stage."""
    extra_columns: dict[str, Scalar] = Field(default_factory=dict)
    """The user's own columns of the record."""

    @cached_property
    def estimated_seconds(self) -> float | None:
        """The estimate in seconds; None for a continuous transfer."""
        estimate = parse_duration(self.estimated_duration)
        return None if estimate is None else estimate.total_seconds()

    def task_arguments(self) -> dict[str, Any]:
        """Return the arguments of an Airflow task that the fields say; :data:`TASK_ARGUMENTS` says which field each."""
        said = {
            "retries": self.max_retry_attempts,
            "owner": self.transfer_process_owner_name or None,
            "retry_delay": self.retry_delay,
            "execution_timeout": self.execution_timeout,
            "pool": self.pool or None,
            "max_active_tis_per_dag": None if self.can_process_be_parallelized else 1,
        }
        return {name: value for name, value in said.items() if value is not None}

    @property
    def is_continuous(self) -> bool:
        """Whether the transfer never ends, so that nobody waits for it."""
        return parse_duration(self.estimated_duration) is None


#: The field that says each argument of an Airflow task.
TASK_ARGUMENTS = {
    "retries": "max_retry_attempts",
    "owner": "transfer_process_owner_name",
    "retry_delay": "retry_delay",
    "execution_timeout": "execution_timeout",
    "pool": "pool",
    "max_active_tis_per_dag": "can_process_be_parallelized",
}

#: Fields that may only stand in a file with the value they have before the pipeline runs.
RUNTIME_FIELDS = {
    "transfer_status": "pending",
    "transfer_start_timestamp": None,
    "transfer_end_timestamp": None,
    "actual_duration": None,
    "retry_attempt_number": 0,
    "audit_result": None,
}


def transfer_from_mapping(fields: Mapping[str, Any]) -> StageTransfer:
    """Return the transfer that a Dag author wrote as a dict.

    :raises ConfigError: with every mistake in it.
    """
    from airflow_provider_pipetrack.config.problems import explain, path_text

    try:
        return StageTransfer.model_validate(dict(fields))
    except ValidationError as error:
        raise ConfigError(
            Problem("<python>", 0, 0, path_text(("transfer", *path)), runtime_hint(path) or message, suggestion)
            for path, message, suggestion, _ in explain(error, StageTransfer)
        ) from None


def runtime_hint(path: tuple[str | int, ...]) -> str:
    """Return the sentence for a runtime field that was filled by hand, else an empty text."""
    name = path[-1] if path else ""
    if name not in RUNTIME_FIELDS:
        return ""
    initial = RUNTIME_FIELDS[str(name)]
    return f"this is filled while the pipeline runs; leave it out or write {'null' if initial is None else initial}"
