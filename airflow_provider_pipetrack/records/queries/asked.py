"""A question as somebody asks it, and the SQL that asks it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.records.columns import COLUMNS
from airflow_provider_pipetrack.records.openness import STALE_AFTER
from airflow_provider_pipetrack.records.queries.catalog import (
    LISTS,
    QUESTIONS,
    RECORD_COLUMNS,
    RECORD_FILTERS,
    Question,
    check_known,
    template,
)
from airflow_provider_pipetrack.records.queries.dialects import DIALECTS, QueryDialect, bound_value, reader_of
from airflow_provider_pipetrack.records.statements import UNSETTLED

_UNSETTLED_STATUS = ("failed", "in_progress")
#: Columns that are never NULL, so that a database may sort by their index.
_NEVER_NULL = ("created_timestamp", "updated_timestamp", "began_at")
_SEARCHED = (
    "pipeline_id",
    "dag_id",
    "run_id",
    "task_id",
    "stage_i_details",
    "stage_i_plus_1_details",
    "transfer_unique_id",
    "transfer_process_owner_name",
    "error_message",
    "decision",
)


@dataclass(frozen=True)
class Asked:
    """A question as somebody asks it.

    :param question: one of :data:`QUESTIONS`.
    :param filters: what the rows must have, by the names that the question allows.
    :param dag_ids: the Dags that may be seen; None for all.
    :param order_by: a column of the answer; that of the question when None.
    :param limit: most rows; None for all.
    :param now: the moment that overdue and stale attempts are measured at.
    :param keys_only: whether all that is wanted of each row is what makes it one; then neither limit nor order count.
    :raises QuestionError: names what does not exist.
    """

    question: str
    filters: Mapping[str, Any] = field(default_factory=dict)
    dag_ids: Collection[str] | None = None
    order_by: str | None = None
    descending: bool = False
    limit: int | None = 100
    offset: int = 0
    now: datetime = field(default_factory=utc_now)
    keys_only: bool = False

    def __post_init__(self) -> None:
        check_known("question", self.question, QUESTIONS)
        for name in self.filters:
            check_known(f"filter of {self.question}", name, self.known.filters)
        if self.order_by is not None:
            check_known(f"column of {self.question}", self.order_by, self.known.columns)

    @property
    def known(self) -> Question:
        """The question itself."""
        return QUESTIONS[self.question]

    @property
    def sorting(self) -> tuple[str, bool]:
        """The column that the answer is sorted by, and whether the greatest comes first."""
        return (self.order_by, self.descending) if self.order_by else self.known.order

    def statements(self, dialect: QueryDialect, table: str, *, newer: bool = False) -> tuple[str, str]:
        """Return the query for one page of the answer, and that for the number of all its rows.

        Where every row has to be computed anyway, the page has that number as ``total``.

        :param table: the table, quoted, with its schema.
        :param newer: whether ``:newer`` holds records that count more than those of the table.
        """
        head = _NEWER if newer else ""
        early = self._pages_early()
        page = f"{self._order('')} {self._limit()}" if early else ""
        total = ", COUNT(*) OVER () AS total" if len(self.known.keys) > 1 and not self.known.counted else ""
        body, counted = (_each(text, newer=newer) for text in (self._body(dialect, page), self._counted(dialect)))
        rows = f"SELECT *{total} FROM ({body}) q WHERE {self._outer()} {self._order('q.')}"
        if not early:
            rows += f" {self._limit()}"
        count = f"SELECT COUNT(*) AS total FROM ({counted}) q WHERE {self._outer()}"
        if self.keys_only:
            names = ", ".join(f"q.{name}" for name in self.known.keys)
            rows = f"SELECT {names}, COUNT(*) OVER () AS total FROM ({counted}) q WHERE {self._outer()}"
        source = "tracking_now" if newer else table
        return _written(head + rows, dialect, table, source), _written(head + count, dialect, table, source)

    def text(self, dialect: QueryDialect) -> str:
        """Return the query in its order, with the table still open."""
        return f"{_each(self._body(dialect, ''), newer=False)}\n{self._order('')}"

    def values(self, dialect: QueryDialect) -> dict[str, Any]:
        """Return the values that are bound."""
        bound: dict[str, Any] = {
            "now": self.now,
            "stale_after": STALE_AFTER,
            "limit": self.limit,
            "offset": self.offset,
        }
        for name, value in self.filters.items():
            if name in LISTS:
                bound.update((f"{name}_{number}", one) for number, one in enumerate(value))
            elif name not in ("search", "include_not_run"):
                bound[name] = value
        if self.filters.get("search"):
            bound["search"] = f"%{_escaped(str(self.filters['search']).lower())}%"
        bound.update((f"dag_{number}", dag_id) for number, dag_id in enumerate(self.dag_ids or ()))
        return {name: bound_value(value, dialect) for name, value in bound.items()}

    def rows(self, found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of the answer from those that a driver gave."""
        columns = self.known.keys if self.keys_only else self.known.columns
        return [*map(reader_of(columns), found)]

    def _body(self, dialect: QueryDialect, page: str) -> str:
        return _filled(template(self.question), self._fragments(dialect, page))

    def _fragments(self, dialect: QueryDialect, page: str) -> dict[str, str]:
        return {
            **_FRAGMENTS,
            "columns": _COLUMNS,
            "elapsed": dialect.elapsed,
            "owners": dialect.listed.format("t.transfer_process_owner_name"),
            "failed_transfers": dialect.listed.format(_FAILED_NAME),
            "wanted": "1 = 1" if self.filters.get("include_not_run") else "NOT {not_run}",
            "filters": self._inner(),
            "page": page,
        }

    def _counted(self, dialect: QueryDialect) -> str:
        keys = self.known.counted
        if not keys or self._answer_filters():
            return self._body(dialect, "")
        names = ", ".join(f"t.{name}" for name in keys)
        columns = ", ".join((names, "t.created_timestamp"))
        distinct = (
            f"SELECT DISTINCT {names} FROM ([[SELECT {columns} FROM {{source}} t WHERE 1 = 1 {self._inner()}]]) t"
        )
        return _filled(distinct, self._fragments(dialect, ""))

    def _inner(self) -> str:
        terms = [
            _term(name, self.question, value)
            for name, value in self.filters.items()
            if name in (*RECORD_FILTERS, *LISTS)
            and name not in self.known.of_the_answer
            and value not in (None, "", [])
        ]
        if self.filters.get("status") in _UNSETTLED_STATUS and "status" not in self.known.of_the_answer:
            terms.append("{unsettled}")  # says nothing new, but lets the database use the index of such records
        if self.dag_ids is not None:
            places = ", ".join(f":dag_{number}" for number in range(len(self.dag_ids)))
            terms.append(f"t.dag_id IN ({places})" if places else "1 = 0")
        return "".join(f" AND {term}" for term in terms)

    def _answer_filters(self) -> list[str]:
        return [name for name in self.known.of_the_answer if self.filters.get(name) not in (None, "")]

    def _outer(self) -> str:
        return " AND ".join(["1 = 1", *(f"q.{self.known.of_the_answer[n]} = :{n}" for n in self._answer_filters())])

    def _pages_early(self) -> bool:
        """Return whether the rows of the page are known before what is said about them is computed."""
        return self.question == "runs" and self.order_by in (None, "began_at")

    def _order(self, prefix: str) -> str:
        name, down = self.sorting
        nulls = "" if name in _NEVER_NULL else " NULLS LAST"
        rest = "".join(f", {prefix}{key}" for key in self.known.keys if key != name)
        return f"ORDER BY {prefix}{name} {'DESC' if down else 'ASC'}{nulls}{rest}"

    def _limit(self) -> str:
        return "" if self.limit is None else "LIMIT :limit OFFSET :offset"


