"""What is particular to the two storages that are files: torn lines, folding, and what a person reads on failure."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from airflow_provider_pipetrack import TrackingStore
from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.configs import ConfigVersion
from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.storage import local_file
from airflow_provider_pipetrack.storage.locations import parse_location_string
from airflow_provider_pipetrack.storage.registry import make_adapter
from airflow_provider_pipetrack.testing.events import attempt
from tests.tracking_history import NOW
from tests.unit.tracking.site import largest_file


def made(text: str):
    return make_adapter(parse_location_string(text), connections={}, adapters={})


def change(name: str = "t1", **columns):
    return change_from_record({"pipeline_id": "orders", "transfer_unique_id": name, **columns})


def names(adapter) -> list[str]:
    return [record["transfer_unique_id"] for record in adapter.read_tracking_records("orders")]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new folder" / "tracking.json"


def test_a_database_that_was_removed_is_made_anew_and_not_written_where_nobody_finds_it(tmp_path):
    adapter = made(f"sqlite||{tmp_path}/t.db")
    adapter.apply([change("t1")])
    for file in tmp_path.glob("t.db*"):
        file.unlink()
    adapter.apply([change("t2")])
    assert names(adapter) == names(made(f"sqlite||{tmp_path}/t.db")) == ["t2"]
    adapter.close()


def test_ends_are_flushed_to_the_disk_and_what_only_announces_or_begins_is_not(tmp_path, monkeypatch):
    adapter = made(f"sqlite||{tmp_path}/t.db")
    adapter.prepare()
    levels, execute = [], adapter._execute

    def noting(connection, statement, rows):
        levels.append(connection.execute("PRAGMA synchronous").fetchone()[0])
        execute(connection, statement, rows)

    monkeypatch.setattr(adapter, "_execute", noting)
    wanted = {"NORMAL": {1}, "FULL": {2}}
    for event, level in zip(attempt(), ("NORMAL", "NORMAL", "FULL", "FULL", "FULL"), strict=True):
        adapter.apply([event])
        assert set(levels) == wanted[level], event.event_id
        levels.clear()
    adapter.apply([attempt(1)[0], attempt(2)[2]])
    assert set(levels) == wanted["FULL"], "one end among them is enough"
    adapter.close()


def test_each_change_is_one_line_of_json(path):
    made(f"local_file||{path}").apply([change("t1"), change("t2")])
    lines = path.read_text().splitlines()
    assert [json.loads(line)["columns"]["transfer_unique_id"] for line in lines] == ["t1", "t2"]


def test_a_line_cut_anywhere_is_passed_over_and_removed_by_the_next_writer(path):
    adapter = made(f"local_file||{path}")
    adapter.apply([change("t1")])
    first = path.read_bytes()
    adapter.apply([change("t2")])
    whole = path.read_bytes()
    for length in [0, 1, len(first) - 1, *range(len(first), len(whole), 97), len(whole) - 1]:
        path.write_bytes(whole[:length])
        kept = ["t1"] if length >= len(first) else []
        assert set(names(adapter)) <= {"t1", "t2"}
        adapter.apply([change("t3")])
        assert names(adapter) == [*kept, "t3"], length
        assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_torn_line_longer_than_what_is_read_at_once_is_removed(path):
    adapter = made(f"local_file||{path}")
    adapter.apply([change("t1")])
    with path.open("ab") as file:
        file.write(b"x" * 200_000)
    adapter.apply([change("t2")])
    assert names(adapter) == ["t1", "t2"]


def test_lines_that_are_no_changes_are_passed_over(path):
    adapter = made(f"local_file||{path}")
    adapter.apply([change("t1")])
    with path.open("ab") as file:
        file.write(b'\n[]\n{}\n{"keys": 1}\nnull\n\xff\xfe\n')
    adapter.apply([change("t2")])
    assert names(adapter) == ["t1", "t2"]


@pytest.mark.parametrize("content", ['{"orders": [1, 2, 3]}', "id,amount\n1,20\n", "\n"])
def test_a_file_of_somebody_else_is_left_as_it_is(path, content):
    path.parent.mkdir()
    path.write_text(content)
    adapter = made(f"local_file||{path}")
    for use in (adapter.check, lambda: adapter.apply([change()])):
        with pytest.raises(
            StorageError, match="tracking.json is not pipetrack's and is left as it is; name another"
        ) as raised:
            use()
        assert not raised.value.transient
        assert path.read_text() == content
    assert names(adapter) == []


def test_a_full_disk_takes_all_changes_or_none(path):
    adapter = made(f"local_file||{path}")
    adapter.apply([change("t1")])
    before = path.read_bytes()
    with largest_file(len(before) + 100), pytest.raises(StorageError, match="File too large") as raised:
        adapter.apply([change("t2"), change("t3")])
    assert raised.value.transient
    assert path.read_bytes() == before
    adapter.apply([change("t4")])
    assert names(adapter) == ["t1", "t4"]


def test_a_large_file_is_folded_to_a_line_for_each_record(path, monkeypatch):
    adapter = made(f"local_file||{path}")
    changes = [change(f"t{number % 3}", records_succeeded=number) for number in range(30)]
    for one in changes:
        adapter.apply([one])
    with path.open("ab") as file:
        file.write(b"a note of somebody's\n")
    before = sorted(adapter.read_tracking_records("orders"), key=lambda record: record["record_id"])
    monkeypatch.setattr(local_file, "COMPACT_ABOVE", path.stat().st_size + 10)
    adapter.apply([])
    assert len(path.read_text().splitlines()) == 31
    adapter.apply(changes[-1:])
    assert len(path.read_text().splitlines()) == 4
    assert path.read_text().endswith("\na note of somebody's\n")
    after = sorted(adapter.read_tracking_records("orders"), key=lambda record: record["record_id"])
    assert after == before
    assert list(path.parent.iterdir()) == [path]


def test_who_may_write_to_a_file_may_do_so_when_it_has_been_folded(path, monkeypatch):
    adapter = made(f"local_file||{path}")
    adapter.apply([change("t1")])
    path.chmod(0o664)
    given = []
    monkeypatch.setattr(local_file.os, "fchown", lambda _, user, group: given.append((user, group)))
    monkeypatch.setattr(local_file, "COMPACT_ABOVE", path.stat().st_size + 10)
    group = path.stat().st_gid
    adapter.apply([change("t1")])
    assert len(path.read_text().splitlines()) == 1
    assert path.stat().st_mode & 0o777 == 0o664
    assert given == [(-1, group)]


@pytest.mark.parametrize("mode", [0o600, 0o660])
def test_configurations_beside_a_file_are_for_those_who_may_use_the_file(path, mode):
    adapter = made(f"local_file||{path}")
    adapter.apply([change("t1")])
    path.chmod(mode)
    for number in range(2):
        fields = {"pipeline_id": "p", "dag_id": "p", "pipeline_version": None, "stages": [], "config": {}}
        adapter.keep_config(ConfigVersion(config_hash=f"{number}", first_used_at=NOW, **fields))
    assert path.with_name("tracking.json.configs").stat().st_mode & 0o777 == mode
    assert len(adapter.config_versions("p")) == 2


def test_a_file_that_stays_large_is_not_folded_with_each_write(path, monkeypatch):
    adapter = made(f"local_file||{path}")
    adapter.apply([change(f"t{number}") for number in range(30)])
    monkeypatch.setattr(local_file, "COMPACT_ABOVE", path.stat().st_size // 2)
    files = set()
    for number in range(5):
        adapter.apply([change(f"more{number}")])
        files.add(path.stat().st_ino)
    assert len(files) == 1


def test_a_writer_that_waited_while_the_file_was_folded_writes_into_the_new_one(path, monkeypatch):
    first, second = made(f"local_file||{path}"), made(f"local_file||{path}")
    first.apply([change("t1")])
    with second._locked() as old:
        fresh = path.with_name("fresh")
        fresh.write_bytes(path.read_bytes())
        fresh.replace(path)
        assert not local_file._same_file(old, path)
    first.apply([change("t2")])
    assert names(second) == ["t1", "t2"]


def test_a_path_that_is_a_folder_or_below_a_file_is_explained(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="folder cannot be a file: Is a directory") as raised:
        made(f"local_file||{tmp_path}/folder").apply([change()])
    assert not raised.value.transient
    with pytest.raises(StorageError, match="cannot be a file: Not a directory|cannot be a file: File exists"):
        made(f"local_file||{tmp_path}/file/x.json").check()


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/full"])
def test_a_device_is_not_read_since_it_has_no_end(device):
    with pytest.raises(StorageError, match=f"{device} is a device or a pipe, not a file"):
        made(f"local_file||{device}").read_tracking_records("orders")


def test_sqlite_explains_what_stands_in_its_way(tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "damaged.db").write_bytes(b"this is no database" * 100)
    (tmp_path / "folder").mkdir()
    for name, words in {
        "file/t.db": f"the folder {tmp_path}/file cannot be a folder",
        "damaged.db": "the file is damaged or no SQLite file",
        "folder": "cannot be opened",
    }.items():
        with pytest.raises(StorageError) as raised:
            made(f"sqlite||{tmp_path}/{name}").apply([change()])
        assert words in raised.value.message
        assert not raised.value.transient


def test_sqlite_refuses_a_table_of_somebody_else(tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "t.db") as connection:
        connection.execute("CREATE TABLE pipeline_tracking (record_id TEXT PRIMARY KEY)")
    connection.close()
    with pytest.raises(StorageError, match="the table has other columns than pipetrack's") as raised:
        made(f"sqlite||{tmp_path}/t.db").apply([change()])
    assert not raised.value.transient
    assert "`pipetrack init` brings it up to date" in raised.value.message


def test_sqlite_on_a_full_disk_says_so_and_goes_on_when_there_is_room(tmp_path):
    adapter = made(f"sqlite||{tmp_path}/t.db")
    adapter.apply([change("t1")])
    many = [change(f"big{number}", stage_i_details="x" * 5_000) for number in range(100)]
    with largest_file(60_000), pytest.raises(StorageError) as raised:
        adapter.apply(many)
    assert raised.value.transient
    adapter.apply([change("t2")])
    assert names(adapter) == ["t1", "t2"]
    adapter.close()


def test_a_reconcile_lets_sqlite_look_at_how_its_table_has_grown(tmp_path):
    path = tmp_path / "t.db"
    with TrackingStore([f"sqlite||{path}||t"], journal_dir=tmp_path / "journal") as store:
        assert store.write_tracking_record({"pipeline_id": "orders", "transfer_unique_id": "a"})
        assert not store.reconcile().unreachable
        with closing(sqlite3.connect(path)) as database:
            looked_at = {name for (name,) in database.execute("SELECT DISTINCT tbl FROM sqlite_stat1")}
            assert looked_at == {"t"}
            database.execute("BEGIN IMMEDIATE")  # somebody else writes: statistics may wait
            store.legs[0].adapter.time_limit = 0.1
            store.legs[0].adapter.close()
            store.legs[0].adapter.tidy()
