"""The pages about commands and questions name all of them, and what they show is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.records.queries import QUESTIONS, describe

DOCS = Path(__file__).resolve().parents[2] / "docs"
CLI, QUERIES = (DOCS / "cli.md").read_text(), (DOCS / "queries.md").read_text()


def commands(group: click.Group, prefix: tuple[str, ...] = ()):
    for name, command in group.commands.items():
        yield (*prefix, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*prefix, name))


@pytest.mark.parametrize("path", [path for path, _ in commands(main)], ids=" ".join)
def test_every_command_has_help_and_stands_in_its_page(path):
    shown = CliRunner().invoke(main, [*path, "--help"])
    assert shown.exit_code == 0
    assert f"pipetrack {path[0]}" in CLI


def test_the_page_shows_no_command_and_no_option_that_there_is_not():
    known = {" ".join(path): command for path, command in commands(main)}
    for line in re.findall(r"pipetrack ([a-z][^`|\n]*)", CLI + QUERIES):
        words = line.split()
        name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
        assert name in known, line
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line


def test_every_option_has_help():
    for path, command in commands(main):
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (path, parameter.name)


def test_the_page_names_every_question_as_its_template_does():
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", QUERIES, re.MULTILINE)
    assert rows == [(name, describe(name)) for name in QUESTIONS]
