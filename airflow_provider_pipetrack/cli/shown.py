"""What the commands share: options, tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import click

from airflow_provider_pipetrack.records.json_text import readable_text_of
from airflow_provider_pipetrack.records.openness import evidence_of, has_failed_audit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions
    from rich.measure import Measurement
    from rich.segment import Segment

    from airflow_provider_pipetrack.tracking.questions import Answer, Questions
    from airflow_provider_pipetrack.tracking.store import TrackingStore

#: Width of a table in a file or a pipe, and of a column whose texts are folded, in characters.
_WIDE, _FOLDED = 160, 24
#: Most rows that can be asked for; a greater number is none for a database.
MOST_ROWS = 2**31 - 1
#: A number from here on is told without places behind the point.
_WHOLE = 1000
output_option = click.option(
    "--output", type=click.Choice(["text", "json"]), default="text", help="For people or for programs."
)
location_option = click.option(
    "--location",
    "locations",
    multiple=True,
    help="A tracking location to use instead of those that are known; give it again for the rest of a chain.",
)
_STYLES = {
    "completed": "green",
    "ready": "green",
    "matched": "green",
    "up": "green",
    "failed": "bold red",
    "mismatched": "bold red",
    "down": "bold red",
    "in_progress": "cyan",
    "overdue": "yellow",
    "stale": "yellow",
    "partial": "yellow",
}


def _audit_error(row: Mapping[str, Any]) -> str | None:
    """Return why an audit gave no answer, where that stopped the run."""
    unanswered = row["audit_result"] == "pending" and has_failed_audit(row)
    return f"no answer of the audit: {evidence_of(row).get('error')}" if unanswered else None


#: Columns of a list of transfers, by their headings.
TRANSFER_TABLE: Mapping[str, Callable[[Any], Any]] = {
    "transfer": lambda row: row["task_id"] + (f"[{row['map_index']}]" if row["map_index"] >= 0 else ""),
    "attempt": lambda row: row["retry_attempt_number"] + 1,
    "status": lambda row: row["transfer_status"],
    "began": lambda row: row["transfer_start_timestamp"],
    "took": lambda row: took(row["actual_seconds"]),
    "estimate": lambda row: row["estimated_duration"],
    "ok": lambda row: row["records_succeeded"],
    "failed": lambda row: row["records_failed"],
    "audit": lambda row: row["audit_result"],
    "remark": lambda row: row["error_message"] or row["decision"] or _audit_error(row),
    "owner": lambda row: row["transfer_process_owner_name"],
}


@contextmanager
def opened_store(locations: Sequence[str]) -> Iterator[TrackingStore]:
    """Give the store of these locations, or the configured one when there are none."""
    from airflow_provider_pipetrack.tracking.store import TrackingStore

    with TrackingStore(list(locations)) if locations else TrackingStore.from_settings() as store:
        yield store


@contextmanager
def opened_stores(
    locations: Sequence[str], *, every: bool = False
) -> Iterator[tuple[Sequence[TrackingStore], Mapping[str, str]]]:
    """Give the store of the chain of these locations, or those of all chains that are known when there are none.

    With them comes why another chain is left out, by the name of its first location.

    :param every: whether no chain is left out because there are many.
    """
    from airflow_provider_pipetrack.tracking.upkeep import MOST_CHAINS, shown_stores

    if locations:
        with opened_store(locations) as store:
            yield [store], {}
        return
    stores, left_out = shown_stores(own_code=True, most=None if every else MOST_CHAINS)
    try:
        yield stores, left_out
    finally:
        for store in stores:
            store.close_legs()


@contextmanager
def opened_questions(locations: Sequence[str]) -> Iterator[Questions]:
    """Give the questions of the chains that :func:`opened_stores` gives."""
    from airflow_provider_pipetrack.tracking.questions import Questions

    with opened_stores(locations) as (stores, left_out):
        yield Questions(*stores, left_out=left_out)


def origin(answer: Answer) -> dict[str, Any]:
    """Return who answered a question and who did not, for programs."""
    return {"sources": answer.sources, "unreachable": answer.unreachable}


def answer_code(answer: Answer) -> int:
    """Return the exit code of an answer: that nobody could be asked is an error."""
    return 0 if answer.sources or answer.rows else 3


def plural(number: int, word: str) -> str:
    """Return a number with its word, such as ``1 file`` or ``2 files``."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def print_json(value: Any) -> None:
    """Print a value for programs; moments become ISO 8601 text."""
    click.echo(readable_text_of(value, _as_text))


def print_table(title: str, columns: Mapping[str, Callable[[Any], Any]], rows: Iterable[Any]) -> None:
    """Print rows for people: as a table where the terminal is wide enough, else each row as a paragraph.

    Columns in which nothing stands are left out.

    :param columns: what is shown of a row, by the heading.
    """
    from rich.markup import escape

    cells = [{heading: _cell(show(row)) for heading, show in columns.items()} for row in rows]
    headings = [heading for heading in columns if any(row[heading] for row in cells)]
    console = _console()
    if not cells:
        console.print(f"[bold]{escape(title)}[/]: none")
    elif sum(3 + _needed(heading, cells) for heading in headings) < console.width:
        _print_grid(console, title, headings, cells)
    else:
        _print_paragraphs(console, title, headings, cells)


