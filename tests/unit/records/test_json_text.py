"""JSON text that programs read is what the standard library writes, whatever it holds."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from airflow_provider_pipetrack.records.json_text import readable_text_of


@pytest.mark.parametrize(
    "value",
    [
        {},
        [[], {}],
        {"größe": [{"a": 1}, {"b": {"c": []}}], "": None},
        [1, 2.5, 1e300, -0.0, 10**30, True, 'é\u2028"\\\x00\x7f, {"a": [1]}'],
        {"when": datetime(2026, 1, 1, tzinfo=timezone.utc), 1: (2, 3)},
        [float("nan"), float("inf")],  # which JSON does not know
        "\ud800",  # which has no UTF-8
    ],
)
def test_readable_text_is_that_of_the_standard_library(value):
    assert readable_text_of(value, str) == json.dumps(value, indent=2, default=str, ensure_ascii=False)
