"""Tables: their columns, what stands in a cell, and the addresses that sort, page and export them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

from airflow_provider_pipetrack.tracking.questions import Answer
from airflow_provider_pipetrack.ui.configured import Configured, Next
from airflow_provider_pipetrack.ui.filters import Turn, read_turn
from airflow_provider_pipetrack.ui.words import State, ago, exact, first_line, number, of_newest

Row = Mapping[str, Any]
#: Rows of one page of a table.
PAGE_SIZE = 50
#: Rows that an export has at most; `pipetrack export` writes all there are.
MOST_EXPORTED = 100_000
_EXPORTED_AT_ONCE = 5_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Source(Protocol):
    """What is asked for the rows of a table.

    :param unreachable: why a location could not be asked, by its name.
    """

    unreachable: dict[str, str]

    def ask(self, question: str, **more: Any) -> Answer:
        """Return a page of the rows."""

    def again(self) -> Source:
        """Return what is asked for the next part of a long answer."""

    def compared(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return records of one run as they are shown."""


class Added(Protocol):
    """A column that an export has beside those of its question."""

    name: str

    def values(self, rows: Sequence[Row]) -> Sequence[Any]:
        """Return the column's values for the next rows of the export."""

    @property
    def remark(self) -> str:
        """What the column could not say of the rows so far; empty when it said all."""


@dataclass(frozen=True)
class Mark:
    """One run in a strip of runs."""

    href: str
    state: State
    label: str


class Part(NamedTuple):
    """A part of a cell's text.

    :param href: where a click on it leads; None where it is only read.
    """

    text: str
    href: str | None = None


class Cell(NamedTuple):
    """What stands in a cell.

    :param text: in words.
    :param href: where a click leads.
    :param state: a state to show before the text.
    :param moment: a moment, to be shown exactly where the text is relative.
    :param full: the whole text where ``text`` is cut.
    :param marks: a strip of runs, the oldest first.
    :param parts: the text once more, where its numbers lead to different lists; the state stands before the first.
    :param in_airflow: whether the click leads to a page of Airflow's own.
    """

    text: str = ""
    href: str | None = None
    state: State | None = None
    moment: datetime | None = None
    full: str | None = None
    marks: Sequence[Mark] = ()
    parts: Sequence[Part] = ()
    in_airflow: bool = False


def parted(parts: Sequence[Part], state: State | None = None) -> Cell:
    """Return the cell of a text whose numbers lead to different lists."""
    return Cell("".join([part.text for part in parts]), state=state, parts=parts)


@dataclass(frozen=True)
class Context:
    """What a cell may need beside its row.

    :param root: the overview's relative address, as seen from the page.
    :param asked: filters that the rows were counted by, as they stand in an address.
    :param strips: the last runs of pipelines, by pipeline and Dag.
    :param nexts: when they run next.
    :param configured: what is known of configurations, by their hashes.
    :param accepted: who accepted what in spite of its audit, by the ids of records.
    """

    root: str
    now: datetime
    asked: Mapping[str, Any] = field(default_factory=dict)
    strips: Mapping[tuple[str, str], Sequence[Mark]] = field(default_factory=dict)
    nexts: Mapping[tuple[str, str], Next] = field(default_factory=dict)
    configured: Mapping[str, Configured] = field(default_factory=dict)
    accepted: Mapping[str, str] = field(default_factory=dict)


