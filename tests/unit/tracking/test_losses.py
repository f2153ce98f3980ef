"""What nothing could keep: logged, counted, and listed as long as the disk takes that."""

from __future__ import annotations

import pytest

from airflow_provider_pipetrack.records.handmade import change_from_record
from airflow_provider_pipetrack.tracking import losses
from airflow_provider_pipetrack.tracking.losses import LOSSES, list_of, losses_of, lost_in, lost_on_host
from tests.unit.tracking.site import RECORD


def test_what_was_lost_is_taken_back_from_its_list(tmp_path):
    changes = [change_from_record({**RECORD, "map_index": number}) for number in range(3)]
    LOSSES.log(changes[:2], {"a": "gone"}, tmp_path)
    with list_of(tmp_path).open("ab") as file:
        file.write(b'{"at": "2026-')  # as a full disk leaves it
    LOSSES.log(changes[2:], {}, tmp_path)
    assert [loss.change.columns["map_index"] for loss in losses_of(tmp_path)] == [0, 1, 2]
    assert [loss.reason for loss in losses_of(tmp_path)] == ["a: gone", "a: gone", "no location"]
    assert [*lost_in(list_of(tmp_path).read_text())] == changes


def test_a_list_of_losses_has_an_end(tmp_path, monkeypatch):
    change = change_from_record(RECORD)
    LOSSES.log([change], {}, tmp_path)
    monkeypatch.setattr(losses, "MAX_LIST", list_of(tmp_path).stat().st_size + 10)
    LOSSES.log([change], {}, tmp_path)
    assert (len(losses_of(tmp_path)), lost_on_host(tmp_path)) == (1, 2)


def test_a_loss_that_cannot_be_listed_is_in_the_log_all_the_same(tmp_path, caplog):
    (tmp_path / "host").write_text("in the way")
    LOSSES.log([change_from_record(RECORD)], {}, tmp_path / "host")
    assert sum("Keep this line: " in message for message in caplog.messages) == 1
    assert (losses_of(tmp_path / "host"), lost_on_host(tmp_path / "host")) == ([], 0)


@pytest.mark.parametrize("line", ["[" * 100_000, '{"at": "2026-01-01T00:00:00+00:00", "process": 1e999}', "5", "null"])
def test_odd_lines_of_a_log_are_no_losses(line, tmp_path):
    change = change_from_record(RECORD)
    LOSSES.log([change], {}, tmp_path)
    assert [*lost_in(f"{line}\n{list_of(tmp_path).read_text()}")] == [change]
