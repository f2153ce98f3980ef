"""What a record's texts become in a run: templates with variables, and nothing that is secret."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG
from airflow.sdk.execution_time.timeout import TimeoutPosix
from airflow.sdk.log import mask_secret

from airflow_provider_pipetrack.attempts import content as content_module
from airflow_provider_pipetrack.attempts.announce import announced
from airflow_provider_pipetrack.attempts.binding import binding_of
from airflow_provider_pipetrack.attempts.content import describe_attempt
from airflow_provider_pipetrack.attempts.stores import store_for
from airflow_provider_pipetrack.config import PipelineConfig
from airflow_provider_pipetrack.config.functions import UserFunctions
from airflow_provider_pipetrack.dag import build_dag
from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.describe import Content, start_change


@pytest.fixture
def texts_of(tmp_path, monkeypatch):
    """A function that describes the first attempt of a pipeline's only transfer."""
    monkeypatch.setenv("AIRFLOW__PIPETRACK__TRACKING_LOCATION", f"sqlite||{tmp_path}/tracking.db")

    def describe(row, *, goes_on=False, state=None, attempt=1, **more):
        text = json.dumps({**more, "stage_transfers": [{"name": "load", "audit_enabled": False, **row}]})
        dag: DAG = build_dag(PipelineConfig.from_text(text, "orders.json"))
        spec = binding_of(dag).specs["load"]
        ti = SimpleNamespace(
            task=dag.get_task("load"), dag_id="orders", run_id="r1", task_id="load", map_index=-1, try_number=attempt
        )
        context = {"dag": dag, "ti": ti, "run_id": "r1", "ds": "2026-01-02"}
        if state is not None:
            context["task_state_store"] = state
        key, store = RecordKey("orders", "r1", "load", attempt=attempt), store_for(spec)
        described = describe_attempt(spec, context, key, store, goes_on=goes_on)
        start = start_change(described, key, started=utc_now(), operator="x.Y", log_url=None, resumed=goes_on)
        store.submit([start], durable=False)
        store.flush()
        return described.content

    return describe


def test_templates_know_the_files_variables_and_the_run(texts_of):
    content = texts_of(
        {"stage_i_details": "{{ env }}.orders.{{ ds }}", "stage_i_plus_1_details": "clean"},
        variables={"env": "prod"},
        pipeline_metadata={"pipeline_id": "{{ env }}_{{ run_id }}"},
    )
    assert content.stage_i_details == "prod.orders.2026-01-02"
    assert content.pipeline_id == "prod_r1"
    assert content.transfer_unique_id == "prod_r1/load/r1"


@pytest.mark.parametrize("template", ["{{ nobody.knows }}", "{{ 'x' * 251 }}"])
def test_the_dag_stands_for_a_pipeline_that_cannot_be_named(texts_of, template):
    content = texts_of(
        {"stage_i_details": "a", "stage_i_plus_1_details": "b"}, pipeline_metadata={"pipeline_id": template}
    )
    assert content.pipeline_id == "orders"


def test_a_variable_comes_before_a_name_of_the_run_in_templates_and_f_strings(texts_of):
    content = texts_of(
        {"stage_i_details": "{{ ds }}", "stage_i_plus_1_details": 'f"{ds}"'}, variables={"ds": "always this day"}
    )
    assert content.stage_i_details == content.stage_i_plus_1_details == "always this day"


class States(dict):
    """Airflow's task state store."""

    set = dict.__setitem__


@pytest.mark.parametrize("keeps", [True, False], ids=["task state", "its record"])
def test_an_attempt_that_was_deferred_keeps_the_texts_that_it_began_with(texts_of, keeps):
    state = States() if keeps else None
    row = {"stage_i_plus_1_details": "x", "stage_i_details": "{{ found }}"}
    assert texts_of(row, variables={"found": "first"}, state=state).stage_i_details == "first"
    later = texts_of(row, variables={"found": "second"}, state=state, goes_on=True)
    assert later.stage_i_details == "first"


def pending_of(text):
    dag = build_dag(PipelineConfig.from_text(json.dumps(text), "orders.json"))
    change = announced(binding_of(dag).specs["load"], {"dag": dag, "run_id": "r1"}, RecordKey("orders", "r1", "load"))
    return {name: change.columns[name] for name in vars(Content("")) if name != "pipeline_id"}


def test_a_transfer_that_waits_has_what_is_known_already():
    row = {"name": "load", "stage_i_details": "{{ ds }}", "stage_i_plus_1_details": "clean"}
    assert pending_of({"stage_transfers": [row]}) == {
        "stage_i_details": None,
        "stage_i_unique_identifier": None,
        "stage_i_plus_1_details": "clean",
        "stage_i_plus_1_unique_identifier": "orders/clean",
        "transfer_unique_id": "orders/load/r1",
    }


