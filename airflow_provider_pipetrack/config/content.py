"""User-defined texts: plain, template, f-string or a call of the user's function."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_provider_pipetrack.config.problems import suggest
from airflow_provider_pipetrack.config.types import LiteralText
from airflow_provider_pipetrack.errors import ContentError

_CALL = re.compile(r"\s*([A-Za-z_]\w*)\s*\((.*)\)\s*", re.DOTALL)
#: A text that is meant as a call, even if it does not read as one: closed at its end, or not at all.
_MEANT_AS_CALL = re.compile(r"\s*([A-Za-z_]\w*)\((?:.*\)\s*|[^)]*)", re.DOTALL)
#: How like a function's name a text must begin to be meant as a call of it, from 0 to 1.
_ALIKE = 0.8
_FORMATTED = re.compile(r"""\s*f(["'])(.*)\1\s*""", re.DOTALL)
_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
#: Names of a run that an f-string may use beside the file's ``variables``.
RUN_NAMES = frozenset(
    {"dag_id", "run_id", "task_id", "map_index", "try_number", "ds", "ds_nodash", "ts", "ts_nodash", "logical_date"}
)


class Functions(Protocol):
    """The user's functions, by name."""

    def get(self, name: str) -> Callable[..., Any] | None:
        """Return a function, or None."""

    def names(self) -> Iterable[str]:
        """Return the names of all functions."""


@dataclass(frozen=True)
class Call:
    """A call such as ``describe(env="prod")``, with literal arguments only."""

    function: str
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]


def plain_text(value: str | LiteralText | None) -> str | None:
    """Return a content's text where it is known without running anything, else None."""
    if isinstance(value, LiteralText):
        return value.literal
    if value is None or is_template(value) or formatted_parts(value) is not None or parse_call(value) is not None:
        return None
    return value


def is_template(text: str) -> bool:
    """Return whether the text is an Airflow template."""
    return ("{{" in text and "}}" in text and formatted_parts(text) is None) or "{%" in text


def parse_call(text: str) -> Call | None:
    """Return the function call that the whole text is, or None when it is none, or has other than literals in it."""
    match = _CALL.fullmatch(text)
    if match is None:
        return None
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            return None
        arguments = tuple(ast.literal_eval(argument) for argument in node.args)
        keywords = {str(k.arg): ast.literal_eval(k.value) for k in node.keywords if k.arg is not None}
        has_star = any(keyword.arg is None for keyword in node.keywords)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    return None if has_star else Call(node.func.id, arguments, keywords)


def formatted_parts(text: str) -> list[tuple[bool, str]] | None:
    """Return the parts of ``f"…"`` as (is a name, text), or None when the text is no f-string.

    :raises ContentError: when it is one, but its braces do not match or hold more than a name.
    """
    match = _FORMATTED.fullmatch(text)
    if match is None:
        return None
    body, parts, last = match.group(2), [], 0
    for found in _FIELD.finditer(body):
        parts.append((False, body[last : found.start()]))
        token, name = found.group(0), found.group(1)
        if token in {"{{", "}}"}:
            parts.append((False, token[0]))
        elif name is None or not name.strip().isidentifier():
            raise ContentError(f"{text!r}: only names may stand between the braces of an f-string, not {token!r}")
        else:
            parts.append((True, name.strip()))
        last = found.end()
    parts.append((False, body[last:]))
    return parts


def mistakes(
    value: Any, *, variables: Mapping[str, Any], functions: Functions, has_module: bool
) -> tuple[str, str] | None:
    """Return what is wrong with a content, as (message, suggestion), or None.

    :param has_module: whether the file names ``user_functions``.
    """
    if not isinstance(value, str):
        return None
    try:
        parts = formatted_parts(value)
    except ContentError as error:
        return str(error), ""
    if parts is not None:
        return _name_mistake(parts, {*variables, *RUN_NAMES})
    call = parse_call(value)
    if call is None or "{{" in value or is_template(value):
        return _meant_as_call(value, functions) or _template_mistake(value)
    return _call_mistake(call, functions, has_module=has_module)


def _meant_as_call(text: str, functions: Functions) -> tuple[str, str] | None:
    """Return what is wrong with a text that begins as a call of a user function, but cannot be read as one."""
    match = _MEANT_AS_CALL.fullmatch(text)
    if match is None:
        return None
    name = match.group(1)
    meant = name if functions.get(name) is not None else suggest(name, functions.names(), alike=_ALIKE)
    if not meant:
        return None
    message = (
        f"this cannot be read as a call of {meant!r}: a call takes literals only (texts in quotes, no templates) "
        "and ends with ')'; write {literal: …} for plain text"
    )
    return message, "" if meant == name else meant


def _name_mistake(parts: Iterable[tuple[bool, str]], known: set[str]) -> tuple[str, str] | None:
    unknown = next((name for is_name, name in parts if is_name and name not in known), None)
    if unknown is None:
        return None
    return f"{unknown!r} is neither in variables nor a name of the run", suggest(unknown, known)


def _call_mistake(call: Call, functions: Functions, *, has_module: bool) -> tuple[str, str] | None:
    if functions.get(call.function) is not None:
        return None
    if has_module:
        return f"there is no function {call.function!r} in user_functions", suggest(call.function, functions.names())
    message = (
        f"{call.function!r} looks like a call of a user function, but the file names no user_functions; "
        "write {literal: …} for plain text"
    )
    return message, ""


def resolve(
    value: str | LiteralText,
    *,
    variables: Mapping[str, Any],
    functions: Functions,
    context: Mapping[str, Any],
    render: Callable[[str], str],
) -> str:
    """Return the text that a content means in a run.

    :param variables: the file's ``variables``.
    :param functions: the user's functions.
    :param context: Airflow's task context.
    :param render: renders a template with Airflow's own environment.
    :raises ContentError: when a name or function is missing.
    :raises Exception: what the user's function raises.
    """
    plain = plain_text(value)
    if plain is not None:
        return plain
    text = str(value)
    parts = formatted_parts(text)
    if parts is not None:
        return "".join(str(_name(part, variables, context)) if is_name else part for is_name, part in parts)
    call = None if is_template(text) else parse_call(text)
    if call is None:
        return render(text)
    function = functions.get(call.function)
    if function is None:
        raise ContentError(f"there is no function {call.function!r} in user_functions")
    made = function(*call.arguments, **call.keywords)
    if not isinstance(made, (str, int, float)):
        raise ContentError(f"{call.function} returned {type(made).__name__}; expected a text")
    return str(made)


def _name(name: str, variables: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
    if name in variables:
        return variables[name]
    if name in context:
        return context[name]
    instance = context.get("ti")
    if instance is not None and hasattr(instance, name):
        return getattr(instance, name)
    raise ContentError(f"this run has no {name!r} (a manual run without a date has no ds and no logical_date)")


def _template_mistake(text: str) -> tuple[str, str] | None:
    if not is_template(text):
        is_open = "{{" in text and "}}" not in text
        message = "the template is not closed: '{{' without '}}'; write {literal: …} for plain text"
        return (message, "") if is_open else None
    import jinja2

    try:
        jinja2.Environment(autoescape=True).parse(text)
    except jinja2.TemplateSyntaxError as error:
        return f"the template cannot be read: {error.message}", ""
    except (ValueError, RecursionError) as error:  # of a number that is too long, of too many brackets
        return f"the template cannot be read: {error}", ""
    return None
