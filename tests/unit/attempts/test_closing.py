"""Attempts that were left open are closed by Airflow's word, whoever asks, however often."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar

import pytest
from airflow.sdk import DAG, TaskGroup

from airflow_provider_pipetrack import TrackedOperator, maintenance, settings
from airflow_provider_pipetrack.attempts import closing
from airflow_provider_pipetrack.attempts.binding import binding_of
from airflow_provider_pipetrack.attempts.closing import close_stale
from airflow_provider_pipetrack.attempts.configuration import configuration_of
from airflow_provider_pipetrack.attempts.removed import may_be_removed, never_again
from airflow_provider_pipetrack.attempts.stores import store_for
from airflow_provider_pipetrack.attempts.versions import version_of
from airflow_provider_pipetrack.config import PipelineConfig, StageTransfer
from airflow_provider_pipetrack.dag import build_dag
from airflow_provider_pipetrack.notifications import alerts, late_run
from airflow_provider_pipetrack.notifications.late_run import tell_late_run
from airflow_provider_pipetrack.notifications.message import compose
from airflow_provider_pipetrack.notifications.targets import AlertKind
from airflow_provider_pipetrack.records.change import Authority, utc_now
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.openness import is_open, is_stale
from airflow_provider_pipetrack.records.queries.catalog import NEWEST_RECORDS
from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.tracking import pool as stores
from airflow_provider_pipetrack.tracking import upkeep
from airflow_provider_pipetrack.tracking.configs import keep_config
from airflow_provider_pipetrack.tracking.describe import (
    COMPLETED,
    FAILED,
    MAP_INDEXES,
    Content,
    Described,
    Outcome,
    end_change,
    pending_change,
    start_change,
    stop_event,
)
from airflow_provider_pipetrack.tracking.journal import Journal
from airflow_provider_pipetrack.tracking.marks import left_on_host, set_mark
from airflow_provider_pipetrack.tracking.questions import Questions
from airflow_provider_pipetrack.tracking.readiness import is_ready
from airflow_provider_pipetrack.tracking.store import TrackingStore

NOW = timedelta(0)
BASH = "airflow.providers.standard.operators.bash.BashOperator, operator_args: {bash_command: x}"


@pytest.fixture
def store(tmp_path):
    with TrackingStore([f"sqlite||{tmp_path}/tracking.db"], journal_dir=tmp_path / "journal") as made:
        yield made


def started(name="load", attempt=1, map_index=-1, run_id="r", dag_id="d", **more):
    described = Described(StageTransfer(name=name, **more), Content("p", transfer_unique_id=name))
    key = RecordKey(dag_id, run_id, name, map_index, attempt)
    return start_change(described, key, started=utc_now(), operator="x.Y", log_url=None)


def announced(name, run_id="r"):
    return pending_change(Described(StageTransfer(name=name), Content("p")), RecordKey("d", run_id, name))


def airflow(**states):
    """An Airflow that knows one run, ``r``."""
    return lambda dag_id, run_ids: {"r": states} if dag_id == "d" and "r" in run_ids else {}


def write(store, *changes):
    store.submit(list(changes), durable=False)
    store.flush()


def the(store, name="load", attempt=1, map_index=-1, run_id="r"):
    return store.read_record(RecordKey("d", run_id, name, map_index, attempt).record_id)


@pytest.mark.parametrize(
    ("state", "status", "said"),
    [
        ("failed", "failed", "the task ended without a word; Airflow says failed"),
        ("success", "completed", "Airflow says success; the task itself did not report its end"),
        ("up_for_retry", "failed", "Airflow retries"),
        ("skipped", "failed", "stopped: Airflow skipped the task while it ran, as after dagrun_timeout"),
        ("removed", "failed", "the task was removed from the Dag while it ran"),
        ("running", "in_progress", None),
        ("deferred", "in_progress", None),
        ("queued", "in_progress", None),
        (None, "in_progress", None),
    ],
)
def test_an_attempt_that_has_begun_ends_as_airflow_says(store, state, status, said):
    write(store, started())
    closed = close_stale([store], airflow(load=state), grace=NOW)
    record = the(store)
    assert (closed, record["transfer_status"]) == (int(said is not None), status)
    if said is None:
        assert record["closed_by"] is None
        return
    assert said in (record["decision"], record["error_message"])
    assert record["closed_by"] == "reconcile"
    assert record["transfer_end_timestamp"] is not None
    assert record["actual_seconds"] >= 0


@pytest.mark.parametrize(
    ("state", "status", "decision"),
    [
        ("skipped", "pending", "skipped before it began"),
        ("upstream_failed", "pending", "not run: an upstream failed"),
        ("success", "completed", "set to success without running"),
        ("scheduled", "pending", None),
        (None, "pending", None),
    ],
)
def test_one_that_has_not_begun_is_decided_about_only_when_airflow_has(store, state, status, decision):
    write(store, announced("load"))
    close_stale([store], airflow(load=state), grace=NOW)
    assert (the(store)["transfer_status"], the(store)["decision"]) == (status, decision)


def test_a_state_closes_the_latest_attempt_and_marks_the_earlier_ones(store):
    write(store, started(attempt=1), started(attempt=2), started(attempt=3))
    assert close_stale([store], airflow(load="success"), grace=NOW) == 3
    assert [the(store, attempt=n)["transfer_status"] for n in (1, 2, 3)] == ["failed", "failed", "completed"]
    assert the(store, attempt=1)["error_message"] == "a later attempt began"


def test_an_earlier_attempt_is_closed_while_the_latest_runs(store):
    write(store, started(attempt=1), started(attempt=2))
    assert close_stale([store], airflow(load="running"), grace=NOW) == 1
    assert [the(store, attempt=n)["transfer_status"] for n in (1, 2)] == ["failed", "in_progress"]


def test_each_map_index_has_a_state_of_its_own(store):
    write(store, *(started(map_index=n) for n in range(3)))
    assert close_stale([store], airflow(load_0="success", load_1="failed", load_2="running"), grace=NOW) == 2
    found = [the(store, map_index=n)["transfer_status"] for n in range(3)]
    assert found == ["completed", "failed", "in_progress"]


def test_what_airflow_does_not_know_is_left_alone(store):
    write(store, started(), started(run_id="of another Airflow"), started(dag_id="other"))
    assert close_stale([store], airflow(load="failed"), grace=NOW) == 1
    assert the(store, run_id="of another Airflow")["transfer_status"] == "in_progress"


def test_a_dag_that_cannot_be_asked_about_stops_no_other(store, caplog):
    write(store, started(), started(dag_id="broken"))

    def states(dag_id, run_ids):
        if dag_id == "broken":
            raise TimeoutError("no answer")
        return {"r": {"load": "failed"}}

    assert close_stale([store], states, grace=NOW) == 1
    assert "Airflow gives no states of broken: TimeoutError: no answer" in caplog.text


def test_runs_are_asked_for_in_parts(store):
    write(store, *(started(run_id=f"r{n}") for n in range(120)))
    asked = []

    def states(dag_id, run_ids):
        asked.append(len(run_ids))
        return {run_id: {"load": "failed"} for run_id in run_ids}

    assert close_stale([store], states, grace=NOW) == 120
    assert asked == [50, 50, 20]
    assert close_stale([store], states, grace=NOW) == 0


def test_an_attempt_is_left_alone_for_a_while(store):
    write(store, started())
    assert close_stale([store], airflow(load="failed")) == 0


def test_several_at_once_do_no_harm(tmp_path):
    def fresh():
        return TrackingStore([f"sqlite||{tmp_path}/tracking.db"], journal_dir=tmp_path / "journal")

    with fresh() as first, fresh() as second:
        write(first, *(started(run_id="r", name=f"t{n}") for n in range(40)))
        states = airflow(**{f"t{n}": "failed" if n % 2 else "success" for n in range(40)})
        threads = [threading.Thread(target=close_stale, args=([s], states), kwargs={"grace": NOW}) for s in (first, second)]  # fmt: skip
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        records = first.read_run("d", "r").records
        assert [r["transfer_status"] for r in sorted(records, key=lambda r: int(r["task_id"][1:]))] == [
            "failed" if n % 2 else "completed" for n in range(40)
        ]
        assert close_stale([first], states, grace=NOW) == 0


def test_a_later_transfer_of_the_run_closes_what_it_finds(store, monkeypatch):
    asked = []
    monkeypatch.setattr(closing, "GRACE", NOW)
    monkeypatch.setattr(
        closing, "task_states", lambda *run: asked.append(run) or {"load": "failed", "beside": "running"}
    )
    own = RecordKey("d", "r", "later")
    write(store, started("later"), announced("waits"))
    assert (closing.close_leftovers(store, own, ["p"]), asked) == (0, []), "nobody else has begun"
    write(store, started("load"), started("beside"))
    assert (closing.close_leftovers(store, own, ["p"]), asked) == (1, [("d", "r")])
    assert [the(store, name)["transfer_status"] for name in ("load", "beside", "later")] == [
        "failed", "in_progress", "in_progress",
    ]  # fmt: skip


def test_a_later_transfer_leaves_alone_what_has_only_just_been_written(store, monkeypatch):
    asked = []
    monkeypatch.setattr(closing, "task_states", lambda *run: asked.append(run) or {"load": "failed"})
    write(store, started("load"))
    own, now = RecordKey("d", "r", "later"), utc_now()
    assert (closing.close_leftovers(store, own, ["p"]), asked) == (0, [])
    monkeypatch.setattr(closing, "utc_now", lambda: now + closing.GRACE)
    assert closing.close_leftovers(store, own, ["p"]) == 1


@pytest.mark.parametrize(("days", "closed"), [(13, 1), (15, 0)])
def test_what_was_left_alone_for_weeks_is_left_to_people(store, monkeypatch, days, closed):
    write(store, started("load"))
    now = utc_now() + timedelta(days=days)
    monkeypatch.setattr(closing, "utc_now", lambda: now)
    assert close_stale([store], airflow(load="failed")) == closed


def test_a_late_writer_never_turns_a_failure_back(store):
    start = started()
    write(store, start)
    close_stale([store], airflow(load="failed"), grace=NOW)
    write(store, end_change(start, Outcome(COMPLETED, ended=utc_now()), by="task"))
    assert the(store)["transfer_status"] == "failed"
    assert the(store)["closed_by"] == "reconcile"


def test_the_tasks_own_word_on_a_success_knows_more_when_it_arrives(store):
    start = started()
    write(store, start)
    close_stale([store], airflow(load="success"), grace=NOW)
    partial = Outcome(COMPLETED, ended=utc_now(), records_succeeded=7, records_failed=3, is_partial=True)
    write(store, end_change(start, partial, by="task"))
    assert (the(store)["is_partial"], the(store)["records_succeeded"], the(store)["closed_by"]) == (True, 7, "task")


def test_an_end_in_another_location_counts(tmp_path):
    def at(*names):
        places = [f"sqlite||{tmp_path}/{name}.db" for name in names]
        return TrackingStore(places, journal_dir=tmp_path / "journal")

    start = started()
    with at("first") as first, at("second") as second, at("first", "second") as both:
        write(first, start)
        write(second, end_change(start, Outcome(FAILED, ended=utc_now(), error_message="my own"), by="task"))
        assert close_stale([both], airflow(load="failed"), grace=NOW) == 0
        assert both.read_record(start.record_id)["error_message"] == "my own"


def test_a_signal_leaves_a_trace_in_the_history_and_none_in_the_record(store):
    start = started()
    write(store, start, stop_event(start))
    assert (the(store)["transfer_status"], the(store)["decision"]) == ("in_progress", None)
    events = {event["changed_by"]: event for event in store.history(start.record_id)}
    assert events["on_kill"]["columns"]["decision"] == "asked to stop"


def test_an_attempt_is_closed_however_many_records_are_newer(store, monkeypatch):
    monkeypatch.setitem(NEWEST_RECORDS, "newest_records", 3)
    write(store, started("long"))
    write(store, *(started(f"t{number}") for number in range(5)))
    states = airflow(long="failed", **{f"t{number}": "running" for number in range(5)})
    assert close_stale([store], states, grace=NOW) == 1
    assert the(store, "long")["transfer_status"] == "failed"


def test_an_attempt_that_nobody_can_believe_in_any_more_is_stale(store):
    write(store, started(estimated_duration="1h"), started(name="long", estimated_duration="3d"),
          started(name="stream", estimated_duration="continuous"), announced("waits"))  # fmt: skip
    later = utc_now() + timedelta(days=1, minutes=1)
    assert is_stale(the(store), later)
    assert not is_stale(the(store), utc_now())
    assert not any(is_stale(the(store, name), later) for name in ("long", "stream", "waits"))


def test_maintenance_covers_every_chain_that_was_used_on_this_host(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(stores, "_STORES", {})
    own = stores.get_store((f"sqlite||{tmp_path}/own.db",), mode="fallback", connections={}, adapters={})
    default = stores.get_store((f"sqlite||{tmp_path}/pipetrack/tracking.db||pipeline_tracking",),
                               mode="fallback", connections={}, adapters={})  # fmt: skip
    write(own, started(name="own"))
    write(default, started(name="default"))
    monkeypatch.setattr(stores, "_STORES", {})  # as another process, which has used none of them
    monkeypatch.setattr(maintenance, "states_of_runs", airflow(own="failed", default="failed"))
    done = maintenance.run_maintenance()
    assert (done["closed"], done["unreachable"]) == (0, {}), "both are younger than the grace"
    monkeypatch.setattr(maintenance, "close_stale", lambda *asked, **more: close_stale(*asked, grace=NOW, **more))
    assert maintenance.run_maintenance()["closed"] == 2
    assert [the(s, name)["transfer_status"] for s, name in ((own, "own"), (default, "default"))] == ["failed"] * 2
    assert sorted((tmp_path / "pipetrack" / "journal" / "_chains").glob("*"))[0].stat().st_mode & 0o777 == 0o600


class OwnStorage(StorageAdapter):
    """A storage of a user's own with the three methods."""

    records: ClassVar[dict] = {}

    def write_tracking_record(self, record):
        self.records[record["record_id"]] = record
        return True

    def read_tracking_records(self, pipeline_id):
        return [record for record in self.records.values() if record["pipeline_id"] == pipeline_id]

    def update_tracking_record(self, transfer_id, updates):
        self.records[transfer_id].update(updates)
        return True