@pytest.fixture
def functions(tmp_path):
    """A function that writes a module for ``user_functions``, and returns its path."""

    def write(text):
        (tmp_path / "functions.py").write_text(text)
        return str(tmp_path / "functions.py")

    return write


SOMETIMES = """
import itertools

numbers = itertools.count(1)


def describe():
    number = next(numbers)
    if number in (1, 3):
        raise OSError("the catalog is down")
    return f"made {number}"


def generate_stage_unique_id(stage_details, context):
    return f"{stage_details or 'nothing'} in {context['try_number']}"


def generate_transfer_unique_id(transfer_info):
    return f"from {transfer_info['stage_i_details']}"
"""


@pytest.mark.parametrize("keeps", [True, False], ids=["task state", "its record"])
def test_a_retry_keeps_what_was_resolved_and_tries_what_was_not(texts_of, functions, keeps):
    given = {"state": States() if keeps else None, "user_functions": functions(SOMETIMES)}
    row = {"stage_i_details": "describe()", "stage_i_plus_1_details": "describe()"}
    made = [vars(texts_of(row, attempt=number, **given)) for number in (1, 2, 3)]
    first = {
        "pipeline_id": "orders",
        "stage_i_details": None,
        "stage_i_unique_identifier": "nothing in 1",
        "stage_i_plus_1_details": "made 2",
        "stage_i_plus_1_unique_identifier": "made 2 in 1",
        "transfer_unique_id": "from None",
    }
    assert made == [first, first, {**first, "stage_i_details": "made 4"}]


def test_functions_with_the_names_of_the_seed_fill_what_is_empty_once_an_attempt_begins(texts_of, functions):
    path = functions("""
def generate_stage_details(stage_info):
    return f"{stage_info['stage']} of {stage_info['transfer']['name']} for {stage_info['variables']['env']}"


def generate_stage_unique_id(stage_details, context):
    return f"{stage_details}@{context['run_id']}"


def generate_transfer_unique_id(transfer_info):
    return f"{transfer_info['stage_i_unique_identifier']} -> {transfer_info['stage_i_plus_1_details']}"
""")
    text = {"user_functions": path, "variables": {"env": "prod"}}
    row = {"stage_i_plus_1_details": "clean"}
    assert pending_of({**text, "stage_transfers": [{"name": "load", **row}]}) == {
        "stage_i_details": None,
        "stage_i_unique_identifier": None,
        "stage_i_plus_1_details": "clean",
        "stage_i_plus_1_unique_identifier": None,
        "transfer_unique_id": None,
    }
    assert vars(texts_of(row, **text)) == {
        "pipeline_id": "orders",
        "stage_i_details": "source of load for prod",
        "stage_i_unique_identifier": "source of load for prod@r1",
        "stage_i_plus_1_details": "clean",
        "stage_i_plus_1_unique_identifier": "clean@r1",
        "transfer_unique_id": "source of load for prod@r1 -> clean",
    }


BLOCKED = """
import threading

called = []


def generate_stage_details(stage_info):
    called.append(stage_info["stage"])
    threading.Event().wait()


def generate_stage_unique_id(stage_details, context):
    return generate_stage_details({"stage": "id"})
"""


def test_texts_that_block_leave_the_transfer_most_of_its_time(texts_of, functions):
    with TimeoutPosix(8):  # as Airflow's execution_timeout, which would end the task; longer, for a busy machine
        content = texts_of({"execution_timeout": "2s"}, user_functions=functions(BLOCKED))
    assert (content.stage_i_details, content.stage_i_plus_1_details) == (None, None)
    assert content.transfer_unique_id == "orders/load/r1"


def test_all_texts_share_one_limit(texts_of, functions, monkeypatch, caplog):
    monkeypatch.setattr(content_module, "TEXTS_LIMIT", 1.0)
    path = functions(BLOCKED)
    content = texts_of({"stage_i_plus_1_unique_identifier": "known"}, user_functions=path)
    assert content.stage_i_plus_1_unique_identifier == "known"
    assert UserFunctions(path).load().called == ["source"]
    assert "what makes stage_i_details has not returned within" in caplog.text
    assert "stage_i_plus_1_details of load: the time for texts is up" in caplog.text


@pytest.mark.parametrize("native", [False, True])
def test_templates_are_rendered_in_a_sandbox(texts_of, native):
    content = texts_of(
        {"stage_i_details": "{{ ''.__class__ }}", "stage_i_plus_1_details": "{{ 'clean' | upper }}"},
        dag={"render_template_as_native_obj": native},
    )
    assert (content.stage_i_details, content.stage_i_plus_1_details) == (None, "CLEAN")


def test_a_secret_that_airflow_knows_of_does_not_reach_the_record(texts_of):
    mask_secret("sWordf1sh-98765")
    content = texts_of(
        {"stage_i_details": "{{ found }}", "stage_i_plus_1_details": "x"}, variables={"found": "sWordf1sh-98765"}
    )
    assert content.stage_i_details == "***"
