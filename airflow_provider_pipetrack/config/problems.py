"""Mistakes as sentences: what a validation error means, where it is, and which name was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    from airflow_provider_pipetrack.errors import Problem

Path = tuple["str | int", ...]

_WORDS = {
    "string_type": "expected a text",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "dict_type": "expected a mapping of keys to values",
    "model_type": "expected a mapping of keys to values",
    "model_attributes_type": "expected a mapping of keys to values",
    "missing": "this key is required",
    "date_from_datetime_parsing": "expected a date such as 2026-01-31",
    "datetime_from_date_parsing": "expected a date or time such as 2026-01-31 or 2026-01-31T06:00:00Z",
    "datetime_parsing": "expected a date or time such as 2026-01-31 or 2026-01-31T06:00:00Z",
    "datetime_type": "expected a date or time such as 2026-01-31 or 2026-01-31T06:00:00Z",
}


#: How pydantic calls the members of a union in the place of an error.
_SCALARS = {"str", "int", "float", "bool", "none", "datetime", "list", "dict"}


def path_text(path: Path) -> str:
    """Return a path as it is shown: ``stage_transfers[2].audit.config``; a terminal would act upon what steers it."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else str(step)
    return text if text.isprintable() else "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def suggest(name: str, known: Iterable[str], *, alike: float = 0.6) -> str:
    """Return the known name that ``name`` was probably meant to be, or an empty text.

    :param alike: how like it must be, from 0 to 1.
    """
    import difflib  # for mistakes only, and slow to import

    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=alike)
    return close[0] if close else ""


def in_file_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems of one file from its first line to its last, each once."""
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.line, problem.column))


def explain(error: ValidationError, model: type[BaseModel]) -> list[tuple[Path, str, str, bool]]:
    """Turn a validation error into (path, sentence, suggestion, whether the key itself is meant)."""
    found = []
    seen: set[Path] = set()
    for detail in error.errors(include_url=False):
        path = _clean_path(detail["loc"], model)
        if path in seen:
            continue  # one mistake in a value of several allowed types is one mistake
        seen.add(path)
        if detail["type"] == "extra_forbidden":
            known = known_keys(model, path[:-1])
            found.append((path, "there is no such key", suggest(str(path[-1]), known), True))
        else:
            found.append((path, _sentence(detail), "", False))
    # Of the allowed types of a value the one that a mistake inside of it is about was meant.
    within = {path[:length] for path in seen for length in range(1, len(path))}
    return [item for item in found if item[0] not in within]


def known_keys(model: type[BaseModel], path: Path) -> list[str]:
    """Return the keys that may stand at ``path``."""
    inner = _model_at(model, path)
    return sorted(inner.model_fields) if inner is not None else []


def _sentence(detail: Any) -> str:
    kind, given, context = detail["type"], detail.get("input"), detail.get("ctx") or {}
    if kind == "value_error":
        return str(context.get("error", detail["msg"]))
    if kind in {"literal_error", "enum"}:
        return f"expected {context.get('expected')}, not {short(given)}"
    limits = {"greater_than_equal": "ge", "greater_than": "gt", "less_than_equal": "le", "less_than": "lt"}
    if kind in limits:
        words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
        return f"expected {words[limits[kind]]} {context[limits[kind]]:g}, not {short(given)}"
    sentence = _WORDS.get(kind)
    if sentence is None:
        return f"{short(given)} is not allowed: {_reason(detail, context)}"
    hint = _quoting_hint(given) if kind == "string_type" else ""
    return sentence if kind == "missing" else f"{sentence}, not {short(given)}{hint}"


def _reason(detail: Any, context: Any) -> str:
    if detail["type"] != "string_pattern_mismatch":
        return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}"
    letters = "letters from a to z" if "A-Za-z" in context["pattern"] else "letters"
    return f"only {letters}, digits, '_', '.' and '-' may stand here"


def _quoting_hint(given: Any) -> str:
    if isinstance(given, bool):
        return "; words such as on, off, yes and no need quotes"
    return "; put it in quotes" if isinstance(given, (int, float)) else ""


def short(value: Any) -> str:
    """Return a value for a message, as a file has it, cut when it is long."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _clean_path(location: tuple[Any, ...], model: type[BaseModel]) -> Path:
    """Leave out the steps that pydantic adds for unions, which are no keys of the file."""
    path: list[str | int] = []
    current: Any = model
    for step in location:
        inner = _as_model(current)
        if isinstance(step, str) and _is_union_tag(step, current):
            continue
        if inner is not None and isinstance(step, str):
            path.append(step)
            field = inner.model_fields.get(step)
            current = field.annotation if field else None
        elif isinstance(step, int) or (current is not None and inner is None and _is_mapping(current)):
            path.append(step)
            current = _item_of(current)
    return tuple(path)


def _is_union_tag(step: str, annotation: Any) -> bool:
    """Return whether pydantic added this step to tell which member of a union it means."""
    from typing import get_args

    inner = _as_model(annotation)
    if inner is not None and step in inner.model_fields:
        return False
    members = get_args(annotation)
    return len(members) > 1 and (
        step in _SCALARS or "[" in step or step in {getattr(m, "__name__", "") for m in members}
    )


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    current: Any = model
    for step in path:
        inner = _as_model(current)
        if inner is not None and isinstance(step, str) and step in inner.model_fields:
            current = inner.model_fields[step].annotation
        else:
            current = _item_of(current)
    return _as_model(current)


def _as_model(annotation: Any) -> type[BaseModel] | None:
    from typing import get_args

    from pydantic import BaseModel

    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((inner for part in get_args(annotation) if (inner := _plain_model(part)) is not None), None)


def _plain_model(part: Any) -> type[BaseModel] | None:
    from pydantic import BaseModel

    return part if isinstance(part, type) and issubclass(part, BaseModel) else None


def _is_mapping(annotation: Any) -> bool:
    from typing import get_args, get_origin

    return any(get_origin(part) is dict for part in (annotation, *get_args(annotation)))


def _item_of(annotation: Any) -> Any:
    from typing import get_args, get_origin

    for part in (annotation, *get_args(annotation)):
        if get_origin(part) in {list, tuple}:
            return get_args(part)[0]
        if get_origin(part) is dict:
            return get_args(part)[1]
    return None
