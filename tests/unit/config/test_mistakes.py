"""Every mistake that a pipeline file can have, with the exact sentence that its author reads."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pipetrack.config import PipelineConfig
from airflow_provider_pipetrack.config.reader import MAX_BYTES
from airflow_provider_pipetrack.errors import ConfigError

ROW = "stage_transfers:\n  - name: a\n"

LITERALS = (
    "a call takes literals only (texts in quotes, no templates) and ends with ')'; write {literal: …} for plain text"
)

MISTAKES = {
    "misspelt key": (
        ROW + "    retry_dellay: 5m\n",
        "p.yaml:3:5: stage_transfers[0].retry_dellay: there is no such key (did you mean 'retry_delay'?)",
    ),
    "key that would steer a terminal": (
        ROW + '    "\\e]0;title\\a": 5m\n',
        "p.yaml:3:5: stage_transfers[0].\\x1b]0;title\\x07: there is no such key",
    ),
    "misspelt key at the top": (
        "stage_transfer: []\nstage_transfers: [{name: a}]\n",
        "p.yaml:1:1: stage_transfer: there is no such key (did you mean 'stage_transfers'?)",
    ),
    "misspelt key of the Dag": (
        "dag: {schedul: '@daily'}\nstage_transfers: [{name: a}]\n",
        "p.yaml:1:7: dag.schedul: there is no such key (did you mean 'schedule'?)",
    ),
    "misspelt key of an audit": (
        ROW + "    audit: {on_mismach: warn}\n",
        "p.yaml:3:13: stage_transfers[0].audit.on_mismach: there is no such key (did you mean 'on_mismatch'?)",
    ),
    "misspelt default": (
        "defaults: {retry_dellay: 5m}\n" + ROW,
        "p.yaml:1:12: defaults.retry_dellay: there is no such key (did you mean 'retry_delay'?)",
    ),
    "bad value in the defaults, once": (
        "defaults: {pool: 3}\nstage_transfers: [{name: a}, {name: b}]\n",
        "p.yaml:1:18: defaults.pool: expected a text, not 3; put it in quotes",
    ),
    "mapped over what never ends": (
        "stage_transfers:\n  - {name: a, python_callable: os.getcwd, estimated_duration: continuous}\n"
        "  - {name: b, python_callable: os.remove, expand: {path: transfer.a}}\n",
        "p.yaml:3:58: stage_transfers[1].expand.path: transfer 'a' never ends (estimated_duration: continuous), so "
        "nothing is mapped over",
    ),
    "an argument that a function does not have": (
        ROW + "    python_callable: os.remove\n    operator_args: {pathh: x}\n",
        "p.yaml:4:21: stage_transfers[0].operator_args.pathh: os.remove has no parameter 'pathh' (did you mean 'path'?)",
    ),
    "an argument to map over that a function does not have": (
        ROW + "    python_callable: os.remove\n    expand: {paht: [x]}\n",
        "p.yaml:4:14: stage_transfers[0].expand.paht: os.remove has no parameter 'paht' (did you mean 'path'?)",
    ),
    "an unknown function of an operator": (
        ROW + "    operator: airflow.providers.standard.sensors.python.PythonSensor\n"
        "    operator_args: {python_callable: os.getcdw}\n",
        "p.yaml:4:38: stage_transfers[0].operator_args.python_callable: there is no function 'getcdw' in os (did you mean "
        "'getcwd'?)",
    ),
    "a storage of one's own that is none": (
        "storage_adapters: {two: collections.OrderedDict}\n" + ROW,
        "p.yaml:1:25: storage_adapters.two: collections.OrderedDict lacks write_tracking_record, read_tracking_records, "
        "update_tracking_record",
    ),
    "a storage of one's own that is not there": (
        "storage_adapters: {one: os.nothing}\n" + ROW,
        "p.yaml:1:25: storage_adapters.one: there is no function 'nothing' in os",
    ),
    "a connection of no storage": (
        "tracking: {connections: {postgress: x, sqlite: y}}\n" + ROW,
        "p.yaml:1:26: tracking.connections.postgress: there is no storage type 'postgress' (did you mean 'postgres'?)",
    ),
    "a literal that is no text": (
        ROW + "    stage_i_details: {literal: 5}\n",
        "p.yaml:3:32: stage_transfers[0].stage_i_details.literal: expected a text, not 5; put it in quotes",
    ),
    "a template that is not closed": (
        ROW + "    stage_i_details: 'orders_{{ ds'\n",
        "p.yaml:3:22: stage_transfers[0].stage_i_details: the template is not closed: '{{' without '}}'; write "
        "{literal: …} for plain text",
    ),
    "mapped over a marker": (
        "stage_transfers:\n  - name: a\n  - {name: b, python_callable: os.remove, expand: {path: transfer.a}}\n",
        "p.yaml:3:58: stage_transfers[1].expand.path: transfer 'a' runs nothing, so it returns nothing to map over",
    ),
    "a function mapped over a result and a list": (
        "stage_transfers:\n  - {name: a, python_callable: os.getcwd}\n"
        "  - {name: b, python_callable: os.remove, expand: {path: transfer.a, dir_fd: [1]}}\n",
        "p.yaml:3:43: stage_transfers[1].expand: a function can be mapped over one transfer's result or over lists, "
        "not over both",
    ),
    "nothing for a mapping": (
        "defaults:\n" + ROW,
        "p.yaml:1:10: defaults: expected a mapping of keys to values, not null",
    ),
    "a name with other letters": (
        "stage_transfers: [{name: größe}]\n",
        "p.yaml:1:26: stage_transfers[0].name: 'größe' is not allowed: only letters from a to z, digits, '_', '.' and "
        "'-' may stand here",
    ),
    "a Dag id with a space": (
        "dag: {dag_id: my dag}\n" + ROW,
        "p.yaml:1:15: dag.dag_id: 'my dag' is not allowed: only letters, digits, '_', '.' and '-' may stand here",
    ),
    "an endless number, once": (
        ROW + f"    max_retry_attempts: {'9' * 5000}\n",
        f"p.yaml:3:25: stage_transfers[0].max_retry_attempts: '{'9' * 76}… is no whole number that can be read",
    ),
    "a date that is none, once": (
        "dag: {start_date: 2026-13-01}\n" + ROW,
        "p.yaml:1:19: dag.start_date: '2026-13-01' is no date",
    ),
    "a mistake in the second of two merged mappings": (
        "variables: {one: &one {pool: x}, two: &two {max_retry_attempts: -1}}\n"
        "stage_transfers: [{name: a, <<: [*one, *two]}]\n",
        "p.yaml:1:65: stage_transfers[0].max_retry_attempts: expected at least 0, not -1",
    ),
    "arguments of nothing": (
        ROW + "    operator_args: {table: orders}\n",
        "p.yaml:3:5: stage_transfers[0].operator_args: there is no operator and no python_callable that takes them",
    ),
    "text for a whole number": (
        ROW + "    max_retry_attempts: lots\n",
        "p.yaml:3:25: stage_transfers[0].max_retry_attempts: expected a whole number, not 'lots'",
    ),
    "an id that no index would take": (
        f"pipeline_metadata: {{pipeline_id: {'x' * 251}}}\n{ROW}",
        f"p.yaml:1:34: pipeline_metadata.pipeline_id: '{'x' * 76}… is not allowed: "
        "string should have at most 250 characters",
    ),
    "too small": (
        ROW + "    max_retry_attempts: -1\n",
        "p.yaml:3:25: stage_transfers[0].max_retry_attempts: expected at least 0, not -1",
    ),
    "number for a switch": (
        ROW + "    transfer_enabled: 1\n",
        "p.yaml:3:23: stage_transfers[0].transfer_enabled: expected true or false, not 1",
    ),
    "a word that YAML takes for a switch": (
        "stage_transfers: [{name: off}]\n",
        "p.yaml:1:26: stage_transfers[0].name: expected a text, not false; words such as on, off, yes and no need quotes",
    ),
    "mapping for a text": (
        ROW + "    pool: {a: b}\n",
        "p.yaml:3:11: stage_transfers[0].pool: expected a text, not {'a': 'b'}",
    ),
    "text for a list": (
        ROW + "    transfer_process_email_alerts: a@example.com\n",
        "p.yaml:3:36: stage_transfers[0].transfer_process_email_alerts: expected a list, not 'a@example.com'",
    ),
    "no mail address": (
        ROW + "    transfer_process_email_alerts: [a@example.com, ops]\n",
        "p.yaml:3:52: stage_transfers[0].transfer_process_email_alerts[1]: 'ops' is no mail address, such as "
        "team@example.com",
    ),
    "two mail addresses in one": (
        ROW + "    transfer_process_email_alerts: ['b@example.com, c@example.com']\n",
        "p.yaml:3:37: stage_transfers[0].transfer_process_email_alerts[0]: 'b@example.com, c@example.com' is no mail "
        "address, such as team@example.com",
    ),
    "a mail address with a header in it": (
        ROW + '    transfer_process_email_alerts: ["b@example.com\\nBcc: c@example.com"]\n',
        "p.yaml:3:37: stage_transfers[0].transfer_process_email_alerts[0]: 'b@example.com\\nBcc: c@example.com' is no "
        "mail address, such as team@example.com",
    ),
    "a kind of alert that does not exist": (
        "alerts: [{notifier: a.B, on: [faild]}]\n" + ROW,
        "p.yaml:1:31: alerts[0].on[0]: expected 'failed', 'mismatched', 'overdue', 'rollback_owed' or 'undelivered', "
        "not 'faild'",
    ),
    "text for a mapping": (
        ROW + "    operator_args: echo\n",
        "p.yaml:3:20: stage_transfers[0].operator_args: expected a mapping of keys to values, not 'echo'",
    ),
    "text for the transfers": (
        "stage_transfers: everything\n",
        "p.yaml:1:18: stage_transfers: expected a list, not 'everything'",
    ),
    "no transfer": ("stage_transfers: []\n", "p.yaml:1:18: stage_transfers: there is no transfer in it"),
    "not one of the words": (
        ROW + "    audit: {on_mismatch: shout}\n",
        "p.yaml:3:26: stage_transfers[0].audit.on_mismatch: expected 'fail' or 'warn', not 'shout'",
    ),
    "order that is no number": (
        ROW + "    transfer_order_number: first\n",
        "p.yaml:3:28: stage_transfers[0].transfer_order_number: expected a number, not 'first'",
    ),
    "order that is not a number": (
        ROW + "    transfer_order_number: .nan\n",
        "p.yaml:3:28: stage_transfers[0].transfer_order_number: expected a number, not 'nan'",
    ),
    "order without end": (
        ROW + "    transfer_order_number: .inf\n",
        "p.yaml:3:28: stage_transfers[0].transfer_order_number: expected a number, not 'inf'",
    ),
    "negative order": (
        ROW + "    transfer_order_number: -1\n",
        "p.yaml:3:28: stage_transfers[0].transfer_order_number: expected at least 0, not -1",
    ),
    "duplicate key": (
        ROW + "    pool: a\n    pool: b\n",
        "p.yaml:4:5: stage_transfers[0].pool: the key appears twice; the last one would win silently",
    ),
    "duplicate name": (
        ROW + "  - name: a\n",
        "p.yaml:3:11: stage_transfers[1].name: the name 'a' is already that of the transfer in line 2; "
        "give one of them a name",
    ),
    "duplicate name that was computed": (
        "stage_transfers:\n  - {transfer_order_number: 2}\n  - {transfer_order_number: 2}\n",
        "p.yaml:3:5: stage_transfers[1].name: the name 'transfer_2' is already that of the transfer in line 2; "
        "give one of them a name",
    ),
    "duplicate transfer id": (
        "stage_transfers:\n  - {name: a, transfer_unique_id: T1}\n  - {name: b, transfer_unique_id: T1}\n",
        "p.yaml:3:35: stage_transfers[1].transfer_unique_id: the id 'T1' is already that of the transfer in line 2",
    ),
    "reserved name": (
        "stage_transfers: [{name: pipeline_done}]\n",
        "p.yaml:1:26: stage_transfers[0].name: the name 'pipeline_done' is reserved for the task that ends a run",
    ),
    "name of a task of ours": (
        ROW + "  - name: a__audit\n",
        "p.yaml:3:11: stage_transfers[1].name: the name 'a__audit' is that of a task that pipetrack adds to transfer 'a'",
    ),
    "name that could be a map index": (
        ROW + "    operator: x.Y\n    expand: {z: [1]}\n  - name: a_0\n",
        "p.yaml:5:11: stage_transfers[1].name: the name 'a_0' could mean map index 0 of transfer 'a'; choose another",
    ),
    "unknown function without a module": (
        ROW + "    python_callable: load\n",
        "p.yaml:3:22: stage_transfers[0].python_callable: 'load' is no dotted path, and the file names no user_functions",
    ),
    "unknown function of a module": (
        "user_functions: os.path\n" + ROW + "    rollback: basenam\n",
        "p.yaml:4:15: stage_transfers[0].rollback: there is no function 'basenam' in user_functions "
        "(did you mean 'basename'?)",
    ),
    "unknown function by its path": (
        ROW + "    counts: os.path.basenam\n",
        "p.yaml:3:13: stage_transfers[0].counts: there is no function 'basenam' in os.path (did you mean 'basename'?)",
    ),
    "async function that nobody awaits": (
        ROW + "    rollback: asyncio.sleep\n",
        "p.yaml:3:15: stage_transfers[0].rollback: sleep is an async function, which nobody awaits here; write a plain "
        "one, which may call asyncio.run(…)",
    ),
    "async function as an audit": (
        ROW + "    audit: {function: asyncio.sleep}\n",
        "p.yaml:3:23: stage_transfers[0].audit.function: sleep is an async function, which nobody awaits here; write a "
        "plain one, which may call asyncio.run(…)",
    ),
    "unknown audit function": (
        "user_functions: os.path\n" + ROW + "    audit: {function: joi}\n",
        "p.yaml:4:23: stage_transfers[0].audit.function: there is no function 'joi' in user_functions "
        "(did you mean 'join'?)",
    ),
    "unknown module": (
        "user_functions: no_such_module_here\n" + ROW,
        "p.yaml:1:17: user_functions: 'no_such_module_here' cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_module_here'",
    ),
    "unknown function in a content": (
        "user_functions: os.path\n" + ROW + '    stage_i_details: basenam(p="x")\n',
        "p.yaml:4:22: stage_transfers[0].stage_i_details: there is no function 'basenam' in user_functions "
        "(did you mean 'basename'?)",
    ),
    "a call with other than literals": (
        "user_functions: os.path\n" + ROW + "    stage_i_details: basename(p=x)\n",
        "p.yaml:4:22: stage_transfers[0].stage_i_details: this cannot be read as a call of 'basename': " + LITERALS,
    ),
    "a call that is not closed": (
        "user_functions: os.path\n" + ROW + "    stage_i_details: basename(p='x'\n",
        "p.yaml:4:22: stage_transfers[0].stage_i_details: this cannot be read as a call of 'basename': " + LITERALS,
    ),
    "a call with a template": (
        "user_functions: os.path\n" + ROW + "    stage_i_details: basename(p='{{ ds }}')\n",
        "p.yaml:4:22: stage_transfers[0].stage_i_details: this cannot be read as a call of 'basename': " + LITERALS,
    ),
    "a misspelt call with other than literals": (
        "user_functions: os.path\n" + ROW + "    stage_i_details: basenam(p=x)\n",
        "p.yaml:4:22: stage_transfers[0].stage_i_details: this cannot be read as a call of 'basename': "
        + LITERALS
        + " (did you mean 'basename'?)",
    ),
    "call without user functions": (
        ROW + '    stage_i_details: describe(env="prod")\n',
        "p.yaml:3:22: stage_transfers[0].stage_i_details: 'describe' looks like a call of a user function, "
        "but the file names no user_functions; write {literal: …} for plain text",
    ),
    "unknown variable": (
        "variables: {region: eu}\n" + ROW + '    stage_i_details: f"{regoin}_raw"\n',
        "p.yaml:4:22: stage_transfers[0].stage_i_details: 'regoin' is neither in variables nor a name of the run "
        "(did you mean 'region'?)",
    ),
    "broken template": (
        ROW + '    stage_i_details: "{{ ds "\n    stage_i_plus_1_details: "{{ a }} {% if %}"\n',
        "p.yaml:4:29: stage_transfers[0].stage_i_plus_1_details: the template cannot be read: Expected an expression, "
        "got 'end of statement block'",
    ),
    "bad duration": (
        ROW + "    retry_delay: soon\n",
        "p.yaml:3:18: stage_transfers[0].retry_delay: 'soon' is no duration; "
        "expected a duration such as 45m, 1d12h30m, 90s or PT45M",
    ),
    "bad estimate": (
        ROW + "    estimated_duration: 5 parsecs\n",
        "p.yaml:3:25: stage_transfers[0].estimated_duration: '5 parsecs' is no duration; "
        "expected a duration such as 45m, 1d12h30m, 90s or PT45M",
    ),
    "endless limit": (
        ROW + "    execution_timeout: continuous\n",
        "p.yaml:3:24: stage_transfers[0].execution_timeout: continuous is no limit; "
        "expected a duration such as 45m, 1d12h30m, 90s or PT45M",
    ),
    "a limit of nothing": (
        ROW + "    execution_timeout: 0s\n",
        "p.yaml:3:24: stage_transfers[0].execution_timeout: '0s' leaves no time; "
        "leave the key out where there is no limit",
    ),
    "bad location": (
        ROW + '    tracking_location: ["sqlite||tracking.db"]\n',
        "p.yaml:3:25: stage_transfers[0].tracking_location[0]: 'sqlite||tracking.db': the path 'tracking.db' "
        "must be absolute; every process must find the same file",
    ),
    "unknown storage type": (
        ROW + '    tracking_location: ["postgrs||a||b||c"]\n',
        "p.yaml:3:25: stage_transfers[0].tracking_location[0]: 'postgrs||a||b||c': there is no storage type 'postgrs' "
        "(did you mean 'postgres'?); known are snowflake, postgres, local_postgres, mongodb, aws_s3, local_file, "
        "sqlite, and those of storage_adapters",
    ),
    "runtime field": (
        ROW + "    transfer_status: completed\n",
        "p.yaml:3:22: stage_transfers[0].transfer_status: this is filled while the pipeline runs; "
        "leave it out or write pending",
    ),
    "runtime time": (
        ROW + "    transfer_end_timestamp: 2026-01-01\n",
        "p.yaml:3:29: stage_transfers[0].transfer_end_timestamp: this is filled while the pipeline runs; "
        "leave it out or write null",
    ),
    "unknown dependency": (
        "stage_transfers:\n  - {name: load}\n  - {name: b, depends_on: [laod]}\n",
        "p.yaml:3:28: stage_transfers[1].depends_on[0]: there is no transfer 'laod' (did you mean 'load'?)",
    ),
    "dependency on itself": (
        ROW + "    depends_on: [a]\n",
        "p.yaml:3:18: stage_transfers[0].depends_on[0]: a transfer cannot wait for itself",
    ),
    "bad expand": (
        ROW + "    operator: x.Y\n    expand: {z: everything}\n",
        "p.yaml:4:17: stage_transfers[0].expand.z: expected a list, or transfer.<name>, not 'everything'",
    ),
    "expand over nothing": (
        ROW + "    operator: x.Y\n    expand: {z: transfer.b}\n",
        "p.yaml:4:17: stage_transfers[0].expand.z: there is no transfer 'b'",
    ),
    "operator and function": (
        ROW + "    operator: x.Y\n    python_callable: os.path.join\n",
        "p.yaml:4:22: stage_transfers[0].python_callable: give operator or python_callable, not both",
    ),
    "operator that is no path": (
        ROW + "    operator: my operator\n",
        "p.yaml:3:15: stage_transfers[0].operator: 'my operator' is no dotted path, such as package.module.Name",
    ),
    "bad date": (
        "dag: {start_date: yesterday}\nstage_transfers: [{name: a}]\n",
        "p.yaml:1:19: dag.start_date: 'yesterday' is no date; expected 2026-01-31 or 2026-01-31T06:00:00Z",
    ),
    "malformed": (
        "stage_transfers: [{name: a]\n",
        "p.yaml:1:27: malformed YAML: while parsing a flow mapping did not find expected ',' or '}'",
    ),
    "tabs": (
        "stage_transfers:\n\t- name: a\n",
        "p.yaml:2:1: malformed YAML: while scanning for the next token found character that cannot start any token; "
        "indent with spaces instead of tabs",
    ),
    "code": (
        "stage_transfers:\n  - name: !!python/object/apply:os.system [ls]\n",
        "p.yaml:2:11: stage_transfers[0].name: the tag '!!python/object/apply:os.system' is not allowed here",
    ),
    "no mapping": ("- a\n- b\n", "p.yaml:1:1: a pipeline file is a mapping with the key stage_transfers"),
    "empty": ("", "p.yaml:1:1: the file is empty; a pipeline needs stage_transfers"),
    "only a comment": ("# nothing\n", "p.yaml:1:1: the file is empty; a pipeline needs stage_transfers"),
    "too deep": (
        "stage_transfers: " + "[" * 80 + "]" * 80,
        "p.yaml:1:78: the file is nested more than 60 levels deep",
    ),
    "too large": ("#" * (MAX_BYTES + 1), "p.yaml:1:1: the file has more than 5 MB; a pipeline file may have 5 MB"),
}


def lines(text: str | bytes, name: str = "p.yaml") -> list[str]:
    with pytest.raises(ConfigError) as raised:
        PipelineConfig.from_text(text, name)
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize("kind", MISTAKES)
def test_the_mistake_is_named_with_its_place(kind):
    text, expected = MISTAKES[kind]
    assert expected in lines(text)


@pytest.mark.parametrize("kind", sorted(set(MISTAKES) - {"code", "duplicate name", "broken template"}))
def test_nothing_else_is_said(kind):
    text, expected = MISTAKES[kind]
    assert lines(text) == [expected]


def test_all_mistakes_are_named_at_once_in_the_order_of_the_file():
    found = lines(
        "dag: {schedul: daily}\n"
        "defaults: {retry_delay: soon}\n"
        "stage_transfers:\n"
        "  - name: a\n"
        "    max_retry_attempts: many\n"
        "    tracking_location: [nowhere]\n"
        "  - name: a\n"
        "    depends_on: [b]\n"
    )
    assert [line.split(": ")[0:2] for line in found] == [
        ["p.yaml:1:7", "dag.schedul"],
        ["p.yaml:2:25", "defaults.retry_delay"],
        ["p.yaml:5:25", "stage_transfers[0].max_retry_attempts"],
        ["p.yaml:6:25", "stage_transfers[0].tracking_location[0]"],
        ["p.yaml:7:11", "stage_transfers[1].name"],
        ["p.yaml:8:18", "stage_transfers[1].depends_on[0]"],
    ]


def test_an_alias_bomb_is_stopped_before_it_grows():
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in range(1, 9):
        text += f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n"
    (line,) = lines(text + "stage_transfers: *a8\n")
    assert line.endswith("the file has more than 500,000 values once its aliases are written out")


def test_malformed_json_is_named_with_its_place():
    assert lines('{"stage_transfers": [\n  {"name": "a" 1}\n]}', "p.json") == [
        "p.json:2:16: malformed JSON: expecting ',' delimiter"
    ]


def test_json_is_read_as_json_and_not_as_yaml():
    text = (
        '{"stage_transfers":\n [{"name": "a", "stage_i_details": "\\ud83d\\ude00 a\\/b", "transfer_order_number": 1E1,'
        ' "pol": 1}]}'
    )
    assert lines(text, "p.json") == ["p.json:2:87: stage_transfers[0].pol: there is no such key (did you mean 'pool'?)"]
    (row,) = PipelineConfig.from_text(text.replace("pol", "pool").replace(": 1}", ": null}"), "p.json").stage_transfers
    assert (row.stage_i_details, row.transfer_order_number) == ("\N{GRINNING FACE} a/b", 10.0)
    assert lines('{"stage_transfers": [{"name": "a", "transfer_order_number": 1e999}]}', "p.json") == [
        "p.json:1:61: stage_transfers[0].transfer_order_number: expected a number, not '1e999'"
    ]
    assert lines('{"stage_transfers": [{"name": "a"}], "variables": ' + "[" * 70 + "]" * 70 + "}", "p.json") == [
        "p.json:1:1: malformed JSON: nested too deeply or a number too long"
    ]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.dictionaries(st.text(max_size=30), inner),
    )
)
def test_every_json_value_comes_back_as_it_was(value):
    text = json.dumps({"stage_transfers": [{"name": "a"}], "variables": {"x": value}})
    assert PipelineConfig.from_text(text, "p.json").variables == {"x": value}
    (problem,) = lines(text.replace('"name"', '"nme"'), "p.json")
    assert problem.startswith("p.json:1:23: stage_transfers[0].nme: there is no such key")


def test_json_may_be_indented_with_tabs_and_has_places_too():
    text = '{\n\t"stage_transfers": [\n\t\t{"nme": "a"}\n\t]\n}'
    assert lines(text, "p.json") == ["p.json:3:4: stage_transfers[0].nme: there is no such key (did you mean 'name'?)"]


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_bytes(b"stage_transfers:\n  - name: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"p\.yaml:2:11: the file is not UTF-8 text"):
        PipelineConfig.from_file(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.yaml:0:0: cannot be read: No such file or directory"):
        PipelineConfig.from_file(tmp_path / "gone.yaml")


def test_a_module_that_breaks_at_import_is_one_mistake_without_a_traceback(tmp_path):
    (tmp_path / "functions.py").write_text("raise RuntimeError('no database here')\n")
    path = tmp_path / "p.yaml"
    path.write_text("user_functions: functions.py\n" + ROW + "    python_callable: load\n")
    with pytest.raises(ConfigError) as raised:
        PipelineConfig.from_file(path)
    assert [str(problem) for problem in raised.value.problems] == [
        f"{path}:1:17: user_functions: 'functions.py' cannot be imported: RuntimeError: no database here"
    ]


@pytest.mark.parametrize("inside", ["9" * 5000, "(" * 20_000 + ")" * 20_000], ids=["number", "brackets"])
def test_a_template_that_no_template_engine_reads_is_a_problem(inside):
    with pytest.raises(ConfigError, match=r"p\.yaml:1:46: .*stage_i_details: the template cannot be read: "):
        PipelineConfig.from_text(f"stage_transfers: [{{name: a, stage_i_details: '{{{{ {inside} }}}}'}}]", "p.yaml")
