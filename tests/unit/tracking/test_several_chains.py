"""Several chains answer as one store that holds it all would."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from zlib import crc32

import pytest

from airflow_provider_pipetrack.records.queries import QUESTIONS
from airflow_provider_pipetrack.storage.base import StorageAdapter
from airflow_provider_pipetrack.storage.memory import answer_from_records
from airflow_provider_pipetrack.tracking import questions as questions_module
from airflow_provider_pipetrack.tracking import sources
from airflow_provider_pipetrack.tracking.questions import Questions
from tests.tracking_history import NOW, failed_run, good_run, history, overdue_run
from tests.unit.tracking.site import Site

PAGES = [(None, 0), (5, 0), (5, 5), (3, 7), (1, 0), (50, 200)]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A function: the history in one store, and the same dealt out to three by ``share(run, change)``."""
    made = {}

    def make(name, share):
        if name not in made:
            site = Site(tmp_path_factory.mktemp(name))
            whole, parts = site.store("whole"), [site.store(part) for part in "abc"]
            for run in [
                *history(),
                *(good_run("orders", f"x{n}", NOW - timedelta(days=n, hours=1)) for n in range(20)),
            ]:
                whole.submit(run.changes, durable=True)
                for change in run.changes:
                    for place in share(run, change):
                        parts[place].submit([change], durable=True)
            for store in (whole, *parts):
                assert store.flush(60)
            made[name] = Questions(whole), Questions(*parts)
        return made[name]

    yield make
    for one, three in made.values():
        for store in (*one.stores, *three.stores):
            store.close()


SHARES = {
    "by pipeline": lambda run, _: [len(run.pipeline_id) % 3],
    "by run": lambda run, _: [crc32(run.run_id.encode()) % 3],
}


def ask(questions, question, **more):
    answer = questions.ask(question, **more)
    return answer.rows, answer.total


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("question", [name for name in QUESTIONS if name != "estimates"])
def test_pages_totals_and_order_are_those_of_one_store(filled, share, question):
    one, three = filled(share, SHARES[share])
    # Whether a later run has completed is looked for in the storage of the one that failed.
    more = {"include_recovered": True} if question == "attention" else {}
    for limit, offset in PAGES:
        expected, found = (ask(q, question, limit=limit, offset=offset, **more) for q in (one, three))
        assert found[1] == expected[1]
        assert [plain(row) for row in found[0]] == [plain(row) for row in expected[0]]


def plain(row, moving=frozenset()):
    """Return a row without what differs from store to store and from moment to moment."""
    moving = {"stored_at", "record_version", "elapsed_seconds", "overdue_seconds", *moving}
    if row.get("state") == "in_progress":
        moving.add("took_seconds")  # so far
    return {
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in row.items()
        if name not in moving
    }


@pytest.mark.parametrize("question", ["runs", "attempts", "pipelines", "slow", "durations"])
@pytest.mark.parametrize("descending", [False, True])
def test_they_can_be_sorted_by_every_column(filled, question, descending):
    one, three = filled("by run", SHARES["by run"])
    for column in sorted({*QUESTIONS[question].columns} - {"stored_at", "record_version"}):
        more = {"order_by": column, "descending": descending, "limit": 7, "offset": 3}
        keys = QUESTIONS[question].keys
        (expected, total), (found, also) = ask(one, question, **more), ask(three, question, **more)
        assert total == also
        assert [[row[key] for key in keys] for row in found] == [[row[key] for key in keys] for row in expected], column


@pytest.mark.parametrize("filters", [{"status": "failed"}, {"status": "completed"}, {"search": "CRM"}, {"stage": "clean"},
                                     {"since": NOW - timedelta(days=3)}, {"pipeline_id": "orders"}])  # fmt: skip
