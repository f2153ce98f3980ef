"""Questions to a chain: what waits in the journal or is owed counts, and who could not be asked is named."""

from __future__ import annotations

import pytest

from airflow_provider_pipetrack.records.queries import QUESTIONS
from airflow_provider_pipetrack.settings import host_name
from airflow_provider_pipetrack.tracking.questions import Questions, questions_from_settings
from airflow_provider_pipetrack.tracking.store import TrackingStore
from tests.integration.storage.conftest import USERS

RECORD = {
    "pipeline_id": "orders",
    "dag_id": "orders_dag",
    "run_id": "r1",
    "task_id": "load",
    "transfer_status": "in_progress",
    "stage_i_details": "shop",
    "transfer_process_email_alerts": ["a@b.c"],
    "audit_enabled": True,
    "transfer_start_timestamp": "2026-03-01T12:00:00+00:00",
}


@pytest.fixture
def chain(tmp_path):
    """A function that gives the store of a chain; a folder named ``down`` is a file."""
    (tmp_path / "down").write_text("in the way")
    stores = []

    def made(*places: str) -> TrackingStore:
        texts = [text.replace("~", str(tmp_path)) for text in places]
        stores.append(TrackingStore(texts, journal_dir=tmp_path / "journal", adapters=USERS, deadline=2.0))
        return stores[-1]

    yield made
    for store in stores:
        store.close()


def statuses(store: TrackingStore, question: str = "transfers") -> list[tuple[str, str]]:
    return [(row["task_id"], row["transfer_status"]) for row in Questions(store).ask(question, order_by="task_id").rows]


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "local_file"])
def test_what_is_owed_to_the_asked_location_counts(chain, tmp_path, place_of, kind):
    first = place_of(kind).text if kind == "postgres" else f"{kind}||~/down/first"
    store = chain(first, "sqlite||~/second.db||t")
    if kind == "postgres":
        alone = chain("sqlite||~/down/nobody.db||t", "sqlite||~/second.db||t")
        alone.write_tracking_record(RECORD)
        owner = store.legs[0].name
        store.legs[1].adapter.settle(store.legs[1].adapter.read_record("orders_dag/r1/load/-1/1"), [owner])
    else:
        store.write_tracking_record(RECORD)
        (tmp_path / "down").unlink()
    store.legs[0].adapter.prepare()
    if kind == "local_file":
        store.legs[0].adapter.check()
    assert store.legs[0].adapter.read_tracking_records("orders") == []
    answer = Questions(store).ask("transfers")
    assert (answer.total, answer.unreachable) == (1, {})
    (row,) = answer.rows
    assert (row["transfer_status"], row["stage_i_details"], row["audit_enabled"]) == ("in_progress", "shop", True)
    assert row["transfer_process_email_alerts"] == ["a@b.c"]
    assert row["transfer_start_timestamp"].isoformat() == "2026-03-01T12:00:00+00:00"
    for question in QUESTIONS:
        Questions(store).ask(question)


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "local_file"])
def test_a_newer_version_of_a_record_counts_once(chain, tmp_path, place_of, kind):
    place = place_of(kind)
    store = chain(place.text)
    store.write_tracking_record(RECORD)
    store.write_tracking_record({**RECORD, "task_id": "other"})
    # The end waits in the journal, as it does while the location is down.
    store._delivery.submit = lambda batch: None
    store.submit([_end_of(store, "orders_dag/r1/load/-1/1")], durable=True)
    assert statuses(store) == [("load", "completed"), ("other", "in_progress")]
    assert Questions(store).ask("attempts", status="in_progress").total == 1
    (run,) = Questions(store).ask("runs").rows
    assert (run["state"], run["completed"], run["in_progress"]) == ("in_progress", 1, 1)
    assert run["logical_date"] is None


def _end_of(store, record_id):
    from airflow_provider_pipetrack.records.handmade import change_from_updates

    return change_from_updates(store.read_record(record_id), {"transfer_status": "completed"})


def test_the_next_location_answers_for_one_that_is_down(chain):
    store = chain("sqlite||~/down/first.db||t", "sqlite||~/second.db||t")
    store.write_tracking_record(RECORD)
    answer = Questions(store).ask("pipelines")
    assert [row["pipeline_id"] for row in answer.rows] == ["orders"]
    (name,) = answer.unreachable
    assert name.endswith("down/first.db||t")


def test_a_file_of_another_host_is_not_visible_here(chain, tmp_path):
    answer = Questions(chain("sqlite||~/elsewhere.db||t")).ask("runs")
    reason = f"not visible here: this host ({host_name()}) has no such file; it is another host's, or nothing was recorded yet"
    assert (answer.rows, answer.total) == ([], 0)
    assert list(answer.unreachable.values()) == [reason]
    assert not (tmp_path / "elsewhere.db").exists(), "asking makes no file"


def test_the_journal_answers_alone_when_nothing_else_does(chain):
    store = chain("sqlite||~/down/first.db||t")
    store.write_tracking_record(RECORD)
    answer = Questions(store).ask("runs")
    assert [(row["run_id"], row["state"]) for row in answer.rows] == [("r1", "in_progress")]
    assert len(answer.unreachable) == 1


def test_a_storage_with_three_methods_is_asked_about_one_pipeline(chain, tmp_path):
    store = chain("custom_storage||~/users.json")
    store.write_tracking_record(RECORD)
    questions = Questions(store)
    (row,) = questions.ask("pipelines", pipeline_id="orders").rows
    assert (row["state"], row["transfers"]) == ("in_progress", 1)
    assert questions.ask("transfers", pipeline_id="orders").rows[0]["transfer_start_timestamp"].year == 2026
    assert questions.ask("pipelines", pipeline_id="other").rows == []
    (reason,) = questions.ask("pipelines").unreachable.values()
    assert reason == "can only be asked about one pipeline at a time; name it"


def test_pages_and_commands_ask_the_chain_of_the_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", f"sqlite||{tmp_path}/a.db||t")
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))
    with questions_from_settings().store as store:
        store.write_tracking_record(RECORD)
        assert statuses(store, "attempts") == [("load", "in_progress")]
