"""What a right pipeline file means: defaults, contents, user functions, identity, the model on disk."""

from __future__ import annotations

import json
import pickle
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_pipetrack.config import PipelineConfig, StageTransfer, content, parse_duration
from airflow_provider_pipetrack.config.defaults import default_name, merge_defaults, slug
from airflow_provider_pipetrack.config.functions import FunctionError, UserFunctions
from airflow_provider_pipetrack.config.pipeline import AlertSettings
from airflow_provider_pipetrack.config.reader import looks_like_pipeline
from airflow_provider_pipetrack.config.schema import pipeline_schema
from airflow_provider_pipetrack.config.types import LiteralText, Model
from airflow_provider_pipetrack.errors import ConfigError, ContentError
from airflow_provider_pipetrack.records.masking import without_secrets

EXAMPLES = sorted((Path(__file__).resolve().parents[3] / "dags_examples").glob("*.yaml"))

ETL = """
pipeline_metadata:
  pipeline_id: "daily_customer_etl_20250807_001"
  pipeline_name: "Daily Customer Data ETL"

stage_transfers:
  - stage_i_details: "salesforce_raw"
    stage_i_plus_1_details: "customer_staging"
    transfer_order_number: 1.0
    estimated_duration: "30m"
    can_partial_data_be_collected: false
    upstream_completion_required: true
    audit_enabled: true
    transfer_process_owner_name: "navneeth"
    transfer_process_email_alerts: ["data-team@company.com"]

  - stage_i_details: "customer_staging"
    stage_i_plus_1_details: "customer_production"
    transfer_order_number: 2.0
    estimated_duration: "45m"
    can_partial_data_be_collected: true
    upstream_completion_required: true
    audit_enabled: true
    transfer_process_owner_name: "analytics_team"
    transfer_process_email_alerts: ["analytics@company.com", "ops@company.com"]
"""
STREAM = """
stage_transfers:
  - stage_i_details: "kafka_stream_topic_orders"
    stage_i_plus_1_details: "orders_buffer"
    transfer_order_number: 1.0
    can_partial_data_be_collected: true
    upstream_completion_required: false    # Stream processing
    can_process_be_parallelized: true
    estimated_duration: "continuous"
"""


def one(text: str, name: str = "orders.yaml"):
    return PipelineConfig.from_text(text, name).stage_transfers[0]


def test_the_etl_example_loads_as_it_stands():
    config = PipelineConfig.from_text(ETL, "etl.yaml")
    assert config.pipeline_id == config.dag_id == "daily_customer_etl_20250807_001"
    first, second = config.stage_transfers
    assert (first.name, second.name) == (
        "salesforce_raw__to__customer_staging",
        "customer_staging__to__customer_production",
    )
    assert (first.estimated_seconds, second.estimated_seconds) == (1800.0, 2700.0)
    assert second.transfer_process_email_alerts == ("analytics@company.com", "ops@company.com")


def test_the_stream_example_loads_as_it_stands():
    config = PipelineConfig.from_text(STREAM, "clicks.yaml")
    assert (config.pipeline_id, config.dag_id) == ("clicks", "clicks")
    (transfer,) = config.stage_transfers
    assert transfer.is_continuous
    assert transfer.estimated_seconds is None


def test_fields_have_the_values_of_the_template_by_default():
    transfer = one("stage_transfers: [{name: a}]")
    assert (transfer.transfer_order_number, transfer.max_retry_attempts) == (1.0, 3)
    assert transfer.estimated_duration == "1d12h30m"
    assert transfer.estimated_seconds == timedelta(days=1, hours=12, minutes=30).total_seconds()
    assert transfer.transfer_enabled
    assert transfer.audit_enabled
    assert transfer.dependent_on_previous_transfer
    assert not transfer.upstream_completion_required


def test_an_empty_text_is_not_set():
    config = PipelineConfig.from_text(
        'pipeline_metadata: {pipeline_id: "", created_timestamp: ""}\nstage_transfers: [{estimated_duration: ""}]',
        "x.yaml",
    )
    assert config.pipeline_id == "x"
    assert config.stage_transfers[0].name == "transfer_1"
    assert config.stage_transfers[0].estimated_duration == "1d12h30m"