Beside = Callable[[Context, Sequence[Row]], Context]
#: What the rows of a table are sorted by where no query can, by its name in addresses: given all rows, of which there
#: are few, a value for each; None comes last.
Orders = Mapping[str, Callable[[Sequence[Row]], Sequence[Any]]]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    :param sort: the answer's column that it is sorted by, or one of the table's :data:`Orders`; None when it cannot be.
    :param sorted_by: what that is, in words, where the title does not say it.
    :param numeric: whether it is aligned to the right.
    :param most_first: whether the greatest is wanted first, as it is of numbers and moments in any case.
    """

    title: str
    cell: Callable[[Row, Context], Cell]
    sort: str | None = None
    numeric: bool = False
    most_first: bool = False
    sorted_by: str = ""


@dataclass(frozen=True)
class Table:
    """A question as a table.

    :param key: its name in addresses, such as ``runs`` in ``runs.sort=-began_at``.
    :param title: what is read out for it.
    :param empty: what it means that it has no rows.
    :param hint: what to do then.
    :param order: the column that it is sorted by, the least first, when nobody asks; that of the question when None.
    """

    key: str
    title: str
    question: str
    columns: Sequence[Column]
    empty: str
    hint: str = ""
    size: int = PAGE_SIZE
    order: str | None = None


@dataclass(frozen=True)
class Head:
    """The head of a column as it is shown.

    :param order: ``ascending`` or ``descending`` where the table is sorted by it.
    :param hint: what it is sorted by, where the title does not say it.
    """

    title: str
    numeric: bool
    href: str | None = None
    order: str | None = None
    hint: str = ""


@dataclass(frozen=True)
class Shown:
    """One page of a table, ready to be shown.

    :param keys: what each row is known by, from one look to the next.
    :param bounds: what was looked at only, see :attr:`Answer.bounds`.
    """

    table: Table
    heads: Sequence[Head]
    rows: Sequence[Sequence[Cell]]
    keys: Sequence[str]
    records: Sequence[Row]
    total: int
    first: int
    last: int
    previous: str | None
    following: str | None
    export: str
    filtered: bool
    bounds: Mapping[str, int]


def show(
    table: Table,
    asker: Source,
    asked: Mapping[str, str],
    filters: Mapping[str, Any],
    context: Context,
    *,
    filtered: bool,
    beside: Beside | None = None,
    orders: Orders = MappingProxyType({}),
) -> Shown:
    """Ask a table's question and return the page that the address wants.

    :param asked: the address's query.
    :param filters: filters of the question.
    :param filtered: whether the reader has filtered, so that an empty table is no surprise.
    :param beside: gives what cells need beside the rows that turned out to be on the page.
    :param orders: how columns are sorted that no query can sort by.
    """
    turn = _turn(table, asked)
    answer, turn = _page(table, asker, turn, filters, orders)
    offset = (turn.page - 1) * table.size
    more = offset + len(answer.rows) < answer.total
    of_run = "run_id" in filters and table.question in ("attempts", "transfers")
    rows = asker.compared(answer.rows) if of_run else answer.rows
    if beside is not None:
        context = beside(context, rows)
    return Shown(
        table=table,
        heads=[_head(column, table.key, turn, asked) for column in table.columns],
        rows=[[column.cell(row, context) for column in table.columns] for row in rows],
        keys=[row_key(row) for row in rows],
        records=rows,
        total=answer.total,
        first=offset + 1 if rows else 0,
        last=offset + len(answer.rows),
        previous=address(asked, **{f"{table.key}.page": turn.page - 1}) if turn.page > 1 else None,
        following=address(asked, **{f"{table.key}.page": turn.page + 1}) if more else None,
        export=address(asked, export=table.key),
        filtered=filtered,
        bounds=answer.bounds,
    )


def address(asked: Mapping[str, str], **changes: Any) -> str:
    """Return the page's own address with other values; None takes one away, and page 1 is the default."""
    query = {name: value for name, value in asked.items() if value}
    for name, value in changes.items():
        query.pop(name, None)
        if value is not None and not (name.endswith(".page") and value == 1):
            query[name] = str(value)
    return "?" + urlencode(query, errors="replace")


def exported(
    table: Table,
    asker: Source,
    asked: Mapping[str, str],
    filters: Mapping[str, Any],
    orders: Orders = MappingProxyType({}),
    added: Added | None = None,
) -> Iterator[str]:
    """Return a table's answer as CSV, all columns of it, in the order of the page.

    :param orders: see :func:`show`.
    :param added: a column more, the last one.
    """
    turn = _turn(table, asked)
    names: list[str] | None = None
    for offset in range(0, MOST_EXPORTED, _EXPORTED_AT_ONCE):
        # A long export is many questions; each has the time of a page.
        chunk = asker.again()
        answer = _ask(table, chunk, turn, filters, orders, limit=_EXPORTED_AT_ONCE, offset=offset)
        if names is None:
            names = list(answer.rows[0]) if answer.rows else [column.sort for column in table.columns if column.sort]
            yield _csv([[*names, added.name] if added else names])
        beside = [[value] for value in added.values(answer.rows)] if added else [[] for _ in answer.rows]
        rows = zip(answer.rows, beside, strict=True)
        yield _csv([plain(value) for value in (*map(row.get, names), *more)] for row, more in rows)
        if answer.bounds and offset + len(answer.rows) >= answer.total:
            yield _csv([[f"# only {of_newest(answer.bounds)} were looked at"]])
        for name, why in chunk.unreachable.items():
            yield _csv([[f"# incomplete: {name}: {why}"]])
        if chunk.unreachable or offset + len(answer.rows) >= answer.total:
            break
    else:
        yield _csv([[f"# incomplete: only the first {number(MOST_EXPORTED)} rows; pipetrack export writes all"]])
    if added and added.remark:
        yield _csv([[f"# {added.remark}"]])


