"""Commands that ask what is tracked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import click

from airflow_provider_pipetrack.cli.airflow_rest import (
    AirflowLogin,
    AirflowRest,
    AirflowUnreachableError,
    airflow_options,
)
from airflow_provider_pipetrack.cli.shown import (
    MOST_ROWS,
    TRANSFER_TABLE,
    answer_code,
    location_option,
    opened_questions,
    origin,
    output_option,
    plural,
    print_json,
    print_table,
    took,
    warn_unreachable,
)
from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.records.openness import is_open

if TYPE_CHECKING:
    from airflow_provider_pipetrack.records.configs import ConfigVersion
    from airflow_provider_pipetrack.tracking.questions import Answer, Questions

_RUN_TABLE = {
    "pipeline": lambda row: row["pipeline_id"],
    "last run": lambda row: row["run_id"],
    "state": lambda row: row["state"],
    "began": lambda row: row["began_at"],
    "took": lambda row: _took(row, datetime.now(timezone.utc)),
    "done": lambda row: f"{row['completed']}/{row['transfers']}",
    "failed": lambda row: row["failed"] or "",
    "overdue": lambda row: row["overdue"] or "",
    "partial": lambda row: row["partial"] or "",
    "audits": lambda row: f"{row['audits_matched']}/{row['audits_total']}" if row["audits_total"] else "",
    "owners": lambda row: row["owners"],
    "next": lambda row: row["next_run"],
}
#: Pages of a run's task instances that Airflow is asked for, those that began last first.
_MOST_PAGES = 10
_NOT_ALL_ASKED = ", but not every location could be asked"
_EVENT_TABLE = {
    "when": lambda event: event["changed_at"],
    "who": lambda event: event["changed_by"],
    "from": lambda event: event["status_before"],
    "to": lambda event: event["status_after"],
    "audit": lambda event: event["audit_result"],
    "why": lambda event: event["why"],
    "counted": lambda event: event["counted"],
    "stored": lambda event: not event["waiting"],
    "config": lambda event: (event["config_hash"] or "")[:12],
}


@click.command()
@click.argument("pipeline", required=False)
@click.option("--limit", type=click.IntRange(1, MOST_ROWS), default=50, show_default=True, help="Most rows.")
@airflow_options("Show attempts of PIPELINE that Airflow has ended as stale, by Airflow's REST API.")
@location_option
@output_option
def status(
    pipeline: str | None, limit: int, airflow: AirflowLogin | None, locations: Sequence[str], output: str
) -> None:
    """Show how every pipeline stands, or the last run of one PIPELINE with its transfers.

    Where several Dags have the same pipeline id, the last run of each is shown, the newest first.

    With --airflow-url, Airflow is asked about the run of PIPELINE while attempts are open in it; of several such runs,
    about the newest three. When it does not answer, that is said, and the records are shown as they are. Without
    PIPELINE it is not asked.
    """
    with opened_questions(locations) as questions:
        pipelines = _with_next_runs(questions, questions.ask("pipelines", limit=limit, pipeline_id=pipeline))
        warn_unreachable(pipelines.unreachable)
        if pipeline is None:
            _show_pipelines(pipelines, questions.ask("attention", limit=limit), output)
            raise SystemExit(answer_code(pipelines))
        if not pipelines.rows:
            raise SystemExit(_show_no_run(questions, pipeline, pipelines, output))
        transfers = [_transfers_of(questions, run) for run in pipelines.rows]
    _show_last_runs(pipelines, _compared(transfers, airflow), output)


@click.command()
@click.argument("pipeline")
@click.argument("stage")
@click.argument("date", required=False)
@click.option("--accept-partial", is_flag=True, help="Partial data, as far as the pipeline accepts it, will do.")
@click.option("--accept-pending-audit", is_flag=True, help="Data whose audit has not decided will do.")
@location_option
@output_option
def ready(
    pipeline: str,
    stage: str,
    date: str | None,
    locations: Sequence[str],
    output: str,
    *,
    accept_partial: bool,
    accept_pending_audit: bool,
) -> None:
    """Say whether STAGE of PIPELINE is ready for DATE (a day or a moment, UTC; the newest run when left out).

    Exit code 0 when it is, 1 when it is not, 3 when no location could be asked.
    """
    from airflow_provider_pipetrack.tracking.readiness import is_ready

    with opened_questions(locations) as questions:
        found = is_ready(
            pipeline,
            stage,
            date,
            questions=questions,
            accept_partial=accept_partial,
            accept_pending_audit=accept_pending_audit,
        )
        warn_unreachable(found.unreachable)
        none_answered = {leg.name for store in questions.stores for leg in store.legs} <= found.unreachable.keys()
    if output == "json":
        print_json(found.as_dict())
    else:
        run = f" (run {found.run_id})" if found.run_id else ""
        click.echo(f"{'ready' if found.ready else 'not ready'}: {found.reason}{run}")
    raise SystemExit(0 if found.ready else 3 if none_answered else 1)


_VERSION_TABLE = {
    "first used": lambda version: version.first_used_at,
    "version": lambda version: version.pipeline_version,
    "config": lambda version: version.config_hash[:12],
    "stages": lambda version: ", ".join(" -> ".join(stage) for stage in version.stages),
}


@click.command()
@click.argument("subject", metavar="RECORD_OR_PIPELINE")
@click.option("--config", "config_hash", metavar="HASH", help="Print the pipeline's configuration with this hash.")
@location_option
@output_option
def history(subject: str, config_hash: str | None, locations: Sequence[str], output: str) -> None:
    """Show every change of a record, or every configuration that a pipeline was run with.

    A record is named by its record id: Dag, run, transfer, map index and attempt with slashes between them. Of each
    change it is shown who made it, when, from what to what, and why, and whether it is stored or waits in this host's
    journal. A configuration may be named by the beginning of its hash.

    Exit code 1 when there is none, 3 when none was found and a location could not be asked.
    """
    with opened_questions(locations) as questions:
        if subject.count("/") == 4:
            code = _show_changes(questions, subject, output)
        elif config_hash is not None:
            code = _show_config(questions, subject, config_hash, output)
        else:
            code = _show_versions(questions, subject, output)
    raise SystemExit(code)


def _found_or_not(found: Collection[Any], silent: Mapping[str, str]) -> int:
    """Return the exit code; what should have answered and did not may know what was not found."""
    return 0 if found else 3 if silent else 1


def _silent(questions: Questions, unreachable: Mapping[str, str]) -> Mapping[str, str]:
    """Return who should have answered and did not; a file that is not on this host mostly has nothing."""
    from airflow_provider_pipetrack.tracking.reading import silent_among

    return silent_among((leg for store in questions.stores for leg in store.legs), unreachable)


def _show_changes(questions: Questions, record_id: str, output: str) -> int:
    from airflow_provider_pipetrack.records.history import explained
    from airflow_provider_pipetrack.tracking.reading import read_history

    legs = list({leg.identity: leg for store in questions.stores for leg in store.legs}.values())
    changes, unreachable = read_history(legs, record_id, questions.store.journal_folder)
    unreachable = {**questions.left_out, **unreachable}
    warn_unreachable(unreachable)
    silent = _silent(questions, unreachable)
    events = explained(changes)
    keepers = [leg.name for leg in legs if leg.keeps_history]
    if output == "json":
        print_json(events)
    elif events:
        print_table(f"Changes of {record_id}", _EVENT_TABLE, events)
    elif silent:
        click.echo(f"No change of a record {record_id!r} was found{_NOT_ALL_ASKED}.", err=True)
    elif not keepers:
        names = ", ".join(leg.name for leg in legs)
        click.echo(f"No history is kept in {names}: such a storage keeps only the latest state.", err=True)
    else:
        asked = ", ".join(name for name in keepers if name not in unreachable) or "any location"
        click.echo(f"There is no record {record_id!r} in {asked}.", err=True)
    return _found_or_not(events, silent)


def _show_versions(questions: Questions, pipeline: str, output: str) -> int:
    versions, unreachable = _versions(questions, pipeline)
    if output == "json":
        print_json([version.as_dict() for version in versions])
    elif versions:
        print_table(f"Configurations of {pipeline}", _VERSION_TABLE, versions)
    elif unreachable:
        click.echo(f"No configuration of a pipeline {pipeline!r} was found{_NOT_ALL_ASKED}.", err=True)
    else:
        whole = " A record is named whole: dag_id/run_id/name/map_index/attempt" if "/" in pipeline else ""
        click.echo(f"No configuration of a pipeline {pipeline!r} has been kept.{whole}", err=True)
    return _found_or_not(versions, unreachable)


def _versions(questions: Questions, pipeline: str) -> tuple[Sequence[ConfigVersion], Mapping[str, str]]:
    """Return the configurations of a pipeline, and who should have answered and did not; all who did not are named."""
    from airflow_provider_pipetrack.tracking.configs import config_versions

    versions, unreachable = config_versions(questions.stores, pipeline)
    unreachable = {**questions.left_out, **unreachable}
    warn_unreachable(unreachable)
    return versions, _silent(questions, unreachable)


def _show_config(questions: Questions, pipeline: str, config_hash: str, output: str) -> int:
    versions, unreachable = _versions(questions, pipeline)
    chosen = [version for version in versions if version.config_hash.startswith(config_hash)]
    if len(chosen) == 1:
        print_json(chosen[0].config)
        return 0
    if output == "json":
        print_json(None)
    known = ", ".join(version.config_hash[:12] for version in versions) or "none"
    what = f"{len(chosen)} configurations begin" if chosen else "no configuration begins"
    reserve = _NOT_ALL_ASKED if unreachable else ""
    click.echo(f"Of pipeline {pipeline!r} {what} with {config_hash!r}; known are {known}{reserve}.", err=True)
    return 1 if chosen else _found_or_not(chosen, unreachable)


def _transfers_of(questions: Questions, run: Mapping[str, Any]) -> Answer:
    return questions.ask(
        "transfers",
        limit=None,
        order_by="transfer_order_number",
        include_not_run=True,
        **{name: run[name] for name in ("pipeline_id", "dag_id", "run_id")},
    )


def _compared(transfers: Sequence[Answer], airflow: AirflowLogin | None) -> Sequence[Answer]:
    """Return the transfers of runs; those that are open although Airflow has decided say so, where it can be asked."""
    rows = [row for of_run in transfers for row in of_run.rows]
    if airflow is None or not any(map(is_open, rows)):
        return transfers
    from airflow_provider_pipetrack.ui.airflow_says import ASKED, compared

    try:
        rest = AirflowRest(*airflow)
        rest.log_in()
    except PipetrackError as error:
        click.echo(f"Not asked: {error}", err=True)
        return transfers

    def tasks(dag_id: str, run_id: str) -> Sequence[Mapping[str, Any]]:
        with suppress(AirflowUnreachableError):  # kept as the failure; other runs may be asked about all the same
            return list(chain.from_iterable(islice(rest.pages(dag_id, run_id, **ASKED), _MOST_PAGES)))
        return ()

    told = iter(compared(rows, tasks, datetime.now(timezone.utc)))
    if rest.failure:
        click.echo(f"Not asked: {rest.failure}", err=True)
    return [replace(of_run, rows=[dict(row) for row in islice(told, len(of_run.rows))]) for of_run in transfers]


def _show_no_run(questions: Questions, pipeline: str, answer: Answer, output: str) -> int:
    """Say that no run of a pipeline is known, and return the exit code."""
    silent = _silent(questions, answer.unreachable) if answer.sources else answer.unreachable
    if output == "json":
        print_json({"run": None, "transfers": [], "others": [], "dags_total": 0, **origin(answer)})
    none = f"No record of a pipeline {pipeline!r} was found{_NOT_ALL_ASKED}."
    click.echo(none if silent else f"There is no record of a pipeline {pipeline!r}.", err=True)
    return _found_or_not((), silent)


def _show_last_runs(pipelines: Answer, transfers: Sequence[Answer], output: str) -> None:
    """Show the last run of each Dag of a pipeline."""
    runs = list(zip(pipelines.rows, (of_run.rows for of_run in transfers), strict=True))
    unreachable = {name: reason for answer in transfers for name, reason in answer.unreachable.items()}
    warn_unreachable({name: why for name, why in unreachable.items() if name not in pipelines.unreachable})
    if output == "json":
        newest, *others = ({"run": run, "transfers": rows} for run, rows in runs)
        answered = origin(replace(transfers[0], unreachable=unreachable))
        print_json({**newest, "others": others, "dags_total": pipelines.total, **answered})
        return
    for run, rows in runs:
        print_table(f"Last run of Dag {run['dag_id']}" if pipelines.total > 1 else "Last run", _RUN_TABLE, [run])
        print_table("Transfers", TRANSFER_TABLE, map(_in_words, rows))
        for places in dict.fromkeys(tuple(row["tracking_location"] or ()) for row in rows):
            if places:
                click.echo(f"Kept in {', else '.join(places)}")
    if pipelines.total > len(runs):
        click.echo(f"{len(runs):,} of {plural(pipelines.total, 'Dag')}; --limit shows more")


def _in_words(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a transfer as people read it: stale, and why, where Airflow says other than the record."""
    from airflow_provider_pipetrack.ui.airflow_says import AIRFLOW_SAYS, in_words

    return {**in_words(row), "transfer_status": "stale"} if row.get(AIRFLOW_SAYS) else row