def test_a_templated_pipeline_id_leaves_the_dag_the_files_name():
    config = PipelineConfig.from_text(
        'pipeline_metadata: {pipeline_id: "orders_{{ ds }}"}\nstage_transfers: [{name: a}]', "daily orders.yaml"
    )
    assert config.pipeline_id == "orders_{{ ds }}"
    assert config.dag_id == "daily_orders"


def test_a_pipeline_id_without_any_letter_for_a_dag_id_leaves_it_the_files_name_too():
    text = "pipeline_metadata: {pipeline_id: 客户}\nstage_transfers: [{name: a}]"
    assert PipelineConfig.from_text(text, "customers.yaml").dag_id == "customers"


def test_a_module_that_is_a_file_beside_the_pipeline_is_meant(tmp_path):
    (tmp_path / "own_functions.py").write_text("")
    path = tmp_path / "p.yaml"
    path.write_text("user_functions: own_functions\nstage_transfers: [{name: a}]\n")
    with pytest.raises(ConfigError, match=r"No module named 'own_functions' \(did you mean 'own_functions\.py'\?\)"):
        PipelineConfig.from_file(path)


def test_dates_are_utc_and_durations_are_lengths_of_time():
    config = PipelineConfig.from_text(
        "dag: {start_date: 2026-01-02, dagrun_timeout: 2h}\nstage_transfers: [{retry_delay: 90s}]", "x.yaml"
    )
    assert config.dag.start_date == datetime(2026, 1, 2, tzinfo=timezone.utc)
    assert config.dag.dagrun_timeout == timedelta(hours=2)
    assert config.stage_transfers[0].retry_delay == timedelta(seconds=90)


@pytest.mark.parametrize(
    ("source", "target", "order", "name"),
    [
        ("a", "b", 1.0, "a__to__b"),
        ("customer||demographics||daily", "b c", 1, "customer_demographics_daily__to__b_c"),
        (None, "b", 1.5, "transfer_1_5"),
        ("", "", 2.0, "transfer_2"),
        ("Größe", "b", 1, "Gr_e__to__b"),
        ("///", "b", 3, "transfer_3"),
    ],
)
def test_names_come_from_the_stages_or_from_the_order(source, target, order, name):
    assert default_name(source, target, order) == name


