"""Cleaning: whatever a user puts into a record, a storage can keep it."""

from __future__ import annotations

import json
import math
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from pathlib import PurePosixPath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pipetrack.records.clean import (
    MAX_ITEMS,
    MAX_JSON_TEXT,
    MAX_TEXT,
    clean_columns,
    clean_json,
    clean_value,
    plain_json,
)
from airflow_provider_pipetrack.records.columns import BY_NAME, COLUMNS


class Colour(Enum):
    RED = "red"


class Unreadable:
    def __repr__(self) -> str:
        return "<unreadable>"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("error_message", "plain", "plain"),
        ("error_message", b"caf\xc3\xa9 \xff", "café \ufffd"),
        ("error_message", "nul\0 and \ud800", "nul\ufffd and ?"),
        ("error_message", 7, "7"),
        pytest.param("error_message", 10**5000, "<int: ValueError>", id="long"),  # which Python does not write
        ("error_message", True, "True"),
        ("error_message", Colour.RED, "red"),
        ("error_message", None, None),
        ("error_message", PurePosixPath("/a/b"), "PurePosixPath('/a/b')"),
        ("records_succeeded", "12", 12),
        ("records_succeeded", 12.9, 12),
        ("records_succeeded", Decimal(12), 12),
        ("records_succeeded", 2**63 - 1, 2**63 - 1),
        ("records_succeeded", 2**63, None),
        ("records_succeeded", 10**400, None),
        ("records_succeeded", "many", None),
        ("records_succeeded", float("nan"), None),
        ("records_succeeded", float("inf"), None),
        ("records_succeeded", [1], None),
        ("actual_seconds", "1.5", 1.5),
        ("actual_seconds", float("-inf"), None),
        ("transfer_enabled", 0, False),
        ("transfer_enabled", "x", True),
        ("logical_date", datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=timezone.utc)),
        ("logical_date", "2026-01-01T02:00:00+02:00", datetime(2026, 1, 1, tzinfo=timezone.utc)),
        ("logical_date", "2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=timezone.utc)),
        ("logical_date", date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=timezone.utc)),
        ("logical_date", "tomorrow", None),
        ("logical_date", "0001-01-01T00:00:00+14:00", None),
        ("logical_date", 5, None),
    ],
)
def test_a_value_becomes_what_its_column_keeps(name, value, expected):
    cleaned = clean_value(name, value)
    assert cleaned == expected
    assert type(cleaned) is type(expected)
    if isinstance(cleaned, datetime):
        assert cleaned.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": (1, 2), 3: {4}}, {"a": [1, 2], "3": [4]}),
        ({"nan": math.nan, "inf": [math.inf]}, {"nan": None, "inf": [None]}),
        (2**63, str(2**63)),
        (-(2**63), -(2**63)),
        (Decimal("1.5"), 1.5),
        (datetime(2026, 1, 1), "2026-01-01T00:00:00+00:00"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), "0001-01-01T00:00:00+14:00"),
        (date(2026, 1, 1), "2026-01-01"),
        (timedelta(minutes=1), 60.0),
        (Colour.RED, "red"),
        (b"x\0", "x\ufffd"),
        (Unreadable(), "<unreadable>"),
        ([np.int64(3), np.bool_(True), np.float32(1.5)], [3, True, 1.5]),
        (np.datetime64("2026-01-01T00:00:00.000000000"), "np.datetime64('2026-01-01T00:00:00.000000000')"),
        (np.longdouble("1.5"), "np.longdouble('1.5')"),
        (True, True),
        (None, None),
    ],
)
def test_anything_becomes_plain_json(value, expected):
    assert clean_json(value) == expected


def test_a_long_text_is_cut_and_says_so():
    cleaned = clean_value("error_message", "x" * (MAX_TEXT + 10))
    assert cleaned == "x" * MAX_TEXT + f"… [cut by pipetrack: {MAX_TEXT + 10} characters in all]"
    assert clean_value("error_message", "x" * MAX_TEXT) == "x" * MAX_TEXT


def test_a_long_list_is_cut():
    assert len(clean_json(list(range(MAX_ITEMS + 1)))) == MAX_ITEMS
    assert len(clean_json({str(number): number for number in range(MAX_ITEMS + 1)})) == MAX_ITEMS