@pytest.mark.parametrize("question", ["runs", "attempts", "pipelines", "readiness", "transfers"])
def test_they_can_be_filtered(filled, question, filters):
    one, three = filled("by run", SHARES["by run"])
    for more in ({"limit": 4}, {"limit": 4, "offset": 4}):
        expected, found = (ask(q, question, **filters, **more) for q in (one, three))
        assert ([plain(row) for row in found[0]], found[1]) == (
            [plain(row) for row in expected[0]],
            expected[1],
        )


@pytest.mark.parametrize("question", ["pipelines", "stages", "readiness"])
def test_what_the_answer_is_filtered_by_holds_for_all_of_it(filled, question):
    one, three = filled("by run", SHARES["by run"])
    filters = {
        "pipelines": [{"shown_state": word} for word in ("completed", "partial", "overdue", "failed")],
        "stages": [{"stage": "clean"}, {"stage": "moon"}],
        "readiness": [{"status": "partial"}, {"status": "ready"}],
    }
    for wanted in filters[question]:
        assert ask(three, question, **wanted, limit=2)[1] == ask(one, question, **wanted, limit=2)[1], wanted


def test_readers_see_their_dags_only(filled):
    _, three = filled("by run", SHARES["by run"])
    for question in QUESTIONS:
        assert three.ask(question, dag_ids=[]).total == 0
        assert {row["dag_id"] for row in three.ask(question, dag_ids=["finance"], limit=None).rows} <= {"finance"}
    assert three.ask("runs", dag_ids=["finance"]).total == 1


def by_transfer(run, change):
    return [("load", "clean", "publish", "archive").index(change.record_id.split("/")[2]) % 3]


@pytest.mark.parametrize(
    "question", ["pipelines", "runs", "last_runs", "transfers", "attempts", "attention", "slow", "flaky"]
)
def test_a_run_whose_transfers_are_kept_apart_is_one_run(filled, question):
    one, three = filled("by transfer", by_transfer)
    keys = QUESTIONS[question].keys

    def by_key(questions, **more):
        rows, total = ask(questions, question, **more)
        return {tuple(row[key] for key in keys): plain(row) for row in rows}, total

    expected, total = by_key(one, limit=None)
    assert by_key(three, limit=None) == (expected, total)
    paged = {}
    for offset in range(0, total, 4):
        rows, also = by_key(three, limit=4, offset=offset)
        assert also == total
        paged.update(rows)
    assert paged == expected


def test_a_run_is_whole_though_a_filter_finds_a_part_of_it(filled):
    one, three = filled("by transfer", by_transfer)
    for question in ("runs", "pipelines"):
        expected, found = (q.ask(question, search="CRM", limit=1).rows for q in (one, three))
        assert plain(found[0], {"owners"}) == plain(expected[0], {"owners"})


def test_estimates_are_those_of_the_store_that_has_seen_most(filled):
    one, three = filled("by pipeline", SHARES["by pipeline"])
    assert ask(three, "estimates", limit=None) == ask(one, "estimates", limit=None)
    _, apart = filled("by run", SHARES["by run"])
    rows, total = ask(apart, "estimates", limit=None)
    assert total == ask(one, "estimates")[1]
    most = max(
        Questions(store).ask("estimates", dag_id="orders", task_id="load").rows[0]["completed"]
        for store in apart.stores
    )
    assert next(row["completed"] for row in rows if (row["dag_id"], row["task_id"]) == ("orders", "load")) == most


class Hanging(StorageAdapter):
    """Does not answer until it is let go."""

    let_go = threading.Event()

    def write_tracking_record(self, record):
        return True

    def read_tracking_records(self, pipeline_id):
        return []

    def answer(self, asked, newer=()):
        self.let_go.wait(20)
        return answer_from_records(asked, newer)


