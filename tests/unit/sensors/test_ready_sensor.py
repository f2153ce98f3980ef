"""How TransferReadySensor waits, and what it asks; records are in a real SQLite."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from airflow_provider_pipetrack import TransferReadySensor
from airflow_provider_pipetrack.compat import AirflowSensorTimeout, TaskDeferred
from airflow_provider_pipetrack.sensors import ready
from airflow_provider_pipetrack.tracking.store import TrackingStore
from airflow_provider_pipetrack.triggers.ready import TransferReadyTrigger
from tests.integration.storage.worlds import stored


@pytest.fixture
def location(tmp_path, monkeypatch) -> str:
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    return f"sqlite||{tmp_path}/t.db"


@pytest.fixture
def write(location):
    def written(*changes):
        with TrackingStore([location]) as store:
            store.legs[0].call(lambda adapter: adapter.apply(list(changes)), 30)

    return written


def load(status: str, **columns):
    return stored("orders", 0, "load", status, stage_i_plus_1_details="mart", **columns)


def sensor(location: str, **more) -> TransferReadySensor:
    arguments = {"task_id": "wait", "pipeline_id": "orders", "stage": "mart", "tracking_location": [location]}
    return TransferReadySensor(**{**arguments, **more})


def test_it_waits_in_the_triggerer_and_gives_the_answer(location, write, monkeypatch):
    monkeypatch.setattr(ready, "triggers_may_ask", lambda: True)
    write(load("in_progress"))
    waiting = sensor(location, deferrable=True, poke_interval=0.05, timeout=60)
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute({"ds": "2026-03-01"})
    trigger = deferred.value.trigger
    assert deferred.value.timeout == timedelta(seconds=60)
    path, arguments = trigger.serialize()
    assert path == "airflow_provider_pipetrack.triggers.ready.TransferReadyTrigger"
    assert arguments["date"] == "2026-03-01"

    async def first_event():
        events = TransferReadyTrigger(**arguments).run()
        asking = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.2)
        assert not asking.done()
        await asyncio.to_thread(write, load("completed"))
        return await asyncio.wait_for(asking, 30)

    event = asyncio.run(first_event())
    answer = waiting.execute_complete({}, event.payload)
    assert (answer["ready"], answer["record_id"]) == (True, "orders/scheduled__0/load/-1/1")


def test_what_is_ready_needs_no_triggerer(location, write, monkeypatch):
    monkeypatch.setattr(ready, "triggers_may_ask", lambda: True)
    write(load("completed"))
    assert sensor(location, deferrable=True).execute({"ds": "2026-03-01"})["ready"]


def test_where_a_trigger_may_not_ask_it_is_rescheduled(location, monkeypatch):
    monkeypatch.setattr(ready, "triggers_may_ask", lambda: False)
    waiting = sensor(location, deferrable=True)
    assert (waiting.deferrable, waiting.mode) == (False, "reschedule")
    assert sensor(location).mode == "poke"


@pytest.mark.parametrize(("default", "given", "deferrable"), [("True", None, True), ("True", False, False),
                                                              ("False", None, False), ("False", True, True)])  # fmt: skip
def test_where_it_waits_is_airflows_default_unless_it_is_given(location, monkeypatch, default, given, deferrable):
    monkeypatch.setattr(ready, "triggers_may_ask", lambda: True)
    monkeypatch.setattr(ready, "airflow_option", lambda section, name: default)
    assert sensor(location, deferrable=given).deferrable is deferrable


def test_what_is_not_deferrable_waits_in_its_own_process(location, write):
    write(load("in_progress"))
    waiting = sensor(location, deferrable=False, poke_interval=0.05, timeout=0.1)
    with pytest.raises(AirflowSensorTimeout):
        waiting.execute({"ds": "2026-03-01"})


@pytest.mark.parametrize(
    ("date", "context", "is_done"),
    [
        (None, {"ds": "2026-03-01"}, True),
        (None, {"ds": "2026-03-02"}, False),
        (None, {}, True),
        ("2026-03-02", {"ds": "2026-03-01"}, False),
    ],
)
def test_the_date_is_the_runs_own_unless_it_is_given(location, write, date, context, is_done):
    write(load("completed"))
    assert sensor(location, date=date).poke(context).is_done == is_done


def test_less_is_accepted_when_asked_for(location, write):
    write(load("completed", is_partial=True))
    assert not sensor(location).poke({}).is_done
    assert sensor(location, accept_partial=True).poke({}).xcom_value["state"] == "partial"


def test_a_location_that_does_not_answer_is_named_in_the_log(tmp_path, location, capsys, caplog):
    broken = tmp_path / "broken.db"
    broken.write_text("this is no database, and long enough to be looked at" * 10)
    assert not sensor(f"sqlite||{broken}").poke({}).is_done
    logged = capsys.readouterr().out + caplog.text  # Airflow's logger prints where no task runs
    assert "broken.db||pipeline_tracking could not be asked" in logged