def _needed(heading: str, rows: Iterable[Mapping[str, str]]) -> int:
    """Return how wide a column has to be to be read with ease; longer texts are folded."""
    return max(len(heading), *(min(_FOLDED, len(line)) for row in rows for line in row[heading].split("\n")))


def _print_grid(console: Console, title: str, headings: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    table = Table(title=escape(title) or None, title_justify="left", title_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    columns = [_Stacked([row[heading] for row in rows]) for heading in headings]
    needed = sum(3 + max(len(heading), column.width) for heading, column in zip(headings, columns, strict=True))
    if needed < console.width and not any("\n" in row[heading] for row in rows for heading in headings):
        table.add_row(*columns)
    else:
        for row in rows:
            table.add_row(*(Text(row[heading], _STYLES.get(row[heading], "")) for heading in headings))
    console.print(table)


class _Stacked:
    """The cells of a whole column, none of which is folded, as one cell: of many rich takes a while for each.

    :param cells: what stands in them, each a line.
    """

    def __init__(self, cells: Sequence[str]) -> None:
        from rich.cells import cell_len

        self._cells = cells
        self.width = max(map(cell_len, cells))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return how wide the column is."""
        from rich.measure import Measurement

        return Measurement(self.width, self.width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """Give its lines."""
        from rich.segment import Segment

        for cell in self._cells:
            style = _STYLES.get(cell)
            yield Segment(f"{cell}\n", console.get_style(style) if style else None)


def _print_paragraphs(console: Console, title: str, headings: Sequence[str], rows: Iterable[Mapping[str, str]]) -> None:
    from rich.markup import escape
    from rich.padding import Padding

    if title:
        console.print(f"[bold]{escape(title)}[/]")
    for row in rows:
        first, *others = headings
        facts = [f"[dim]{escape(heading)}[/] {_styled(row[heading])}" for heading in others if row[heading]]
        console.print(f"[bold]{escape(row[first])}[/]", highlight=False)
        console.print(Padding(" · ".join(facts).replace("\n", " "), (0, 0, 0, 2)), highlight=False)


def _styled(cell: str) -> str:
    from rich.markup import escape

    return f"[{_STYLES[cell]}]{cell}[/]" if cell in _STYLES else escape(cell)


def print_list(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows with many columns for people: as a table where it fits, else each row as a list."""
    shown = [{name: _cell(row[name]) for name in columns} for row in rows]
    if not shown:
        return
    width = sum(3 + max(len(name), *(min(30, len(row[name])) for row in shown)) for name in columns)
    if width <= _console().width:
        print_table("", {name: itemgetter(name) for name in columns}, shown)
        return
    longest = max(map(len, columns))
    for number, row in enumerate(shown, 1):
        click.echo(f"--- {number}")
        for name in columns:
            if row[name]:
                click.echo(f"{name:{longest}}  {row[name]}")


@contextmanager
def progress_bar(
    what: str = "records and changes", total: int | None = None, *, shown: bool
) -> Iterator[Callable[[int], None]]:
    """Give what is called with how much has been done so far; it moves a bar when a person looks on.

    :param what: is counted.
    :param total: how much there is to be done, where that is known.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    count = "{task.completed:,}" if total is None else "{task.completed:,} of {task.total:,}"
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn(count), TimeElapsedColumn())
    if not (shown and console.is_terminal):  # where older versions of rich write an empty line
        yield lambda _: None
        return
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def warn_unreachable(unreachable: Mapping[str, str]) -> None:
    """Say which locations could not be asked."""
    for name, reason in unreachable.items():
        click.echo(f"Not asked: {name}: {reason}", err=True)


def took(seconds: float | None) -> str:
    """Return a duration for people, or nothing."""
    from airflow_provider_pipetrack.tracking.describe import human_duration

    if seconds is None:
        return ""
    return human_duration(round(seconds, 3) if seconds < 60 else seconds)


def _console() -> Console:
    """Return where tables go; what is no terminal has no width of its own."""
    from rich.console import Console

    # Texts are what people have written: a name such as :id: is no picture.
    console = Console(emoji=False)
    return console if console.is_terminal else Console(emoji=False, width=max(console.width, _WIDE))


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, datetime):
        text = value.strftime("%Y-%m-%d %H:%M:%S")
    elif isinstance(value, float):
        text = f"{value:.4g}" if abs(value) < _WHOLE else f"{value:,.0f}"
    elif isinstance(value, (list, tuple)):
        text = ", ".join(map(str, value))
    elif isinstance(value, Mapping):
        text = json.dumps(value, default=_as_text, ensure_ascii=False)
    else:
        text = "" if value is None else str(value)
    if text.isprintable():
        return text
    # A terminal acts upon control characters.
    return "".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in text)


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
