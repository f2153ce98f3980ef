"""Commands about pipeline files; they need no Airflow database."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from datetime import datetime
from operator import itemgetter
from pathlib import Path

import click

from airflow_provider_pipetrack.cli.shown import (
    TRANSFER_TABLE,
    output_option,
    plural,
    print_json,
    print_table,
    progress_bar,
)
from airflow_provider_pipetrack.errors import ConfigError, PipetrackError


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@output_option
def validate(files: Sequence[Path], output: str) -> None:
    """Check pipeline FILES (or folders of them) and say everything that is wrong."""
    from airflow_provider_pipetrack.cli.check import check_files

    checked, problems = check_files(files)
    if output == "json":
        print_json([problem.as_dict() for problem in problems])
    else:
        for problem in problems:
            click.echo(str(problem))
        click.echo(f"{plural(checked, 'file')} checked, {plural(len(problems), 'problem')}")
    raise SystemExit(1 if problems else 0)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", type=click.Choice(["text", "json", "dot"]), default="text", help="A tree, JSON or Graphviz.")
def plan(file: Path, output: str) -> None:
    """Show what Airflow would run for a pipeline FILE, and in which order. Nothing is run."""
    from airflow_provider_pipetrack.cli.plan import render_plan

    click.echo(render_plan(file, output))


@click.command()
def schema() -> None:
    """Print the JSON Schema of pipeline files, for editors."""
    from airflow_provider_pipetrack.config.schema import pipeline_schema

    click.echo(json.dumps(pipeline_schema(), indent=2))


@click.command()
@click.argument("name")
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Where to; here by default."
)
@output_option
def new(name: str, folder: Path, output: str) -> None:
    """Write a pipeline to begin with: NAME.yaml and NAME_functions.py, which validate and run as they are."""
    from airflow_provider_pipetrack.cli.starter import write_starter

    written = write_starter(name, folder)
    if output == "json":
        print_json({"written": [str(path) for path in written]})
        return
    for path in written:
        click.echo(f"wrote {path}")
    click.echo(f"next: pipetrack validate {folder / name}.yaml, pipetrack test {folder / name}.yaml")


def _moment(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    from airflow_provider_pipetrack.tracking.readiness import begin_of

    try:
        return begin_of(text) if text else None
    except PipetrackError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--date", metavar="DAY_OR_MOMENT", callback=_moment, help="Logical date of the run, in UTC.")
@click.option("--limit", type=click.FloatRange(1), default=1800.0, show_default=True, help="Most seconds.")
@click.option(
    "--keep", is_flag=True, help="Keep the folder with Airflow's logs and the records, as after a run that fails."
)
@output_option
def test(file: Path, date: datetime | None, limit: float, output: str, *, keep: bool) -> None:
    """Run pipeline FILE once, for real, in an Airflow of its own; show its transfers and audits.

    Its functions and operators do what they do; connections come from the environment. Records and alerts go nowhere
    else, and retries follow after a second. Exit code 1 when the run fails or takes longer than --limit, 4 when Airflow
    cannot be set up.
    """
    from airflow_provider_pipetrack.cli.check import check_files
    from airflow_provider_pipetrack.cli.trial import run_trial
    from airflow_provider_pipetrack.tracking.questions import Questions
    from airflow_provider_pipetrack.tracking.store import TrackingStore

    # Mistakes in the file are named before anything is set up.
    _, problems = check_files([file])
    if problems:
        raise ConfigError(problems)
    home = Path(tempfile.mkdtemp(prefix="pipetrack-test-"))
    failed = True
    try:
        if output == "text":
            click.echo(f"Setting up an Airflow in {home} …", err=True)
        with progress_bar("completed transfers", shown=output == "text") as bar:
            trial = run_trial(file, home, limit=limit, logical_date=date, progress=bar)
        with TrackingStore([trial.location], journal_dir=home / "journal") as store:
            attempts = Questions(store).ask("attempts", limit=None, order_by="transfer_order_number").rows
        failed = trial.state != "success"
        if output == "json":
            print_json({"dag_id": trial.dag_id, "state": trial.state, "attempts": attempts})
        else:
            print_table(f"{trial.dag_id}: {trial.state}", TRANSFER_TABLE, attempts)
            audited = [row for row in attempts if row["audit_result"]]
            columns = {"audit of": "task_id", "result": "audit_result", "evidence": "audit_metadata"}
            if audited:
                print_table("Audits", {name: itemgetter(key) for name, key in columns.items()}, audited)
    finally:
        if keep or failed:
            click.echo(f"What Airflow and the transfers said is in {home / 'trial.log'}", err=True)
        else:
            shutil.rmtree(home, ignore_errors=True)
    raise SystemExit(1 if failed else 0)