_NEWER = """WITH newer AS {once}({newer}),
tracking_now AS {inline}(
  SELECT {all_columns} FROM {table} WHERE record_id NOT IN (SELECT record_id FROM newer)
  UNION ALL
  SELECT {all_columns} FROM newer
)
"""
_COLUMNS = "\n  ".join(textwrap.wrap(", ".join(f"t.{name}" for name in RECORD_COLUMNS), 100))
_FAILED_NAME = "CASE WHEN t.is_latest = 1 AND t.transfer_status = 'failed' THEN t.task_id END"
#: What identifies an attempt never changes, so a later one may be looked for in each source on its own.
_LATEST = """NOT EXISTS (
  SELECT 1 FROM {source} later
  WHERE later.dag_id = t.dag_id AND later.run_id = t.run_id AND later.task_id = t.task_id
    AND later.map_index = t.map_index AND later.retry_attempt_number > t.retry_attempt_number
)"""
#: How a run stands, from what does not simply say completed; see the state of ``run_columns``.
_UNSETTLED_STATES = """
  SELECT u.dag_id, u.run_id,
    CASE
      WHEN u.in_progress > 0 THEN 'in_progress'
      WHEN u.failed > 0 THEN 'failed'
      WHEN NOT EXISTS (
        SELECT 1 FROM {tracking} t
        WHERE t.dag_id = u.dag_id AND t.run_id = u.run_id AND t.transfer_status = 'completed' AND {latest}
      ) THEN 'pending'
      WHEN u.pending > 0 THEN 'in_progress'
      ELSE 'completed'
    END AS state
  FROM (
    SELECT t.dag_id, t.run_id,
      SUM(CASE WHEN t.transfer_status = 'in_progress' THEN 1 ELSE 0 END) AS in_progress,
      SUM(CASE WHEN t.transfer_status = 'failed' THEN 1 ELSE 0 END) AS failed,
      SUM(CASE WHEN t.transfer_status = 'pending' AND NOT {not_run} THEN 1 ELSE 0 END) AS pending
    FROM {tracking} t
    WHERE {unsettled} AND t.transfer_status <> 'completed' AND {latest}
    GROUP BY t.dag_id, t.run_id
  ) u"""
