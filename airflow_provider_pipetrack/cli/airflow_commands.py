"""The same commands as ``airflow pipetrack …`` (Airflow 3.2 and later)."""

from __future__ import annotations

from typing import Any


def get_commands() -> list[Any]:
    """Return pipetrack's commands for Airflow's command line; called for every ``airflow`` command, so it is light."""
    from airflow.cli import cli_config

    argument: Any = cli_config.Arg
    ActionCommand, GroupCommand = cli_config.ActionCommand, cli_config.GroupCommand  # noqa: N806  they are classes

    output = argument(("--output",), help="text or json", choices=("text", "json"), default="text")
    plan_output = argument(("--output",), help="text, json or dot", choices=("text", "json", "dot"), default="text")
    return [
        GroupCommand(
            name="pipetrack",
            help="Check and plan pipeline files",
            subcommands=[
                ActionCommand(
                    name="validate",
                    help="Check pipeline files and say everything that is wrong",
                    func=_validate,
                    args=(argument(("files",), nargs="+", help="pipeline files or folders of them"), output),
                ),
                ActionCommand(
                    name="plan",
                    help="Show what Airflow would run for a pipeline file",
                    func=_plan,
                    args=(argument(("file",), help="a pipeline file"), plan_output),
                ),
                ActionCommand(name="schema", help="Print the JSON Schema of pipeline files", func=_schema, args=()),
            ],
        )
    ]


def _validate(args: Any) -> None:
    _call(["validate", *args.files, "--output", args.output])


def _plan(args: Any) -> None:
    _call(["plan", args.file, "--output", args.output])


def _schema(args: Any) -> None:
    del args  # it takes none
    _call(["schema"])


def _call(arguments: list[str]) -> None:
    from airflow_provider_pipetrack.cli.main import main

    main(arguments, prog_name="airflow pipetrack")
