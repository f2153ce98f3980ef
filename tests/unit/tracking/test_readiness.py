"""Whether a stage is ready for a date, from records in a real SQLite."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone

import pytest

from airflow_provider_pipetrack import is_ready
from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.records.merge import record_of
from airflow_provider_pipetrack.records.queries import Asked
from airflow_provider_pipetrack.tracking.questions import Questions
from airflow_provider_pipetrack.tracking.readiness import ReadyState
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.integration.storage.worlds import NOON, stored

STAGE = {"stage_i_plus_1_details": "mart"}


@pytest.fixture
def store(tmp_path):
    with TrackingStore([f"sqlite||{tmp_path}/t.db"], journal_dir=tmp_path / "journal") as made:
        yield made


@pytest.fixture
def ready(store):
    def asked(*changes, date=None, **more):
        if changes:
            store.legs[0].call(lambda adapter: adapter.apply(list(changes)), 30)
        return is_ready("orders", "mart", date, store=store, **more)

    return asked


def load(run=0, status="completed", **columns):
    return stored("orders", run, columns.pop("name", "load"), status, **STAGE, **columns)


def test_a_stage_that_nothing_fills_is_missing(ready):
    found = ready()
    assert (found.ready, found.state, found.run_id, found.is_partial) == (False, ReadyState.MISSING, None, None)
    assert found.reason == "no run of pipeline 'orders' has a transfer to stage 'mart'"
    assert ready(date="2026-03-01").reason == f"{found.reason} for 2026-03-01"


def test_a_ready_stage_says_what_it_rests_on(ready):
    found = ready(
        load(records_succeeded=90, records_failed=0, can_access_historical_data=False),
        load(name="more", records_succeeded=5, actual_seconds=90.0, audit_enabled=True, audit_result="matched"),
        stored("orders", 0, "reader", "failed", stage_i_details="mart"),
        stored("other", 0, "load", "failed", **STAGE),
    )
    assert (found.ready, found.state, found.reason) == (
        True,
        ReadyState.READY,
        "stage 'mart' has its data, 'more' ended last",
    )
    assert (found.dag_id, found.run_id, found.data_date) == ("orders", "scheduled__0", NOON)
    assert (found.is_partial, found.audit_result, found.can_access_historical_data) == (False, "matched", False)
    assert (found.records_succeeded, found.records_failed) == (95, 0)
    assert found.record_id == "orders/scheduled__0/more/-1/1"
    assert found.as_dict()["state"] == "ready"
    assert found.as_dict()["data_date"] == "2026-03-01T12:00:00+00:00"


AUDITED = {"audit_enabled": True}


@pytest.mark.parametrize(
    ("change", "state", "reason"),
    [
        (load(name="b", status="pending"), "in_progress", "transfer 'b' has not completed"),
        (load(name="b", status="in_progress"), "in_progress", "transfer 'b' has not completed"),
        (load(name="b", status="failed", error_message="ouch"), "failed", "transfer 'b' failed: ouch"),
        (
            load(name="b", status="failed", error_message="KeyError: 'total'\n  in load", decision="rolled back"),
            "failed",
            "transfer 'b' failed: KeyError: 'total'",
        ),
        (
            load(name="b", status="failed", decision="no record succeeded"),
            "failed",
            "transfer 'b' failed: no record succeeded",
        ),
        (
            load(name="b", status="pending", decision="not run: an upstream failed"),
            "not_run",
            "transfer 'b' does not run: not run: an upstream failed",
        ),
        (load(name="b", **AUDITED), "audit_pending", "the audit of transfer 'b' has not decided"),
        (
            load(
                name="b", **AUDITED, audit_result="pending", audit_metadata={"audit_ended": "failed", "error": "gone"}
            ),
            "audit_pending",
            "the audit of transfer 'b' gave no answer: gone",
        ),
        (
            load(
                name="b",
                **AUDITED,
                audit_result="pending",
                audit_metadata={"audit_ended": "passed", "warning": "the audit was removed from the Dag"},
            ),
            "audit_pending",
            "the audit of transfer 'b' has not decided: the audit was removed from the Dag",
        ),
        (
            load(name="b", audit_result="pending", audit_metadata={"audit_ended": "failed", "error": "gone"}),
            "audit_pending",
            "the audit of transfer 'b' gave no answer: gone",
        ),
        (
            load(name="b", audit_result="pending", audit_metadata={"audit_ended": "not yet"}),
            "audit_pending",
            "the audit of transfer 'b' has not decided",
        ),
        (
            load(name="b", **AUDITED, audit_result="mismatched"),
            "mismatched",
            "the audit of transfer 'b' found a mismatch",
        ),
        (
            load(name="b", is_partial=True, decision="partial data accepted: 9 of 10 records"),
            "partial",
            "transfer 'b' delivered a part of its data: partial data accepted: 9 of 10 records",
        ),
        (
            load(name="b", decision="skipped: nothing new"),
            "skipped",
            "transfer 'b' brought no data: skipped: nothing new",
        ),
        (
            load(name="b", decision="skipped: nothing new; rolled back the previous attempt first", **AUDITED),
            "skipped",
            "transfer 'b' brought no data: skipped: nothing new; rolled back the previous attempt first",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_holds_it_up_is_named(ready, store, change, state, reason):
    found = ready(load(), change)
    assert [row["state"] for row in Questions(store).ask("readiness", stage="mart").rows] == [state]
    assert (found.ready, found.state.value, found.reason) == (False, state, reason)
    assert found.record_id == "orders/scheduled__0/b/-1/1"


def test_of_several_that_hold_it_up_none_need_have_ended(ready):
    found = ready(load(), *(load(name=name, status="pending") for name in ("b", "c")))
    assert (found.state, found.is_partial) == (ReadyState.IN_PROGRESS, None)
    assert found.record_id in {"orders/scheduled__0/b/-1/1", "orders/scheduled__0/c/-1/1"}


def test_of_several_audits_the_worst_is_told(ready):
    audits = {"a": "matched", "b": "mismatched", "c": None}
    found = ready(*(load(name=name, **AUDITED, audit_result=result) for name, result in audits.items()))
    assert (found.state, found.audit_result) == (ReadyState.MISMATCHED, "mismatched")
    assert ready(load(run=1, name="a", **AUDITED, audit_result="matched"), load(run=1, name="c", **AUDITED)).audit_result == "pending"  # fmt: skip


def test_an_audit_counts_that_the_transfer_of_a_hand_written_dag_does_not_know_of(ready):
    found = ready(load(audit_result="matched"), load(name="b"))
    assert (found.ready, found.audit_result) == (True, "matched")
    assert ready(load(name="c", audit_result="pending")).ready, "a word that somebody wrote by hand, and no audit"


def test_an_answer_without_a_run_has_no_date_in_json(ready):
    assert (ready().as_dict()["state"], ready().as_dict()["data_date"]) == ("missing", None)


def test_it_does_not_rest_on_what_the_run_does_not_have(ready):
    found = ready(load(), load(name="off", status="pending", decision="disabled", actual_seconds=900.0))
    assert (found.ready, found.record_id) == (True, "orders/scheduled__0/load/-1/1")


def test_a_retry_that_succeeded_counts_and_a_transfer_that_the_run_does_not_have_does_not(ready):
    assert ready(
        load(status="failed"),
        load(attempt=2),
        load(name="off", status="pending", decision="disabled", transfer_enabled=False),
        load(name="renamed", status="pending", decision="removed from the Dag"),
    ).ready


@pytest.mark.parametrize(
    ("columns", "options"),
    [
        ({"is_partial": True}, {"accept_partial": True}),
        (AUDITED, {"accept_pending_audit": True}),
        ({**AUDITED, "is_partial": True}, {"accept_pending_audit": True, "accept_partial": True}),
    ],
)
def test_less_than_whole_and_audited_is_accepted_only_when_asked_for(ready, columns, options):
    assert not ready(load(**columns)).ready
    assert ready(**options).ready
    for left_out in options if len(options) > 1 else ():
        assert not ready(**{name: True for name in options if name != left_out}).ready
    assert ready().is_partial == bool(columns.get("is_partial"))


def test_a_mismatch_is_never_accepted(ready):
    found = ready(load(**AUDITED, audit_result="mismatched"), accept_partial=True, accept_pending_audit=True)
    assert (found.ready, found.audit_result) == (False, "mismatched")


@pytest.mark.parametrize(
    ("asked", "run"),
    [
        ("2026-03-02", 1),
        (date(2026, 3, 1), 0),
        ("2026-03-01T12:00:00Z", 0),
        ("2026-03-01T13:00:00+01:00", 0),
        (datetime(2026, 3, 2, 12), 1),
        (NOON, 0),
        (None, 2),
    ],
)
def test_the_date_chooses_the_run(ready, asked, run):
    found = ready(*(load(run=number) for number in range(3)), date=asked)
    assert (found.ready, found.run_id) == (True, f"scheduled__{run}")


@pytest.mark.parametrize("asked", ["2026-03-01T12:00:00Z", "2026-03-01"])
def test_a_host_whose_clock_is_behind_hides_no_run(ready, asked):
    found = ready(load(at=-0.01), date=asked)
    assert (found.ready, found.data_date) == (True, NOON)


def test_a_day_has_the_run_of_its_first_moment_though_a_clock_was_behind(ready):
    midnight = NOON.replace(hour=0)
    found = ready(load(at=-12.001, logical_date=midnight), date="2026-03-01")
    assert (found.ready, found.data_date) == (True, midnight)


def test_of_two_pipelines_of_a_dag_each_is_judged_by_itself(ready):
    other = stored("orders", 0, "dump", "completed", pipeline_id="other", map_index=0, **STAGE)
    found = ready(load(), other)
    assert (found.ready, found.record_id) == (True, "orders/scheduled__0/load/-1/1")


def test_a_storage_that_finds_records_by_their_pipeline_is_asked_by_it(tmp_path):
    class Users:
        """Three methods, as a user writes them."""

        kept: list = []

        def write_tracking_record(self, record):
            self.kept.append(record)
            return True

        def read_tracking_records(self, pipeline_id):
            return [record for record in self.kept if record["pipeline_id"] == pipeline_id]

        def update_tracking_record(self, transfer_id, updates):
            return False

    with TrackingStore(["users||x"], adapters={"users": Users}, journal_dir=tmp_path / "journal") as store:
        store.submit([stored("dag", 0, "load", "completed", pipeline_id="orders", map_index=0, **STAGE)], durable=True)
        assert store.flush(10)
        found = is_ready("orders", "mart", store=store)
    assert (found.state, found.record_id) == (ReadyState.UNKNOWN, "dag/scheduled__0/load/0/1")


def test_another_date_is_another_answer(ready):
    assert ready(load(), date="2026-03-02").state is ReadyState.MISSING
    assert ready(date="2026-03-01T12:00:01Z").state is ReadyState.MISSING
    assert ready(date="2026-03-01T12:00:01Z").date == "2026-03-01T12:00:01+00:00"


def test_the_newest_run_for_a_date_counts(ready):
    again = stored("orders", 0, "load", "in_progress", at=1, run_id="x", **STAGE)
    assert not ready(load(), again).ready


def test_a_run_that_was_cleared_is_no_newer_than_when_it_began(ready):
    found = ready(load(), load(run=1, status="failed"), load(attempt=2, at=48))
    assert (found.state, found.run_id) == (ReadyState.FAILED, "scheduled__1")


UNDATED = {"logical_date": None}


def test_a_run_without_a_date_is_of_the_day_it_began_on_whenever_it_was_tried_again(ready):
    late = [
        load(name="b", status="failed", attempt=2, at=13, **UNDATED),
        load(name="c", map_index=1, at=13, **UNDATED),
    ]
    found = ready(*(load(name=name, map_index=index, **UNDATED) for name, index in (("b", -1), ("c", 0))), *late)
    assert (found.state, found.data_date) == (ReadyState.FAILED, NOON)
    assert ready(date="2026-03-01").state is ReadyState.FAILED
    assert ready(date="2026-03-02").state is ReadyState.MISSING


@pytest.mark.parametrize("waiting", [0, 1])
def test_when_a_run_began_is_known_though_a_part_of_it_waits_for_its_delivery(store, waiting):
    attempts = [load(status="failed", **UNDATED), load(attempt=2, at=13, **UNDATED)]
    newer = [record_of(attempts.pop(waiting))]
    store.legs[0].call(lambda adapter: adapter.apply(attempts), 30)
    asked = Asked("readiness", {"until": NOON + timedelta(hours=12)})
    (row,), _ = store.legs[0].call(lambda adapter: adapter.answer(asked, newer), 30)
    assert (row["state"], row["began_at"], row["data_date"]) == ("ready", NOON, NOON)


@pytest.mark.parametrize("text", ["tomorrow", "2026-02-30", "2026-03-01T99:00", ""])
def test_a_date_that_is_none_is_said(ready, text):
    with pytest.raises(PipetrackError, match=r"expected a day such as 2026-01-31, or a moment such as"):
        ready(date=text)


@pytest.mark.parametrize(
    "odd",
    [
        "9999-12-31",
        "9999-12-31T23:59:59.999999",
        "0001-01-01T00:00:00+14:00",
        date.max,
        datetime.max,
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    ],
    ids=str,
)
def test_a_date_at_the_end_of_all_days_is_refused_in_words(ready, odd):
    with pytest.raises(PipetrackError, match=r"^date '.*': expected a day from 0001-01-01 to 9999-12-30, in UTC$"):
        ready(date=odd)


class TestMapped:
    INDEXES = tuple(load(map_index=index) for index in range(2))

    def test_records_alone_do_not_say_how_many_are_to_come(self, ready):
        found = ready(*self.INDEXES)
        assert (found.ready, found.state) == (False, ReadyState.UNKNOWN)
        assert found.reason == ("transfer 'load' is mapped and not audited: only its run's end says how many there are")

    @pytest.mark.parametrize(
        ("states", "is_ready"),
        [
            ({"load_0": "success", "load_1": "success"}, True),
            ({"load_0": "success", "load_1": "success", "load_2": "queued"}, False),
            ({"load_0": "success", "load_1": "success", "load_2": "success"}, False),  # its record is still to come
            ({"load_0": "success", "load_1": "failed"}, False),
            ({"load_0": "success", "load_1": "removed"}, True),  # cleared, with fewer indexes than before
            ({"load_0": "removed", "load_1": "removed"}, False),
            ({"load_0": "success"}, False),
            ({}, False),
        ],
    )
    def test_airflow_knows(self, ready, states, is_ready):
        asked = []
        found = ready(*self.INDEXES, task_states=lambda *place: asked.append(place) or states)
        assert found.ready == is_ready
        assert asked[0] == ("orders", "scheduled__0", ["load"])
        assert found.state.value == ("ready" if is_ready else "in_progress")

    @pytest.mark.parametrize(("noted", "is_ready"), [(2, True), (1, True), (3, False)])
    def test_the_end_of_the_run_has_noted_it(self, ready, noted, is_ready):
        first = load(map_index=0, audit_metadata={"map_indexes": noted})
        assert ready(first, self.INDEXES[1]).ready == is_ready

    @pytest.mark.parametrize("states", [None, {"load_0": "success", "load_1": "success", "load_2": "failed"}])
    def test_one_that_failed_is_told_whatever_is_to_come(self, ready, states):
        asks = None if states is None else lambda *place: states
        found = ready(*self.INDEXES, load(map_index=2, status="failed"), task_states=asks)
        assert (found.state, found.record_id) == (ReadyState.FAILED, "orders/scheduled__0/load/2/1")

    def test_an_audit_of_a_hand_written_dag_waits_for_all_of_them_too(self, ready):
        assert ready(*(load(map_index=n, audit_enabled=False, audit_result="matched") for n in range(2))).ready

    def test_the_audit_waits_for_all_of_them(self, ready):
        assert ready(*(load(map_index=n, **AUDITED, audit_result="matched") for n in range(2))).ready


def test_only_dags_that_may_be_seen_count(ready):
    assert ready(load(), dag_ids=["orders"]).ready
    assert ready(dag_ids=["else"]).state is ReadyState.MISSING
    assert ready(dag_ids=[]).state is ReadyState.MISSING


def test_a_location_that_does_not_answer_is_named(tmp_path):
    broken = tmp_path / "broken.db"
    broken.write_text("this is no database, and long enough to be looked at" * 10)
    with TrackingStore([f"sqlite||{broken}"], journal_dir=tmp_path / "journal") as store:
        found = is_ready("orders", "mart", store=store)
    assert not found.ready
    assert list(found.unreachable) == [f"sqlite||{broken}||pipeline_tracking"]


def test_without_a_store_that_of_the_settings_is_asked(tmp_path, monkeypatch, store, ready):
    ready(load())
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", f"sqlite||{tmp_path}/t.db")
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "own"))
    from airflow_provider_pipetrack.tracking import readiness

    readiness._made_store.cache_clear()
    assert is_ready("orders", "mart").ready
    assert is_ready("orders", "mart", datetime(2026, 3, 1, 12, tzinfo=timezone.utc)).ready
    readiness._made_store.cache_clear()
