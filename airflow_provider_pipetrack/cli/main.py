"""The ``pipetrack`` command.

Exit codes: 0 all is well, 1 what was looked at is not (problems in a file, a stage that is not ready, records that
are still owed, something that needs a person), 2 the command was called wrongly, 3 a location or Airflow could not be
asked, 4 an Airflow of one's own could not be set up.
"""

from __future__ import annotations

import codecs
import configparser
import errno
import io
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise, takewhile
from typing import Any, NoReturn

import click

from airflow_provider_pipetrack.cli.airflow_rest import AirflowUnreachableError
from airflow_provider_pipetrack.cli.files import new, plan, schema, test, validate
from airflow_provider_pipetrack.cli.moving import copy, export
from airflow_provider_pipetrack.cli.queries import queries
from airflow_provider_pipetrack.cli.questions import history, ready, status
from airflow_provider_pipetrack.cli.shown import print_json
from airflow_provider_pipetrack.cli.upkeep import doctor, init, reconcile
from airflow_provider_pipetrack.errors import ConfigError, PipetrackError, StorageError, TrialError, TrialSetupError

#: Exit codes.
PROBLEMS, WRONG_CALL, UNREACHABLE, NOT_SET_UP = 1, 2, 3, 4


class Commands(click.Group):
    """Commands whose users see no traceback for what is theirs to mend, and whose programs get JSON in any case."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; it is kept whether JSON is wanted, since a command may not come to read its own."""
        ctx.meta[__name__] = _wants_json(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, with a sentence and an exit code for every error that is meant for people."""
        # It tells of its plugins when it is imported, which Airflow 3.2 writes to where answers go.
        logging.getLogger("alembic").setLevel(logging.WARNING)
        _escape_what_cannot_be_shown()
        try:
            return super().invoke(ctx)
        except PipetrackError as error:
            problems = {"problems": [p.as_dict() for p in error.problems]} if isinstance(error, ConfigError) else {}
            _end(ctx, str(error), _code(error), **problems)
        except click.ClickException as error:
            _tell_programs(ctx, error.format_message())
            raise
        except configparser.Error as error:  # when Airflow is imported
            _end(ctx, f"airflow.cfg cannot be read: {' '.join(str(error).split())}", WRONG_CALL)
        except UnicodeEncodeError as error:  # an argument with other bytes, which no storage takes
            _end(ctx, f"{error.object[:80]!r} is not UTF-8 text", WRONG_CALL)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # whoever reads has seen enough; click knows that
            place = f"{error.filename}: " if error.filename else ""
            _end(ctx, f"{place}{error.strerror or error}", WRONG_CALL)


def _end(ctx: click.Context, message: str, code: int, **more: Any) -> NoReturn:
    """End a command with a sentence, and for programs with JSON."""
    _tell_programs(ctx, message, **more)
    click.echo(f"Error: {message}", err=True)
    ctx.exit(code)


def _tell_programs(ctx: click.Context, message: str, **more: Any) -> None:
    if ctx.meta[__name__]:
        with suppress(OSError):  # that may be what cannot be written
            print_json({"error": message, **more})


def _escape_what_cannot_be_shown() -> None:
    """Have letters that the terminal's encoding lacks, and bytes of file names, written as JSON escapes them."""
    codecs.register_error("pipetrack_escape", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", "") == "strict" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="pipetrack_escape")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _wants_json(arguments: Sequence[str]) -> bool:
    options = list(takewhile(lambda word: word != "--", arguments))
    return "--output=json" in options or ("--output", "json") in pairwise(options)


def _code(error: PipetrackError) -> int:
    if isinstance(error, TrialSetupError):
        return NOT_SET_UP
    if isinstance(error, (ConfigError, TrialError)):
        return PROBLEMS
    return UNREACHABLE if isinstance(error, (StorageError, AirflowUnreachableError)) else WRONG_CALL


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="airflow-provider-pipetrack")
def main() -> None:
    """Data pipelines from YAML files, tracked.

    Exit codes: 0 all is well; 1 what was looked at is not; 2 the command was called wrongly; 3 a location or Airflow
    could not be asked; 4 test could not set up its Airflow. With --output json there is one JSON value on standard
    output, whatever happens; all that is for people goes to standard error.
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
