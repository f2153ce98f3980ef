"""The statements of docs/operating.md that remove old records take them with their history, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from airflow_provider_pipetrack.testing.events import attempt

PAGE = Path(__file__).resolve().parents[3] / "docs" / "operating.md"


def statements(table: str) -> list[str]:
    """Return the statements of the page, as they are for a table of another name."""
    (block,) = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    named = block.replace("pipeline_tracking", table)
    return [text.strip() for text in named.split(";") if text.strip()]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_old_records_go_with_their_history(place_of, kind):
    adapter = place_of(kind).adapter()
    adapter.apply([*attempt(), *attempt(run_id="old")])
    table = adapter.statements.table
    old = f"UPDATE {table} SET created_timestamp = '2024-06-01 10:00:00+00:00' WHERE run_id = 'old'"
    for text in (old, *statements(table)):
        adapter._with_tables(lambda connection, text=text: adapter._command(connection, text))
    (left,) = adapter.read_tracking_records("orders")
    assert left["run_id"] == "manual__1"
    assert len(adapter.history(left["record_id"])) == 5
    assert adapter.history(left["record_id"].replace("manual__1", "old")) == []
    adapter.close()
