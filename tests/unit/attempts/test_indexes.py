"""What the end of a run says of mapped transfers without an audit: how many indexes there are, and which never began."""

from __future__ import annotations

import pytest

from airflow_provider_pipetrack import PipelineConfig, build_dag, is_ready
from airflow_provider_pipetrack.attempts import closing
from airflow_provider_pipetrack.attempts.announce import announced
from airflow_provider_pipetrack.attempts.binding import binding_of
from airflow_provider_pipetrack.attempts.stores import store_for
from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.describe import Outcome, audit_change, end_change

PIPELINE = """
stage_transfers:
  - name: load
    stage_i_plus_1_details: mart
    audit_enabled: AUDITED
    operator: airflow.providers.standard.operators.bash.BashOperator
    expand: {bash_command: [a, b]}
"""


@pytest.fixture
def run(tmp_path, monkeypatch, mocker):
    """Ends the run with Airflow's states; the first indexes have told their end."""
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", f"sqlite||{tmp_path}/tracking.db")
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))

    class Run:
        def __init__(self, *, audited=False):
            self.dag = build_dag(PipelineConfig.from_text(PIPELINE.replace("AUDITED", str(audited).lower()), "d.yaml"))
            self.spec = binding_of(self.dag).specs["load"]
            self.store = store_for(self.spec)

        def start(self, index):
            return announced(self.spec, {"dag": self.dag, "run_id": "r"}, RecordKey("d", "r", "load", index))

        def told(self, *indexes):
            ended = Outcome("completed", ended=utc_now())
            self.store.submit([end_change(self.start(index), ended, by="task") for index in indexes], durable=False)
            self.store.flush()
            return self

        def end(self, **states):
            self.asked = mocker.patch.object(closing, "task_states", return_value=states)
            closing.close_open_records(self.dag, "r", "success")
            return self

        @property
        def records(self):
            return {record["map_index"]: record for record in self.store.read_run("d", "r").records}

        @property
        def readiness(self):
            return is_ready("d", "mart", store=self.store).state.value

    return Run


def test_everybody_knows_after_the_end_whether_all_indexes_are_there(run):
    ended = run().told(0, 1)
    assert ended.readiness == "unknown"
    ended.end(load_0="success", load_1="success")
    assert ended.readiness == "ready"
    assert ended.records[0]["audit_metadata"] == {"map_indexes": 2}
    assert [record["closed_by"] for record in ended.records.values()] == ["task", "task"]


def test_what_somebody_wrote_by_hand_stays_as_it_is(run):
    ended = run().told(0)
    ended.store.update_tracking_record(ended.start(0).record_id, {"audit_metadata": ["checked by hand"]})
    ended.end(load_0="success")
    assert (ended.records[0]["audit_metadata"], ended.readiness) == (["checked by hand"], "unknown")


def test_what_somebody_said_of_the_data_by_hand_stands_beside_the_number(run):
    ended = run().told(0, 1)
    said = {"audit_result": "mismatched", "audit_metadata": {"rows": 5}}
    ended.store.update_tracking_record(ended.start(0).record_id, said)
    ended.end(load_0="success", load_1="success")
    assert ended.records[0]["audit_result"] == "mismatched"
    assert ended.records[0]["audit_metadata"] == {"rows": 5, "map_indexes": 2}


def test_an_index_that_never_told_of_itself_gets_its_record(run):
    ended = run().told(0, 1).end(load_0="success", load_1="success", load_2="failed", load_3="removed")
    assert list(ended.records) == [0, 1, 2]
    assert ended.records[2]["error_message"] == "failed before it began; Airflow says failed"
    assert ended.readiness == "failed"


def test_one_of_which_nothing_is_known_gets_all_of_its_indexes(run):
    assert {i: r["transfer_status"] for i, r in run().end(load_0="failed", load_1="success").records.items()} == {
        0: "failed",
        1: "completed",
    }


def test_one_that_never_expanded_is_announced_and_not_counted(run):
    ended = run().end(load="upstream_failed")
    assert {i: (r["decision"], r["audit_metadata"]) for i, r in ended.records.items()} == {
        0: ("not run: an upstream failed", {})
    }


def test_an_audited_one_is_left_to_its_audit(run):
    ended = run(audited=True).told(0, 1).end()
    ended.asked.assert_not_called()
    assert ended.readiness == "audit_pending"


def test_an_audits_answer_counts_more(run):
    ended = run().told(0)
    audit = audit_change(ended.start(0), "matched", {"rows": 3}, try_number=1, final=True)
    ended.store.submit([audit], durable=True)
    ended.end(load_0="success")
    assert (ended.records[0]["audit_result"], ended.records[0]["audit_metadata"]) == ("matched", {"rows": 3})
    assert ended.readiness == "ready"
