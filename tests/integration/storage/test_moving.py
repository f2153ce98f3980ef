"""Copying all tracking data to another storage, and exporting it: whole, resumable, verified."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from click.testing import CliRunner

from airflow_provider_pipetrack.cli.main import main
from airflow_provider_pipetrack.records.configs import ConfigVersion
from airflow_provider_pipetrack.testing.events import attempt
from airflow_provider_pipetrack.tracking import moving
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.integration.storage.conftest import USERS
from tests.integration.storage.worlds import NOON, world

NOW = datetime(2026, 3, 20, tzinfo=timezone.utc)
VERSION = ConfigVersion("c0ffee", "orders", "orders", "1.0", [["a", "b"]], {"variables": {"env": "prod"}}, NOON)


def run(*arguments: str):
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    return tmp_path


def filled(place) -> str:
    with TrackingStore([place.text]) as store:
        store.legs[0].call(lambda adapter: (adapter.apply(world(NOW)), adapter.keep_config(VERSION)), 60)
    return place.text


def contents(text: str) -> dict[str, str]:
    with TrackingStore([text]) as store:
        return {record["record_id"]: moving.content_hash(record) for record, _ in moving.all_records([store], {})}


@pytest.mark.parametrize(
    ("source", "target"),
    [("sqlite", "postgres"), ("postgres", "local_file"), ("local_file", "sqlite"), ("sqlite", "sqlite")],
)
def test_a_copy_has_all_records_their_history_and_configurations(home, place_of, source, target):
    source, target = filled(place_of(source)), place_of(target).text
    done = run("copy", source, target)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("21 records in the source: 21 copied, the rest was there; ")
    assert "1 configuration copied" in done.output
    has_history = "local_file" not in {source.partition("||")[0], target.partition("||")[0]}
    assert ("; 21 changes of history, " in done.output) == has_history
    assert ("No history was copied: the source or the target keeps none" in done.output) == (not has_history)
    assert contents(target) == contents(source)
    with TrackingStore([source]) as giver, TrackingStore([target]) as taker:
        assert taker.legs[0].call(lambda adapter: adapter.config_versions("orders"), 9) == [VERSION]
        if giver.legs[0].keeps_history and taker.legs[0].keeps_history:
            record_id = "orders/scheduled__2/load/1/3"
            assert [e["event_id"] for e in taker.history(record_id)] == [
                e["event_id"] for e in giver.history(record_id)
            ]
    again = json.loads(run("copy", source, target, "--output", "json").output)
    assert (again["records"], again["copied"], again["configs"], again["differing"]) == (21, 0, 0, [])
    assert again["source_hash"] == again["target_hash"]
    assert again["events"] == 0
    assert again["source_history_hash"] == again["target_history_hash"]
    assert bool(again["source_history_hash"]) == has_history


@pytest.mark.parametrize("target", ["local_file", "aws_s3", "mongodb", "postgres"])
def test_a_record_that_was_announced_twice_is_the_same_in_the_copy(home, place_of, target):
    place, target = place_of("sqlite"), place_of(target).text
    adapter = place.adapter()
    announced = attempt(1)[0]
    adapter.apply([announced])
    adapter.apply([replace(announced, at=announced.at + timedelta(days=1))])
    adapter.close()
    done = run("copy", place.text, target)
    assert (done.exit_code, done.stderr) == (0, "")
    assert contents(target) == contents(place.text)


@pytest.fixture
def attempts(home, place_of) -> str:
    """A place with two attempts and ten changes of them."""
    place = place_of("sqlite")
    adapter = place.adapter()
    adapter.apply([*attempt(1), *attempt(2)])
    adapter.close()
    return place.text


def test_a_copy_brings_the_history_of_records_that_are_there_already(attempts, place_of):
    between, target = place_of("local_file").text, place_of("sqlite").text
    assert run("copy", attempts, between).exit_code == 0
    assert run("copy", between, target).exit_code == 0
    done = json.loads(run("copy", attempts, target, "--output", "json").output)
    assert (done["copied"], done["events"], done["differing"]) == (0, 10, [])
    assert done["source_history_hash"] == done["target_history_hash"]
    with TrackingStore([target]) as store:
        told = {event["event_id"] for event in store.history("orders_dag/manual__1/load/2/1")}
    assert told >= {event.event_id for event in attempt(2)}


def test_a_history_that_does_not_arrive_whole_is_told(attempts, place_of, monkeypatch):
    from airflow_provider_pipetrack.storage.sqlite import SqliteAdapter

    target = place_of("sqlite").text
    take = SqliteAdapter.take
    with monkeypatch.context() as patched:
        patched.setattr(SqliteAdapter, "take", lambda self, records, events: take(self, records, events[1:]))
        done = run("copy", attempts, target)
    assert (done.exit_code, done.stderr.count("Differs: ")) == (1, 1)
    again = run("copy", attempts, target)
    assert (again.exit_code, "; 1 change of history, " in again.output) == (0, True), "it goes on where it was"


@pytest.mark.parametrize("kind", ["custom_storage", "plain_storage"])
def test_a_copy_to_a_storage_with_three_methods_is_read_back_by_its_pipelines(home, place_of, kind):
    with TrackingStore([place_of("sqlite").text]) as giver, TrackingStore([place_of(kind).text], adapters=USERS) as own:
        events = [*attempt(1), *attempt(2), *attempt(1, run_id="manual__2")]
        giver.legs[0].call(lambda adapter: adapter.apply(events), 60)
        for copied in (3, 0):
            done = moving.copy_records(giver, own, lambda number: None)
            assert (done.records, done.copied, done.differing) == (3, copied, [])
            assert done.source_hash == done.target_hash


def test_a_copy_that_was_broken_off_goes_on(home, place_of, monkeypatch):
    monkeypatch.setattr(moving, "_AT_ONCE", 4)
    source, target = filled(place_of("sqlite")), place_of("sqlite").text

    def stop(number):
        if number >= 8:
            raise KeyboardInterrupt

    with TrackingStore([source]) as giver, TrackingStore([target]) as taker:
        with pytest.raises(KeyboardInterrupt):
            moving.copy_records(giver, taker, stop)
        assert len(contents(target)) == 8
        done = moving.copy_records(giver, taker, lambda number: None)
    assert (done.records, done.copied) == (21, 13)
    assert contents(target) == contents(source)


def test_what_the_target_knows_better_stays(home, place_of):
    source, target = filled(place_of("sqlite")), place_of("sqlite").text
    run("copy", source, target)
    with TrackingStore([target]) as store:
        store.update_tracking_record("orders/scheduled__2/load/1/3", {"error_message": "seen later"})
    done = run("copy", source, target)
    assert (done.exit_code, "1 record of the target are newer and were kept" in done.output) == (0, True)
    with TrackingStore([target]) as store:
        assert store.read_record("orders/scheduled__2/load/1/3")["error_message"] == "seen later"


def test_a_copy_that_is_not_the_same_is_told(home, place_of, monkeypatch):
    from airflow_provider_pipetrack.storage.sqlite import SqliteAdapter

    source, target = filled(place_of("local_file")), place_of("sqlite").text
    take = SqliteAdapter.take
    monkeypatch.setattr(SqliteAdapter, "take", lambda self, records, events: take(self, records[1:], events))
    done = run("copy", source, target)
    assert done.exit_code == 1
    assert done.stderr.startswith("Differs: ")


def test_what_cannot_be_listed_cannot_be_copied(home, place_of, tmp_path):
    nothing = run("copy", f"sqlite||{tmp_path}/none.db||t", place_of("sqlite").text)
    assert (nothing.exit_code, "has no such file" in nothing.stderr) == (3, True)
    with TrackingStore([f"custom_storage||{tmp_path}/x.json"], adapters=USERS) as custom:
        with pytest.raises(
            moving.NotListedError, match="cannot list what it holds: its adapter has only the three methods"
        ):
            moving.copy_records(custom, custom, print)


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "local_file"])
def test_an_export_is_the_same_bytes_each_time_and_verifies(home, place_of, tmp_path, kind):
    location = filled(place_of(kind))
    manifests = []
    for name in ("one", "two"):
        done = run("export", str(tmp_path / name), "--location", location, "--output", "json")
        assert done.exit_code == 0
        manifests.append(json.loads(done.output))
    assert manifests[0]["files"] == manifests[1]["files"]
    data = (tmp_path / "one" / "records.ndjson").read_bytes()
    facts = manifests[0]["files"]["records.ndjson"]
    assert (facts["rows"], facts["sha256"]) == (21, hashlib.sha256(data).hexdigest())
    record = json.loads(data.splitlines()[0])
    assert record["record_id"] == "billing/scheduled__9/invoice/-1/1"
    assert manifests[0]["files"]["history.ndjson"]["rows"] == (0 if kind == "local_file" else 21)
    assert manifests[0]["without_history"] == ([location] if kind == "local_file" else [])
    shown = run("export", str(tmp_path / "one"), "--verify")
    assert (shown.exit_code, shown.output) == (0, f"{tmp_path}/one is as it was exported\n")


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_an_export_that_was_changed_is_found_out(home, place_of, tmp_path, form):
    location = filled(place_of("sqlite"))
    assert run("export", str(tmp_path / "out"), "--format", form, "--location", location).exit_code == 0
    path = tmp_path / "out" / f"records.{form}"
    assert run("export", str(tmp_path / "out"), "--verify").exit_code == 0
    path.write_bytes(path.read_bytes().replace(b"broken", b"repair"))
    (tmp_path / "out" / f"history.{form}").unlink()
    shown = run("export", str(tmp_path / "out"), "--verify")
    assert shown.exit_code == 1
    assert shown.output == (
        f"records.{form} is not as it was exported: its SHA-256 differs\nhistory.{form} is missing\n"
    )
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[-1])
    assert f"records.{form} has 22 rows instead of 21" in run("export", str(tmp_path / "out"), "--verify").output


def test_a_csv_is_read_by_others(home, place_of, tmp_path):
    location = filled(place_of("sqlite"))
    run("export", str(tmp_path / "out"), "--format", "csv", "--pipeline", "billing", "--location", location)
    with (tmp_path / "out" / "records.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert {row["pipeline_id"] for row in rows} == {"billing"}
    pay = next(row for row in rows if row["error_message"])
    assert (pay["error_message"], pay["transfer_start_timestamp"]) == ("100% broken", "2026-03-10T12:30:00+00:00")


def test_cells_that_are_long_or_have_ends_of_lines_are_exported_and_verified(home, place_of, tmp_path):
    progress, text = "at 5 %\rat 9 %", 'he said "no"\r\nand\nwent,'
    location = place_of("sqlite").text
    with TrackingStore([location]) as store:
        long = dict.fromkeys(("one", "two", "three"), "x" * 60000)
        for name, said in (("t1", progress), ("t2", text)):
            record = {"pipeline_id": "orders", "transfer_unique_id": name, "error_message": said, **long}
            store.write_tracking_record(record)
    for form in ("csv", "ndjson"):
        folder = tmp_path / form
        assert run("export", str(folder), "--format", form, "--location", location).exit_code == 0
        shown = run("export", str(folder), "--verify")
        assert (shown.exit_code, shown.output) == (0, f"{folder} is as it was exported\n")
    before = csv.field_size_limit(10**6)
    try:
        for name in ("records.csv", "history.csv"):
            with (tmp_path / "csv" / name).open(newline="") as file:
                assert len(list(csv.reader(file))) == 3
        with (tmp_path / "csv" / "records.csv").open(newline="") as file:
            assert [row["error_message"] for row in csv.DictReader(file)] == [progress, text]
    finally:
        csv.field_size_limit(before)


def test_an_export_has_what_waits_in_the_journal_and_names_who_was_not_read(home, tmp_path):
    (tmp_path / "down").write_text("in the way")
    location = f"sqlite||{tmp_path}/down/a.db||t"
    with TrackingStore([location]) as store:
        store.write_tracking_record({"pipeline_id": "orders", "transfer_unique_id": "t1"})
    done = run("export", str(tmp_path / "out"), "--location", location)
    assert done.exit_code == 3
    assert json.loads((tmp_path / "out" / "records.ndjson").read_text())["transfer_unique_id"] == "t1"
    (told,) = (json.loads(line) for line in (tmp_path / "out" / "history.ndjson").read_text().splitlines())
    assert (told["record_id"], told["columns"]["transfer_unique_id"]) == ("orders/none/t1/-1/1", "t1")
    assert list(json.loads((tmp_path / "out" / "manifest.json").read_text())["unreachable"]) == [location]


def test_an_export_that_a_location_breaks_off_leaves_nothing_in_the_way_of_the_next(
    home, place_of, tmp_path, monkeypatch
):
    from airflow_provider_pipetrack.errors import StorageError
    from airflow_provider_pipetrack.storage.sqlite import SqliteAdapter

    monkeypatch.setattr(moving, "_AT_ONCE", 4)
    location = filled(place_of("sqlite"))
    read, reads = SqliteAdapter.read_records, []

    def failing(self, *arguments):
        reads.append(arguments)
        if len(reads) == 3:
            raise StorageError(location, "is gone")
        return read(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(SqliteAdapter, "read_records", failing)
        broken = run("export", str(tmp_path / "out"), "--location", location)
    assert (broken.exit_code, "is gone" in broken.stderr) == (3, True)
    assert list((tmp_path / "out").iterdir()) == []
    assert run("export", str(tmp_path / "out"), "--location", location).exit_code == 0


def test_mistakes_get_a_sentence(home, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    full = run("export", str(tmp_path / "full"))
    assert (full.exit_code, full.stderr) == (2, f"Error: {tmp_path}/full is not empty; name a new folder\n")
    none = run("export", str(tmp_path / "none"), "--verify")
    assert (none.exit_code, "manifest.json cannot be read" in none.stderr) == (2, True)
    (tmp_path / "full" / "manifest.json").write_text('{"files": {"x": {"rows": null, "sha256": ""}}}')
    odd = run("export", str(tmp_path / "full"), "--verify")
    assert (odd.exit_code, "manifest.json cannot be read" in odd.stderr) == (2, True)
