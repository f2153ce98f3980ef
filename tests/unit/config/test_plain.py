"""The short way from YAML text to values gives what the long way gives, or leaves the text to it."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pipetrack.config import reader
from airflow_provider_pipetrack.errors import ConfigError

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=12),
    st.dates(),
    st.datetimes(),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)
BITS = st.sampled_from(
    ["a", "b:", "- ", "? ", ": ", "\n", "\n  ", "[", "]", "{", "}", ",", "&x ", "*x", "<<: ", "!!str ", "!t ", "'", '"', "#",
     "---\n", "...", "|", ">", "1", "1.5", "0x1F", "0o7", "12:30:00", "1_000", "off", "~", ".inf", "2024-02-31", "=", "%", "\t"]
)  # fmt: skip


def long_way(text):
    root = reader._compose(text, "p.yaml")
    builder = reader._Builder("p.yaml")
    return builder.build(root, (), 0), builder.problems


def typed(value):
    """A value with its types, since 1, 1.0 and True are equal."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return type(value), value


@given(VALUES, st.booleans())
def test_what_yaml_writes_is_read_alike(value, flow):
    text = yaml.safe_dump(value, default_flow_style=flow, allow_unicode=True)
    plain = reader._plain_values(text)
    if plain is not None:
        expected, problems = long_way(text)
        assert not problems
        assert typed(plain) == typed(expected)


@given(st.lists(BITS, max_size=14).map("".join))
def test_any_text_is_read_alike_or_left_to_the_long_way(text):
    plain = reader._plain_values(text)
    if plain is not None:
        expected, problems = long_way(text)
        assert not problems
        assert typed(plain) == typed(expected)


def test_an_ordinary_file_goes_the_short_way():
    assert reader._plain_values("a: [1, {b: 'x'}]\nc: off\n") == {"a": [1, {"b": "x"}], "c": False}


@pytest.mark.parametrize(
    "text",
    ["a: 1\na: 2", "a: &x 1", "a: !!str 1", "<<: {a: 1}", "[1]: 2", "a: 1\n---\nb: 2", "", "a: [", "a: 2024-02-31"],
)
def test_unusual_and_broken_text_goes_the_long_way(text):
    assert reader._plain_values(text) is None


def test_what_is_nested_too_deeply_or_too_large_is_said_by_the_long_way():
    with pytest.raises(ConfigError, match="nested more than 60 levels"):
        reader.read("[" * 70 + "]" * 70, "p.yaml")


def test_positions_are_known_after_the_short_way():
    document = reader.read("a: 1\nb:\n  - c: 2\n", "p.yaml")
    assert document.position(("b", 0, "c")) == (3, 8)
    assert document.position(("b", 0, "c"), key=True) == (3, 5)
    assert document.has(("b", 0))
    assert not document.has(("x",))
