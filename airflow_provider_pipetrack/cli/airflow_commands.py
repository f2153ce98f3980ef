"""The same commands as ``airflow pipetrack …`` (Airflow 3.2 and later), made from the ``pipetrack`` ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click


def get_commands() -> list[Any]:
    """Return pipetrack's commands for Airflow's command line; called for every ``airflow`` command, so it is light."""
    from airflow_provider_pipetrack.cli.main import main

    return [_group(main, "pipetrack", ())]


def _group(group: click.Group, name: str, path: Sequence[str]) -> Any:
    from airflow.cli import cli_config

    subcommands = [
        _group(command, key, (*path, key)) if isinstance(command, click.Group) else _action(command, key, (*path, key))
        for key, command in group.commands.items()
    ]
    return cli_config.GroupCommand(name=name, help=_first_line(group), subcommands=subcommands)


def _action(command: click.Command, name: str, path: Sequence[str]) -> Any:
    from airflow.cli import cli_config

    return cli_config.ActionCommand(
        name=name,
        help=_first_line(command),
        description=command.help,
        func=_caller(command, path),
        args=tuple(_argument(parameter) for parameter in command.params),
    )


def _argument(parameter: click.Parameter) -> Any:
    from airflow.cli import cli_config

    makes: Any = cli_config.Arg
    if isinstance(parameter, click.Argument):
        nargs = "+" if parameter.nargs == -1 else None if parameter.required else "?"
        options = {"nargs": nargs} if nargs else {}
        return makes((str(parameter.name),), help=parameter.human_readable_name.lower(), **options)
    return makes(tuple(parameter.opts), dest=parameter.name, **_option(parameter))


def _option(option: Any) -> dict[str, Any]:
    """Return how argparse takes an option; what is not given stays None, so that click fills in its default."""
    wanted: dict[str, Any] = {"help": _percent_free(option.help or ""), "default": None}
    if option.is_flag:
        return {**wanted, "action": "store_true"}
    if isinstance(option.type, click.Choice):
        wanted["choices"] = tuple(option.type.choices)
    return {**wanted, "action": "append"} if option.multiple else wanted


def _caller(command: click.Command, path: Sequence[str]) -> Callable[[Any], None]:
    def call(given: Any) -> None:
        from airflow_provider_pipetrack.cli.main import main

        main([*path, *_texts(command, given)], prog_name="airflow pipetrack")

    return call


def _texts(command: click.Command, given: Any) -> Iterator[str]:
    """Yield the command line that was given, for click to read."""
    arguments: list[str] = []
    for parameter in command.params:
        value = getattr(given, str(parameter.name), None)
        values = value if isinstance(value, list) else [] if value is None or value is False else [value]
        if isinstance(parameter, click.Argument):
            arguments += map(str, values)
            continue
        for one in values:
            yield from (parameter.opts[0],) if one is True else (parameter.opts[0], str(one))
    yield "--"
    yield from arguments


def _first_line(command: click.Command) -> str:
    return _percent_free((command.help or "").strip().splitlines()[0])


def _percent_free(text: str) -> str:
    return text.replace("%", "%%")