CONTENTS = {
    "plain": ("customer_raw_data", "customer_raw_data"),
    "hierarchical": ("customer||demographics||daily_snapshot", "customer||demographics||daily_snapshot"),
    "call": ('get_stage_description(env="prod", type="customer", date="2025-08-07")', "prod/customer/2025-08-07"),
    "json-like": (
        "{source:salesforce,category:leads,env:production}",
        "{source:salesforce,category:leads,env:production}",
    ),
    "formatted": ('f"{business_unit}_{data_domain}_{processing_frequency}"', "retail_orders_daily"),
    "formatted from the run": ('f"{business_unit}_{run_id}"', "retail_r1"),
    "template": ("orders_{{ run_id }}", "rendered orders_{{ run_id }}"),
    "braces": ('f"{{{business_unit}}}"', "{retail}"),
    "almost a call": ("orders (daily)", "orders (daily)"),
    "call with a name": ("describe(env)", "describe(env)"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_every_form_of_content_means_what_it_says(kind, tmp_path):
    (tmp_path / "f.py").write_text("def get_stage_description(env, type, date):\n    return f'{env}/{type}/{date}'\n")
    text, meant = CONTENTS[kind]
    path = tmp_path / "p.yaml"
    variables = {"business_unit": "retail", "data_domain": "orders", "processing_frequency": "daily"}
    row = {"name": "a", "stage_i_details": text}
    path.write_text(json.dumps({"user_functions": "f.py", "variables": variables, "stage_transfers": [row]}))
    config = PipelineConfig.from_file(path)
    resolved = content.resolve(
        config.stage_transfers[0].stage_i_details,
        variables=config.variables,
        functions=config.functions,
        context={"run_id": "r1"},
        render=lambda template: f"rendered {template}",
    )
    assert resolved == meant
    known = content.plain_text(config.stage_transfers[0].stage_i_details)
    assert known == (
        meant if kind in {"plain", "hierarchical", "json-like", "almost a call", "call with a name"} else None
    )


def test_literal_forces_text():
    transfer = one('stage_transfers: [{name: a, stage_i_details: {literal: "f(x=1) {{ ds }}"}}]')
    assert transfer.stage_i_details == LiteralText(literal="f(x=1) {{ ds }}")
    assert content.plain_text(transfer.stage_i_details) == "f(x=1) {{ ds }}"


@pytest.mark.parametrize("made", [None, ["a"], {"a": 1}, object()])
def test_a_function_that_makes_no_text_is_an_error(made):
    class Functions:
        def get(self, name):
            return lambda: made

        def names(self):
            return ["f"]

    with pytest.raises(ContentError, match="f returned .*; expected a text"):
        content.resolve("f()", variables={}, functions=Functions(), context={}, render=str)


def test_nothing_in_a_call_is_evaluated_but_literals():
    for text in ("f(__import__('os').system('true'))", "f(*[1])", "f(**{})", "f(lambda: 1)", "f(x for x in [1])"):
        assert content.parse_call(text) is None
    assert content.parse_call('f(1, a=[1, {"b": None}])') == content.Call("f", (1,), {"a": [1, {"b": None}]})


def test_two_files_of_functions_with_one_name_do_not_clash(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "functions.py").write_text(f"def which():\n    return {name!r}\n")
    found = [UserFunctions("functions.py", tmp_path / name).resolve_callable("which") for name in ("one", "two")]
    assert [function() for function in found] == ["one", "two"]
    assert pickle.loads(pickle.dumps(found[0]))() == "one"


def test_private_names_are_no_functions(tmp_path):
    (tmp_path / "f.py").write_text("def _hidden():\n    pass\n\n\ndef shown():\n    pass\n\n\nvalue = 1\n")
    functions = UserFunctions("f.py", tmp_path)
    assert functions.names() == ["shown"]
    assert functions.get("_hidden") is None
    assert functions.get("value") is None
    with pytest.raises(FunctionError, match="there is no file 'gone.py' beside the pipeline file"):
        UserFunctions("gone.py", tmp_path).load()


def test_defaults_are_merged_under_every_transfer():
    config = PipelineConfig.from_text(
        "defaults:\n  pool: shared\n  extra_columns: {team: a, cost: '1'}\n  depends_on: []\n"
        "stage_transfers:\n  - {name: a, extra_columns: {team: b}}\n  - {name: b, pool: own, depends_on: [a]}\n",
        "x.yaml",
    )
    first, second = config.stage_transfers
    assert (first.pool, first.extra_columns) == ("shared", {"team": "b", "cost": "1"})
    assert (second.pool, second.depends_on) == ("own", ("a",))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab", max_size=1), inner, max_size=2),
    max_leaves=6,
)
mappings = st.dictionaries(st.text("abc", max_size=1), values, max_size=3)


@given(mappings, mappings)
def test_merging_keeps_every_key_and_lets_the_row_win(defaults, row):
    merged = merge_defaults(defaults, row)
    assert set(merged) == set(defaults) | set(row)
    for key, value in row.items():
        if not isinstance(value, dict):
            assert merged[key] == value
    assert merge_defaults(merged, row) == merged
    assert merge_defaults({}, row) == row


@given(st.integers(0, 9), st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_durations_are_read_in_both_forms(days, hours, minutes, seconds):
    expected = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    assert parse_duration(f"{days}d{hours}h{minutes}m{seconds}s") == expected
    assert parse_duration(f"{days}d {hours}H {minutes} m{seconds}s") == expected
    assert parse_duration(f"P{days}DT{hours}H{minutes}M{seconds}S") == expected


@given(st.text(max_size=12))
def test_any_other_text_is_no_duration_and_nothing_worse(text):
    try:
        found = parse_duration(text)
    except ValueError:
        return
    assert found is None or found >= timedelta(0)


@pytest.mark.parametrize(
    "text", ["", " ", "5", "m", "-5m", "5m5h", "P", "PT", "1e3s", "5x", "nan", "٣m", "0" * 300 + "1m"]
)
def test_what_looks_like_a_duration_but_is_none(text):
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


@settings(max_examples=300)
@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_text_is_a_pipeline_or_a_list_of_problems(text):
    try:
        PipelineConfig._parse(text, "any.yaml", "any", None)
    except ConfigError as error:
        assert error.problems


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_pipeline_is_a_pipeline_or_a_list_of_problems(data):
    place = data.draw(st.integers(0, len(ETL)))
    damage = data.draw(st.text("{}[]:,-'\"&*!|> \n\tax0", max_size=4))
    cut = data.draw(st.integers(0, 6))
    try:
        PipelineConfig.from_text(ETL[:place] + damage + ETL[place + cut :], "etl.yaml")
    except ConfigError as error:
        assert all(problem.line >= 1 for problem in error.problems)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_model_on_disk_is_the_model(path):
    config = PipelineConfig.from_file(path)
    again = PipelineConfig.from_json(config.to_json(), config.name, config.source)
    assert again.stage_transfers == config.stage_transfers
    assert again.dag == config.dag
    assert (again.config_hash, again.dag_id, again.pipeline_id) == (
        config.config_hash,
        config.dag_id,
        config.pipeline_id,
    )
    problem = again.problem(again.stage_transfers[-1], "name", "x")
    assert (problem.line, problem.file) == (config.problem(config.stage_transfers[-1], "name", "x").line, str(path))


def test_the_model_on_disk_knows_the_places_in_a_json_file_that_yaml_reads_otherwise(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"dag": {"description": "\U0001f600", "dag_id": "x"}, "stage_transfers": [{}]}))
    config = PipelineConfig.from_file(path)
    again = PipelineConfig.from_json(config.to_json(), config.name, path)
    assert again.problem(None, "dag.dag_id", "x") == config.problem(None, "dag.dag_id", "x")
    assert again.problem(None, "dag.dag_id", "x").line == 1


