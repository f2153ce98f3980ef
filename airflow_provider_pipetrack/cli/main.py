"""The ``pipetrack`` command.

Exit codes: 0 all is well, 1 what was looked at is not (problems in a file, a stage that is not ready, records that
are still owed, something that needs a person), 2 the command was called wrongly, 3 a location or Airflow could not be
asked.
"""

from __future__ import annotations

import logging
from typing import Any

import click

from airflow_provider_pipetrack.cli.airflow_rest import AirflowUnreachableError
from airflow_provider_pipetrack.cli.files import new, plan, schema, test, validate
from airflow_provider_pipetrack.cli.moving import copy, export
from airflow_provider_pipetrack.cli.questions import history, queries, ready, status
from airflow_provider_pipetrack.cli.upkeep import doctor, init, reconcile
from airflow_provider_pipetrack.errors import ConfigError, PipetrackError, StorageError, TrialError

#: Exit codes.
PROBLEMS, WRONG_CALL, UNREACHABLE = 1, 2, 3


class Commands(click.Group):
    """Commands whose users see no traceback for what is theirs to mend."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, with a sentence and an exit code for every error that is meant for people."""
        # It tells of its plugins when it is imported, which Airflow 3.2 writes to where answers go.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        try:
            return super().invoke(ctx)
        except PipetrackError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(_code(error))


def _code(error: PipetrackError) -> int:
    if isinstance(error, (ConfigError, TrialError)):
        return PROBLEMS
    return UNREACHABLE if isinstance(error, (StorageError, AirflowUnreachableError)) else WRONG_CALL


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="airflow-provider-pipetrack")
def main() -> None:
    """Data pipelines from YAML files, tracked.

    Exit codes: 0 all is well; 1 what was looked at is not; 2 the command was called wrongly; 3 a location or Airflow
    could not be asked.
    """


for _command in (
    validate,
    plan,
    schema,
    new,
    test,
    init,
    status,
    ready,
    history,
    queries,
    reconcile,
    doctor,
    copy,
    export,
):
    main.add_command(_command)

if __name__ == "__main__":
    main()