def test_a_chain_that_hangs_or_is_down_hides_no_other(site, monkeypatch):
    monkeypatch.setattr(sources, "OTHERS_LIMIT", 0.5)
    Hanging.let_go.clear()
    well = site.store("well")
    well.submit(good_run("orders", "one", NOW).changes, durable=True)
    assert well.flush(20)
    site.shut("down")
    questions = Questions(site.store("hangs||x", adapters={"hangs": Hanging}), site.store("down"), well)
    begun = time.monotonic()
    answers = [questions.ask(question) for question in ("runs", "pipelines", "attention", "transfers")]
    assert time.monotonic() - begun < 3, "who hangs is waited for once"
    Hanging.let_go.set()
    assert [answer.total for answer in answers] == [1, 1, 0, 3]
    for answer in answers:
        assert answer.sources == (well.legs[0].name,)
        assert answer.unreachable["hangs||x"] == "did not answer within 0.5 s, as others did"
        assert "cannot be a folder" in answer.unreachable[site.location("down")]


def test_what_waits_counts_once_with_the_chain_that_it_waits_for(site):
    first, second = site.store("a"), site.store("b")
    run = good_run("orders", "one", NOW)
    second.submit(run.changes[:4], durable=True)
    assert second.flush(20)
    second._delivery.submit = lambda batch: None
    second.submit(run.changes[4:], durable=True)
    late = overdue_run("finance", "two", NOW)
    site.shut("c")
    third = site.store("c")
    third.submit(late.changes, durable=True)
    third.flush(5)
    questions = Questions(first, second, third)
    assert {row["run_id"]: (row["state"], row["transfers"]) for row in questions.ask("runs").rows} == {
        "one": ("completed", 3),
        "two": ("in_progress", 3),
    }
    attempts = questions.ask("attempts")
    assert attempts.total == len({change.record_id for change in (*run.changes, *late.changes)}) == len(attempts.rows)


def test_a_fallback_that_two_chains_share_is_asked_once(site, monkeypatch):
    asked = []
    site.shut("a", "b")
    first, second = site.store("a", "shared"), site.store("b", "shared")
    for store, run_id in ((first, "one"), (second, "two")):
        store.submit(failed_run("orders", run_id, NOW).changes, durable=True)
        assert store.flush(20)
    real = sources.Source.ask
    monkeypatch.setattr(sources.Source, "ask", lambda self, what: asked.append(self.leg.name) or real(self, what))
    answer = Questions(first, second).ask("runs")
    assert (answer.total, answer.sources) == (2, (site.location("shared"),))
    assert asked.count(site.location("shared")) == 1
    site.open("b")
    assert Questions(first, second).ask("runs").total == 2, "what is owed to one counts once"


def test_one_chain_is_asked_for_its_page_only(site, monkeypatch):
    store = site.store("a")
    store.submit(good_run("orders", "one", NOW).changes, durable=True)
    assert store.flush(20)
    limits = []
    real = sources.Source.ask
    monkeypatch.setattr(
        sources.Source, "ask", lambda self, what: limits.append((what.limit, what.offset)) or real(self, what)
    )
    monkeypatch.setattr(questions_module, "combine", None)
    assert len(Questions(store, site.store("a")).ask("attempts", limit=2, offset=1).rows) == 2
    assert limits == [(2, 1)]


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_stands_in_two_chains_counts_once(site, question):
    """A mirror and a chain that names one of its places; and one record is further there."""
    mirror = site.store("a", "b", mode="mirror")
    one = site.store("b")
    run = failed_run("orders", "one", NOW)
    mirror.submit(run.changes, durable=True)
    one.submit(good_run("orders", "two", NOW - timedelta(days=1)).changes, durable=True)
    mirror.submit(good_run("customers", "three", NOW).changes, durable=True)
    assert mirror.flush(20)
    assert one.flush(20)
    found, total = ask(Questions(mirror, one), question, limit=None)
    expected, also = ask(Questions(one), question, limit=None)
    assert total == also == len(found)
    assert [plain(row) for row in found] == [plain(row) for row in expected]
    for limit in (1, 2):
        assert ask(Questions(mirror, one), question, limit=limit)[1] == also