def test_many_long_texts_are_cut_and_short_ones_behind_them_are_kept():
    rows = [{"payload": "x" * 50_000, "id": f"row {number}"} for number in range(1000)]
    cleaned = clean_json({"rows": rows, "audited_at": "2026-01-01T00:00:00+00:00"})
    assert cleaned["rows"][0] == rows[0]
    assert cleaned["rows"][-1] == {
        "payload": "x" * 100 + "… [cut by pipetrack: 50000 characters in all]",
        "id": "row 999",
    }
    assert cleaned["audited_at"] == "2026-01-01T00:00:00+00:00"
    assert len(json.dumps(cleaned)) < 1.5 * MAX_JSON_TEXT
    # Texts of one place leave those of another column alone.
    assert clean_json(["x" * 50_000]) == ["x" * 50_000]


def test_texts_are_left_whole_for_who_looks_for_secrets_in_them():
    long = "x" * 2 * MAX_TEXT
    assert plain_json({"a": [long] * 20, "b": {1}}) == {"a": [long] * 20, "b": [1]}
    assert len(plain_json(list(range(MAX_ITEMS + 1)))) == MAX_ITEMS


def test_a_value_that_contains_itself_comes_to_an_end():
    endless: dict = {}
    endless["again"] = endless
    assert "[nested too deeply]" in json.dumps(clean_json(endless), ensure_ascii=False)


def test_many_values_in_deep_lists_are_not_multiplied():
    wide: list = [0]
    for _ in range(15):
        wide = [wide] * 10
    text = json.dumps(clean_json(wide))
    assert len(text) < 100 * MAX_ITEMS


def test_a_value_whose_own_methods_fail_does_no_harm():
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

        def __bool__(self) -> bool:
            raise RuntimeError("no")

        def __float__(self) -> float:
            raise RuntimeError("no")

    for column in COLUMNS:
        json.dumps(clean_value(column.name, Broken()), default=str)
    assert clean_json({"a": Broken(), "b": 1})["b"] == 1


def test_what_pandas_has_in_the_place_of_a_missing_value_is_none():
    pandas = pytest.importorskip("pandas")
    for missing in (pandas.NaT, pandas.NA, float("nan"), np.float64("nan"), Decimal("NaN"), Decimal("sNaN")):
        assert clean_json({"latest": missing, "rows": 0}) == {"latest": None, "rows": 0}
        texts = ("error_message", "logical_date", "records_failed", "extra_columns")
        assert [clean_value(name, missing) for name in texts] == [None] * 4
    for missing in (pandas.NaT, pandas.NA, float("nan")):
        assert clean_value("is_partial", missing) is None


def test_a_moment_of_pandas_is_kept_as_every_python_can_read_it():
    pandas = pytest.importorskip("pandas")
    moment = pandas.Timestamp("2026-01-01 02:00:00.123456789", tz="Europe/Berlin")
    cleaned = clean_value("logical_date", moment)
    assert cleaned == datetime(2026, 1, 1, 1, 0, 0, 123456, timezone.utc)
    assert type(cleaned) is datetime
    assert clean_json(moment) == "2026-01-01T01:00:00.123456+00:00"


def test_a_mapping_or_a_zone_whose_own_methods_fail_does_no_harm():
    class Changing(dict):
        def items(self):
            raise RuntimeError("dictionary changed size during iteration")

    class Nowhere(tzinfo):
        def utcoffset(self, moment):
            raise RuntimeError("no")

    assert clean_json({"a": Changing(b=1), "rows": 1}) == {"a": "{'b': 1}", "rows": 1}
    nowhere = datetime(2026, 1, 1, tzinfo=Nowhere())
    assert clean_value("logical_date", nowhere) is None
    assert clean_json({"at": nowhere, "rows": 1})["rows"] == 1


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes()
    | st.dates()
    | st.timedeltas()
    | st.decimals()
    | st.sampled_from([Colour.RED, Unreadable(), object(), type]),
    lambda inner: (
        st.lists(inner) | st.tuples(inner) | st.dictionaries(st.none() | st.text() | st.integers() | st.binary(), inner)
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from(sorted(BY_NAME)), anything))
def test_every_record_can_be_cleaned_and_cleaning_again_changes_nothing(columns):
    cleaned = clean_columns(columns)
    text = json.dumps(cleaned, default=lambda moment: moment.isoformat(), allow_nan=False)
    assert "\\u0000" not in text
    text.encode()
    for name, value in cleaned.items():
        if isinstance(value, datetime):
            assert BY_NAME[name].kind == "timestamp"
            assert value.utcoffset() == timedelta(0)
    assert clean_columns(cleaned) == cleaned
