"""Read YAML or JSON text once, safely, and know where each value stands.

Plain text becomes values straight from libyaml's events. Unusual text is composed into nodes first, and so is text of
which a position is asked, which happens for mistakes only.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timezone
from functools import cached_property
from typing import Any

import yaml

from airflow_provider_pipetrack.config.plain import NotPlain, PlainValues
from airflow_provider_pipetrack.config.problems import Path, path_text, short
from airflow_provider_pipetrack.errors import ConfigError, Problem

#: Largest pipeline file, in bytes.
MAX_BYTES = 5_000_000
#: Most values that a file may have once its aliases are written out.
MAX_VALUES = 500_000
_MAX_DEPTH = 60
_PREFIX = "tag:yaml.org,2002:"
#: The key behind a line's beginning, which a byte order mark may come before, or inside of braces. Blanks before it end
#: with their line: a file of many empty lines would be looked through from each of them to the last.
_ANY_PIPELINE = re.compile(rb"""(?m)(?:^(?:\xef\xbb\xbf)?[^\S\n]*|[{,]\s*)["']?stage_transfers["']?\s*:""")
#: How Windows begins a text that it saves as "Unicode", and the key in it, in both orders of bytes.
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")
_WIDE_KEY = "stage_transfers".encode("utf-16-le")[:-1]
#: What ``pipetrack schema`` prints, for editors, has the key among its properties. Who sorts its keys has others first.
_JSON_SCHEMA = re.compile(
    rb"""(?:\xef\xbb\xbf)?\s*\{\s*"\$(?:defs"\s*:\s*\{|schema"\s*:\s*"https?://json-schema\.org/)"""
)
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_KINDS = {"int": "whole number that can be read", "timestamp": "date"}
_SCALARS = frozenset(("int", "float", "bool", "null", "timestamp"))
#: Halves of a pair of escapes, which stand for one letter in JSON and for none in YAML; and all other escapes.
_JSON_ONLY = re.compile(r"\\(?:u[dD][89a-fA-F][0-9a-fA-F]{2}|.)")
_NO_VALUE = (ValueError, KeyError, AttributeError, OverflowError)
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_RESOLVER: Any = yaml.resolver.Resolver()
#: Longest scalar whose value is remembered.
_SHORT = 64


def looks_like_pipeline(data: bytes) -> bool:
    """Return whether a file's bytes mention ``stage_transfers`` as a key, and are no JSON Schema of pipeline files.

    It is cheap, and may say yes too often.
    """
    if data.startswith(_WIDE_MARKS):
        return _WIDE_KEY in data
    return _ANY_PIPELINE.search(data) is not None and _JSON_SCHEMA.match(data) is None


class Document:
    """A file's values, and the place of each of them.

    :param file: how the file is called in problems.
    :param data: the values, as plain dicts, lists and scalars.
    :param compose: gives the file's nodes, when a position is wanted.
    """

    def __init__(
        self, file: str, data: Any, compose: Callable[[], yaml.Node | None], problems: Sequence[Problem] = ()
    ) -> None:
        self.file = file
        self.data = data
        self.problems = list(problems)
        self._compose = compose

    @cached_property
    def _root(self) -> yaml.Node | None:
        return self._compose()

    def position(self, path: Path, *, key: bool = False) -> tuple[int, int]:
        """Return line and column of a value, from 1; of the nearest enclosing value when it is not written down.

        :param path: keys and indexes from the top.
        :param key: True for the place of the key instead of its value.
        """
        node, mark = self._root, None
        for position, step in enumerate(path):
            found = _child(node, step)
            if found is None:
                break
            key_node, node = found
            last = position == len(path) - 1
            mark = key_node.start_mark if key_node is not None and (key or not last) else node.start_mark
        if mark is None and node is not None:
            mark = node.start_mark
        return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)

    def has(self, path: Path) -> bool:
        """Return whether a value is written down at ``path``."""
        node = self._root
        for step in path:
            found = _child(node, step)
            if found is None:
                return False
            node = found[1]
        return True

    def problem(self, path: Path, message: str, suggestion: str = "", *, key: bool = False) -> Problem:
        """Return a problem at a value of this file, at the defaults block when the value comes from there."""
        is_row = len(path) > 2 and path[0] == "stage_transfers"
        if is_row and not self.has(path) and self.has(("defaults", *path[2:])):
            path = ("defaults", *path[2:])
        line, column = self.position(path, key=key)
        return Problem(self.file, line, column, path_text(path), message, suggestion)


def read(text: str | bytes, file: str, *, is_json: bool = False) -> Document:
    """Read a pipeline file's text.

    :param text: the text, or its bytes in UTF-8.
    :param file: how the file is called in problems.
    :param is_json: True for strict JSON.
    :raises ConfigError: when the text cannot be read at all. Duplicate keys and the like are in ``problems``.
    """
    content = _decode(text, file)
    if not content.strip():
        raise ConfigError([Problem(file, 1, 1, "", "the file is empty; a pipeline needs stage_transfers")])
    data = _json_values(content, file) if is_json else _plain_values(content)
    if data is not None:
        return Document(file, data, lambda: _compose_again(content, file, is_json=is_json))
    root = _compose(_json_as_yaml(content) if is_json else content, file)
    builder = _Builder(file)
    data = builder.build(root, (), 0)
    return Document(file, data, lambda: root, builder.problems)


def _decode(text: str | bytes, file: str) -> str:
    if len(text) > MAX_BYTES:
        limit = f"{MAX_BYTES / 1e6:.0f} MB"  # of a longer file no more may have been read, see `dag.files`
        raise ConfigError(
            [Problem(file, 1, 1, "", f"the file has more than {limit}; a pipeline file may have {limit}")]
        )
    if isinstance(text, str):
        return text.removeprefix("\ufeff")
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        column = error.start - text.rfind(b"\n", 0, error.start)
        found = "is UTF-16 text; save it as UTF-8" if text.startswith(_WIDE_MARKS) else "is not UTF-8 text"
        raise ConfigError([Problem(file, line, column, "", f"the file {found}")]) from None


def _json_values(content: str, file: str) -> Any:
    """Return the values of JSON text; None when a key appears twice, which the reader of YAML names with its place."""
    try:
        data = json.loads(content, object_pairs_hook=_unique, parse_constant=str, parse_float=_finite)
        return _shallow(data, _MAX_DEPTH)
    except NotPlain:
        return None
    except json.JSONDecodeError as error:
        message = f"malformed JSON: {error.msg[:1].lower()}{error.msg[1:]}"
        raise ConfigError([Problem(file, error.lineno, error.colno, "", message)]) from None
    except (RecursionError, ValueError):
        raise ConfigError([Problem(file, 1, 1, "", "malformed JSON: nested too deeply or a number too long")]) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise NotPlain
    return found


def _finite(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _shallow(data: Any, left: int) -> Any:
    """Return ``data``, which may be nested only so deeply."""
    if not left:
        raise RecursionError
    for value in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        _shallow(value, left - 1)
    return data


def _json_as_yaml(content: str) -> str:
    """Return JSON text such that YAML reads it with all values in their places, if not with every letter."""
    return _JSON_ONLY.sub(
        lambda found: "\\u003f" if len(found.group()) > 2 else found.group(), content.replace("\t", " ")
    )


def _compose_again(content: str, file: str, *, is_json: bool) -> yaml.Node | None:
    """Return the nodes of a text that was read already; None where only JSON can read it."""
    if not is_json:
        return _compose(content, file)
    try:
        return _compose(_json_as_yaml(content), file)
    except ConfigError:
        return None


def _plain_values(content: str) -> Any:
    """Return the values of a text without anything unusual or wrong in it, or None."""
    parser = None
    try:
        parser = _Loader(content)
        return PlainValues(parser, _scalar_value, most_values=MAX_VALUES, deepest=_MAX_DEPTH).read()
    except (NotPlain, yaml.YAMLError, ValueError, RecursionError):
        return None
    finally:
        if parser is not None:
            parser.dispose()


def _scalar_value(text: str) -> Any:
    """Return the value of an unquoted scalar; files repeat the short ones again and again."""
    return _short_scalar(text) if len(text) <= _SHORT else _resolved_scalar(text)


def _resolved_scalar(text: str) -> Any:
    tag = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))
    kind = tag.removeprefix(_PREFIX)
    if kind == "str":
        return text
    try:
        return _constructed(kind, yaml.ScalarNode(tag, text))
    except _NO_VALUE:
        raise NotPlain from None


