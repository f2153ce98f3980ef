"""Commands about pipeline files; they need no Airflow database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from airflow_provider_pipetrack.cli.shown import output_option, plural


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@output_option
def validate(files: Sequence[Path], output: str) -> None:
    """Check pipeline FILES (or folders of them) and say everything that is wrong."""
    from airflow_provider_pipetrack.cli.check import check_files

    checked, problems = check_files(files)
    if output == "json":
        click.echo(json.dumps([problem.as_dict() for problem in problems], indent=2))
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