def plain(value: Any) -> str:
    """Return a value for a spreadsheet; a text that it would take for a formula is marked as text."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value
    return str(value)


def row_key(row: Row) -> str:
    """Return what a row is known by when the page renews itself."""
    named = [name for name in ("event_id", "alert_id", "location", "record_id") if name in row]
    names = named or ["pipeline_id", "dag_id", "run_id", "task_id", "stage"]
    return hashed("/".join([str(row.get(name)) for name in names]))


def hashed(known: str) -> str:
    """Return the key of what is known by a text."""
    return hashlib.blake2s(known.encode("utf-8", "replace"), digest_size=8).hexdigest()


def moment_cell(name: str) -> Callable[[Row, Context], Cell]:
    """Return the cell of a moment: how long ago it was, and exactly."""

    def cell(row: Row, context: Context) -> Cell:
        moment = row[name]
        return Cell(ago(moment, context.now), moment=moment, full=exact(moment))

    return cell


def text_cell(name: str, limit: int = 120) -> Callable[[Row, Context], Cell]:
    """Return the cell of a text, cut where it is long."""

    def cell(row: Row, context: Context) -> Cell:
        del context  # a text is the same everywhere
        whole = row[name]
        if whole is None:
            return Cell()
        shown = first_line(str(whole), limit)
        return Cell(shown, full=None if shown == whole else str(whole))

    return cell


def _turn(table: Table, asked: Mapping[str, str]) -> Turn:
    turn = read_turn(asked, table.key, [column.sort for column in table.columns if column.sort])
    return turn if turn.order_by or not table.order else replace(turn, order_by=table.order, descending=False)


def _page(table: Table, asker: Source, turn: Turn, filters: Mapping[str, Any], orders: Orders) -> tuple[Answer, Turn]:
    """Ask for a page; for one behind the last, the last."""
    answer = _ask(table, asker, turn, filters, orders, limit=table.size, offset=(turn.page - 1) * table.size)
    if answer.rows or not answer.total or turn.page == 1:
        return answer, turn if answer.rows else replace(turn, page=1)
    last = replace(turn, page=-(-answer.total // table.size))
    return _ask(table, asker, last, filters, orders, limit=table.size, offset=(last.page - 1) * table.size), last


def _ask(
    table: Table, asker: Source, turn: Turn, filters: Mapping[str, Any], orders: Orders, *, limit: int, offset: int
) -> Answer:
    order = orders.get(turn.order_by or "")
    if order is None:
        by = {"order_by": turn.order_by, "descending": turn.descending}
        return asker.ask(table.question, **filters, **by, limit=limit, offset=offset)
    whole = asker.ask(table.question, **filters, limit=None)
    rows = _sorted(whole.rows, order(whole.rows), descending=turn.descending)
    return replace(whole, rows=rows[offset : offset + limit])


def _sorted(rows: Sequence[Row], keys: Sequence[Any], *, descending: bool) -> list[Any]:
    known = [(key, row) for key, row in zip(keys, rows, strict=True) if key is not None]
    unknown = [row for key, row in zip(keys, rows, strict=True) if key is None]
    return [row for _, row in sorted(known, key=itemgetter(0), reverse=descending)] + unknown


def _head(column: Column, key: str, turn: Turn, asked: Mapping[str, str]) -> Head:
    if column.sort is None:
        return Head(column.title, column.numeric)
    sorted_by = turn.order_by == column.sort
    most_first = column.most_first or column.numeric or column.sort.endswith(("_at", "_timestamp"))
    down = not turn.descending if sorted_by else most_first
    href = address(asked, **{f"{key}.sort": ("-" if down else "") + column.sort, f"{key}.page": None})
    order = ("descending" if turn.descending else "ascending") if sorted_by else None
    return Head(column.title, column.numeric, href, order, column.sorted_by)


def _csv(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