SCALARS = st.sampled_from(
    ["2026-01-31", "2026-1-31", "2026-01-31T06:00:00Z", "2026-01-31 06:00:00", "2026-01-31 6:00:00.10 -5", "'2026-01-31'",
     "12:30:00", "190:20:30.5", "1_000", "0x1F", "0o7", "010", "0b11", ".inf", "-.inf", ".nan", "1e3", "1.0e+400", "-0.0",
     "1.50", "1.", ".5", "+1", "~", "null", "off", "TRUE", "=", '"\\u00e9\\n"', "''", "!!binary YQ==", "!!set {}"]
)  # fmt: skip
WRITTEN_SCALARS = st.one_of(
    SCALARS,
    st.integers(-(10**400), 10**400).map(str),
    st.floats().map(repr),
    st.datetimes().map(str),
    st.dates().map(str),
)


@given(st.dictionaries(st.sampled_from("abcd"), WRITTEN_SCALARS | st.lists(WRITTEN_SCALARS, max_size=3)))
def test_any_value_of_a_file_is_the_same_in_the_model_on_disk(written):
    body = "".join(
        f", {key}: {value if isinstance(value, str) else f'[{chr(44).join(value)}]'}" for key, value in written.items()
    )
    text = (
        f"variables: &all {{x: y{body}}}\nalerts: [{{notifier: a.b, kwargs: *all}}]\ndag: {{params: *all}}\n"
        "stage_transfers: [{name: a, operator: x.Y, operator_args: *all, audit_metadata: *all, audit: {config: *all}, "
        "expand: {op_args: [*all]}}]"
    )
    try:
        config = PipelineConfig.from_text(text, "x.yaml")
    except ConfigError:
        return
    again = PipelineConfig.from_json(config.to_json(), config.name, config.source)
    assert repr(again.model_dump(exclude={"defaults"})) == repr(config.model_dump(exclude={"defaults"}))
    assert again.config_hash == config.config_hash


