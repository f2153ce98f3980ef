"""Processes that are killed at every single step: a record for which True was returned is there exactly once."""

from __future__ import annotations

import random

import pytest

from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.tracking import journal as journal_module
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.crash.killing import check, every_step, record, run_and_kill

RANDOM_KILLS = 1000


@pytest.fixture(autouse=True)
def small_slots(monkeypatch):
    """Slots that are emptied and left behind after a few records, so that these steps are among the fatal ones."""
    monkeypatch.setattr(journal_module, "EMPTY_ABOVE", 2_000)
    monkeypatch.setattr(journal_module, "ROTATE_ABOVE", 5_000)


def writing(locations, folder, prefix, count=6):
    """Work that writes records one by one and says which of them are safe."""

    def work(say):
        with TrackingStore(locations, journal_dir=folder) as store:
            for step in range(count):
                name = f"{prefix}-{step}"
                if store.write_tracking_record(record(name)):
                    say(name)

    return work


def reconciling(locations, folder):
    def work(say):
        with TrackingStore(locations, journal_dir=folder) as store:
            store.reconcile(full=True)

    return work


def chains(tmp_path):
    first = f"sqlite||{tmp_path}/a/a.db||t"
    return {
        "in order": ([first], ()),
        "fallback that notes": ([first, f"sqlite||{tmp_path}/b.db||t"], ("a",)),
        "fallback that cannot note": ([first, f"local_file||{tmp_path}/b.json"], ("a",)),
        "nothing answers": ([first], ("a",)),
    }


@pytest.mark.parametrize("case", ["in order", "fallback that notes", "fallback that cannot note", "nothing answers"])
def test_killed_at_each_step_of_append_deliver_acknowledge_rotate_and_empty(tmp_path, case, report_count):
    locations, shut = chains(tmp_path)[case]
    for name in shut:
        (tmp_path / name).write_text("in the way")
    folder, safe, kills = tmp_path / "journal", [], -1
    for said in every_step(lambda number: writing(locations, folder, f"k{number}")):
        safe += said
        kills += 1
    for name in shut:
        (tmp_path / name).unlink()
    assert kills > 50
    check(locations, folder, safe)
    report_count(f"killed at each step of writing, {case}: {kills} kills, {len(safe)} promised, 0 lost")


def outage(root) -> tuple[list[str], list[str]]:
    """Make a chain whose first location was away and is back: some records wait, some are in the fallback."""
    root.mkdir()
    locations = [f"sqlite||{root}/a/a.db||t", f"sqlite||{root}/b.db||t"]
    names = [f"r{number}" for number in range(4)]
    (root / "a").write_text("in the way")
    for chain, some in ((locations[:1], names[:2]), (locations, names[2:])):
        with TrackingStore(chain, journal_dir=root / "journal") as store:
            store.submit([change_from_record(record(name)) for name in some], durable=True)
            store.flush()
    journal = journal_module.Journal(store.journal_folder)
    journal.append(b"nobody can read this", durable=True)
    journal.close()
    (root / "a").unlink()
    return locations, names


def test_a_reconcile_killed_at_each_step_of_draining_healing_and_setting_aside(tmp_path, report_count):
    fatal, steps = 0, None
    while steps is None:
        fatal += 1
        root = tmp_path / str(fatal)
        locations, names = outage(root)
        _, steps = run_and_kill(reconciling(locations, root / "journal"), fatal)
        # The entry that nobody can read may have been set aside before, or is now.
        check(locations, root / "journal", names, dead=1)
    assert fatal > 20
    report_count(f"killed at each step of a reconcile: {fatal - 1} kills, {4 * fatal} promised, 0 lost")


@pytest.mark.timeout(600)  # a machine that does more beside it takes minutes
def test_a_thousand_kills_at_random_steps(tmp_path, report_count):
    locations = [f"sqlite||{tmp_path}/a/a.db||t", f"sqlite||{tmp_path}/b.db||t"]
    folder, safe, killed = tmp_path / "journal", [], 0
    chosen = random.Random(20261125)
    number = 0
    while killed < RANDOM_KILLS:
        number += 1
        if number % 25 == 0:
            # The first location goes away for a while, and comes back with what it had.
            away = (tmp_path / "a").is_file()
            if away:
                (tmp_path / "a").unlink()
                if (tmp_path / "kept").exists():
                    (tmp_path / "kept").rename(tmp_path / "a")
            else:
                if (tmp_path / "a").exists():
                    (tmp_path / "a").rename(tmp_path / "kept")
                (tmp_path / "a").write_text("in the way")
        if number % 10 == 0:
            _, steps = run_and_kill(reconciling(locations, folder), chosen.randint(1, 40))
        else:
            said, steps = run_and_kill(writing(locations, folder, f"n{number}", 3), chosen.randint(1, 45))
            safe += said
        killed += steps is None
    if (tmp_path / "a").is_file():
        (tmp_path / "a").unlink()
        (tmp_path / "kept").rename(tmp_path / "a")
    assert check(locations, folder, safe) == len(set(safe))
    report_count(f"killed at random steps: {killed} kills in {number} runs, {len(safe)} promised, 0 lost")
