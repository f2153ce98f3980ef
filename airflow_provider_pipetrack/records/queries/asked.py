"""A question as somebody asks it, and the SQL that asks it."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Final

from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.records.openness import STALE_AFTER
from airflow_provider_pipetrack.records.queries.catalog import (
    LISTS,
    NARROWING,
    QUESTIONS,
    RECORD_FILTERS,
    WORDS,
    Question,
    check_known,
    template,
)
from airflow_provider_pipetrack.records.queries.dialects import DIALECTS, QueryDialect, bound_value, reader_of
from airflow_provider_pipetrack.records.queries.fragments import (
    ANNOUNCED_JOINED,
    COLUMN_LIST,
    FAILED_NAME,
    FRAGMENTS,
    IN_TROUBLE,
    OF_THAT_PIPELINE,
    OWNER,
    RUN,
    RUNS_IN,
    qualified,
)
from airflow_provider_pipetrack.records.queries.last_run import (
    FIRST_PIPELINE,
    GROUPING,
    LATELY,
    LEAPING,
    NEWEST_JUDGED,
    NEWEST_LISTED,
    NEXT_PIPELINE,
    OF_RECENT,
    OF_THAT_RUN,
    PAIRS,
    RECENT,
    RECORDS,
    RECORDS_LATELY,
    SINCE_THEN,
)
from airflow_provider_pipetrack.records.queries.texts import NEWER, condition, escaped, filled, of_each_source, written

_UNSETTLED_STATUS = ("failed", "in_progress", "overdue")
#: Columns that are never NULL, so that a database may sort by their index.
_NEVER_NULL = ("created_timestamp", "updated_timestamp", "began_at", "dag_id")
#: Questions whose page is known before its rows are computed, and the columns that they are sorted by then.
_EARLY = {"runs": (None, "began_at"), "estimates": (None, "dag_id")}
_NOT_COMPLETED = RUNS_IN.replace("{which}", "s.state <> 'completed'")
#: How far the clocks of hosts may be apart.
_CLOCKS: Final = timedelta(hours=1)
_FIRST_MOMENT: Final = datetime.min.replace(tzinfo=timezone.utc)
#: So many records are looked at for each of the newest runs that are wanted.
_RECORDS_OF_A_RUN = 100


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
    def is_about_open(self) -> bool:
        """Whether all attempts that it asks for are open."""
        status = self.filters.get("status")
        if self.question == "transfers" and status == "pending":
            return not self.filters.get("include_not_run")
        return self.question == "overdue" or (self.question in ("attempts", "transfers") and status == "in_progress")

    @property
    def is_ascii(self) -> bool:
        """Whether what is searched for has no letters but those that every database writes small by itself."""
        return str(self.filters.get("search") or "").isascii()

    @property
    def sorting(self) -> tuple[str, bool]:
        """The column that the answer is sorted by, and whether the greatest comes first."""
        return (self.order_by, self.descending) if self.order_by else self.known.order

    @property
    def then(self) -> tuple[str, ...]:
        """The columns by which that order is made certain, the smallest first."""
        name, _ = self.sorting
        return (*self.known.ties.get(name, ()), *(key for key in self.known.keys if key != name))

    @property
    def bounds(self) -> Mapping[str, int]:
        """The filters that bound the question where nobody has narrowed it, with their values."""
        given = {name for name, value in self.filters.items() if value not in (None, "", [])}
        if given & {*NARROWING, *self.known.bounds}:
            return {}
        return {} if self.sorting[0] in self.known.unbounded and "search" not in given else self.known.bounds

    def bounded(self) -> Asked:
        """Return the question within its :attr:`bounds`."""
        return replace(self, filters={**self.filters, **self.bounds})

    def statements(self, dialect: QueryDialect, table: str, *, newer: bool = False) -> tuple[str, str]:
        """Return the query for one page of the answer, and that for the number of all its rows.

        Where every row has to be computed anyway, the page has that number as ``total``.

        :param table: the table, quoted, with its schema.
        :param newer: whether ``:newer`` holds records that count more than those of the table.
        """
        return _remembered(_Form(self._form(), self), dialect, table, newer)

    def _form(self) -> tuple[Any, ...]:
        """Return all that the text of the statements depends on; the values themselves are bound."""
        filters = (
            (name, len(value) if name in LISTS else value if name in WORDS else value in (None, "", False))
            for name, value in self.filters.items()
        )
        seen = None if self.dag_ids is None else len(self.dag_ids)
        return (
            self.question, *filters, seen, self.order_by, self.descending, self.limit is None, self.keys_only,
            self.is_ascii,
        )  # fmt: skip

    def compose(self, dialect: QueryDialect, table: str, *, newer: bool) -> tuple[str, str]:
        """Return the texts of :meth:`statements`, made anew."""
        head = NEWER if newer else ""
        early = self._pages_early()
        page = f"{self._order('')} {self._limit()}" if early else ""
        total = ", COUNT(*) OVER () AS total" if len(self.known.keys) > 1 and not self.known.counted else ""
        texts = self._body(dialect, page), self._counted(dialect), self._uncounted(dialect)
        body, counted, uncounted = (of_each_source(text, newer=newer) for text in texts)
        rows = f"SELECT *{total} FROM ({body}) q WHERE {self._outer()} {self._order('q.')}"
        if not early:
            rows += f" {self._limit()}"
        count = f"SELECT COUNT(*){uncounted} AS total FROM ({counted}) q WHERE {self._outer()}"
        if self.keys_only:
            names = ", ".join(f"q.{name}" for name in self.known.keys)
            rows = f"SELECT {names}, COUNT(*) OVER () AS total FROM ({counted}) q WHERE {self._outer()}"
        source = "tracking_now" if newer else table
        return written(head + rows, dialect, table, source), written(head + count, dialect, table, source)

    def text(self, dialect: QueryDialect) -> str:
        """Return the query in its order, with the table still open."""
        return f"{of_each_source(self._body(dialect, ''), newer=False)}\n{self._order('')}"

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
            elif name not in ("search", "include_not_run", "include_recovered"):
                bound[name] = value
        if self.question == "readiness" and (since := self.filters.get("since")):
            bound["made_since"] = _before(since)
        if self.filters.get("newest"):
            bound["newest_of_runs"] = _RECORDS_OF_A_RUN * self.filters["newest"]
        if self.filters.get("search"):
            bound["search"] = f"%{escaped(str(self.filters['search']).lower())}%"
        if dialect.among:
            bound["dags"] = [*(self.dag_ids or ())]
        else:
            bound.update((f"dag_{number}", dag_id) for number, dag_id in enumerate(self.dag_ids or ()))
        return {name: bound_value(value, dialect) for name, value in bound.items()}

    def rows(self, found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of the answer from those that a driver gave."""
        columns = self.known.keys if self.keys_only else self.known.columns
        return [*map(reader_of(columns), found)]

    def total(self, found: Sequence[Mapping[str, Any]]) -> int | None:
        """Return how many rows the answer has in all, or None when its page does not say so.

        :param found: the rows of the page, as a driver gave them.
        """
        if found and "total" in found[0]:
            return int(found[0]["total"])
        if self.limit is None:
            return len(found)
        if len(found) == self.limit or (self.offset and not found):
            return None
        return self.offset + len(found)

    def _body(self, dialect: QueryDialect, page: str) -> str:
        return filled(template(self.question), self._fragments(dialect, page))

    def _fragments(self, dialect: QueryDialect, page: str) -> dict[str, str]:
        places = ", ".join(f":dag_{number}" for number in range(len(self.dag_ids or ())))
        among = dialect.among or f"{{}} IN ({places})"
        return {
            **FRAGMENTS,
            "columns": COLUMN_LIST,
            "elapsed": dialect.between.format("t.transfer_start_timestamp", ":now"),
            "until_now": dialect.between.format("started_at", ":now"),
            "until_end": dialect.between.format("started_at", "ended_at"),
            "audit_ended": qualified(dialect.audit_ended),
            "owners": dialect.listed.format(OWNER),
            "failed_transfers": dialect.listed.format(FAILED_NAME),
            "wanted": "1 = 1" if self._wants_not_run() else "NOT {not_run}",
            "lower": "LOWER" if self.is_ascii else dialect.lower,
            "of_dag": among.format("t.dag_id"),
            "of_any_dag": among.format("COALESCE(t.dag_id, '')"),
            "filters": self._inner(),
            "seen": self._seen(),
            "newest_of_each": LEAPING if self._may_leap(dialect) else GROUPING,
            "pairs": PAIRS,
            "since_then": dialect.joined.format("{source}", "r", SINCE_THEN),
            "of_that_run": dialect.joined.format("{source}", "t", OF_THAT_RUN),
            "lately": LATELY if self._may_leap(dialect) else "",
            "records_of_runs": RECORDS_LATELY if self._may_leap(dialect) else RECORDS,
            "in_trouble": IN_TROUBLE if self.filters.get("status") == "failed" and dialect.leaps else "",
            "first_pipeline": "CAST(:pipeline_id AS TEXT)" if self.filters.get("pipeline_id") else FIRST_PIPELINE,
            "of_pipeline": self._terms("pipeline_id"),
            "of_that_pipeline": OF_THAT_PIPELINE if self.filters.get("pipeline_id") else "",
            "chosen": self._terms("pipeline_id", "since"),
            "next_pipeline": "CAST(NULL AS TEXT)" if self.filters.get("pipeline_id") else NEXT_PIPELINE,
            "judged": NEWEST_JUDGED if self.filters.get("newest_records") else "{tracking}",
            "listed": NEWEST_LISTED if self.filters.get("newest_records") else "{source}",
            "standing": "1 = 1" if self.filters.get("include_recovered") else FRAGMENTS["standing"],
            "recent": RECENT if self.filters.get("newest") else "",
            "of_recent": OF_RECENT if self.filters.get("newest") else "",
            "run_began": FRAGMENTS["run_began"] if dialect.looks_up else "COALESCE(b.run_began, t.created_timestamp)",
            "with_run_began": "" if dialect.looks_up else ANNOUNCED_JOINED,
            "first": dialect.first,
            "completed_run": dialect.none_of.replace("{row}", RUN).replace("{query}", _NOT_COMPLETED),
            "page": page,
        }

    def _wants_not_run(self) -> bool:
        return bool(self.filters.get("include_not_run")) or self.filters.get("status") == "not_run"

    def _counted(self, dialect: QueryDialect) -> str:
        if not self._counts_keys():
            return self._body(dialect, "")
        names = ", ".join(f"t.{name}" for name in self.known.counted)
        distinct = f"SELECT DISTINCT {names} FROM ([[{self._countable(dialect, names)}]]) t"
        return filled(distinct, self._fragments(dialect, ""))

    def _counts_keys(self) -> bool:
        """Return whether the rows are counted by distinct values of records, without their being computed."""
        known, given = self.known, {name for name, value in self.filters.items() if value not in (None, "")}
        if not known.counted or self._answer_filters() or (self.keys_only and known.counted != known.keys):
            return False
        return known.counted_with is None or given <= {*known.counted_with}

    def _uncounted(self, dialect: QueryDialect) -> str:
        """Return what is to be subtracted then: transfers that did not run, where they are not wanted."""
        if self.question != "transfers" or self.filters.get("include_not_run") or not self._counts_keys():
            return ""
        not_run = "{unsettled} AND {not_run} AND {latest} {unless_newer}" + self._inner()
        not_run = f"SELECT 1 AS one FROM {{source}} t WHERE {not_run}"
        return filled(f" - (SELECT COUNT(*) FROM ([[{not_run}]]) n)", self._fragments(dialect, ""))

    def _countable(self, dialect: QueryDialect, names: str) -> str:
        """Return the query for the rows of a source whose distinct values are counted."""
        if self.question == "pipelines" and self._may_leap(dialect):
            return LEAPING
        if self.known.countable:
            return f"SELECT {names} FROM {{source}} t WHERE {self.known.countable} {self._inner()}"
        source = "{recent} {source} t {of_recent}"
        return f"SELECT {names}, t.created_timestamp FROM {source} WHERE 1 = 1 {self._inner()}"

    def _may_leap(self, dialect: QueryDialect) -> bool:
        """Return whether the last runs can be found in an index, without a look at every record."""
        given = {name for name, value in self.filters.items() if value not in (None, "")}
        return dialect.leaps and given - set(self.known.of_the_answer) <= {"pipeline_id", "pipeline_ids", "dag_id"}

    def _inner(self) -> str:
        terms = [
            condition(name, self.question, value)
            for name, value in self.filters.items()
            if name in (*RECORD_FILTERS, *LISTS)
            and name not in self.known.of_the_answer
            and value not in (None, "", [])
        ]
        if self._is_about_unsettled():
            terms.append("{unsettled}")  # says nothing new, but lets the database use the index of such records
        return "".join(f" AND {term}" for term in terms) + self._seen()

    def _is_about_unsettled(self) -> bool:
        of_records = "status" not in self.known.of_the_answer and not self.filters.get("newest_records")
        return of_records and self.filters.get("status") in _UNSETTLED_STATUS

    def _terms(self, *names: str) -> str:
        """Return the conditions of those of some filters that are given."""
        given = ((name, self.filters.get(name)) for name in names)
        return "".join(f" AND {condition(name, self.question, value)}" for name, value in given if value)

    def _seen(self) -> str:
        if self.dag_ids is None:
            return ""
        if not self.dag_ids:
            return " AND 1 = 0"
        # Where records have an index of their own, that of Dags would find all others too.
        return " AND {of_any_dag}" if self.known.apart else " AND {of_dag}"

    def _answer_filters(self) -> list[str]:
        return [name for name in self.known.of_the_answer if self.filters.get(name) not in (None, "")]

    def _outer(self) -> str:
        return " AND ".join(["1 = 1", *(f"q.{self.known.of_the_answer[n]} = :{n}" for n in self._answer_filters())])

    def _pages_early(self) -> bool:
        """Return whether the rows of the page are known before what is said about them is computed."""
        return self.order_by in _EARLY.get(self.question, ())

    def _order(self, prefix: str) -> str:
        name, down = self.sorting
        order = f"ORDER BY {prefix}{name} {'DESC' if down else 'ASC'}{_nulls(name)}"
        # What makes a row one row is never NULL, as far as an order needs to know.
        rest = (f", {prefix}{other}{'' if other in self.known.keys else _nulls(other)}" for other in self.then)
        return order + "".join(rest)

    def _limit(self) -> str:
        return "" if self.limit is None else "LIMIT :limit OFFSET :offset"