@pytest.mark.parametrize("written", ["2026-01-31", "'2026-01-31 06:00'", "2026-01-31T06:00:00Z", "'20260131'", "today"])
def test_when_a_pipeline_was_made_is_kept_as_written_by_each_process(written):
    text = f"pipeline_metadata: {{created_timestamp: {written}}}\nstage_transfers: [{{name: a}}]"
    config = PipelineConfig.from_text(text, "x.yaml")
    again = PipelineConfig.from_json(config.to_json(), config.name, config.source)
    assert config.pipeline_metadata.created_timestamp == written.strip("'")
    assert again.config_hash == config.config_hash


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=100_000)))
@example(timedelta(weeks=53))
def test_a_duration_of_any_length_is_read_again_from_the_model_on_disk(length):
    seconds = f"{length // timedelta(seconds=1)}.{length.microseconds:06}s"
    config = one(f"stage_transfers: [{{name: a, retry_delay: {seconds}}}]")
    again = StageTransfer.model_validate_json(config.model_dump_json())
    assert again.retry_delay == config.retry_delay
    assert parse_duration(config.model_dump(mode="json")["retry_delay"]) == config.retry_delay


def test_a_time_is_a_text_in_yaml_as_in_json():
    row = '"stage_transfers": [{"name": "a", "operator": "x.Y", "operator_args": {"since": %s, "day": %s}}]'
    yaml_text, json_text = (
        row % ("2026-01-31T06:00:00Z", "2026-01-31"),
        row % ('"2026-01-31T06:00:00Z"', '"2026-01-31"'),
    )
    configs = [
        PipelineConfig.from_text(f"{{{yaml_text}}}", "x.yaml"),
        PipelineConfig.from_text(f"{{{json_text}}}", "x.json"),
    ]
    assert [config.stage_transfers[0].operator_args for config in configs] == [
        {"since": "2026-01-31T06:00:00Z", "day": "2026-01-31"}
    ] * 2


def test_the_hash_is_of_what_the_file_means_and_not_of_how_it_is_written():
    written = "stage_transfers: [{name: a, pool: p, estimated_duration: 5m}]"
    other = "stage_transfers:\n  # the same\n  - estimated_duration: 5m\n    pool: p\n    name: a\n"
    through_defaults = "defaults: {pool: p}\nstage_transfers: [{name: a, estimated_duration: 5m}]"
    hashes = {PipelineConfig.from_text(text, "x.yaml").config_hash for text in (written, other, through_defaults)}
    assert len(hashes) == 1
    assert PipelineConfig.from_text(written.replace("pool: p", "pool: q"), "x.yaml").config_hash not in hashes


def test_a_secret_neither_enters_the_hash_nor_changes_it():
    text = "stage_transfers: [{name: a, operator: x.Y, operator_args: {api_token: %s, user: u}}]"
    first, second = (PipelineConfig.from_text(text % secret, "x.yaml") for secret in ("one", "two"))
    assert first.config_hash == second.config_hash
    assert without_secrets({"db": {"password": "p", "host": "h"}}) == {"db": {"password": "***", "host": "h"}}


@pytest.mark.parametrize(
    "name",
    ["X-API-Key", "apiKey", "Authorization", "Proxy-Authorization", "auth_header", "privateKey", "aws_secret_access_key",
     "AccessKey", "passphrase", "connection_string", "keyfile_dict", "webhook_url", "webhookUrl", "api-key"],
)  # fmt: skip
def test_what_airflow_takes_for_a_secret_by_its_name_is_one_however_it_is_written(name):
    assert without_secrets({"headers": {name: "s3cret"}}) == {"headers": {name: "***"}}


@pytest.mark.parametrize("column", [{"authorizations": 5}, {"authorization": 5}, {"authorization_date": "2026-01-31"},
                                    {"tokens": 3}, {"key": "k"}, {"author": "a"}, {"primary_key": "id"}])  # fmt: skip
def test_what_only_looks_like_the_name_of_a_secret_stays(column):
    assert without_secrets(column) == column


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_schema_accepts_the_examples(path):
    written = json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str))
    assert list(jsonschema.Draft202012Validator(pipeline_schema()).iter_errors(written)) == []


def test_the_schema_describes_every_key_and_refuses_others():
    schema = pipeline_schema()
    for model in [schema, *schema["$defs"].values()]:
        for name, field in model.get("properties", {}).items():
            assert field.get("description"), name
        assert model.get("additionalProperties") is False
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"stage_transfers": [{"nme": "a"}]}, schema)


