"""The values of plain YAML text, straight from libyaml's events.

Plain is what nearly every pipeline file is: nested keys, lists and scalars, without aliases, tags, merged keys or keys
that appear twice. Anything else, and whatever is wrong, is left to the reader that composes nodes and knows positions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

_MERGE = "<<"


class NotPlain(Exception):  # noqa: N818  no error: the text is read another way
    """The text holds something else than plain values, or is broken."""


class PlainValues:
    """Reads the one document of a text.

    :param parser: a loader of PyYAML with the text.
    :param construct: gives the value of an unquoted scalar; raises :class:`NotPlain` for what is no value.
    :param most_values: how many values the text may have; ``deepest`` how deeply they may be nested.
    """

    def __init__(self, parser: Any, construct: Callable[[str], Any], *, most_values: int, deepest: int) -> None:
        self._next = parser.get_event
        self._construct = construct
        self._left = most_values
        self._deepest = deepest

    def read(self) -> Any:
        """Return the document's value.

        :raises NotPlain: when it is not plain, and when there is no document, or a second one.
        :raises yaml.YAMLError: when the text is broken.
        """
        self._expect(StreamStartEvent)
        self._expect(DocumentStartEvent)
        value = self._value(self._next(), self._deepest)
        self._expect(DocumentEndEvent)
        self._expect(StreamEndEvent)
        return value

    def _expect(self, kind: type[Any]) -> None:
        if type(self._next()) is not kind:
            raise NotPlain

    def _value(self, event: Any, depth: int) -> Any:
        self._left -= 1
        kind = type(event)
        if kind not in _VALUES or event.tag is not None or event.anchor is not None or not depth or self._left < 0:
            raise NotPlain
        if kind is ScalarEvent:
            return self._construct(event.value) if event.implicit[0] else event.value
        return self._mapping(depth) if kind is MappingStartEvent else self._sequence(depth)

    def _mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while True:
            event = self._next()
            if type(event) is MappingEndEvent:
                return found
            if type(event) is not ScalarEvent or event.tag is not None or event.anchor is not None:
                raise NotPlain
            key = event.value
            if key in found or key == _MERGE:
                raise NotPlain
            found[key] = self._value(self._next(), depth - 1)

    def _sequence(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while True:
            event = self._next()
            if type(event) is SequenceEndEvent:
                return found
            found.append(self._value(event, depth - 1))


_VALUES = frozenset((ScalarEvent, MappingStartEvent, SequenceStartEvent))