def test_maintenance_says_where_it_could_not_look_for_what_is_open(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(stores, "_STORES", {})
    monkeypatch.setattr(maintenance, "states_of_runs", airflow(load="failed"))
    own = {"own": f"{__name__}.OwnStorage"}
    write(stores.get_store(("own||x",), mode="fallback", connections={}, adapters=own), started())
    done = maintenance.run_maintenance()
    assert done["unreachable"] == {"own||x": "can only be asked about one pipeline at a time; name it"}


def test_what_waits_on_this_host_is_counted_once_for_all_chains(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setattr(stores, "_STORES", {})
    monkeypatch.setattr(maintenance, "states_of_runs", airflow())
    (tmp_path / "shut").write_text("in the way")
    for name in ("one", "two"):
        chain = (f"sqlite||{tmp_path}/shut/{name}.db",)
        store = stores.get_store(chain, mode="fallback", connections={}, adapters={})
        write(store, started(name=name))
        unreadable = Journal(store.journal_folder)
        unreadable.append(b"no entry", durable=True)
        unreadable.close()
    done = maintenance.run_maintenance()
    assert (done["waiting"], done["dead"]) == (2, 2)


def overdue(name, **more):
    described = Described(StageTransfer(name=name, estimated_duration="1m", **more), Content("p"))
    started = utc_now() - timedelta(hours=1)
    return start_change(described, RecordKey("d", "r", name), started=started, operator="x.Y", log_url=None)


def test_maintenance_tells_of_what_is_late_without_a_process(store, monkeypatch):
    told = []
    monkeypatch.setattr(maintenance, "tell_by_record", lambda kind, record, _: told.append((kind, record["task_id"])))
    write(store, *map(overdue, ("waits", "pokes", "runs", "gone")), started("in_time"))
    states = airflow(waits="deferred", pokes="up_for_reschedule", runs="running", gone=None, in_time="deferred")
    assert maintenance.tell_overdue([store], states) == 2
    assert sorted(told) == [("overdue", "pokes"), ("overdue", "waits")]


def test_a_late_run_is_told_to_everybody_whom_its_transfers_name(store, monkeypatch):
    raised = []
    monkeypatch.setattr(upkeep, "stores_of_host", lambda: [store])
    monkeypatch.setattr(alerts, "raise_alert", lambda targets, kind, record: raised.append((targets, kind, record)))
    done = started("done", transfer_process_email_alerts=("b@example.com",))
    write(store, overdue("slow", transfer_process_email_alerts=("a@example.com", "b@example.com")), done,
          end_change(done, Outcome(COMPLETED, ended=utc_now()), by="task"))  # fmt: skip
    asyncio.run(tell_late_run({"dag_run": {"dag_id": "d", "dag_run_id": "r"}, "deadline": {}}, 3600.0))
    ((targets, kind, record),) = raised
    assert sorted(targets.emails) == ["a@example.com", "b@example.com"]
    assert (kind, record["pipeline_id"], record["estimated_duration"]) == ("overdue", "p", "1h")
    assert record["decision"] == "1 of 2 transfers are completed; left: slow"
    assert compose(AlertKind(kind), record).subject == "[pipetrack] p: Run r of d has not ended in time"


def test_a_late_run_that_has_not_begun_is_told_by_what_earlier_runs_say(store, monkeypatch):
    raised, looked = [], []
    monkeypatch.setattr(upkeep, "stores_of_host", lambda: [store])
    monkeypatch.setattr(alerts, "raise_alert", lambda targets, kind, record: raised.append((targets.emails, record)))
    begin = started(run_id="earlier", transfer_process_email_alerts=("a@example.com",))

    async def pause(seconds):
        looked.append(seconds)
        write(store, begin)

    monkeypatch.setattr(late_run.asyncio, "sleep", pause)
    asyncio.run(tell_late_run({"dag_run": {"dag_id": "d", "dag_run_id": "new"}, "deadline": {}}, 60.0))
    assert looked == [20.0], "nothing was known at first"
    ((emails, record),) = raised
    assert (emails, record["run_id"], record["decision"]) == (
        ("a@example.com",), "new", "0 of 0 transfers are completed",
    )  # fmt: skip


TOLD = """
alerts:
  - {notifier: tests.integration.test_alerts.Notifier, on: [failed, rollback_owed, overdue], kwargs: {text: "{{ alert.kind }}"}}
  - {notifier: tests.integration.test_alerts.Notifier, on: [mismatched], kwargs: {text: "{{ alert.kind }}"}}
  - {notifier: tests.integration.test_alerts.Broken, on: [failed], kwargs: {text: a, secret: hush}}
stage_transfers:
  - {name: load, stage_i_details: shop, stage_i_plus_1_details: staging, rollback: shutil.rmtree, estimated_duration: 1m,
     transfer_process_email_alerts: [a@example.com]}
  - {name: keep, stage_i_details: shop, stage_i_plus_1_details: archive}
"""


@pytest.fixture
def kept(store, monkeypatch):
    """The store keeps the configuration of a pipeline with notifiers and a rollback; what is raised is returned."""
    monkeypatch.setattr("airflow_provider_pipetrack.notifications.stored._known", {})
    config = PipelineConfig.from_text(TOLD, "told.yaml")
    keep_config(store, version_of(config))
    raised = []

    def remember(targets, kind, record):
        raised.append(
            (
                kind,
                record["task_id"],
                targets.emails,
                [one["notifier"] for one in targets.deliveries(kind) if "to" not in one],
            )
        )

    monkeypatch.setattr(alerts, "raise_alert", remember)
    return config, raised


def of(config, name, attempt=1, ago=timedelta(0)):
    transfer = next(row for row in config.stage_transfers if row.name == name)
    described = Described(transfer, Content("told"), facts={"config_hash": config.config_hash})
    key = RecordKey("d", "r", name, -1, attempt)
    return start_change(described, key, started=utc_now() - ago, operator="x.Y", log_url=None)


def test_notifiers_are_told_of_what_maintenance_closes_and_what_is_owed_is_said(store, kept, caplog):
    config, raised = kept
    write(store, of(config, "load"), of(config, "keep"))
    assert close_stale([store], airflow(load="failed", keep="failed"), grace=NOW) == 2
    notifier = ["tests.integration.test_alerts.Notifier"]
    assert sorted(raised) == [
        ("failed", "keep", (), notifier),
        ("failed", "load", ("a@example.com",), notifier),
        ("rollback_owed", "load", ("a@example.com",), notifier),
    ]
    assert the(store)["decision"] == "rollback owed: the attempt ended before it could be rolled back"
    assert the(store, "keep")["decision"] is None
    said = [text for text in caplog.messages if "is not told by maintenance" in text]
    assert said == [
        "The notifier tests.integration.test_alerts.Broken of pipeline told is not told by maintenance: its arguments "
        "hold a secret, which is not kept with the configuration; put it into an Airflow connection"
    ]
    assert "hush" not in caplog.text


def test_one_that_is_retried_is_not_told_though_it_owes(store, kept):
    config, raised = kept
    write(store, of(config, "load"))
    close_stale([store], airflow(load="up_for_retry"), grace=NOW)
    assert the(store)["decision"].startswith("Airflow retries; rollback owed")
    assert raised == []


def test_one_that_airflow_calls_successful_owes_nothing(store, kept):
    config, raised = kept
    write(store, of(config, "load"))
    assert close_stale([store], airflow(load="success"), grace=NOW) == 1
    assert the(store)["decision"] == "Airflow says success; the task itself did not report its end"
    assert raised == []


def test_one_that_failed_before_it_began_owes_nothing(store, kept):
    config, raised = kept
    described = Described(config.stage_transfers[0], Content("told"), facts={"config_hash": config.config_hash})
    write(store, pending_change(described, RecordKey("d", "r", "load")))
    assert close_stale([store], airflow(load="failed"), grace=NOW) == 1
    assert the(store)["decision"] is None
    assert [(kind, name) for kind, name, *_ in raised] == [("failed", "load")]


def test_an_attempt_that_a_later_one_has_paid_for_owes_nothing(store, kept):
    config, raised = kept
    write(store, of(config, "load", 1), of(config, "load", 2))
    close_stale([store], airflow(load="running"), grace=NOW)
    assert (the(store)["error_message"], the(store)["decision"], raised) == ("a later attempt began", None, [])


def test_notifiers_are_told_of_what_is_late(store, kept):
    config, raised = kept
    write(store, of(config, "load", ago=timedelta(hours=1)))
    assert maintenance.tell_overdue([store], airflow(load="deferred")) == 1
    notifier = ["tests.integration.test_alerts.Notifier"]
    assert raised == [("overdue", "load", ("a@example.com",), notifier)]


def test_what_a_hand_written_dag_owes_is_said_under_the_ids_of_its_tasks(store, kept, monkeypatch):
    with DAG("d", schedule=None) as dag, TaskGroup("shop"):
        fields = {
            "name": "load_orders",
            "rollback": "shutil.rmtree",
            "transfer_process_email_alerts": ["a@example.com"],
        }
        load = TrackedOperator(task_id="load", transfer=fields)
        keep = TrackedOperator(task_id="keep", transfer={})
    made = configuration_of(load.pipetrack_spec, dag)
    keep_config(store, version_of(made))
    for task in (load, keep):
        described = Described(task.pipetrack_spec.transfer, Content("d"), facts={"config_hash": made.config_hash})
        key = RecordKey("d", "r", task.task_id)
        write(store, start_change(described, key, started=utc_now(), operator="x.Y", log_url=None))
    assert close_stale([store], airflow(**{"shop.load": "failed", "shop.keep": "failed"}), grace=NOW) == 2
    assert the(store, "shop.load")["decision"] == "rollback owed: the attempt ended before it could be rolled back"
    assert the(store, "shop.keep")["decision"] is None
    assert sorted(kept[1]) == [
        ("failed", "shop.keep", (), []),
        ("failed", "shop.load", ("a@example.com",), []),
        ("rollback_owed", "shop.load", ("a@example.com",), []),
    ]


def test_a_store_that_does_not_say_the_configuration_leaves_the_addresses(store, kept, monkeypatch):
    config, raised = kept
    monkeypatch.setattr("airflow_provider_pipetrack.notifications.stored.configs_among", lambda *_: [])
    write(store, of(config, "load"))
    close_stale([store], airflow(load="failed"), grace=NOW)
    assert raised == [("failed", "load", ("a@example.com",), [])]


@pytest.fixture
def away(tmp_path, monkeypatch, mocker):
    """A Dag of one transfer, its store, and a context in which the only location is away."""
    place = tmp_path / "place"
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", f"sqlite||{place}/tracking.db")
    text = "{defaults: {transfer_process_email_alerts: [a@b.c]}, stage_transfers: [{name: load, audit_enabled: false}]}"
    dag = build_dag(PipelineConfig.from_text(text, "d.yaml"))
    made = store_for(binding_of(dag).specs["load"])

    @contextmanager
    def location_away():
        made.flush()
        made.close_legs()
        place.rename(tmp_path / "elsewhere") if place.exists() else None
        place.write_text("in the way")
        yield
        place.unlink()
        (tmp_path / "elsewhere").rename(place)
        made.reconcile()

    return dag, made, location_away, mocker.patch.object(closing, "task_states")


def test_an_end_that_the_task_did_not_write_keeps_what_is_known_of_its_start(away):
    dag, made, *_ = away
    write(made, started())
    end = Outcome(FAILED, error_message="killed")
    told = closing.close_attempt(
        binding_of(dag).specs["load"], {"dag": dag, "run_id": "r"}, RecordKey("d", "r", "load"), end,
        by="dag callback", authority=Authority.AIRFLOW, log_url="http://log",
    )  # fmt: skip
    record = the(made)
    assert (record["transfer_status"], record["error_message"], record["operator"]) == ("failed", "killed", "x.Y")
    assert record["transfer_end_timestamp"] >= record["transfer_start_timestamp"]
    for found in (told, record):
        assert found["actual_seconds"] >= 0
        assert found["transfer_unique_id"] == "load", "as the attempt itself has resolved it"


def test_what_a_dead_process_has_left_is_kept_until_its_run_was_closed_in_every_location(away):
    dag, made, location_away, states = away
    states.return_value = {"load": "failed"}
    write(made, started())
    set_mark(made.journal_folder, RecordKey("d", "r", "load"), ["d"], made.chain()).let_go()
    with location_away():
        closing.close_open_records(dag, "r", "task_failure")
        assert len(left_on_host(made.journal_folder)) == 1
    closing.close_open_records(dag, "r", "task_failure")
    assert left_on_host(made.journal_folder) == []


@pytest.mark.parametrize("state", ["success", "failed", "upstream_failed", None])
@pytest.mark.parametrize("status", ["completed", "failed"])
def test_what_a_task_said_counts_more_than_the_guess_of_who_could_not_read_it(away, state, status):
    dag, made, location_away, states = away
    states.return_value = {"load": state}
    told = Outcome(status, records_succeeded=5, is_partial=True, decision="as the task says")
    write(made, end_change(started(dag_id="d"), told, by="task"))
    with location_away():
        closing.close_open_records(dag, "r", "success")
    record = the(made)
    assert (record["transfer_status"], record["decision"]) == (status, "as the task says")
    assert (record["records_succeeded"], record["is_partial"]) == (5, True)


def test_one_that_failed_before_it_began_is_closed_and_told_and_counts_when_it_runs_after_all(away):
    dag, made, _, states = away
    states.return_value = {"load": "failed"}
    closing.close_open_records(dag, "r", "task_failure")
    assert (the(made)["transfer_status"], the(made)["closed_by"]) == ("failed", "dag callback")
    assert len(list((settings.alerts_dir() / "waiting").glob("*.json"))) == 1
    write(made, end_change(started(dag_id="d"), Outcome("completed", records_succeeded=5), by="task"))
    assert (the(made)["transfer_status"], the(made)["records_succeeded"]) == ("completed", 5)


def test_what_was_taken_out_of_the_dag_while_its_run_went_on_is_closed_at_the_end(away):
    dag, made, _, states = away
    states.return_value = {"load": "success", "old": "removed", "by_hand": "success"}
    for name in ("old", "by_hand"):
        described = Described(StageTransfer(name=name), Content("p"), locations=made.shown_locations)
        write(made, pending_change(described, RecordKey("d", "r", name)))
    write(made, pending_change(Described(StageTransfer(name="old"), Content("p")), RecordKey("d", "r", "old", 1)))
    closing.close_open_records(dag, "r", "success")
    record = the(made, "old")
    assert (record["transfer_status"], record["decision"]) == ("pending", "removed from the Dag")
    assert record["closed_by"] == "dag callback"
    assert is_open(the(made, "by_hand")), "whoever wrote it knows"
    assert is_open(the(made, "old", map_index=1)), "it is kept elsewhere"


STAGE = {"stage_i_plus_1_details": "mart"}


def failed(made, name, map_index=-1, **outcome):
    described = Described(
        StageTransfer(name=name, **STAGE), Content("d", stage_i_plus_1_details="mart"), locations=made.shown_locations
    )
    key = RecordKey("d", "r", name, map_index)
    begun = start_change(described, key, started=utc_now(), operator="x.Y", log_url="http://log")
    write(made, end_change(begun, Outcome(FAILED, error_message="broken", **outcome), by="task"))


@pytest.mark.parametrize(
    ("states", "outcome", "run"),
    [
        ({"old": "removed"}, {}, "completed"),
        ({"old": "failed"}, {}, "failed"),
        ({}, {}, "failed"),
        ({"old": "removed"}, {"decision": "rollback owed: this attempt was asked to stop"}, "failed"),
        ({"old": "removed"}, {"decision": "x; rollback failed and is owed: OSError: gone"}, "failed"),
        ({"old": "removed"}, {"decision": "an earlier attempt may be owed a rollback"}, "failed"),
        ({"old": "removed"}, {"decision": "counts unknown: SELECT is not allowed"}, "completed"),
    ],
)
def test_a_failure_of_what_was_renamed_or_left_out_before_the_run_was_cleared_counts_no_more(
    away, states, outcome, run
):
    dag, made, _, of_airflow = away
    of_airflow.return_value = {"load": "success", **states}
    described = Described(StageTransfer(name="load", **STAGE), Content("d", stage_i_plus_1_details="mart"))
    write(made, end_change(start_change(described, RecordKey("d", "r", "load"), started=utc_now(), operator="", log_url=""),
                           Outcome(COMPLETED), by="task"))  # fmt: skip
    failed(made, "old", **outcome)
    for _ in range(2):
        closing.close_open_records(dag, "r", "success")
    assert [row["state"] for row in Questions(made).ask("runs", dag_id="d").rows] == [run]
    ready = is_ready("d", "mart", store=made, accept_pending_audit=True)
    assert ready.ready is (run == "completed"), ready
    assert the(made, "old")["error_message"] == "broken", "what happened stays"
    record = made.read_record(RecordKey("d", "r", "old", -1, 2).record_id, ["d"])
    assert (record is not None) is (run == "completed")
    if record is not None:
        assert (record["transfer_status"], record["decision"]) == ("pending", "removed from the Dag")
        assert (record["stage_i_plus_1_details"], record["transfer_start_timestamp"]) == ("mart", None)
        write(
            made, start_change(described, RecordKey("d", "r", "old", -1, 2), started=utc_now(), operator="", log_url="")
        )
        assert the(made, "old", attempt=2)["transfer_status"] == "in_progress", "it was put back, and begins after all"


def test_what_a_file_disables_after_it_failed_is_disabled_and_an_index_that_is_gone_has_not_failed(
    tmp_path, monkeypatch, mocker
):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", f"sqlite||{tmp_path}/tracking.db")
    rows = ["{name: load}", "{name: out, transfer_enabled: false}", "{name: each, expand: {doc_md: [a]}}"]
    text = f"{{defaults: {{audit_enabled: false}}, stage_transfers: [{', '.join(rows)}]}}"
    dag = build_dag(
        PipelineConfig.from_text(text.replace("{name: each,", f"{{name: each, operator: {BASH},"), "d.yaml")
    )
    made = store_for(binding_of(dag).specs["load"])
    states = {"load": "success", "out": "removed", "each_0": "success", "each_1": "removed"}
    mocker.patch.object(closing, "task_states").return_value = states
    for name, index in (("out", -1), ("each", -1), ("each", 1)):
        failed(made, name, index)
    write(made, end_change(started("each", attempt=2, map_index=0), Outcome(COMPLETED), by="task"))
    closing.close_open_records(dag, "r", "success")
    said = {(name, index): made.read_record(RecordKey("d", "r", name, index, 2).record_id, ["d"])["decision"]
            for name, index in (("out", -1), ("each", -1), ("each", 1))}  # fmt: skip
    assert made.read_record(RecordKey("d", "r", "each", 0, 2).record_id, ["d"])["audit_metadata"] == {MAP_INDEXES: 1}
    assert said == {("out", -1): "disabled", ("each", -1): "removed from the Dag", ("each", 1): "removed from the Dag"}


@pytest.mark.parametrize(
    ("states", "reason", "is_gone"),
    [
        ({"each_0": "removed", "each_1": "removed"}, "task_failure", False),
        ({"each_0": "removed", "each_1": "removed"}, "success", True),
        ({"each_0": "failed", "each_1": "removed"}, "task_failure", True),
    ],
)
def test_an_index_that_failed_is_not_gone_where_the_cleared_run_failed_before_all_of_them(
    tmp_path, monkeypatch, mocker, states, reason, is_gone
):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", f"sqlite||{tmp_path}/tracking.db")
    row = f"{{name: each, operator: {BASH}, expand: {{doc_md: [a, b]}}}}"
    text = f"{{defaults: {{audit_enabled: false}}, stage_transfers: [{row}]}}"
    dag = build_dag(PipelineConfig.from_text(text, "d.yaml"))
    made = store_for(binding_of(dag).specs["each"])
    mocker.patch.object(closing, "task_states").return_value = states
    failed(made, "each", 1)
    closing.close_open_records(dag, "r", reason)
    assert (made.read_record(RecordKey("d", "r", "each", 1, 2).record_id, ["d"]) is not None) is is_gone


def test_a_failure_that_was_retried_is_none_that_may_be_removed_whatever_the_order_of_the_records(away):
    dag, made, *_ = away
    failed(made, "old")
    failed(made, "each", 0)
    write(made, end_change(started("old", attempt=2), Outcome(COMPLETED), by="task"))
    records = made.read_run("d", "r").records
    for known in (records, records[::-1]):
        assert [record["task_id"] for record in may_be_removed(dag, known)] == ["each"]


BROKEN = {"transfer_status": FAILED}
STOPPED = {"transfer_status": COMPLETED, "audit_result": "mismatched", "audit_metadata": {"audit_ended": "failed"}}


@pytest.mark.parametrize(
    ("place", "ended", "states", "is_gone"),
    [
        (("old", -1), BROKEN, {"old": "removed"}, True),
        (("old", -1), STOPPED, {"old": "removed"}, True),
        (("old", -1), STOPPED, {"old": "success"}, False),
        (("load", -1), BROKEN, {"load": "failed"}, False),
        (("load", 0), BROKEN, {"load": "success", "load_0": "removed"}, True),  # it was mapped before
        (("load", 0), BROKEN, {"load": "success", "load_0": "failed"}, False),
        (("each", -1), BROKEN, {"each_0": "success", "each_1": "success"}, True),  # it was not mapped before
        (("each", -1), BROKEN, {"each": "upstream_failed"}, False),
        (("each", 0), BROKEN, {"each_0": "failed", "each_1": "success"}, False),
        (("each", 1), BROKEN, {"each_0": "success", "each_1": "failed"}, False),
        (("each", 1), STOPPED, {"each_0": "success", "each_1": "removed"}, True),
    ],
)
def test_only_the_failure_of_a_task_or_an_index_that_is_gone_counts_no_more(place, ended, states, is_gone):
    with DAG("d", schedule=None) as dag:
        TrackedOperator(task_id="load", transfer={})
        TrackedOperator.partial(task_id="each", python_callable=print).expand(op_args=[[1], [2]])
    key = RecordKey("d", "r", *place)
    record = {**pending_change(Described(StageTransfer(name=place[0]), Content("p")), key).columns, **ended}
    changes = list(never_again(dag, may_be_removed(dag, [record]), states, disabled=(), reason="success"))
    assert [change.record_id for change in changes] == [replace(key, attempt=2).record_id] * is_gone


def test_a_waiting_one_that_is_set_to_failed_and_cleared_is_what_its_run_says(store):
    write(store, announced("load"))
    close_stale([store], airflow(load="failed"), grace=NOW)
    assert the(store)["error_message"] == "failed before it began; Airflow says failed"
    write(store, end_change(started(), Outcome("completed"), by="task"))
    assert the(store)["transfer_status"] == "completed"


def test_what_airflow_says_of_an_attempt_that_never_began_stays_when_the_next_one_begins(away):
    dag, made, _, states = away
    states.return_value = {"load": "success"}
    closing.close_open_records(dag, "r", "success")
    assert the(made)["decision"] == "set to success without running"
    write(made, announced("waits"))
    close_stale([made], airflow(waits="failed"), grace=NOW)
    for name in ("load", "waits"):
        superseded = Outcome("failed", error_message="a later attempt began")
        base = pending_change(Described(StageTransfer(name=name), Content("p")), RecordKey("d", "r", name))
        write(made, end_change(base, superseded, by="task", authority=Authority.GUESS, sequence=0))
    assert the(made)["transfer_status"] == "completed"
    assert the(made, "waits")["error_message"] == "failed before it began; Airflow says failed"


TOO_LONG = "the run exceeded its dagrun_timeout"


@pytest.mark.parametrize(
    ("begun", "state", "reason", "ended"),
    [
        (True, "skipped", "timed_out", ("failed", None, f"stopped: {TOO_LONG}")),
        (False, "skipped", "timed_out", ("pending", f"not run: {TOO_LONG}", None)),
        (False, "skipped", "success", ("pending", "skipped before it began", None)),
        (True, "running", "timed_out", ("in_progress", None, None)),
        (False, "upstream_failed", "timed_out", ("pending", "not run: an upstream failed", None)),
        (False, None, "task_failure", ("pending", "not run: the run ended first", None)),
        (True, None, "task_failure", ("in_progress", None, None)),
    ],
)
def test_what_is_open_at_the_end_of_a_run_is_closed_by_why_it_ended(away, begun, state, reason, ended):
    dag, made, _, states = away
    states.return_value = {"load": state}
    write(made, started() if begun else announced("load"))
    closing.close_open_records(dag, "r", reason)
    record = the(made)
    assert (record["transfer_status"], record["decision"], record["error_message"]) == ended
    assert (record["transfer_end_timestamp"] is None) is (ended[0] != "failed")


@pytest.mark.parametrize(
    ("said", "status", "error"),
    [
        ("failed", "failed", "the disk is full"),
        ("completed", "failed", "the task ended without a word; Airflow says failed"),
    ],
)
def test_where_a_location_is_silent_the_tasks_own_word_counts_as_far_as_it_agrees(tmp_path, said, status, error):
    begun = started()
    (tmp_path / "shut").write_text("in the way")
    chain = [f"sqlite||{tmp_path}/shut/a.db", f"sqlite||{tmp_path}/b.db"]
    with TrackingStore(chain, journal_dir=tmp_path / "journal") as made:
        write(made, begun)
        close_stale([made], airflow(load="failed"), grace=NOW)
        assert the(made)["error_message"] == "the task ended without a word; Airflow says failed"
        message = error if said == "failed" else None
        write(made, end_change(begun, Outcome(said, error_message=message), by="task"))
        assert (the(made)["transfer_status"], the(made)["error_message"]) == (status, error)
