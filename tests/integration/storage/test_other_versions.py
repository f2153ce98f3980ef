"""What another version of pipetrack has written: during an upgrade both write, and each reads what the other left."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.tracking.journal import Journal
from airflow_provider_pipetrack.tracking.shared import entry_payload
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.integration.storage.conftest import BUILT_IN


def written_elsewhere(name: str) -> dict[str, Any]:
    """A change as a version wrote it that does not know ``decision``, and knows ``future``."""
    record = {"pipeline_id": "orders", "transfer_unique_id": name, "transfer_status": "failed", "error_message": "no"}
    data = change_from_record(record).to_json()
    del data["columns"]["decision"]
    data["columns"]["future"] = {"more": 1}
    data["keys"]["future"] = "2.1.0"
    return data


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_storage_takes_it_and_gives_it_back(place_of, kind):
    data = written_elsewhere("t1")
    adapter = place_of(kind).adapter()
    adapter.apply([Change.from_json(data)])
    (record,) = adapter.read_tracking_records("orders")
    assert (record["transfer_status"], record["error_message"], record["decision"]) == ("failed", "no", None)
    assert "future" not in record
    if adapter.keeps_history:
        (event,) = adapter.histories([record["record_id"]])
        columns = event["columns"]
        # As it was, for whoever knows more of it.
        assert (columns if isinstance(columns, dict) else json.loads(columns)) == data["columns"]
    adapter.close()


def test_what_waits_in_the_journal_is_delivered_and_no_dead_letter(tmp_path):
    with TrackingStore([f"sqlite||{tmp_path}/tracking.db||t"], journal_dir=tmp_path / "journal") as store:
        journal = Journal(store.journal_folder)
        entry = json.loads(entry_payload(store.chain(), ()))
        entry["changes"] = [written_elsewhere("t1")]
        journal.append(json.dumps(entry, separators=(",", ":")).encode(), durable=True)
        journal.close()
        assert [record["error_message"] for record in store.read_tracking_records("orders")] == ["no"]
        summary = store.reconcile()
        assert (summary.drained, summary.dead, summary.waiting) == (1, 0, 0)
        (record,) = store.legs[0].adapter.read_tracking_records("orders")
        assert record["error_message"] == "no"


def test_lines_of_a_file_are_read(tmp_path):
    path = tmp_path / "tracking.json"
    path.write_text(json.dumps(written_elsewhere("t1"), separators=(",", ":")) + "\n")
    with TrackingStore([f"local_file||{path}"], journal_dir=tmp_path / "journal") as store:
        assert [record["error_message"] for record in store.read_tracking_records("orders")] == ["no"]
