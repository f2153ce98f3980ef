"""Every question, asked of every storage with the same records; the answers are known by hand."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.merge import record_of
from airflow_provider_pipetrack.records.openness import has_failed_audit
from airflow_provider_pipetrack.records.queries import QUESTIONS, Asked, QuestionError
from airflow_provider_pipetrack.tracking.questions import Answer, Questions
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.integration.storage.conftest import USERS, Place
from tests.integration.storage.worlds import HOUR, NOON, stored, world

NOW = datetime.now(timezone.utc)


@pytest.fixture(params=["sqlite", "postgres", "local_file", "mongodb"])
def place(request, place_of) -> Place:
    return place_of(request.param)


@pytest.fixture
def store(place, tmp_path) -> Iterator[TrackingStore]:
    with TrackingStore([place.text], journal_dir=tmp_path / "journal", adapters=USERS) as made:
        made.legs[0].call(lambda adapter: adapter.apply(world(NOW)), 60)
        yield made


@pytest.fixture
def ask(store):
    questions = Questions(store)

    def asked(question: str, **options: Any) -> Answer:
        return questions.ask(question, **options)

    return asked


def shown(answer: Answer, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in answer.rows]


def test_pipelines_stand_as_their_last_run_does(ask):
    answer = ask("pipelines")
    assert (answer.total, answer.unreachable) == (2, {})
    billing, orders = answer.rows
    assert (billing["pipeline_id"], billing["run_id"], billing["state"]) == ("billing", "scheduled__9", "in_progress")
    counts = ("transfers", "attempts", "pending", "in_progress", "completed", "failed", "not_run", "overdue")
    assert [billing[name] for name in counts] == [5, 6, 1, 3, 0, 1, 0, 2]
    assert billing["owners"] == ["money_team", "shop_team"]
    assert (orders["run_id"], orders["state"], orders["pipeline_version"]) == ("scheduled__2", "completed", "1.0")
    assert [orders[name] for name in counts] == [3, 6, 0, 0, 3, 0, 1, 0]
    assert (orders["partial"], orders["audits_matched"], orders["audits_mismatched"], orders["audits_total"]) == (
        1,
        1,
        0,
        1,
    )
    assert (orders["records_succeeded"], orders["records_failed"]) == (29, 1)
    assert orders["began_at"] == orders["logical_date"] == orders["started_at"] == NOON + 48 * HOUR
    assert orders["ended_at"] == NOON + 48 * HOUR + timedelta(seconds=1500)


def test_a_transfer_without_an_owner_adds_none_to_the_owners_of_its_pipeline(ask, store):
    new = [
        stored(pipeline, 0, name, "completed", transfer_process_owner_name=owner)
        for pipeline, name, owner in (("some", "load", "shop_team"), ("some", "publish", ""), ("none", "load", ""))
    ]
    store.legs[0].call(lambda adapter: adapter.apply(new), 60)
    found = {row["pipeline_id"]: (row["owners"] or [], row["first_owner"]) for row in ask("pipelines").rows}
    assert (found["some"], found["none"]) == ((["shop_team"], "shop_team"), ([], None))
    for descending in (False, True):
        assert len(ask("pipelines", order_by="first_owner", descending=descending).rows) == 4


def test_a_repaired_old_run_is_not_the_last_one(ask, store):
    again = stored("orders", 0, "load", "failed", attempt=2, map_index=0, at=300)
    store.legs[0].call(lambda adapter: adapter.apply([again]), 60)
    (orders,) = ask("pipelines", pipeline_id="orders").rows
    assert orders["run_id"] == "scheduled__2"


def test_runs_come_newest_first_with_what_failed(ask):
    answer = ask("runs")
    assert answer.total == 4
    assert shown(answer, "dag_id", "run_id", "state", "failed_transfers") == [
        ("billing", "scheduled__9", "in_progress", ["pay"]),
        ("orders", "scheduled__2", "completed", []),
        ("orders", "scheduled__1", "failed", ["publish"]),
        ("orders", "scheduled__0", "completed", []),
    ]
    assert shown(ask("runs", limit=2, offset=1), "run_id") == [("scheduled__2",), ("scheduled__1",)]
    assert ask("runs", limit=1, offset=99).total == 4
    assert shown(ask("runs", status="completed", order_by="audits_matched", descending=True, limit=1), "run_id") == [
        ("scheduled__0",)
    ]
    assert ask("runs", status="completed").total == 2


@pytest.mark.parametrize("filters", [{"since": NOON + 60 * HOUR}, {"search": "the shop hung up"}, {"owner": "crm"}])
def test_a_run_began_when_it_did_whatever_it_is_found_by(ask, store, filters):
    again = {"error_message": "the shop hung up", "transfer_process_owner_name": "crm"}
    found = stored("orders", 2, "load", "failed", attempt=9, map_index=1, at=13, **again)
    store.legs[0].call(lambda adapter: adapter.apply([found]), 30)
    runs = ask("runs", dag_id="orders", **filters)
    assert shown(runs, "run_id", "began_at") == [("scheduled__2", NOON + 48 * HOUR)]


def test_runs_are_sorted_by_what_they_took_or_take_so_far(ask):
    rows = ask("runs", order_by="took_seconds", descending=True).rows
    assert rows[0]["state"] == "in_progress"
    assert rows[0]["took_seconds"] > 3600
    for row in rows[1:]:
        assert row["took_seconds"] == pytest.approx((row["ended_at"] - row["started_at"]).total_seconds(), abs=1e-3)
    taken = [row["took_seconds"] for row in rows]
    assert taken == sorted(taken, reverse=True)
    assert shown(ask("pipelines", order_by="first_owner"), "first_owner") == [("money_team",), ("publish_team",)]


AUDIT_ENDS = [
    ("matched", None, "completed"),
    # Of records that somebody wrote by hand, or that are older than what says how an audit ended.
    ("mismatched", None, "completed"),
    ("pending", None, "completed"),
    ("mismatched", "failed", "failed"),
    ("mismatched", "passed", "completed"),
    ("pending", "not yet", "in_progress"),
    ("pending", "passed", "completed"),
    ("pending", "failed", "failed"),
]


def test_a_run_stands_as_its_audits_end(ask, store):
    audits = [{"audit_result": result, "audit_metadata": {"rows": 7, "audit_ended": ended} if ended else {}} for result, ended, _ in AUDIT_ENDS]  # fmt: skip
    runs = [stored("audited", n, "load", "completed", audit_enabled=True, **audit) for n, audit in enumerate(audits)]
    store.legs[0].call(lambda adapter: adapter.apply(runs), 60)
    wanted = {f"scheduled__{n}": state for n, (_, _, state) in enumerate(AUDIT_ENDS)}
    for question in ("runs", "last_runs"):
        assert dict(shown(ask(question, dag_id="audited"), "run_id", "state")) == wanted
    for state in ("completed", "failed", "in_progress", "pending"):
        of_state = {run for run, stands in wanted.items() if stands == state}
        assert {run for (run,) in shown(ask("runs", dag_id="audited", status=state), "run_id")} == of_state
    assert ask("runs", dag_id="audited", status="failed").rows[0]["audits_failed"] == 1
    assert shown(ask("attention", dag_id="audited", order_by="run_id"), "run_id", "reason") == [
        ("scheduled__1", "mismatched"),
        ("scheduled__3", "mismatched"),
        ("scheduled__4", "mismatched"),
        ("scheduled__7", "audit_failed"),
    ]
    (pipeline,) = ask("pipelines", pipeline_id="audited").rows
    assert (pipeline["state"], pipeline["audits_failed"], pipeline["audits_waiting"]) == ("failed", 1, 0)


def test_of_two_pipelines_in_one_dag_each_is_found_by_its_own_state(ask, store):
    statuses = {"a": "completed", "b": "failed", "c": "pending", "d": "in_progress"}
    ends = [stored("shared", 0, name, status, pipeline_id=name) for name, status in statuses.items()]
    store.legs[0].call(lambda adapter: adapter.apply(ends), 60)
    for pipeline_id, state in statuses.items():
        for status in statuses.values():
            found = shown(ask("runs", pipeline_id=pipeline_id, status=status), "pipeline_id", "state")
            assert found == ([(pipeline_id, state)] if status == state else [])
    assert shown(ask("runs", dag_id="shared", status="in_progress"), "state") == [("in_progress",)]


def test_evidence_that_somebody_wrote_by_hand_hides_nothing(tmp_path):
    file = tmp_path / "tracking.db"
    with TrackingStore([f"sqlite||{file}||t"], journal_dir=tmp_path / "journal") as store:
        audits = [stored("audited", n, "load", "completed", audit_result="pending") for n in range(2)]
        store.legs[0].call(lambda adapter: adapter.apply(audits), 60)
        with closing(sqlite3.connect(file)) as database, database:
            database.execute("UPDATE t SET audit_metadata = 'asked Ada' WHERE run_id = 'scheduled__0'")
        questions = Questions(store)
        for question in ("runs", "transfers", "audit_trail"):
            answer = questions.ask(question)
            assert (answer.total, answer.unreachable) == (2, {}), question
        assert answer.rows[1]["audit_metadata"] == "asked Ada"
        assert [r["audit_metadata"] for r in store.read_tracking_records("audited")] == ["asked Ada", None]


def test_transfers_are_the_latest_attempts_of_what_was_meant_to_run(ask):
    answer = ask("transfers", dag_id="orders", run_id="scheduled__2", order_by="task_id")
    assert answer.total == 3
    assert shown(answer, "task_id", "map_index", "retry_attempt_number", "transfer_status") == [
        ("load", 0, 0, "completed"),
        ("load", 1, 2, "completed"),
        ("publish", -1, 0, "completed"),
    ]
    with_all = ask("transfers", dag_id="orders", run_id="scheduled__2", include_not_run=True)
    assert with_all.total == 4
    assert "disabled" in [row["decision"] for row in with_all.rows]
    row = answer.rows[2]
    assert row["transfer_start_timestamp"] == NOON + 48 * HOUR
    assert row["is_partial"] is True
    assert row["tracking_location"] is None
    assert "end_key" not in row


def test_attempts_are_all_records(ask):
    assert ask("attempts").total == 21
    assert ask("attempts", pipeline_id="orders", task_id="load", map_index=1, run_id="scheduled__2").total == 3
    assert ask("attempts", status="failed").total == 5


@pytest.mark.parametrize(("status", "number"), [("partial", 1), ("overdue", 2), ("not_run", 3), ("in_progress", 3)])
def test_a_part_of_a_state_is_asked_for_as_a_state_is(ask, status, number):
    """Also where the newest records are looked at only, and where transfers that did not run are left out otherwise."""
    assert ask("transfers", status=status).total == number
    assert len(ask("transfers", status=status, search="scheduled", order_by="task_id").rows) == number
    assert ask("attempts", status=status).total == number
    slow = ["publish"] if status == "partial" else []
    assert [row["task_id"] for row in ask("slow", status=status).rows] == slow
    assert ask("flaky", status=status).rows == []


def _is_timed(row):
    return row["transfer_status"] == "completed" and row["actual_seconds"] is not None


def _is_not_run(row):
    return row["transfer_status"] == "pending" and row["decision"] is not None


#: What the words of links from numbers mean.
COUNTED = {
    ("status", "waiting"): lambda row: row["transfer_status"] == "pending" and not _is_not_run(row),
    ("status", "to_run"): lambda row: not _is_not_run(row),
    ("status", "enabled"): lambda row: row["decision"] not in ("disabled", "removed from the Dag"),
    ("status", "ended"): lambda row: row["transfer_status"] in ("completed", "failed"),
    ("status", "retried"): lambda row: (
        row["transfer_status"] in ("completed", "failed") and row["retry_attempt_number"] > 0
    ),
    ("status", "timed"): _is_timed,
    ("status", "compared"): lambda row: _is_timed(row) and bool(row["estimated_seconds"]),
    ("status", "late"): lambda row: (
        _is_timed(row) and row["estimated_seconds"] is not None and row["actual_seconds"] > row["estimated_seconds"]
    ),
    ("audit_result", "audited"): lambda row: row["audit_enabled"] and not _is_not_run(row),
    ("audit_result", "stopped"): has_failed_audit,
}


def test_transfers_of_one_order_number_stand_as_they_began_and_then_by_name(ask):
    order = {"order_by": "transfer_order_number", "include_not_run": True}
    rows = ask("transfers", **order, limit=None).rows
    late = datetime.max.replace(tzinfo=timezone.utc)
    wanted = sorted(
        rows,
        key=lambda row: (
            row["transfer_order_number"] or float("inf"),
            row["transfer_start_timestamp"] or late,
            row["task_id"],
            row["map_index"],
        ),
    )
    names = ("task_id", "map_index", "transfer_start_timestamp")
    assert [[row[name] for name in names] for row in rows] == [[row[name] for name in names] for row in wanted]
    assert len({row["transfer_order_number"] for row in rows}) < len(rows)
    paged = [ask("transfers", **order, limit=4, offset=offset).rows for offset in range(0, len(rows), 4)]
    assert [row["record_id"] for page in paged for row in page] == [row["record_id"] for row in rows]


def test_attempts_of_several_transfers_and_map_indexes_are_asked_for_at_once(ask):
    everything = ask("attempts", limit=None)
    found = ask("attempts", task_ids=["load", "pay"], map_indexes=[1, -1], limit=None)
    wanted = [row for row in everything.rows if row["task_id"] in ("load", "pay") and row["map_index"] in (1, -1)]
    assert shown(found, "record_id") == [(row["record_id"],) for row in wanted]
    assert 0 < found.total < everything.total


def test_records_that_a_number_counts_are_asked_for_by_a_word(ask):
    for question in ("attempts", "transfers"):
        more = {"include_not_run": True} if question == "transfers" else {}
        rows = ask(question, limit=None, **more).rows
        for (name, word), fits in COUNTED.items():
            wanted = {row["record_id"] for row in rows if fits(row)}
            answer = ask(question, limit=1, **more, **{name: word})
            assert (answer.total, len(answer.rows)) == (len(wanted), bool(wanted)), (question, word)
            found = ask(question, limit=None, order_by="task_id", search="s", **more, **{name: word}).rows
            assert {row["record_id"] for row in found} <= wanted, (question, word)


def test_transfers_that_failed_are_asked_for_among_the_newest_records(ask):
    assert shown(ask("flaky", status="failed"), "task_id", "attempts") == [("pay", 2), ("load", 3)]


def test_attention_names_the_reason(ask):
    answer = ask("attention", include_recovered=True)
    assert sorted(shown(answer, "dag_id", "task_id", "retry_attempt_number", "reason")) == [
        ("billing", "invoice", 0, "overdue"),
        ("billing", "pay", 1, "failed"),
        ("billing", "stuck", 0, "stale"),
        ("orders", "publish", 0, "mismatched"),
    ]
    assert answer.total == 4
    assert answer.rows[0]["task_id"] == "pay", "changed last"
    assert ask("attention").total == 3, "the next run of publish has matched"
    assert shown(ask("attention", reason="stale"), "task_id") == [("stuck",)]


def test_what_a_later_run_has_completed_needs_no_attention(ask, store):
    def tell(*changes):
        store.legs[0].call(lambda adapter: adapter.apply([*changes]), 60)

    def standing():
        return [n for (n,) in shown(ask("attention", dag_id="healing", order_by="task_id"), "task_id")]

    tell(
        stored("healing", 1, "broken", "failed"),
        stored("healing", 1, "hung", "in_progress"),
        stored("healing", 1, "late", "in_progress", transfer_start_timestamp=NOW - HOUR),
        stored("healing", 1, "wrong", "completed", audit_result="mismatched"),
    )
    assert standing() == ["broken", "hung", "late", "wrong"]
    tell(
        *(stored("healing", 0, name, "failed", at=-1) for name in ("broken", "wrong")),
        *(stored("healing", 0, name, "completed", attempt=2, at=48) for name in ("broken", "wrong")),
        stored("healing", 2, "broken", "completed", decision="skipped: nothing new"),
        stored("healing", 2, "broken", "completed", map_index=1),
    )
    assert standing() == ["broken", "hung", "late", "wrong"], "an older run was repaired, or the transfer did nothing"
    tell(
        stored("healing", 3, "broken", "failed"),
        stored("healing", 3, "broken", "completed", attempt=2, at=1),
        stored("healing", 3, "hung", "completed"),
        stored("healing", 3, "late", "completed"),
        stored("healing", 3, "wrong", "completed"),
    )
    assert standing() == ["late", "wrong"], "it completed later, but nobody has found it right"
    tell(stored("healing", 4, "wrong", "completed", audit_result="matched"))
    assert standing() == ["late"], "it runs still, for longer than it should"
    everything = ask("attention", dag_id="healing", order_by="task_id", include_recovered="shown")
    assert shown(everything, "task_id", "reason") == [
        ("broken", "failed"), ("hung", "stale"), ("late", "overdue"), ("wrong", "mismatched")
    ]  # fmt: skip


def test_open_failures_are_an_owners(ask):
    assert shown(ask("open_failures", owner="money_team"), "task_id", "error_message") == [("pay", "100% broken")]
    assert ask("open_failures", owner="shop_team").total == 0


def test_overdue_is_measured_now(ask):
    answer = ask("overdue")
    since = (datetime.now(timezone.utc) - NOW).total_seconds()
    assert [row["task_id"] for row in answer.rows] == ["stuck", "invoice"]
    assert answer.rows[1]["elapsed_seconds"] == pytest.approx(3600 + since, abs=60)
    assert answer.rows[1]["overdue_seconds"] == pytest.approx(3000 + since, abs=60)


def test_slow_and_flaky_transfers(ask):
    (slow,) = ask("slow").rows
    assert (slow["task_id"], slow["completed"], slow["over_estimate"], slow["longest_seconds"]) == (
        "publish",
        3,
        2,
        1500.0,
    )
    assert slow["average_seconds"] == pytest.approx(1000.0)
    assert slow["ratio"] == pytest.approx(1000 / 600)
    flaky = ask("flaky")
    assert shown(flaky, "task_id", "runs", "attempts", "failed") == [("pay", 1, 2, 2), ("load", 3, 9, 3)]
    assert flaky.rows[1]["failed_share"] == pytest.approx(1 / 3)
    assert flaky.rows[1]["average_retries"] == pytest.approx((0 + 0 + 0 + 1 + 0 + 0 + 1 + 2 + 0) / 9)
    assert flaky.rows[0]["last_failed_at"] == NOON + 9 * 24 * HOUR + HOUR / 2 + timedelta(seconds=60)


def test_slow_and_flaky_transfers_of_everything_look_at_the_newest_records(ask):
    assert (ask("slow").bounds, ask("slow", pipeline_id="orders").bounds) == ({"newest_records": 50_000}, {})
    rows = ask("attempts", limit=None).rows
    places = [n for n in range(1, len(rows)) if rows[n]["created_timestamp"] < rows[n - 1]["created_timestamp"]]
    for number in places:
        ended = [row for row in rows[:number] if row["transfer_status"] in ("completed", "failed")]
        failing = {row["task_id"] for row in ended if row["transfer_status"] == "failed"}
        counted = Counter(row["task_id"] for row in ended if row["task_id"] in failing)
        found = ask("flaky", newest_records=number)
        assert dict(shown(found, "task_id", "attempts")) == counted, number
    assert len(places) > 3
    assert shown(ask("flaky", newest_records=10**6, dag_ids=["orders"]), "task_id", "attempts") == [("load", 9)]
    assert ask("slow", newest_records=0).rows == ask("slow").rows, "none is all of them"


@pytest.mark.parametrize("question", ["attempts", "transfers", "durations"])
def test_records_in_an_order_that_no_index_has_are_the_newest(ask, question):
    assert ask(question, order_by="task_id").bounds == {"newest_records": 50_000}
    everything = ask("attempts", limit=None).rows
    places = [
        n
        for n in range(1, len(everything))
        if everything[n]["created_timestamp"] < everything[n - 1]["created_timestamp"]
    ]
    whole = {row["record_id"] for row in ask(question, limit=None).rows}
    for number in places:
        newest = {row["record_id"] for row in everything[:number]} & whole
        found = ask(question, order_by="actual_seconds", descending=True, newest_records=number, limit=None)
        assert {row["record_id"] for row in found.rows} == newest, number
        assert ask(question, newest_records=number, limit=1).total == len(newest)
    assert len(places) > 3
    assert ask(question, order_by="task_id", newest_records=0, limit=1).total == len(whole)


def standing(answer: Answer) -> list[dict[str, Any]]:
    """Return runs without what they take so far, which grows."""
    return [{**row, "took_seconds": None} for row in answer.rows]


def test_runs_in_an_order_that_no_index_has_are_the_newest(ask):
    assert ask("runs", order_by="state").bounds == {"newest": 1000}
    everything = standing(ask("runs", limit=None))
    for number in range(1, len(everything)):
        found = standing(ask("runs", order_by="run_id", newest=number, limit=None))
        newest = sorted(everything[:number], key=lambda row: (row["run_id"], row["dag_id"]))
        assert found == newest, number
        assert ask("runs", order_by="state", newest=number, limit=1).total == number
        assert standing(ask("runs", newest=number, limit=1)) == everything[:1]


def test_estimates_stand_beside_what_was_taken(ask):
    answer = ask("estimates", pipeline_id="orders")
    load, publish = answer.rows
    assert answer.total == 2
    assert (load["completed"], load["p50_seconds"], load["p95_seconds"], load["longest_seconds"]) == (
        6,
        201.0,
        303.0,
        303.0,
    )
    assert (publish["p50_seconds"], publish["p95_seconds"], publish["estimated_seconds"]) == (1000.0, 1500.0, 600.0)
    assert publish["suggested_seconds"] == pytest.approx(1650.0)


def test_durations_are_a_transfers_past(ask):
    answer = ask("durations", dag_id="orders", task_id="publish", order_by="created_timestamp")
    assert [row["actual_seconds"] for row in answer.rows] == [500.0, 1000.0, 1500.0]


def test_readiness_is_per_stage_and_date(ask):
    answer = ask("readiness", pipeline_id="orders", stage="stage of publish")
    assert shown(answer, "run_id", "state", "completed", "can_access_historical_data") == [
        ("scheduled__2", "partial", 1, True),
        ("scheduled__1", "mismatched", 1, True),
        ("scheduled__0", "ready", 1, True),
    ]
    day = ask("readiness", stage="stage of load", since=NOON + 24 * HOUR, until=NOON + 48 * HOUR)
    assert shown(day, "run_id", "state", "transfers") == [("scheduled__1", "ready", 2)]
    assert ask("readiness", status="in_progress").total == 4


def test_readiness_of_the_newest_runs_looks_at_whole_runs(ask):
    newest = ask("readiness", newest=2, limit=None)
    runs = {(row["dag_id"], row["run_id"]) for row in newest.rows}
    assert len(runs) == 2
    everything = ask("readiness", limit=None)
    assert newest.rows == [row for row in everything.rows if (row["dag_id"], row["run_id"]) in runs]
    assert max(row["began_at"] for row in everything.rows) == newest.rows[0]["began_at"]
    assert shown(ask("readiness", newest=1, dag_ids=["orders"], limit=1), "run_id") == [("scheduled__2",)]


def test_stages_are_those_that_the_last_runs_fill(ask):
    found = ask("stages", pipeline_id="orders", order_by="stage")
    assert shown(found, "stage", "run_id") == [
        ("stage of load", "scheduled__2"),
        ("stage of publish", "scheduled__2"),
    ]
    assert {row["pipeline_id"] for row in ask("stages", stage="stage of publish").rows} == {"orders"}
    assert ask("stages", stage="moon").rows == []


def test_the_last_runs_of_a_pipeline_stand_as_runs_do(ask):
    found = ask("last_runs", pipeline_ids=["orders"], limit=None)
    alone = ask("runs", pipeline_id="orders", limit=None)
    assert found.rows == [{name: row[name] for name in found.rows[0]} for row in alone.rows]
    assert ask("last_runs", pipeline_ids=["orders", "'; DROP TABLE t; --"]).total == 3


def interleaved() -> Iterator[Change]:
    """Yield records of two pipelines in one Dag: runs that begin in each other, at once, or are repaired much later."""
    for run in range(25):
        for name in ("one", "two"):
            began = -24 if run % 7 == 3 else 30 if run % 5 == 2 else 0
            status = "failed" if run % 4 == 1 or (run, name) == (24, "two") else "completed"
            yield stored("both", run, f"load_{name}", status, pipeline_id=name, at=began)
            if run % 6 == 1:
                again = {"attempt": 2, "at": 24 * (25 - run) + run, "pipeline_id": name}
                yield stored("both", run, f"load_{name}", "failed" if run == 19 else "completed", **again)


def test_the_last_runs_are_found_by_their_beginning_however_they_lie_in_each_other(ask, store):
    store.legs[0].call(lambda adapter: adapter.apply([*interleaved()]), 60)
    for names in (["one"], ["two"], ["one", "two", "orders", "nobody"]):
        found = ask("last_runs", pipeline_ids=names, limit=None)
        # A time since when makes the database look at all records.
        whole = ask("last_runs", pipeline_ids=names, since=NOON - 9 * HOUR, limit=None)
        assert found.rows == whole.rows
        assert max(Counter(shown(found, "pipeline_id")).values()) == 10
        failed = ask("last_runs", pipeline_ids=names, status="failed", limit=None)
        assert failed.rows == [row for row in whole.rows if row["state"] == "failed"]
        assert failed.total == len(failed.rows) > 0


def test_a_run_that_began_before_what_is_stored_of_it_is_not_taken_for_one_of_the_last(store):
    runs = [stored("late", run, "load", "completed") for run in range(12)]
    waiting = [
        stored("late", 11, "announced", "completed", at=-24 * 20),
        *(stored("late", run, "repaired", "failed", at=24 * 30) for run in range(-1, -13, -1)),
        stored("late", 8.5, "load", "completed"),
        stored("late", 8, "other", "failed", pipeline_id="other"),
    ]
    newer = [record_of(change) for change in waiting]
    repaired = [stored("late", run, "load", "completed", at=-24 * 60) for run in range(-1, -13, -1)]

    def last_runs(newer=()):
        asked = Asked("last_runs", {"pipeline_ids": ["late"]}, limit=None, now=NOW)
        return shown(Answer(*store.legs[0].call(lambda adapter: adapter.answer(asked, newer), 60)), "run_id", "state")

    store.legs[0].call(lambda adapter: adapter.apply([*runs, *repaired]), 60)
    found = last_runs(newer)
    assert [run for run, _ in found] == [f"scheduled__{run}" for run in (10, 9, 8.5, 8, 7, 6, 5, 4, 3, 2)]
    store.legs[0].call(lambda adapter: adapter.apply(waiting), 60)
    assert last_runs() == found


def test_the_audit_trail_has_results_and_decisions(ask):
    answer = ask("audit_trail", pipeline_id="orders", audit_result="mismatched")
    assert shown(answer, "run_id", "task_id") == [("scheduled__1", "publish")]
    assert ask("audit_trail", search="DISABLED").total == 3


@pytest.mark.parametrize("question", QUESTIONS)
def test_only_dags_that_may_be_read_are_seen_and_counted(ask, question):
    everything = ask(question, limit=None)
    orders = ask(question, limit=None, dag_ids=["orders", "secret"])
    assert {row["dag_id"] for row in orders.rows} <= {"orders"}
    assert orders.total == len([row for row in everything.rows if row["dag_id"] == "orders"])
    assert ask(question, dag_ids=[]) == Answer([], 0)


# What has no SQL is asked in memory, whatever it is: once is enough.
@pytest.mark.parametrize("place", ["sqlite", "postgres", "local_file"], indirect=True)
@pytest.mark.parametrize("question", QUESTIONS)
def test_every_column_sorts_both_ways_and_pages_add_up(ask, question):
    known = QUESTIONS[question]
    for column in known.columns:
        for descending in (False, True):
            everything = ask(question, limit=None, order_by=column, descending=descending)
            assert everything.total == len(everything.rows)
            values = [row[column] for row in everything.rows if isinstance(row[column], (int, float, datetime))]
            assert values == sorted(values, reverse=descending)
            half = (everything.total + 1) // 2
            halves = [ask(question, limit=half, offset=n, order_by=column, descending=descending) for n in (0, half)]
            assert [shown(page, *known.keys) for page in halves] == [
                shown(everything, *known.keys)[:half],
                shown(everything, *known.keys)[half:],
            ]


@pytest.mark.parametrize("more", [{}, {"include_not_run": True}, {"include_not_run": False}])
@pytest.mark.parametrize("dag_ids", [None, ["orders"], ["orders", "billing"], ["billing"]])
def test_transfers_are_counted_without_being_looked_at_one_by_one(ask, more, dag_ids):
    everything = ask("transfers", limit=None, dag_ids=dag_ids, **more)
    assert ask("transfers", limit=2, dag_ids=dag_ids, **more).total == everything.total == len(everything.rows)
    of_all = ask("transfers", limit=1, dag_ids=dag_ids, newest_records=10**6, **more)
    assert of_all.total == everything.total


def test_a_search_takes_signs_literally(ask):
    assert shown(ask("attempts", search="100% BROKEN"), "task_id") == [("pay",)]
    assert ask("attempts", search="100_ broken").total == 0
    assert ask("attempts", search="shop_team").total == 15
    assert ask("attempts", search="'; DROP TABLE t; --").total == 0


@pytest.mark.parametrize("search", ["Ошибка", "ошибка", "ОШИБКА", "ÖFFENTLICH", "öffentlich", "x Ошибка in stage Ö"])
def test_a_search_finds_letters_of_any_language_whichever_way_they_are_written(store, ask, search):
    store.write_tracking_record(
        {"dag_id": "orders", "task_id": "abroad", "error_message": "X Ошибка in stage Öffentlich: 100%"}
    )
    assert shown(ask("attempts", search=search), "task_id") == [("abroad",)]


def test_what_does_not_exist_is_named(ask):
    with pytest.raises(
        QuestionError,
        match="there is no question 'pipeline' \\(did you mean 'pipelines'\\?\\); known are pipelines, runs",
    ):
        ask("pipeline")
    with pytest.raises(QuestionError, match="there is no filter of runs 'onwer' \\(did you mean 'owner'\\?\\)"):
        ask("runs", onwer="x")
    with pytest.raises(QuestionError, match="there is no column of runs 'task_id; DROP'"):
        ask("runs", order_by="task_id; DROP")
