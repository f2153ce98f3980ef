"""A record's history: what its locations keep, and what still waits in the journal."""

from __future__ import annotations

from airflow_provider_pipetrack.records.handmade import change_from_record, change_from_updates, event_of_change
from airflow_provider_pipetrack.records.history import explained
from airflow_provider_pipetrack.records.merge import record_of
from tests.unit.tracking.site import RECORD, RECORD_ID


def test_changes_that_wait_in_the_journal_are_shown_and_marked(site):
    store = site.store("a")
    start = change_from_record(RECORD)
    end = change_from_updates(record_of(start), {"transfer_status": "completed"})
    another = change_from_record({**RECORD, "transfer_unique_id": "t2"})
    store.submit([start], durable=True)
    assert store.flush() is True
    site.shut("a")
    store = site.store("a")
    store.submit([end, another], durable=True)
    assert store.flush() is False

    def shown():
        return [(e["status_before"], e["status_after"], e["waiting"]) for e in explained(store.history(RECORD_ID))]

    assert shown() == [(None, "completed", True)], "the location cannot be asked"
    site.open("a")
    assert shown() == [(None, "in_progress", False), ("in_progress", "completed", True)]
    assert store.reconcile().drained == 2
    assert shown() == [(None, "in_progress", False), ("in_progress", "completed", False)]


def test_a_change_by_hand_is_shown_with_the_configuration_of_its_record():
    start = change_from_record({**RECORD, "config_hash": "c0ffee"})
    end = change_from_updates(record_of(start), {"transfer_status": "completed"})
    audit = change_from_updates(record_of(end), {"audit_result": "matched"})
    told = explained([event_of_change(change) for change in (start, end, audit)])
    assert [event["config_hash"] for event in told] == ["c0ffee"] * 3
