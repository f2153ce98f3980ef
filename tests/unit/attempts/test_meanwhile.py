"""What an attempt does beside user code costs its end a little at most, and its mark says whether it is under way."""

from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, BaseOperator

from airflow_provider_pipetrack import TrackedOperator, settings
from airflow_provider_pipetrack.attempts import attempt as attempt_module
from airflow_provider_pipetrack.attempts import closing, dead, meanwhile
from airflow_provider_pipetrack.attempts.attempt import Attempt
from airflow_provider_pipetrack.callbacks import task as callbacks
from airflow_provider_pipetrack.compat import AirflowSkipException
from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.marks import left_on_host, set_mark


class Async(BaseOperator):
    is_async = True


@pytest.fixture
def attempt(tmp_path, monkeypatch):
    """Return what makes an attempt of a transfer, with its context."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))

    def make(name="load", operator=None):
        with DAG("d", schedule=None) as dag:
            load = TrackedOperator(task_id=name, operator=operator, transfer={})
        ti = SimpleNamespace(dag_id="d", run_id="r", task_id=name, map_index=-1, try_number=1, task=load, state="x",
                             start_date=utc_now(), get_first_reschedule_date=lambda context: None)  # fmt: skip
        made = load._pipetrack_attempt = Attempt(load, {"ti": ti, "dag": dag, "run_id": "r"}, load.pipetrack_spec,
                                                 resumed=False)  # fmt: skip
        return made

    return make


def journal():
    return settings.journal_dir() / settings.host_name()


def marks():
    folder = journal() / "open"
    return [*folder.iterdir()] if folder.exists() else []


def dies(made, name="died"):
    set_mark(journal(), RecordKey("d", "r", name), ("d",), made.store.chain()).let_go()


@pytest.mark.parametrize("end", ["complete", "fail", "skip", "pause"])
def test_an_attempt_is_marked_until_its_end_is_written_or_it_waits(attempt, monkeypatch, end):
    made = attempt()
    monkeypatch.setattr(made.rollback, "is_running", lambda: True)
    made.begin()
    assert len(marks()) == 1
    assert left_on_host(journal()) == []
    given = {"complete": None, "fail": ValueError("x"), "skip": AirflowSkipException("x")}
    getattr(made, end)(*([given[end]] if end in given else []))
    assert marks() == []


def test_one_that_airflow_has_given_up_is_left_for_others_to_close(attempt, monkeypatch):
    made = attempt()
    made.begin()
    monkeypatch.setattr(made.rollback, "is_running", lambda: False)
    made.fail(ValueError("x"))
    assert [left.key.name for left in left_on_host(journal())] == ["load"]


def test_an_orphan_leaves_its_mark_too(attempt, monkeypatch):
    made = attempt()
    made.begin()
    monkeypatch.setattr(attempt_module.os, "getppid", lambda: os.getpid())
    made.complete(None)
    assert [left.key.name for left in left_on_host(journal())] == ["load"]


def test_what_a_callback_of_its_process_ends_has_no_mark(attempt):
    made = attempt()
    made.begin()
    context = {**made.context, "exception": ValueError("before execute")}
    callbacks.record_failure(context)
    assert made.store.read_record("d/r/load/-1/1")["transfer_status"] == "failed"
    assert marks() == []


def test_the_end_of_the_run_takes_away_what_was_left(attempt, monkeypatch):
    made = attempt()
    made.begin()
    made.complete(None)
    dies(made)
    closing.close_open_records(made.task.dag, "r", "success")
    assert marks() == []


def test_a_location_that_hangs_keeps_the_end_waiting_for_a_little_only(attempt, monkeypatch):
    goes_on, asked = threading.Event(), []
    monkeypatch.setattr(meanwhile, "DEAD_LIMIT", 0.2)
    monkeypatch.setattr(dead, "close_dead", lambda left, *more: asked.append(left) or goes_on.wait(60))
    made = attempt()
    dies(made)
    made.begin()
    begun = time.monotonic()
    made.complete(None)
    assert 0.2 <= time.monotonic() - begun < 5
    assert made.end is not None
    assert [[left.key.name for left in found] for found in asked] == [["died"]]
    goes_on.set()


def test_an_async_one_leaves_its_event_loop_alone_and_asks_when_its_code_is_over(attempt, monkeypatch):
    goes_on, asked = threading.Event(), []
    monkeypatch.setattr(meanwhile, "DEAD_LIMIT", 0.2)
    monkeypatch.setattr(dead, "close_dead", lambda left, *more: asked.append((made.end, left)) or goes_on.wait(60))
    made = attempt(operator=Async)
    dies(made)
    before = set(threading.enumerate())
    made.begin()
    assert "pipetrack: closing" not in {thread.name for thread in set(threading.enumerate()) - before}
    dies(made, "died_meanwhile")
    assert asked == []
    begun = time.monotonic()
    made.complete(None)
    assert 0.2 <= time.monotonic() - begun < 5
    ((end, left),) = asked
    assert end is not None
    assert sorted(mark.key.name for mark in left) == ["died", "died_meanwhile"]
    goes_on.set()


def test_an_async_one_that_waits_for_a_later_process_asks_nothing(attempt, monkeypatch):
    monkeypatch.setattr(dead, "close_dead", lambda *given: pytest.fail("asked"))
    made = attempt(operator=Async)
    dies(made)
    made.begin()
    made.pause()
    assert [left.key.name for left in left_on_host(journal())] == ["died"]


def test_nothing_is_asked_where_nothing_was_left(attempt, monkeypatch):
    monkeypatch.setattr(dead, "close_dead", lambda *given: pytest.fail("asked"))
    first, second = attempt(), attempt("second")
    dies(first, "load")  # an earlier attempt of the same task, which the next one ends itself
    first.begin()
    second.begin()
    second.complete(None)
    first.complete(None)
    assert marks() == []


def test_an_end_of_which_nobody_knows_a_mark_is_written_all_the_same(attempt, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "file"))
    made = attempt()
    made.begin()
    made.complete(None)
    assert made.store.read_record("d/r/load/-1/1")["transfer_status"] == "completed"