@pytest.mark.parametrize(
    ("row", "accepted"),
    [
        *(({"retry_delay": text}, True) for text in ("5m", "1d 12h30M", "PT45M", "p1dt2h", "0.5s", None)),
        *(({"retry_delay": text}, False) for text in ("soon", "continuous", "", 5)),
        ({"audit": {"poke_interval": "5m", "timeout": "2h"}}, True),
        ({"name": ""}, True),
    ],
)
def test_the_schema_and_the_model_agree_about_a_transfer(row, accepted):
    assert _accepts({"stage_transfers": [row]}) == accepted


@pytest.mark.parametrize(
    ("text", "accepted"),
    [("2026-01-31", True), ("2026-01-31T06:00:00Z", True), ("2026-01-31 06:00", True), ("soon", False), ("", False)],
)
def test_the_schema_and_the_model_agree_about_a_date(text, accepted):
    assert _accepts({"dag": {"start_date": text}, "stage_transfers": [{}]}) == accepted


def test_the_schema_wants_a_transfer_too():
    assert not _accepts({"stage_transfers": []})


def _accepts(written) -> bool:
    """Return whether editors take a file, those that know formats too; the model says the same."""
    schema = pipeline_schema()
    assert '"format"' not in json.dumps(schema), "what is written as people write it has no format of JSON Schema"
    by_schema = jsonschema.Draft202012Validator(schema).is_valid(written)
    try:
        PipelineConfig.from_text(json.dumps(written), "x.json")
    except ConfigError:
        assert not by_schema
    else:
        assert by_schema
    return by_schema


@pytest.mark.parametrize("model", Model.__subclasses__(), ids=lambda model: model.__name__)
def test_every_key_has_an_example_that_is_right(model):
    schema = pipeline_schema()
    described = schema if model is PipelineConfig else schema["$defs"][model.__name__]
    required = {"notifier": "a.B"} if model is AlertSettings else {}
    required = {"stage_transfers": [{}]} if model is PipelineConfig else required
    for key, field in described["properties"].items():
        (example,) = field["examples"]
        model.model_validate({**required, key: example})
        by_schema = jsonschema.Draft202012Validator({**described, "$defs": schema["$defs"]})
        assert by_schema.is_valid({**required, key: example}), key


def test_merge_keys_and_anchors_work():
    config = PipelineConfig.from_text(
        "variables: {base: &base {pool: p, max_retry_attempts: 1}}\n"
        "stage_transfers:\n  - {<<: *base, name: a}\n  - {<<: *base, name: b, pool: q}\n",
        "x.yaml",
    )
    assert [(t.pool, t.max_retry_attempts) for t in config.stage_transfers] == [("p", 1), ("q", 1)]


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"stage_transfers:\n", True),
        (b'{"stage_transfers": []}', True),
        (b"a: 1\nstage_transfers : []", True),
        (b"# stage_transfers are described elsewhere\na: 1", False),
        (b"version: 2\nservices: {}\n", False),
        (json.dumps(pipeline_schema(), indent=2).encode(), False),
        (json.dumps(pipeline_schema()).encode(), False),
        (json.dumps(pipeline_schema(), sort_keys=True).encode("utf-8-sig"), False),
        (b'{"$schema": "pipetrack.schema.json", "stage_transfers": []}', True),
    ],
)
def test_only_files_with_stage_transfers_are_pipelines(data, verdict):
    assert looks_like_pipeline(data) is verdict


@pytest.mark.parametrize("piece", [b"\n", b"\r\n", b" ", b", ", b"{\n", b"stage_transfers "])
def test_whether_a_long_file_is_a_pipeline_is_said_at_once(piece):
    """The Dag processor asks it of each file of data beside the pipelines."""
    began = time.process_time()
    assert not looks_like_pipeline(b"a: 1\n" + piece * 500_000)
    assert time.process_time() - began < 2


def test_a_slug_is_a_task_id():
    assert slug("a b/c||d") == "a_b_c_d"
    assert len(slug("x" * 500)) == 200


@pytest.mark.parametrize(
    "text", ["orders(daily)", "basename (draft)", "the basename(x)", "basename(x) of paths", "base(x)", "name(x)"]
)
def test_a_text_with_parentheses_stays_a_text_when_no_function_is_meant(text):
    config = PipelineConfig.from_text(
        f"user_functions: os.path\nstage_transfers: [{{stage_i_details: {text}}}]", "x.yaml"
    )
    assert content.plain_text(config.stage_transfers[0].stage_i_details) == text
