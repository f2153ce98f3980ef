"""Commands about the bundled questions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from airflow_provider_pipetrack.cli.shown import (
    MOST_ROWS,
    answer_code,
    location_option,
    opened_questions,
    origin,
    output_option,
    plural,
    print_json,
    print_list,
    print_table,
    warn_unreachable,
)

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.questions import Answer


@click.group()
def queries() -> None:
    """The bundled questions: list them, show their SQL, ask them."""


@queries.command("list")
@output_option
def list_queries(output: str) -> None:
    """List the questions."""
    from airflow_provider_pipetrack.records.queries import QUESTIONS, describe

    found = [
        {"name": name, "asks": describe(name), "filters": list(asked.filters)} for name, asked in QUESTIONS.items()
    ]
    if output == "json":
        print_json(found)
        return
    print_table("Questions", {"name": lambda row: row["name"], "asks": lambda row: row["asks"]}, found)


@queries.command("show")
@click.argument("name")
@click.option("--dialect", default="postgres", show_default=True, help="The database it is written for.")
@click.option("--table", default="pipeline_tracking", show_default=True, help="The table, as it stands in the SQL.")
def show_query(name: str, dialect: str, table: str) -> None:
    """Print the SQL of question NAME, ready to be run by hand."""
    from airflow_provider_pipetrack.records.queries import by_hand

    click.echo(by_hand(name, dialect, table))


@queries.command("run")
@click.argument("name")
@click.option(
    "--where", "terms", multiple=True, metavar="FILTER=VALUE", help="Such as owner=shop_team or since=2026-03-01."
)
@click.option("--order-by", help="A column of the answer.")
@click.option("--descending", is_flag=True, help="The greatest first.")
@click.option("--limit", type=click.IntRange(1, MOST_ROWS), default=100, show_default=True, help="Most rows.")
@click.option("--offset", type=click.IntRange(0, MOST_ROWS), default=0, help="Rows to leave out before.")
@location_option
@output_option
def run_query(
    name: str,
    terms: Sequence[str],
    order_by: str | None,
    limit: int,
    offset: int,
    locations: Sequence[str],
    output: str,
    *,
    descending: bool,
) -> None:
    """Ask question NAME; every chain that is known counts, and what waits for delivery too."""
    filters = dict(_filter(term) for term in terms)
    with opened_questions(locations) as questions:
        answer = questions.ask(name, limit=limit, offset=offset, order_by=order_by, descending=descending, **filters)
    warn_unreachable(answer.unreachable)
    if output == "json":
        print_json({"rows": answer.rows, "total": answer.total, "bounds": answer.bounds, **origin(answer)})
    elif not answer_code(answer):
        _show_rows(answer)
    raise SystemExit(answer_code(answer))


def _show_rows(answer: Answer) -> None:
    shown = [column for column in (answer.rows[0] if answer.rows else ()) if any(row[column] for row in answer.rows)]
    print_list(shown, answer.rows)
    for bound, number in answer.bounds.items():
        what = "runs" if bound == "newest" else "records"
        click.echo(f"Only the newest {number:,} {what} were looked at; --where {bound}=N or since=DAY says otherwise")
    click.echo(f"{len(answer.rows):,} of {plural(answer.total, 'row')}")


def _filter(term: str) -> tuple[str, Any]:
    from airflow_provider_pipetrack.records.queries.catalog import LISTS, NUMBERS

    name, separator, value = term.partition("=")
    if not separator or not name:
        raise click.BadParameter(f"{term!r}: expected FILTER=VALUE", param_hint="--where")
    try:
        if name in ("since", "until"):
            moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
            return name, (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).astimezone(timezone.utc)
        if name in LISTS:
            return name, value.split(",")
        if name in NUMBERS and abs(int(value)) > MOST_ROWS:
            raise click.BadParameter(f"{term!r}: expected at most {MOST_ROWS:,}", param_hint="--where")
        return name, int(value) if name in NUMBERS else value
    except (ValueError, OverflowError):
        kind = "a whole number" if name in NUMBERS else "a day or a moment such as 2026-03-01T12:00"
        raise click.BadParameter(f"{term!r}: expected {kind}", param_hint="--where") from None