_short_scalar = functools.lru_cache(maxsize=8192)(_resolved_scalar)


def _compose(content: str, file: str) -> yaml.Node:
    loader = None
    try:
        loader = _Loader(content)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        reason = " ".join(part for part in (error.context, error.problem) if part)
        if mark and "\t" in "".join(content.splitlines()[mark.line : mark.line + 1])[: mark.column + 1]:
            reason += "; indent with spaces instead of tabs"
        raise ConfigError([Problem(file, *place, "", f"malformed YAML: {reason}")]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = content.count("\n", 0, getattr(error, "position", 0)) + 1
        reason = getattr(error, "reason", None) or str(error).splitlines()[0]
        raise ConfigError([Problem(file, line, 1, "", f"malformed YAML: {reason}")]) from None
    finally:
        if loader is not None:
            loader.dispose()
    if root is None:
        raise ConfigError([Problem(file, 1, 1, "", "the file is empty; a pipeline needs stage_transfers")])
    return root  # type: ignore[no-any-return]


class _Builder:
    """Makes plain values from nodes, and collects what is wrong with them."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.values = 0

    def build(self, node: yaml.Node, path: Path, depth: int) -> Any:
        self.values += 1
        if self.values > MAX_VALUES or depth > _MAX_DEPTH:
            self._give_up(node, depth)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        self._check_tag(node, path, "seq")
        return [self.build(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        self._check_tag(node, path, "map")
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_PREFIX}merge":
                merged.update(self._merge_key(value_node, path, depth))
                continue
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None:
                self._add(key_node, path, "a key must be a plain text")
                continue
            if key in result:
                self._add(key_node, (*path, key), "the key appears twice; the last one would win silently")
            result[key] = self.build(value_node, (*path, key), depth + 1)
        return {**merged, **result} if merged else result

    def _merge_key(self, node: yaml.Node, path: Path, depth: int) -> dict[str, Any]:
        found = self.build(node, path, depth + 1)
        merged: dict[str, Any] = {}
        for part in reversed(found if isinstance(found, list) else [found]):
            if not isinstance(part, dict):
                self._add(node, path, "<< takes a mapping or a list of mappings")
                continue
            merged.update(part)
        return merged

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        tag = node.tag
        if tag == f"{_PREFIX}str":
            return node.value
        kind = tag.removeprefix(_PREFIX)
        if kind not in _SCALARS or kind == tag:
            self._add(node, path, f"the tag {tag.replace(_PREFIX, '!!')!r} is not allowed here")
            return node.value
        try:
            return _constructed(kind, node)
        except _NO_VALUE:
            self._add(node, path, f"{short(node.value)} is no {_KINDS.get(kind, kind)}")
            return node.value

    def _check_tag(self, node: yaml.Node, path: Path, kind: str) -> None:
        if node.tag != _PREFIX + kind:
            self._add(node, path, f"the tag {node.tag.replace(_PREFIX, '!!')!r} is not allowed here")

    def _add(self, node: yaml.Node, path: Path, message: str) -> None:
        mark = node.start_mark
        self.problems.append(Problem(self.file, mark.line + 1, mark.column + 1, path_text(path), message))

    def _give_up(self, node: yaml.Node, depth: int) -> None:
        mark = node.start_mark
        message = (
            f"the file is nested more than {_MAX_DEPTH} levels deep"
            if depth > _MAX_DEPTH
            else f"the file has more than {MAX_VALUES:,} values once its aliases are written out"
        )
        raise ConfigError([*self.problems, Problem(self.file, mark.line + 1, mark.column + 1, "", message)])


def _constructed(kind: str, node: yaml.ScalarNode) -> Any:
    value = getattr(_CONSTRUCTOR, f"construct_yaml_{kind}")(node)
    if isinstance(value, datetime):  # as JSON has it, so that a model from the cache says the same
        zoned = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return zoned.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            if key_node.value == step:
                return key_node, value_node
        merged = (value for key, value in node.value if key.tag == f"{_PREFIX}merge")
        parts = (
            part for value in merged for part in (value.value if isinstance(value, yaml.SequenceNode) else [value])
        )
        return next((found for part in parts if (found := _child(part, step)) is not None), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and 0 <= step < len(node.value):
        return None, node.value[step]
    return None