def _before(moment: datetime) -> datetime:
    """Return the moment at which it may be so early by a clock that is behind."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return max(moment, _FIRST_MOMENT + _CLOCKS) - _CLOCKS


def _nulls(name: str) -> str:
    return "" if name in _NEVER_NULL else " NULLS LAST"


@dataclass(frozen=True)
class _Form:
    """What two questions have in common that are asked by the same text."""

    key: tuple[Any, ...]
    asked: Asked = field(compare=False)


@functools.lru_cache(maxsize=512)
def _remembered(form: _Form, dialect: QueryDialect, table: str, newer: bool) -> tuple[str, str]:  # noqa: FBT001  a key
    return form.asked.compose(dialect, table, newer=newer)


def by_hand(question: str, dialect: str, table: str) -> str:
    """Return a question as SQL that a person can run, with nothing to be bound.

    :param dialect: ``postgres``, ``sqlite`` or another of :data:`DIALECTS`.
    :param table: the table, as it stands in the SQL.
    :raises QuestionError: for a question or dialect that does not exist.
    """
    check_known("dialect", dialect, DIALECTS)
    asked = Asked(question, limit=None)
    text = asked.text(DIALECTS[dialect])
    for name, moment in (("now", "CURRENT_TIMESTAMP"), ("stale_after", f"{STALE_AFTER:g}")):
        text = re.sub(rf":{name}\b", moment, text)
    return f"{text.replace('{tracking}', table).replace('{stored}', table)};"
