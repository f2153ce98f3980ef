"""The ``pipetrack`` command.

Exit codes: 0 all is well, 1 problems were found, 2 the command was called wrongly.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="airflow-provider-pipetrack")
def main() -> None:
    """Data pipelines from YAML files, tracked."""


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--output", type=click.Choice(["text", "json"]), default="text", help="For people or for programs.")
def validate(files: Sequence[Path], output: str) -> None:
    """Check pipeline FILES (or folders of them) and say everything that is wrong."""
    from airflow_provider_pipetrack.cli.check import check_files

    checked, problems = check_files(files)
    if output == "json":
        click.echo(json.dumps([problem.as_dict() for problem in problems], indent=2))
    else:
        for problem in problems:
            click.echo(str(problem))
        click.echo(f"{checked} {_plural(checked, 'file')} checked, {len(problems)} {_plural(len(problems), 'problem')}")
    raise SystemExit(1 if problems else 0)


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", type=click.Choice(["text", "json", "dot"]), default="text", help="A tree, JSON or Graphviz.")
def plan(file: Path, output: str) -> None:
    """Show what Airflow would run for a pipeline FILE, and in which order. Nothing is run."""
    from airflow_provider_pipetrack.cli.plan import render_plan
    from airflow_provider_pipetrack.errors import ConfigError

    try:
        click.echo(render_plan(file, output))
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(1) from None


@main.command()
def schema() -> None:
    """Print the JSON Schema of pipeline files, for editors."""
    from airflow_provider_pipetrack.config.schema import pipeline_schema

    click.echo(json.dumps(pipeline_schema(), indent=2))


def _plural(number: int, word: str) -> str:
    return word if number == 1 else f"{word}s"


if __name__ == "__main__":
    main()
