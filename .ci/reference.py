"""Write the reference pages of the documentation from the models and the configuration section, when it is built."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.config.schema import pipeline_schema
from airflow_provider_pipetrack.get_provider_info import get_provider_info

_YAML_INTRO = """# Keys of a pipeline file

Every key, made from the models that read the files. Unknown keys are mistakes and are named with their place.
`pipetrack schema` prints the same as a JSON Schema for your editor. A length of time is written `1d12h30m`, `45m`,
`90s` or in ISO 8601 (`PT45M`).
"""
_COMMANDS_INTRO = """# Commands

`pipetrack …` on the command line, and from Airflow 3.2 on `airflow pipetrack …` too. Made from the commands' own help.
"""
_CONFIGURATION_INTRO = """# Configuration

Options of the section `[pipetrack]` of `airflow.cfg`. The environment wins: `AIRFLOW__PIPETRACK__<OPTION>`.
"""


def yaml_reference() -> str:
    """Return the page of every key of a pipeline file."""
    schema = pipeline_schema()
    sections = [_section("The file", schema, schema["$defs"])]
    for place, name in _models(schema, schema["$defs"], ""):
        sections.append(_section(f"`{place}`", schema["$defs"][name], schema["$defs"]))
    return "\n".join([_YAML_INTRO, *sections])


def configuration_reference() -> str:
    """Return the page of every option of ``[pipetrack]``."""
    options = get_provider_info()["config"]["pipetrack"]["options"]
    return "\n".join([_CONFIGURATION_INTRO, *(_option(name, option) for name, option in options.items())])


def commands_reference() -> str:
    """Return the page of every command."""
    return "\n".join([_COMMANDS_INTRO, *_commands(main, "")])


def _commands(group: click.Group, prefix: str) -> Iterator[str]:
    """Yield the section of each command, those of groups included."""
    for key, command in sorted(group.commands.items()):
        name = f"{prefix}{key}"
        context = click.Context(command, info_name=f"pipetrack {name}", terminal_width=100)
        yield f"## `{name}`\n\n```\n{command.get_help(context)}\n```\n"
        if isinstance(command, click.Group):
            yield from _commands(command, f"{name} ")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to the site; mkdocs calls this."""
    from mkdocs.structure.files import File

    pages = {"yaml": yaml_reference, "configuration": configuration_reference, "commands": commands_reference}
    for name, page in pages.items():
        files.append(File.generated(config, f"reference/{name}.md", content=page()))
    return files


def _models(definition: Mapping[str, Any], known: Mapping[str, Any], above: str) -> Iterator[tuple[str, str]]:
    """Yield each model below a definition: where it stands, and its name."""
    for key, field in definition["properties"].items():
        for option in field.get("anyOf", [field]):
            is_list = option.get("type") == "array"
            name = (option.get("items", {}) if is_list else option).get("$ref", "").rpartition("/")[2]
            if name and not _is_form(known[name]):
                place = f"{above}{key}{'[]' if is_list else ''}"
                yield place, name
                yield from _models(known[name], known, f"{place}.")


def _is_form(definition: Mapping[str, Any]) -> bool:
    """Return whether a model is only another form of a value, such as ``{literal: …}``."""
    return len(definition["properties"]) == 1


def _section(title: str, definition: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    needed = definition.get("required", ())
    lines = [f"## {title}\n", "| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in definition["properties"].items():
        default = "required" if key in needed else _default(field)
        lines.append(f"| `{key}` | {_cell(_type(field, known))} | {default} | {_cell(field['description'])} |")
    return "\n".join([*lines, ""])


def _option(name: str, option: Mapping[str, Any]) -> str:
    lines = [f"## `{name}`\n", option["description"], ""]
    lines.append(f"- Type: {option['type']}")
    lines.append(f"- Default: `{option['default']}`" if option["default"] else "- Default: empty")
    if option["example"]:
        lines.append(f"- Example: `{option['example']}`")
    return "\n".join([*lines, ""])


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default")
    return "" if value in (None, "", [], {}) else f"`{json.dumps(value)}`"


def _type(field: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """Return what may stand at a key, in words."""
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(part for option in field["anyOf"] if (part := _type(option, known))))
    if "$ref" in field:
        (only, *more) = known[field["$ref"].rpartition("/")[2]]["properties"]
        return "mapping, see below" if more else f"`{{{only}: …}}`"
    if "enum" in field or "const" in field:
        return " or ".join(f"`{json.dumps(value)}`" for value in field.get("enum", [field.get("const")]))
    if field.get("format") == "duration":
        return "length of time"
    return "".join(_simple(field, known))


def _simple(field: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[str]:
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    kind = field.get("type", "anything")
    if kind == "array":
        inner = _type(field.get("items", {}), known)
        yield "list, see below" if "below" in inner else f"list of {inner}"
    elif kind == "object":
        inner = field.get("additionalProperties")
        yield f"mapping to {_type(inner, known)}" if isinstance(inner, dict) else "mapping"
    elif kind != "null":
        yield {"date-time": "date or time"}.get(field.get("format", ""), words.get(kind, kind))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