def _show_pipelines(pipelines: Answer, attention: Answer, output: str) -> None:
    if output == "json":
        totals = {"pipelines_total": pipelines.total, "attention_total": attention.total}
        print_json({"pipelines": pipelines.rows, "attention": attention.rows, **totals, **origin(pipelines)})
    elif not answer_code(pipelines):
        _print_pipelines(pipelines, attention)


def _print_pipelines(pipelines: Answer, attention: Answer) -> None:
    print_table("Pipelines", _RUN_TABLE, pipelines.rows)
    if pipelines.total > len(pipelines.rows):
        click.echo(f"{len(pipelines.rows):,} of {plural(pipelines.total, 'pipeline')}; --limit shows more")
    if attention.rows:
        columns = {
            "reason": lambda row: row["reason"],
            "pipeline": lambda row: row["pipeline_id"],
            "run": lambda row: row["run_id"],
            **{name: TRANSFER_TABLE[name] for name in ("transfer", "attempt", "remark", "owner")},
        }
        more = f", the newest {len(attention.rows):,}" if attention.total > len(attention.rows) else ""
        print_table(f"Needs attention: {attention.total:,}{more}", columns, attention.rows)


def _with_next_runs(questions: Questions, pipelines: Answer) -> Answer:
    """Return pipelines with when they run next, by the configurations that are kept with their records."""
    from airflow_provider_pipetrack.ui.configured import Configurations, with_next_runs

    configured = Configurations().of(questions.stores, pipelines.rows)
    return replace(pipelines, rows=with_next_runs(pipelines.rows, configured, datetime.now(timezone.utc)))


def _took(run: Mapping[str, Any], now: datetime) -> str:
    """Return what a run took, or takes so far."""
    started, ended = run["started_at"], run["ended_at"]
    if started is None:
        return ""
    is_open = run["state"] == "in_progress" or ended is None
    seconds = ((now if is_open else ended) - started).total_seconds()
    return took(max(seconds, 0.0)) + (" so far" if is_open else "")
