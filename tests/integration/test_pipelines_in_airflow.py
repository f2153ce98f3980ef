"""Pipeline files in Airflow: mapped transfers with their audit, and transfers that take turns."""

from __future__ import annotations

import logging

import pytest

from airflow_provider_pipetrack import TrackingStore, build_dag
from airflow_provider_pipetrack.records.change import utc_now

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]

LOADER = "# Airflow Dag loader\nfrom airflow_provider_pipetrack import load_pipelines\nload_pipelines(globals())\n"
FUNCTIONS = """
audited = []


def load(country):
    if country == "xx":
        raise ValueError("there is no such country")
    return {"records_succeeded": len(country), "records_failed": 0}


def fails():
    raise ValueError("the source is gone")


def lists():
    return ["it", "{{ ds }}"]


def fills(table, country):
    raise ValueError(f"{table} is full")


def empties(table, country, ds):
    raise ValueError(f"{country} in {table} cannot be undone")


def check(source_stage, target_stage, audit_config):
    audited.append(source_stage)
    return {"audit_result": "matched", "rows": 5, "times": len(audited), "asked": dict(audit_config)}
"""
MAPPED = """
user_functions: functions.py
defaults: {max_retry_attempts: 0, audit_enabled: false}
stage_transfers:
  - name: load
    stage_i_details: shop
    stage_i_plus_1_details: staging
    python_callable: load
    expand: {country: [de, %s]}
    audit_enabled: true
    audit_metadata: {table: "orders_{{ ds }}", column: id, rows: 0}
    audit: {function: check, config: {column: amount, only: ["day = '{{ ds }}'"]}}
  - {name: publish, transfer_order_number: 2}
"""
TURNS = """
user_functions: functions.py
defaults: {max_retry_attempts: 0, audit_enabled: false, can_process_be_parallelized: false}
stage_transfers:
  - {name: first, python_callable: fails}
  - {name: second}
"""
UNDONE = """
user_functions: functions.py
defaults: {max_retry_attempts: 0, audit_enabled: false}
stage_transfers:
  - {name: load, python_callable: fills, operator_args: {table: "orders_{{ ds }}"}, expand: {country: [de, fr]}, rollback: empties}
  - {name: plain, python_callable: fills, operator_args: {table: "orders_{{ ds }}", country: uk}, rollback: empties}
  - {name: lists, python_callable: lists}
  - {name: rest, python_callable: fills, operator_args: {table: "orders_{{ ds }}"}, expand: {country: transfer.lists}, rollback: empties}
"""


@pytest.fixture
def ran(airflow_home):
    """A function that runs a pipeline; it returns the run, its states, and its records by task and map index."""

    def run(name, text):
        folder = airflow_home / "dags" / name
        folder.mkdir()
        (folder / "functions.py").write_text(FUNCTIONS)
        (folder / "load.py").write_text(LOADER)
        (folder / f"{name}.yaml").write_text(text)
        logging.disable(logging.INFO)
        try:
            made = build_dag(folder / f"{name}.yaml").test()
        finally:
            logging.disable(logging.NOTSET)
        states = {(ti.task_id, ti.map_index): str(ti.state) for ti in made.get_task_instances()}
        with TrackingStore.from_settings() as store:
            records = store.read_run(made.dag_id, made.run_id).records
        return str(made.state), states, {(r["task_id"], r["map_index"]): r for r in records}

    return run


def test_one_audit_follows_all_indexes_and_its_result_stands_in_the_record_of_each(ran):
    state, states, records = ran("mapped_and_audited", MAPPED % "fr")
    assert state == "success"
    assert set(states) == {("load", 0), ("load", 1), ("load__audit", -1), ("publish", -1)}
    for index in (0, 1):
        record = records["load", index]
        found = record["audit_metadata"]
        assert (record["transfer_status"], record["audit_result"], found["times"]) == ("completed", "matched", 1)
        # What the file fills is the base of what the function is asked, and of its results.
        day = f"{utc_now():%Y-%m-%d}"
        table, only = f"orders_{day}", [f"day = '{day}'"]
        assert found["asked"] == {"table": table, "column": "amount", "rows": 0, "only": only}
        assert (found["table"], found["column"], found["rows"], found["only"]) == (table, "amount", 5, only)


def test_an_index_that_fails_stops_the_audit_and_what_comes_behind(ran):
    state, states, records = ran("mapped_and_failed", MAPPED % "xx")
    assert state == "failed"
    assert states == {
        ("load", 0): "success",
        ("load", 1): "failed",
        ("load__audit", -1): "upstream_failed",
        ("publish", -1): "upstream_failed",
    }
    ended = {place: (record["transfer_status"], record["audit_result"]) for place, record in records.items()}
    assert ended == {
        ("load", 0): ("completed", None),
        ("load", 1): ("failed", None),
        ("publish", -1): ("pending", None),
    }


def test_a_failure_before_somebody_elses_turn_is_the_runs(ran):
    state, states, _ = ran("turns_of_two", TURNS)
    assert states == {
        ("first", -1): "failed",
        ("second__turn", -1): "success",
        ("second", -1): "success",
        ("pipeline_done", -1): "upstream_failed",
    }
    assert state == "failed"


def test_a_function_and_its_rollback_get_rendered_arguments_mapped_or_not(ran):
    _, _, records = ran("undone", UNDONE)
    table = f"orders_{utc_now():%Y-%m-%d}"
    had = {("load", 0): "de", ("load", 1): "fr", ("plain", -1): "uk", ("rest", 0): "it", ("rest", 1): "{{ ds }}"}
    for place, country in had.items():
        record = records[place]
        assert record["error_message"] == f"ValueError: {table} is full"
        assert record["decision"] == f"rollback failed and is owed: ValueError: {country} in {table} cannot be undone"
