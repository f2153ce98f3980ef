"""The configuration of a hand-written Dag: its transfers, what they wait for, what their tasks have of their own."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from contextlib import closing
from datetime import timedelta

import pytest
from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, task, task_group

from airflow_provider_pipetrack import AuditSensor, PipelineConfig, TrackedOperator, build_dag, settings, tracked
from airflow_provider_pipetrack.attempts import configuration, versions
from airflow_provider_pipetrack.attempts.announce import announced
from airflow_provider_pipetrack.attempts.binding import binding_of
from airflow_provider_pipetrack.attempts.configuration import configuration_of
from airflow_provider_pipetrack.attempts.declare import complete_binding
from airflow_provider_pipetrack.attempts.stores import store_for
from airflow_provider_pipetrack.attempts.versions import check_version
from airflow_provider_pipetrack.records.key import RecordKey


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path / "journal"))


def written_in(dag, name):
    return configuration_of(complete_binding(dag).specs[name], dag)


def audit_of(name):
    return AuditSensor(task_id="check", transfer={"name": name, "stage_i_details": "shop"}, function=lambda: True)


def waiting(made):
    return {name: row["depends_on"] for name, row in made.rows.items()}


def test_a_pipeline_file_is_its_own_configuration():
    config = PipelineConfig.from_text("stage_transfers: [{name: load}]", "orders.yaml")
    dag = build_dag(config)
    assert configuration_of(binding_of(dag).specs["load"], dag) is config


def test_tasks_wait_through_audits_groups_and_others_and_what_leads_to_no_transfer_is_left_out():
    with DAG("d", schedule=None) as dag:
        first = TrackedOperator(task_id="first", transfer={})
        check = AuditSensor(task_id="check", transfer="first", function=lambda: True)

        @task_group
        def out():
            mapped = tracked(BashOperator).partial(task_id="mapped", transfer={}).expand(bash_command=["a", "b"])
            mapped >> EmptyOperator(task_id="join")

        @task.tracked(transfer={"stage_i_details": "x"})
        def last(part):
            return part

        begin, end, note = (EmptyOperator(task_id=name) for name in ("begin", "end", "note"))
        begin >> first >> check >> out() >> last.expand(part=[1]) >> end
        first >> note
    made = written_in(dag, "first")
    assert waiting(made) == {"first": [], "out.mapped": ["check"], "last": ["out.join"]}
    assert made.other_tasks == {"check": ["first"], "out.join": ["out.mapped"]}
    assert made.first_tasks == {"first"}
    assert written_in(dag, "last") is made, "worked out once"


def test_each_pipeline_of_a_dag_has_its_own():
    with DAG("d", schedule=None) as dag:
        tasks = [
            TrackedOperator(task_id=name, transfer={}, pipeline_id=of)
            for name, of in (("a", "p"), ("b", "q"), ("c", "p"), ("e", None))
        ]
        for one, other in zip(tasks, tasks[1:], strict=False):
            one >> other
    of_p, of_q, of_dag = (written_in(dag, name) for name in ("a", "b", "e"))
    assert (waiting(of_p), of_p.other_tasks) == ({"a": [], "c": ["b"]}, {"b": ["a"]})
    assert waiting(of_q) == {"b": []}
    assert [of.first_tasks for of in (of_p, of_q, of_dag)] == [{"a"}, {"b"}, {"e"}], "though others come before"
    assert (of_dag.pipeline_id, list(of_dag.rows)) == ("d", ["e"])
    assert len({of.config_hash for of in (of_p, of_q, of_dag)}) == 3


def test_the_order_in_which_tasks_are_made_does_not_count():
    def made(names):
        with DAG("d", schedule=None) as dag:
            tasks = {name: TrackedOperator(task_id=name, transfer={"stage_i_details": name}) for name in names}
            tasks["a"] >> tasks["b"] >> tasks["c"]
        return written_in(dag, "a")

    names = ["a", "b", "c", "e"]
    shuffled = random.Random(7).sample(names, 4)
    assert made(names).config_hash == made(shuffled).config_hash
    assert [t.name for t in made(shuffled).stage_transfers] == ["a", "e", "b", "c"]


def test_what_the_task_has_stands_for_what_the_transfer_asks():
    asked = {"pool": "asked", "retry_delay": "5m", "execution_timeout": "1h", "max_retry_attempts": 4}
    with DAG("d", schedule=None, default_args={"pool": "common"}) as dag:
        TrackedOperator(task_id="asks", transfer=asked)
        TrackedOperator(task_id="has", transfer=asked, pool="own", retries=1, execution_timeout=timedelta(hours=2))
        TrackedOperator(task_id="says_nothing", transfer={})
        TrackedOperator(task_id="default", transfer={}, pool="default_pool")
    rows = {row["name"]: row for row in written_in(dag, "asks").public_content()["stage_transfers"]}
    said = {name: [row[field] for field in asked] for name, row in rows.items()}
    assert said == {
        "asks": ["asked", "PT5M", "PT1H", 4],
        "has": ["own", "PT5M", "PT2H", 1],
        "says_nothing": ["common", None, None, 3],
        "default": [None, None, None, 3],
    }


def test_a_transfer_that_the_dag_only_audits_is_in_the_configuration_of_its_records():
    with DAG("d", schedule=None) as dag:
        load = EmptyOperator(task_id="load")
        audit = audit_of("load")
        behind = TrackedOperator(task_id="behind", transfer={})
        load >> audit >> behind
    made = written_in(dag, "behind")
    assert waiting(made) == {"load": [], "behind": ["check"]}
    assert made.other_tasks == {"check": ["load"]}
    record = announced(audit.pipetrack_spec, {"dag": dag, "run_id": "r"}, RecordKey("d", "r", "load"))
    assert record.columns["config_hash"] == made.config_hash
    assert made.first_tasks == {"behind"}, "which says in its record what has changed"


def audited_by_others(*edges, audits=("load",)):
    """Return what a Dag says in which all tasks but ``extract`` are no transfers, and ``audits`` of them are audited."""
    with DAG("d", schedule=None) as dag:
        tasks = {"extract": TrackedOperator(task_id="extract", transfer={})}
        for name in audits:
            audit = AuditSensor(task_id=f"audit_{name}", transfer={"name": name}, function=lambda: True)
            tasks[audit.task_id] = audit
        for one in " ".join(edges).split():
            if one not in tasks:
                tasks[one] = EmptyOperator(task_id=one)
        for edge in edges:
            names = edge.split()
            for one, other in zip(names, names[1:], strict=False):
                tasks[one] >> tasks[other]
    return written_in(dag, "extract")


@pytest.mark.parametrize(
    ("edges", "waits", "others"),
    [
        (["extract load audit_load"], ["extract"], {}),
        (["extract load audit_load end"], ["extract"], {}),
        (["extract join load audit_load"], ["join"], {"join": ["extract"]}),
        (["extract load mid audit_load"], ["extract"], {}),
        (["extract load audit_load", "load mid audit_load", "other audit_load"], ["extract"], {}),
        (["load audit_load", "extract other"], [], {}),
        (["extract audit_load load"], ["audit_load"], {"audit_load": ["extract"]}),
        (["extract audit_load mid load"], ["mid"], {"mid": ["audit_load"], "audit_load": ["extract"]}),
    ],
)
def test_an_audited_task_of_another_kind_stands_for_its_transfer(edges, waits, others):
    made = audited_by_others(*edges)
    assert waiting(made) == {"extract": [], "load": waits}
    assert made.other_tasks == others
    assert [transfer.name for transfer in made.stage_transfers] == ["extract", "load"]
    assert versions.version_of(made).stages == [["", ""], ["", ""]]


def test_many_such_tasks_one_behind_the_other_are_transfers_that_wait_through_their_audits():
    names = [f"load_{number}" for number in range(5)]
    edge = " ".join(f"{name} audit_{name}" for name in names)
    made = audited_by_others(f"extract {edge}", "load_1 note", "load_1 mid audit_load_3", audits=names)
    assert waiting(made) == {
        "extract": [],
        "load_0": ["extract"],
        **{f"load_{number}": [f"audit_load_{number - 1}"] for number in range(1, 5)},
    }
    assert made.other_tasks == {
        **{f"audit_load_{number}": [f"load_{number}"] for number in (0, 1, 2)},
        "audit_load_3": ["load_3", "mid"],
        "mid": ["load_1"],
    }
    assert [transfer.name for transfer in made.stage_transfers] == ["extract", *names]


def test_what_comes_straight_behind_an_audited_task_waits_for_its_transfer():
    with DAG("d", schedule=None) as dag:
        load = EmptyOperator(task_id="load")
        behind = TrackedOperator(task_id="behind", transfer={})
        load >> [audit_of("load"), behind]
    assert waiting(written_in(dag, "behind")) == {"load": [], "behind": ["load"]}


def test_a_dag_whose_transfers_have_no_order_has_records_without_a_hash(monkeypatch, caplog):
    with DAG("d", schedule=None) as dag:
        load = TrackedOperator(task_id="load", transfer={})
    monkeypatch.setattr(configuration, "_waiting", lambda *given: {"load": ["join"], "join": ["load"]})
    assert configuration_of(load.pipetrack_spec, dag) is None
    assert check_version(load, load.pipetrack_spec, store_for(load.pipetrack_spec)) is None
    (message,) = caplog.messages
    assert message.startswith("pipetrack cannot read what d says of d: CycleError(")


def test_an_audit_keeps_the_configuration_where_the_dag_runs_none_of_its_transfers(mocker):
    with DAG("d", schedule=None) as dag:
        audit = audit_of("vendor")
    audit.execute(
        {"dag": dag, "run_id": "r", "ti": mocker.Mock(dag_id="d", run_id="r", try_number=1, xcom_pull=lambda **_: None)}
    )
    store = store_for(audit.pipetrack_spec)
    (kept,) = store.legs[0].call(lambda adapter: adapter.config_versions("d"), 5.0)
    (record,) = store.read_run("d", "r").records
    assert (kept.config_hash, kept.stages) == (record["config_hash"], [["shop", ""]])


def test_dags_that_share_a_pipeline_are_compared_each_with_itself():
    def run(dag_id, source):
        with DAG(dag_id, schedule=None):
            load = TrackedOperator(task_id="load", transfer={"stage_i_details": source}, pipeline_id="shared")
        return check_version(load, load.pipetrack_spec, store_for(load.pipetrack_spec))

    assert [run("one", "shop"), run("two", "market"), run("two", "market")] == [None, None, None]
    assert run("two", "street") == ("stages changed under an unchanged version: added street -> ; removed market -> ")


def test_a_configuration_is_kept_again_a_day_after_its_storage_was_made_anew(tmp_path):
    with DAG("d", schedule=None):
        load = TrackedOperator(task_id="load", transfer={"tracking_location": [f"sqlite||{tmp_path}/first.db"]})
    spec, store = load.pipetrack_spec, store_for(load.pipetrack_spec)

    def kept():
        check_version(load, spec, store)
        return len(store.legs[0].call(lambda adapter: adapter.config_versions("d"), 5.0))

    assert kept() == 1
    with closing(sqlite3.connect(tmp_path / "first.db")) as database, database:
        database.execute("DELETE FROM pipeline_tracking_configs")
    assert kept() == 0, "it was kept just now"
    (marker,) = settings.state_dir().joinpath("configs").iterdir()
    os.utime(marker, (time.time() - 90_000,) * 2)
    assert (kept(), kept()) == (1, 1)


def test_a_dag_that_cannot_be_read_has_records_without_a_hash(monkeypatch, caplog):
    with DAG("d", schedule=None) as dag:
        load = TrackedOperator(task_id="load", transfer={})
    monkeypatch.setattr(configuration, "said_by", lambda *given: 1 / 0)
    record = announced(load.pipetrack_spec, {"dag": dag, "run_id": "r"}, RecordKey("d", "r", "load"))
    assert (record.columns["config_hash"], record.columns["task_id"]) == (None, "load")
    assert check_version(load, load.pipetrack_spec, store_for(load.pipetrack_spec)) is None
    assert caplog.messages == ["pipetrack cannot read what d says of d: ZeroDivisionError('division by zero')"]
    assert not settings.state_dir().joinpath("configs").exists()


def test_a_copy_of_a_dag_without_its_transfers_says_nothing():
    with DAG("d", schedule=None):
        load = TrackedOperator(task_id="load", transfer={})
    assert configuration_of(load.pipetrack_spec, DAG("d", schedule=None)) is None


def test_secrets_that_the_settings_name_are_masked_in_what_is_kept(monkeypatch):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__MASK_FIELDS", "pin")
    metadata = {"pin": "hush", "address": "postgres://me:hush@host/db"}
    with DAG("d", schedule=None) as dag:
        load = TrackedOperator(task_id="load", transfer={"audit_metadata": metadata})
    (row,) = versions.version_of(configuration_of(load.pipetrack_spec, dag)).config["stage_transfers"]
    assert row["audit_metadata"] == {"pin": "***", "address": "postgres://me:***@host/db"}
