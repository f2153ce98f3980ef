"""What a location of each kind keeps for another that lacks it, as a bounded list."""

from __future__ import annotations

import pytest

from airflow_provider_pipetrack.tracking import owed
from airflow_provider_pipetrack.tracking.owed import owed_to_others
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.integration.storage.worlds import NOON, stored

NAMES = [f"load_{number}" for number in range(7)]


@pytest.fixture(params=["sqlite", "postgres", "mongodb", "aws_s3"])
def indebted(request, place_of, tmp_path):
    """A chain whose first location is down, so that the second holds what both should."""
    (tmp_path / "shut").write_text("in the way")
    down, keeper = f"sqlite||{tmp_path}/shut/t.db||t", place_of(request.param)
    with TrackingStore([down, keeper.text], journal_dir=tmp_path / "journal") as store:
        for name in NAMES:
            store.submit([stored("orders", 0, name, "completed")], durable=True)
        assert store.flush(30)
        yield store


def test_what_is_owed_is_listed_whole(indebted):
    found = owed_to_others([indebted])
    assert sorted(row["task_id"] for row in found.rows) == sorted(NAMES)
    row = found.rows[0]
    assert (row["location"], row["lacked_by"]) == (indebted.legs[1].name, indebted.legs[0].name)
    assert (row["pipeline_id"], row["transfer_status"], row["created_timestamp"]) == ("orders", "completed", NOON)
    assert [row["stored_at"] for row in found.rows] == sorted((row["stored_at"] for row in found.rows), reverse=True)
    assert found.left == {}
    assert [*found.unreachable] == [indebted.legs[0].name]


def test_of_more_than_is_listed_the_number_is_said(indebted, monkeypatch):
    monkeypatch.setattr(owed, "MOST_OWED", 3)
    found = owed_to_others([indebted])
    assert len(found.rows) == 3
    assert found.left == {indebted.legs[1].name: len(NAMES) - 3}
