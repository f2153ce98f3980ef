"""Which runs are about the past, by run type, schedule and dates."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG

from airflow_provider_pipetrack import TrackedOperator
from airflow_provider_pipetrack.attempts.later import Later
from airflow_provider_pipetrack.attempts.past import past_reason, period

END = datetime(2026, 3, 29, tzinfo=timezone.utc)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


class States(dict):
    """Airflow's task state store."""

    set = dict.__setitem__


def context(late=timedelta(0), run_type="scheduled", end=END, begin=None, **more):
    run = SimpleNamespace(
        run_type=run_type,
        start_date=(end or END) + late,
        data_interval_start=begin or end,
        data_interval_end=end,
    )
    return {"dag_run": run, **more}


@pytest.mark.parametrize(
    ("schedule", "more", "past"),
    [
        ("@daily", {"late": HOUR}, False),
        ("@daily", {"late": DAY}, False),
        ("@daily", {"late": DAY + HOUR}, True),
        ("0 6 * * 1", {"late": 6 * DAY}, False),
        ("0 6 * * 1", {"late": 8 * DAY}, True),
        ("0 6 * * 1-5", {"end": END + 4 * DAY + 6 * HOUR, "late": 2 * DAY}, True),
        ("0 6 * * 1-5", {"end": END + 5 * DAY + 6 * HOUR, "late": 2 * DAY}, False),
        ("@daily", {"end": END + 20 * HOUR, "late": 23 * HOUR}, False),
        ("*/10 * * * *", {"late": HOUR}, True),
        (2 * HOUR, {"late": HOUR}, False),
        (2 * HOUR, {"late": 3 * HOUR}, True),
        (None, {"late": HOUR}, False),
        (None, {"late": 2 * DAY}, True),
        (None, {"run_type": "manual", "late": 30 * DAY, "end": None}, False),
        (None, {"run_type": "asset_triggered", "end": None}, False),
        ("@daily", {"run_type": "backfill"}, True),
        ("@daily", {"begin": END - 7 * DAY, "late": 6 * DAY}, False),
        ("@daily", {"begin": END - 7 * DAY, "late": 8 * DAY}, True),
    ],
)
def test_a_run_is_about_the_past(schedule, more, past):
    dag = DAG("d", schedule=schedule, start_date=END - 100 * DAY)
    assert (past_reason(dag, context(**more)) is not None) is past


def test_the_reason_is_said():
    dag = DAG("d", schedule="@daily", start_date=END - 100 * DAY)
    assert past_reason(dag, context(run_type="backfill")) == "this run is a backfill"
    assert past_reason(dag, context(late=3 * DAY)) == (
        "its data ends at 2026-03-29 00:00, more than 1 day, 0:00:00 before the run started"
    )


def test_it_is_decided_once():
    states = States()
    dag = DAG("d", schedule="@daily", start_date=END - 100 * DAY)
    assert past_reason(dag, context(task_state_store=states)) is None
    assert past_reason(dag, context(late=30 * DAY, task_state_store=states)) is None
    assert past_reason(dag, context(late=30 * DAY)) is not None


def test_a_run_that_a_backfill_does_again_is_a_backfill_whatever_was_decided_before():
    states = States()
    dag = DAG("d", schedule="@daily", start_date=END - 100 * DAY)
    assert past_reason(dag, context(task_state_store=states)) is None
    assert past_reason(dag, context(run_type="backfill", task_state_store=states)) == "this run is a backfill"


def test_a_store_that_cannot_be_read_leaves_the_decision_to_airflows_start(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    nowhere = {"tracking_location": [f"sqlite||{tmp_path}/no/such/folder\0/t.db"]}
    with DAG("d", schedule="@daily", start_date=END - 100 * DAY) as dag:
        TrackedOperator(task_id="load", transfer=nowhere)
    late = context(late=3 * DAY)
    late["dag_run"].run_id = "r"
    assert past_reason(dag, late) is not None


def test_the_period_of_unusual_timetables():
    several = SimpleNamespace(timetables=[SimpleNamespace(delta=HOUR), SimpleNamespace(delta=DAY)])
    assert period(several, END, END) == DAY
    assert period(SimpleNamespace(timetable=SimpleNamespace(_delta=HOUR)), END, END) == HOUR
    assert period(SimpleNamespace(_expression="0 0 * * *", _timezone="Europe/Berlin"), END, END) == DAY
    assert period(object(), END, END) == DAY


def test_what_is_due_is_done_at_once_and_what_is_not_later():
    called = threading.Event()
    Later(-5.0, called.set)
    assert called.wait(10)
    called.clear()
    Later(0.05, called.set)
    assert called.wait(10)


def test_what_is_stopped_or_never_due_is_not_done():
    called = threading.Event()
    Later(0.2, called.set).stop()
    Later(1e300, called.set).stop()
    assert not called.wait(0.4)
