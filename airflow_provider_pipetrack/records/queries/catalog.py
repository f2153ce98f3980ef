"""The questions: what each asks, by which filters, and the columns of its answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.records.columns import COLUMNS, KEY_COLUMN

#: Columns of a record that only its storage needs.
_INTERNAL = (*KEY_COLUMN.values(), "owed")
RECORD_COLUMNS = tuple(column.name for column in COLUMNS if column.name not in _INTERNAL)
_RUN = (
    "pipeline_id", "dag_id", "run_id", "pipeline_version", "state", "began_at", "started_at", "ended_at",
    "logical_date", "transfers", "attempts", "pending", "in_progress", "completed", "failed", "not_run",
    "partial", "overdue", "audits_matched", "audits_mismatched", "audits_failed", "audits_waiting", "audits_total",
    "records_succeeded", "records_failed", "config_hash",
)  # fmt: skip
_TRANSFER = (
    "dag_id", "task_id", "pipeline_id", "stage_i_details", "stage_i_plus_1_details", "transfer_process_owner_name",
)  # fmt: skip
RECORD_FILTERS = (
    "pipeline_id", "dag_id", "run_id", "task_id", "map_index", "status", "audit_result", "owner", "stage", "target",
    "since", "until", "search",
)  # fmt: skip

#: Filters that take a list, with the column that has one of its values.
LISTS: Mapping[str, str] = {"pipeline_ids": "pipeline_id", "task_ids": "task_id", "map_indexes": "map_index"}

#: Filters whose words have conditions of their own.
WORDS = ("status", "audit_result")
#: Filters that leave so little to look at that a question needs no other bound.
NARROWING = ("pipeline_id", "pipeline_ids", "dag_id", "run_id", "task_id", "since")
#: What bounds a question that has none of them: so many records, or runs, are looked at, the newest.
NEWEST_RECORDS, NEWEST_RUNS = {"newest_records": 50_000}, {"newest": 100}
#: The same for runs that are sorted or searched by what no index knows.
SORTED_RUNS = {"newest": 1000}
#: Filters that are whole numbers.
NUMBERS = ("map_index", *NEWEST_RECORDS, *NEWEST_RUNS)


class QuestionError(PipetrackError):
    """A question, a filter or a column to sort by does not exist."""


@dataclass(frozen=True)
class Question:
    """One of the bundled questions.

    :param columns: the columns of its answer.
    :param order: the column it is sorted by when the asker names none, and whether the greatest comes first.
    :param keys: what makes a row of a grouped answer one row; for others the record's id.
    :param ties: by a column that rows are sorted by, those that they are sorted by where they have the same in it,
        before their keys.
    :param of_the_answer: filters that look at the answer's rows instead of at records, with their column.
    :param counted: columns whose distinct values are as many as the answer's rows, where that is so.
    :param apart: whether the records that it is about have an index of their own.
    :param countable: which records count then, as SQL; all when empty.
    :param counted_with: the filters beside which that is so; any when None.
    :param bounds: filters that bound what is looked at where no filter of :data:`NARROWING` does, with their values.
    :param unbounded: columns by which an index sorts everything; in their order, and with nothing searched for, the
        bounds do not count.
    """

    columns: tuple[str, ...] = RECORD_COLUMNS
    order: tuple[str, bool] = ("created_timestamp", True)
    keys: tuple[str, ...] = ("record_id",)
    filters: tuple[str, ...] = RECORD_FILTERS
    of_the_answer: Mapping[str, str] = field(default_factory=dict)
    counted: tuple[str, ...] = ()
    countable: str = ""
    counted_with: tuple[str, ...] | None = None
    apart: bool = False
    bounds: Mapping[str, int] = field(default_factory=dict)
    ties: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unbounded: tuple[str, ...] = ()


_READINESS = (
    "pipeline_id", "dag_id", "run_id", "stage", "state", "data_date", "began_at", "ended_at", "transfers", "completed",
    "failed", "not_run", "skipped", "partial", "audits_matched", "audits_mismatched", "audits_pending",
    "records_succeeded", "records_failed", "can_access_historical_data",
)  # fmt: skip
_STAGES = ("pipeline_id", "dag_id", "stage", "run_id", "began_at")
_ESTIMATES = (
    "dag_id", "task_id", "pipeline_id", "completed", "estimated_seconds", "p50_seconds", "p95_seconds",
    "longest_seconds", "over_estimate", "suggested_seconds",
)  # fmt: skip
_DURATIONS = (
    "record_id", "pipeline_id", "dag_id", "run_id", "task_id", "map_index", "retry_attempt_number", "transfer_status",
    "is_partial", "logical_date", "created_timestamp", "transfer_start_timestamp", "transfer_end_timestamp",
    "actual_seconds", "estimated_seconds", "records_succeeded", "records_failed",
)  # fmt: skip
_SLOW = (*_TRANSFER, "completed", "over_estimate", "average_seconds", "longest_seconds", "estimated_seconds", "ratio")
_FLAKY = (*_TRANSFER, "runs", "attempts", "failed", "failed_share", "average_retries", "last_failed_at")
_OF_NEWEST = (*RECORD_FILTERS, *NEWEST_RECORDS)
_MADE = ("created_timestamp",)
_BY_STATE, _AS_SHOWN = {"status": "state"}, {"shown_state": "shown_state"}
_NEWEST, _LATEST_CHANGE = ("began_at", True), ("updated_timestamp", True)
_ONE_TRANSFER, _ONE_RUN, _ONE_PIPELINE = ("dag_id", "task_id"), ("dag_id", "run_id"), ("pipeline_id", "dag_id")

QUESTIONS: Mapping[str, Question] = {
    "pipelines": Question(
        (*_RUN, "owners", "first_owner", *_AS_SHOWN),
        _NEWEST,
        _ONE_PIPELINE,
        filters=(*RECORD_FILTERS, *_AS_SHOWN),
        of_the_answer={**_BY_STATE, **_AS_SHOWN},
        counted=_ONE_PIPELINE,
    ),
    "runs": Question(
        (*_RUN, "failed_transfers", "took_seconds"),
        _NEWEST,
        _ONE_RUN,
        filters=(*RECORD_FILTERS, *SORTED_RUNS),
        counted=_ONE_RUN,
        bounds=SORTED_RUNS,
        unbounded=("began_at",),
    ),
    "last_runs": Question(
        _RUN,
        _NEWEST,
        (*_ONE_PIPELINE, "run_id"),
        filters=(*RECORD_FILTERS, "pipeline_ids"),
        of_the_answer=_BY_STATE,
    ),
    "transfers": Question(
        filters=(*_OF_NEWEST, "include_not_run"),
        counted=(*_ONE_RUN, "task_id", "map_index"),
        counted_with=("include_not_run",),
        ties={"transfer_order_number": ("transfer_start_timestamp", "task_id", "map_index")},
        bounds=NEWEST_RECORDS,
        unbounded=_MADE,
    ),
    "attempts": Question(filters=(*_OF_NEWEST, "task_ids", "map_indexes"), bounds=NEWEST_RECORDS, unbounded=_MADE),
    "attention": Question(
        (*RECORD_COLUMNS, "reason"),
        _LATEST_CHANGE,
        filters=(*RECORD_FILTERS, "reason", "include_recovered"),
        of_the_answer={"reason": "reason"},
        apart=True,
    ),
    "open_failures": Question(order=_LATEST_CHANGE, apart=True),
    "overdue": Question((*RECORD_COLUMNS, "elapsed_seconds", "overdue_seconds"), ("overdue_seconds", True), apart=True),
    "slow": Question(_SLOW, ("ratio", True), _ONE_TRANSFER, filters=_OF_NEWEST, bounds=NEWEST_RECORDS),
    "flaky": Question(_FLAKY, ("failed_share", True), _ONE_TRANSFER, filters=_OF_NEWEST, bounds=NEWEST_RECORDS),
    "readiness": Question(
        _READINESS,
        _NEWEST,
        (*_ONE_RUN, "stage"),
        filters=(*RECORD_FILTERS, "pipeline_ids", *NEWEST_RUNS),
        of_the_answer=_BY_STATE,
        bounds=NEWEST_RUNS,
    ),
    "stages": Question(
        _STAGES,
        _NEWEST,
        (*_ONE_PIPELINE, "stage"),
        filters=("pipeline_id", "dag_id", "stage"),
        of_the_answer={"stage": "stage"},
    ),
    "audit_trail": Question((*RECORD_COLUMNS, "audit_ended"), _LATEST_CHANGE, apart=True),
    "estimates": Question(
        _ESTIMATES,
        ("dag_id", False),
        _ONE_TRANSFER,
        counted=_ONE_TRANSFER,
        countable="t.transfer_status = 'completed' AND t.actual_seconds IS NOT NULL",
    ),
    "durations": Question(_DURATIONS, filters=_OF_NEWEST, bounds=NEWEST_RECORDS, unbounded=_MADE),
}


@cache
def template(question: str) -> str:
    """Return the SQL template of a question, as it stands in its file."""
    return Path(__file__).with_name(f"{question}.sql").read_text().strip()


def describe(question: str) -> str:
    """Return what a question asks, in one sentence."""
    check_known("question", question, QUESTIONS)
    return template(question).splitlines()[0].removeprefix("--").strip()


def check_known(what: str, name: str, known: Collection[str]) -> None:
    """Raise QuestionError, with what was probably meant, when ``name`` is not among ``known``."""
    if name not in known:
        import difflib

        close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise QuestionError(f"there is no {what} {name!r}{hint}; known are {', '.join(known)}")
