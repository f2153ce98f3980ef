"""Large batches into PostgreSQL: copied, and merged from a temporary table, with the same result as one by one."""

from __future__ import annotations

import random

import pytest

from airflow_provider_pipetrack.records.merge import fold
from airflow_provider_pipetrack.storage import postgres as postgres_module
from airflow_provider_pipetrack.testing.events import attempt, facts

ATTEMPTS = 60


@pytest.fixture
def copies(monkeypatch) -> list[str]:
    """The tables that were merged into from a temporary one."""
    copied: list[str] = []
    real = postgres_module._copy

    def noting(cursor, table, *rest):
        copied.append(table)
        return real(cursor, table, *rest)

    monkeypatch.setattr(postgres_module, "_copy", noting)
    return copied


def events(seed: int) -> list:
    """Many attempts' events, shuffled, some of them twice."""
    made = [event for number in range(ATTEMPTS) for event in attempt(number)]
    random.Random(seed).shuffle(made)
    return [*made, *made[:50]]


def check(adapter) -> None:
    found = {record["record_id"]: record for record in adapter.read_tracking_records("orders")}
    assert len(found) == ATTEMPTS
    for number in range(ATTEMPTS):
        expected = fold(attempt(number))
        assert facts(found[expected["record_id"]]) == facts(expected)
    told = adapter.histories(list(found))
    assert len(told) == len({event["event_id"] for event in told}) == 5 * ATTEMPTS


@pytest.mark.usefixtures("psycopg3")
@pytest.mark.parametrize("table", [None, 'odd "name"; %s -- {x}'])
def test_a_large_batch_is_merged_as_single_changes_are(place_of, copies, table):
    adapter = place_of("postgres", table).adapter()
    adapter.load()
    adapter.apply(attempt(3)[2:])
    adapter.apply(events(1), owed=["another"])
    assert copies == [adapter.statements.history_name, adapter.statements.name]
    check(adapter)
    adapter.apply(events(2))
    check(adapter)
    assert adapter.count_owed() == ATTEMPTS
    adapter.close()


@pytest.mark.usefixtures("psycopg3")
def test_changes_that_are_all_new_are_copied_straight_into_the_history(place_of, copies):
    adapter = place_of("postgres").adapter()
    adapter.load()
    adapter.apply(events(5))
    assert copies == [adapter.statements.name]
    check(adapter)
    adapter.apply(events(6))
    assert copies[1:] == [adapter.statements.history_name, adapter.statements.name], "what is known is left out"
    check(adapter)
    adapter.close()


def test_a_user_who_may_make_no_temporary_table_is_served_row_by_row(place_of, copies, postgres, monkeypatch):
    place = place_of("postgres")
    owner = place.adapter()
    owner.load()
    owner.prepare()
    role = "pipetrack_without_temp"
    postgres.role(role)
    for table in (owner.statements.name, owner.statements.history_name):
        postgres.run(f"GRANT SELECT, INSERT, UPDATE ON {table} TO {role}")
    postgres.run("REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC")
    try:
        for name, value in postgres.environment(login=role).items():
            monkeypatch.setenv(name, value)
        adapter = place.adapter()
        adapter.load()
        adapter.apply(events(3))
        check(adapter)
        adapter.close()
    finally:
        postgres.run("GRANT TEMPORARY ON DATABASE postgres TO PUBLIC")
        owner.close()
    assert copies == []


def test_a_large_batch_that_is_refused_leaves_nothing_of_itself(place_of, copies):
    adapter = place_of("postgres").adapter()
    adapter.load()
    adapter.apply(attempt(0))
    broken = events(4)
    broken[7] = attempt(7)[0].__class__(
        record_id=broken[7].record_id,
        columns={**broken[7].columns, "map_index": "no number"},
        keys=broken[7].keys,
        by="task",
    )
    with pytest.raises(postgres_module.StorageError):
        adapter.apply(broken)
    assert len(adapter.read_tracking_records("orders")) == 1
    adapter.apply(events(4))
    check(adapter)
    adapter.close()
