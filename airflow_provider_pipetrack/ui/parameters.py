"""What the JSON API can be asked for: its parameters, checked. One that does not exist is refused."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.records.columns import BY_NAME
from airflow_provider_pipetrack.records.queries import QUESTIONS
from airflow_provider_pipetrack.tracking.readiness import window
from airflow_provider_pipetrack.ui.filters import read_moment, with_zone

Status = Literal["pending", "in_progress", "completed", "failed"]
AuditResult = Literal["matched", "mismatched", "pending"]
_PAGING = {"order_by", "descending", "limit", "offset"}


def _without_nul(value: Any) -> Any:
    """Return a text without the sign that no database takes."""
    return value.replace("\x00", "") if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_without_nul), Field(max_length=20_000)]


class _Asked(BaseModel):
    """Filters, order and page of one question."""

    model_config = ConfigDict(extra="forbid")
    question: ClassVar[str]

    pipeline_id: Text | None = None
    dag_id: Text | None = None
    owner: Text | None = None
    status: Status | None = None
    search: Text | None = Field(None, description="In ids, stages, owners, errors and decisions.")
    order_by: str | None = Field(
        None, description="A column of the answer; of pipelines also `first_owner`, of runs `took_seconds`."
    )
    descending: bool = Field(default=False, description="Whether the greatest comes first.")
    limit: int = Field(100, ge=1, le=1000, description="Most rows of this answer.")
    offset: int = Field(0, ge=0, le=2**31, description="Rows to leave out at the beginning.")

    @field_validator("order_by")
    @classmethod
    def _is_a_column(cls, name: str | None) -> str | None:
        columns = [known for known in QUESTIONS[cls.question].columns if _can_be_ordered(known)]
        if name is not None and name not in columns:
            raise PydanticCustomError("column", "expected one of {columns}", {"columns": ", ".join(columns)})
        return name

    def filters(self) -> dict[str, Any]:
        """Return what the rows must have; an empty text asks for nothing, as on the pages."""
        given = self.model_dump(exclude=_PAGING, exclude_none=True)
        return {name: value for name, value in given.items() if value != ""}


class _AskedOfATime(_Asked):
    """Filters by when a record was made."""

    run_id: Text | None = None
    since: str | None = Field(None, description="A date (2025-01-31), a time (2025-01-31T06:00Z) or a distance (24h).")
    until: str | None = Field(None, description="As `since`; a date includes that day.")

    @field_validator("since", "until")
    @classmethod
    def _is_a_moment(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None:
            try:
                read_moment(text, datetime.now(timezone.utc), end=info.field_name == "until")
            except ValueError as error:
                raise PydanticCustomError("moment", "{words}", {"words": str(error)}) from None
        return text

    def filters(self) -> dict[str, Any]:
        """Return what the rows must have."""
        found, now = super().filters(), datetime.now(timezone.utc)
        for name in {"since", "until"} & set(found):
            found[name] = read_moment(found[name], now, end=name == "until")
        return found


class AskedPipelines(_Asked):
    """Parameters of ``pipelines``."""

    question = "pipelines"


class AskedRuns(_AskedOfATime):
    """Parameters of ``runs``."""

    question = "runs"


class AskedTransfers(_AskedOfATime):
    """Parameters of ``transfers``."""

    question = "transfers"

    task_id: Text | None = None
    map_index: int | None = Field(None, ge=-1, le=2**31)
    stage: Text | None = Field(None, description="Source or target.")
    audit_result: AuditResult | None = None
    every_attempt: bool = Field(default=False, description="All attempts of each transfer, not only its latest.")


class AskedReadiness(BaseModel):
    """Parameters of ``readiness``."""

    model_config = ConfigDict(extra="forbid")

    stage: Text = Field(min_length=1, description="As transfers name their target.")
    pipeline_id: Text | None = Field(None, description="All pipelines that fill the stage when there is none.")
    dag_id: Text | None = Field(None, description="Only checks that this Dag may be read.")
    date: str | None = Field(
        None, max_length=40, description="A day or a moment, UTC; the newest run when there is none."
    )

    @field_validator("date")
    @classmethod
    def _is_a_date(cls, text: str | None) -> str | None:
        if text is None:
            return None
        try:
            window(with_zone(text))
        except PipetrackError as error:
            raise PydanticCustomError("date", "{words}", {"words": str(error)}) from None
        return with_zone(text)


def _can_be_ordered(name: str) -> bool:
    return name not in ("owners", "failed_transfers") and (name not in BY_NAME or BY_NAME[name].kind != "json")