_FRAGMENTS = {
    "run_sources": """
    t.pipeline_id, t.dag_id, t.run_id, t.task_id, t.pipeline_version, t.transfer_status, t.decision, t.is_partial,
    t.transfer_start_timestamp, t.transfer_end_timestamp, t.logical_date, t.estimated_seconds, t.audit_result,
    t.audit_enabled, t.records_succeeded, t.records_failed, t.transfer_process_owner_name, t.map_index,
    t.retry_attempt_number, t.config_hash""",
    "is_latest": """
    CASE WHEN t.retry_attempt_number = MAX(t.retry_attempt_number)
      OVER (PARTITION BY t.dag_id, t.run_id, t.task_id, t.map_index) THEN 1 ELSE 0 END AS is_latest""",
    "latest": _LATEST.replace("{source}", "{stored}"),
    "not_run": "(t.transfer_status = 'pending' AND t.decision IS NOT NULL)",
    "unsettled": UNSETTLED.replace("transfer_status", "t.transfer_status").replace("audit_result", "t.audit_result"),
    "overdue": "(t.transfer_status = 'in_progress' AND {elapsed} > t.estimated_seconds)",
    "stale": """(t.transfer_status = 'in_progress' AND COALESCE(t.estimated_duration, '') <> 'continuous'
    AND {elapsed} > :stale_after AND {elapsed} > 2 * COALESCE(t.estimated_seconds, 0))""",
    "run_columns": """
  MAX(t.pipeline_version) AS pipeline_version,
  CASE
    WHEN {in_progress} > 0 THEN 'in_progress'
    WHEN {failed} > 0 THEN 'failed'
    WHEN {pending} > 0 AND {completed} > 0 THEN 'in_progress'
    WHEN {completed} > 0 THEN 'completed'
    ELSE 'pending'
  END AS state,
  MIN(t.began_at) AS began_at,
  MIN(t.transfer_start_timestamp) AS started_at,
  MAX(t.transfer_end_timestamp) AS ended_at,
  MAX(t.logical_date) AS logical_date,
  SUM(CASE WHEN t.is_latest = 1 AND NOT {not_run} THEN 1 ELSE 0 END) AS transfers,
  COUNT(*) AS attempts,
  {pending} AS pending,
  {in_progress} AS in_progress,
  {completed} AS completed,
  {failed} AS failed,
  SUM(CASE WHEN t.is_latest = 1 AND {not_run} THEN 1 ELSE 0 END) AS not_run,
  SUM(CASE WHEN t.is_latest = 1 AND t.is_partial THEN 1 ELSE 0 END) AS partial,
  SUM(CASE WHEN t.is_latest = 1 AND {overdue} THEN 1 ELSE 0 END) AS overdue,
  SUM(CASE WHEN t.is_latest = 1 AND t.audit_result = 'matched' THEN 1 ELSE 0 END) AS audits_matched,
  SUM(CASE WHEN t.is_latest = 1 AND t.audit_result = 'mismatched' THEN 1 ELSE 0 END) AS audits_mismatched,
  SUM(CASE WHEN t.is_latest = 1 AND t.audit_enabled AND NOT {not_run} THEN 1 ELSE 0 END) AS audits_total,
  SUM(CASE WHEN t.is_latest = 1 THEN t.records_succeeded END) AS records_succeeded,
  SUM(CASE WHEN t.is_latest = 1 THEN t.records_failed END) AS records_failed,
  MAX(t.config_hash) AS config_hash""",
    "pending": "SUM(CASE WHEN t.is_latest = 1 AND t.transfer_status = 'pending' AND NOT {not_run} THEN 1 ELSE 0 END)",
    "in_progress": "SUM(CASE WHEN t.is_latest = 1 AND t.transfer_status = 'in_progress' THEN 1 ELSE 0 END)",
    "completed": "SUM(CASE WHEN t.is_latest = 1 AND t.transfer_status = 'completed' THEN 1 ELSE 0 END)",
    "failed": "SUM(CASE WHEN t.is_latest = 1 AND t.transfer_status = 'failed' THEN 1 ELSE 0 END)",
}
_TERMS = {
    "status": "t.transfer_status = :status",
    "owner": "t.transfer_process_owner_name = :owner",
    "stage": "(t.stage_i_details = :stage OR t.stage_i_plus_1_details = :stage)",
    "since": "t.created_timestamp >= :since",
    "until": "t.created_timestamp < :until",
    "search": "(" + " OR ".join(f"LOWER(t.{name}) LIKE :search ESCAPE '!'" for name in _SEARCHED) + ")",
}
#: A stage is asked for as the target, and by the date of its data.
_READINESS_TERMS = {
    "stage": "t.stage_i_plus_1_details = :stage",
    # A record is made after the date of its data; the second term is the one with an index.
    "since": "COALESCE(t.logical_date, t.created_timestamp) >= :since AND t.created_timestamp >= :since",
    "until": "COALESCE(t.logical_date, t.created_timestamp) < :until",
}
_MARK = re.compile(r"\{([a-z_]+)\}")
_VALUE = re.compile(r":([a-z_][a-z_0-9]*)")


