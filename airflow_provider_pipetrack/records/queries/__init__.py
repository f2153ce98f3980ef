"""Questions about records: one SQL template a file, what they mean, and how they are asked of a database."""

from airflow_provider_pipetrack.records.queries.asked import Asked, by_hand
from airflow_provider_pipetrack.records.queries.catalog import LISTS, QUESTIONS, Question, QuestionError, describe
from airflow_provider_pipetrack.records.queries.dialects import (
    DIALECTS,
    SQLITE_QUERIES,
    QueryDialect,
    know_all_letters,
    newer_rows,
)

__all__ = [
    "DIALECTS",
    "LISTS",
    "QUESTIONS",
    "SQLITE_QUERIES",
    "Asked",
    "QueryDialect",
    "Question",
    "QuestionError",
    "by_hand",
    "describe",
    "know_all_letters",
    "newer_rows",
]
