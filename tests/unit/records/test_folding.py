"""The SQL for Snowflake: names mean what they mean in its SQL, and no name becomes part of a statement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pipetrack.records.columns import COLUMNS
from airflow_provider_pipetrack.records.folding import FoldingStatements, identifier


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("prod_db", "PROD_DB"),
        ("Mixed_1$", "MIXED_1$"),
        ('"small"', "small"),
        ('"with ""quotes"""', 'with "quotes"'),
        ("1st", "1st"),
        ("two words", "two words"),
        ("größe", "größe"),
        ('"', '"'),
        ('""', '""'),
    ],
)
def test_a_name_means_what_it_means_in_sql(written, meant):
    assert identifier(written) == meant


def test_tables_of_a_plain_name_are_plain_too():
    made = FoldingStatements.of("db", "public", "tracking")
    assert made.name == '"DB"."PUBLIC"."TRACKING"'
    assert made.history_name == '"DB"."PUBLIC"."TRACKING_HISTORY"'
    assert FoldingStatements.of("db", "public", '"small"').owed_name == '"DB"."PUBLIC"."small_owed"'


@given(*[st.text(min_size=1, max_size=20)] * 3)
def test_every_name_is_quoted_whole(database, schema, table):
    made = FoldingStatements.of(database, schema, table)
    for name in (made.name, made.history_name, made.owed_name, made.configs_name):
        rest = name
        for _ in range(3):
            assert rest.startswith('"')
            # What stands in quotes ends at the first quote that is not doubled.
            end = 1
            while rest[end] != '"' or rest[end : end + 2] == '""':
                end += 2 if rest[end] == '"' else 1
            rest = rest[end + 1 :].removeprefix(".")
        assert rest == ""


def test_the_view_has_every_column_once():
    head = FoldingStatements.of("db", "public", "t").fold.partition(" FROM (")[0]
    for column in COLUMNS:
        assert head.count(f" AS {column.name},") + head.endswith(f" AS {column.name}") == 1