def by_hand(question: str, dialect: str, table: str) -> str:
    """Return a question as SQL that a person can run, with nothing to be bound.

    :param dialect: ``postgres``, ``sqlite`` or another of :data:`DIALECTS`.
    :param table: the table, as it stands in the SQL.
    :raises QuestionError: for a question or dialect that does not exist.
    """
    check_known("dialect", dialect, DIALECTS)
    asked = Asked(question, limit=None)
    text = asked.text(DIALECTS[dialect])
    for name, written in (("now", "CURRENT_TIMESTAMP"), ("stale_after", f"{STALE_AFTER:g}")):
        text = re.sub(rf":{name}\b", written, text)
    return f"{text.replace('{tracking}', table).replace('{stored}', table)};"


def _each(text: str, *, newer: bool) -> str:
    """Return a query whose parts in double brackets are asked of each source of records, and joined.

    :param newer: whether there are newer records beside the table.
    """

    def asked(part: re.Match[str]) -> str:
        stored = part[1].replace("{source}", "{stored}")
        if not newer:
            return stored.replace("{unless_newer}", "")
        unless = "AND t.record_id NOT IN (SELECT record_id FROM newer)"
        others = part[1].replace("{source}", "newer").replace("{unless_newer}", "")
        return f"{stored.replace('{unless_newer}', unless)}\nUNION ALL\n{others}"

    text = re.sub(r"\[\[(.*?)\]\]", asked, text, flags=re.DOTALL)
    latest = _LATEST.replace("{source}", "{stored}")
    return text.replace(latest, f"{latest} AND {_LATEST.replace('{source}', 'newer')}") if newer else text


def _term(name: str, question: str, value: Any) -> str:
    if name in LISTS:
        return f"t.{LISTS[name]} IN ({', '.join(f':{name}_{number}' for number in range(len(value)))})"
    if question == "runs" and name == "status":
        others = value == "completed"
        chosen = "s.state <> 'completed'" if others else "s.state = :status"
        states = f"SELECT s.dag_id, s.run_id FROM ({_UNSETTLED_STATES}) s WHERE {chosen}"
        return f"(t.dag_id, t.run_id) {'NOT IN' if others else 'IN'} ({states})"
    own = _READINESS_TERMS if question == "readiness" else {}
    return own.get(name) or _TERMS.get(name) or f"t.{name} = :{name}"


def _filled(text: str, fragments: Mapping[str, str]) -> str:
    """Return a template with its marks filled, those of the fragments included; the table stays open."""
    while True:
        filled = _MARK.sub(lambda mark: fragments.get(mark[1], mark[0]), text)
        if filled == text:
            return text
        text = filled


def _written(text: str, dialect: QueryDialect, table: str, source: str) -> str:
    """Return a statement with the database's placeholders, and then the table, whose name may hold any sign."""
    text = (
        text.replace("{inline}", "NOT MATERIALIZED " if dialect.once else "")
        .replace("{once}", dialect.once)
        .replace("{newer}", dialect.newer)
    )
    if dialect.placeholder.startswith("%"):
        text = text.replace("%", "%%")
        table, source = (name.replace("%", "%%") for name in (table, source))
    text = _VALUE.sub(lambda value: dialect.placeholder.format(value[1]), text)
    names = ", ".join(column.name for column in COLUMNS)
    last = {"table": table, "stored": table, "tracking": source, "columns": names, "all_columns": names}
    return _MARK.sub(lambda mark: last[mark[1]], text)


def _escaped(text: str) -> str:
    return re.sub(r"([!%_])", r"!\1", text)
