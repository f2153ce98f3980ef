"""From a pipeline to an Airflow Dag: what reaches the tasks, and what is said about operators."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, BaseNotifier, BaseOperator
from airflow.serialization import serialized_objects

from airflow_provider_pipetrack import PipelineConfig, TrackedOperator, build_dag
from airflow_provider_pipetrack.attempts.binding import binding_of
from airflow_provider_pipetrack.compat import connect, scheduler_bears_callbacks
from airflow_provider_pipetrack.dag import branches
from airflow_provider_pipetrack.errors import ConfigError
from airflow_provider_pipetrack.notifications.targets import targets_of

# Renamed in 3.2.
DagSerialization = getattr(serialized_objects, "DagSerialization", None) or serialized_objects.SerializedDAG
BASH = "airflow.providers.standard.operators.bash.BashOperator"


def dag_of(text: str):
    return build_dag(PipelineConfig.from_text(text, "orders.yaml"))


def test_what_the_file_says_reaches_the_task():
    dag = dag_of(
        f"dag: {{schedule: '@daily', tags: [x], max_active_runs: 2, is_paused_upon_creation: false}}\n"
        f"stage_transfers:\n  - name: load\n    operator: {BASH}\n    operator_args: {{bash_command: 'echo 1'}}\n"
        "    max_retry_attempts: 5\n    retry_delay: 90s\n    execution_timeout: 2h\n    pool: slow\n"
        "    transfer_process_owner_name: ann\n    can_process_be_parallelized: false\n    audit_enabled: false\n"
    )
    task = dag.get_task("load")
    assert isinstance(task, TrackedOperator)
    assert (task.bash_command, task.retries, task.pool, task.owner) == ("echo 1", 5, "slow", "ann")
    assert (task.retry_delay, task.execution_timeout) == (timedelta(seconds=90), timedelta(hours=2))
    assert task.max_active_tis_per_dag == 1
    assert (dag.max_active_runs, dag.is_paused_upon_creation) == (2, False)
    assert dag.tags == {"x", "pipetrack"}
    assert dag.catchup is False


def test_a_duration_is_a_schedule_too():
    assert dag_of("dag: {schedule: 45m}\nstage_transfers: [{name: a}]").schedule == timedelta(minutes=45)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            f"operator: {BASH}X, operator_args: {{bash_command: x}}",
            "1:42: stage_transfers[0].operator: there is no operator 'BashOperatorX' in "
            "airflow.providers.standard.operators.bash (did you mean 'BashOperator'?)",
        ),
        (
            "operator: no.such.Thing",
            "1:42: stage_transfers[0].operator: 'no.such' cannot be imported: ModuleNotFoundError",
        ),
        ("operator: os.path.join", "1:42: stage_transfers[0].operator: 'os.path.join' is no Airflow operator"),
        (
            f"operator: {BASH}, operator_args: {{bash_comand: x}}",
            "stage_transfers[0].operator_args.bash_comand: BashOperator has no argument 'bash_comand' "
            "(did you mean 'bash_command'?)",
        ),
        (f"operator: {BASH}", "1:42: stage_transfers[0].operator: BashOperator needs bash_command"),
    ],
)
def test_a_wrong_operator_is_named_with_its_place(row, expected):
    with pytest.raises(ConfigError) as raised:
        dag_of(f"stage_transfers: [{{name: load, {row}}}]")
    assert expected in str(raised.value)
    assert "Traceback" not in str(raised.value)


SMTP = "airflow.providers.smtp.notifications.smtp"


@pytest.mark.parametrize(
    ("alert", "expected"),
    [
        (
            "notifier: no.such.Notifier",
            "1:21: alerts[0].notifier: 'no.such' cannot be imported: ModuleNotFoundError: No module named 'no'",
        ),
        (
            f"notifier: {SMTP}.SmtpNotifer",
            f"alerts[0].notifier: there is no notifier 'SmtpNotifer' in {SMTP} (did you mean 'SmtpNotifier'?)",
        ),
        (f"notifier: {BASH}", f"alerts[0].notifier: '{BASH}' is no Airflow notifier"),
        (
            "notifier: tests.unit.dag.test_factory.Pager, kwargs: {numbr: 1}",
            "alerts[0].kwargs: Pager has no argument 'numbr' (did you mean 'number'?)",
        ),
        ("notifier: tests.unit.dag.test_factory.Pager", "alerts[0].kwargs: Pager needs number"),
    ],
)
def test_a_wrong_notifier_is_named_with_its_place(alert, expected, monkeypatch):
    monkeypatch.setitem(sys.modules, "tests.unit.dag.test_factory", sys.modules[__name__])
    with pytest.raises(ConfigError) as raised:
        dag_of(f"alerts: [{{{alert}}}]\nstage_transfers: [{{name: load}}]")
    assert expected in str(raised.value)
    assert "Traceback" not in str(raised.value)


class Pager(BaseNotifier):
    def __init__(self, number: int) -> None:
        super().__init__()


def test_whom_a_transfer_wants_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "tests.unit.dag.test_factory", sys.modules[__name__])
    dag = dag_of(
        "alerts: [{notifier: tests.unit.dag.test_factory.Pager, on: [overdue], kwargs: {number: 1}}]\n"
        "stage_transfers: [{name: load, transfer_process_email_alerts: [team@example.com, team@example.com]}]"
    )
    spec = binding_of(dag).specs["load"]
    targets = targets_of(spec.transfer, spec.pipeline)
    mail = {"to": ["team@example.com"]}
    pager = {"notifier": "tests.unit.dag.test_factory.Pager", "kwargs": {"number": 1}}
    assert list(targets.deliveries("failed")) == [mail]
    assert list(targets.deliveries("overdue")) == [mail, pager]


def test_every_wrong_argument_is_named_and_beside_other_mistakes_too(tmp_path):
    path = tmp_path / "orders.yaml"
    path.write_text(
        "stage_transfers:\n"
        f"  - {{name: a, operator: {BASH}, operator_args: {{bash_comand: x, evn: y}}, retry_dellay: 5m}}\n"
        f"  - {{name: b, operator: {BASH}X}}\n"
        "  - {name: c, operator: [], operator_args: 3}\n"
    )
    with pytest.raises(ConfigError) as raised:
        build_dag(path)
    said = [f"{problem.line} {problem.key}: {problem.message}" for problem in raised.value.problems]
    assert said == [
        "2 stage_transfers[0].operator: BashOperator needs bash_command",
        "2 stage_transfers[0].operator_args.bash_comand: BashOperator has no argument 'bash_comand'",
        "2 stage_transfers[0].operator_args.evn: BashOperator has no argument 'evn'",
        "2 stage_transfers[0].retry_dellay: there is no such key",
        f"3 stage_transfers[1].operator: there is no operator 'BashOperatorX' in {BASH.rpartition('.')[0]}",
        "4 stage_transfers[2].operator: expected a text, not []",
        "4 stage_transfers[2].operator_args: expected a mapping of keys to values, not 3",
    ]


def said_of(path):
    with pytest.raises(ConfigError) as raised:
        build_dag(path)
    return [f"{problem.line} {problem.key}: {problem.message}" for problem in raised.value.problems]


MANY = f"""
dag:
  schedule: '@dayly'
  start_date: 2026-01-02
  end_date: 2026-01-01
  fail_fast: true
  default_args: {{retry_delay: soon}}
alerts:
  - notifier: no.such.Notifier
defaults: {{pool: big, operator: {BASH}X}}
stage_transfers:
  - {{name: a, operator: {BASH}, operator_args: {{bash_command: x}}, depends_on: [b]}}
  - {{name: b, depends_on: [a], can_process_be_parallelized: false}}
  - {{name: c, asset: 'x://y', audit_enabled: false, estimated_duration: continuous, MISTAKE}}
"""


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("pool: big", []),
        ("retry_dellay: 5m", ["14 stage_transfers[2].retry_dellay: there is no such key"]),
        ("audit: {retries: x}", ["14 stage_transfers[2].audit.retries: expected a whole number, not 'x'"]),
    ],
)
def test_mistakes_of_every_kind_are_named_at_once_in_the_order_of_the_file(tmp_path, mistake, said):
    path = tmp_path / "orders.yaml"
    path.write_text(MANY.replace("MISTAKE", mistake))
    assert said_of(path) == [
        "3 dag.schedule: '@dayly' is neither a cron expression nor a preset nor a duration",
        "5 dag.end_date: the last date comes before the first one, so nothing would run",
        "6 dag.fail_fast: fail_fast cannot go with can_process_be_parallelized: false, as of 'b': Airflow refuses it",
        "7 dag.default_args.retry_delay: 'soon' is no duration; expected a duration such as 45m, 1d12h30m, 90s or PT45M",
        "9 alerts[0].notifier: 'no.such' cannot be imported: ModuleNotFoundError: No module named 'no'",
        f"10 defaults.operator: there is no operator 'BashOperatorX' in {BASH.rpartition('.')[0]}",
        "12 stage_transfers[0].depends_on: the transfers wait for each other in a circle: a -> b -> a",
        "14 stage_transfers[2].asset: a continuous transfer without an audit has no single end to say that the asset is "
        "ready",
        *said,
    ]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            "[{name: a, depends_on: [b]}, {name: b, transfer_order_number: 2, depend_on: []}]",
            ["2 stage_transfers[1].depend_on: there is no such key"],
        ),
        (
            "[{name: a, depends_on: [b]}, {name: b, transfer_order_number: 2, depends_on: [5]}]",
            ["2 stage_transfers[1].depends_on[0]: expected a text, not 5; put it in quotes"],
        ),
        (
            "[{name: a, depends_on: [b]}, {name: b, depends_on: [c]}, {name: b, depends_on: [a]}]",
            [
                "2 stage_transfers[1].depends_on[0]: there is no transfer 'c'",
                "2 stage_transfers[2].name: the name 'b' is already that of the transfer in line 2; give one of them a "
                "name",
            ],
        ),
        (
            f"[5, {{name: b, operator: {BASH}X}}]",
            [
                "2 stage_transfers[0]: expected a mapping of keys to values, not 5",
                f"2 stage_transfers[1].operator: there is no operator 'BashOperatorX' in {BASH.rpartition('.')[0]}",
            ],
        ),
        (f"[{{operater: {BASH}, name: a}}]", ["2 stage_transfers[0].operater: there is no such key"]),
        (
            f"[{{name: a, operator: {BASH}, expand: {{bash_command: transfer.nope}}}}]",
            ["2 stage_transfers[0].expand.bash_command: there is no transfer 'nope'"],
        ),
        (
            f"[{{name: a, operator: {BASH}, expand: {{bash_command: transfer.a}}}}]",
            ["2 stage_transfers[0].expand.bash_command: a transfer cannot wait for itself"],
        ),
        (
            f"[{{name: a, operator: {BASH}, operator_args: {{bash_command: x}}, transfer_enabled: false}}, "
            f"{{name: b, operator: {BASH}, expand: {{bash_command: transfer.a}}}}]",
            ["2 stage_transfers[1].expand.bash_command: transfer 'a' is disabled, so there is nothing to map over"],
        ),
        (
            f"[{{name: [a], operator: {BASH}, operator_args: {{bash_command: x}}}}, "
            f"{{name: b, operator: {BASH}, expand: {{bash_command: transfer.a}}}}]",
            [
                "2 stage_transfers[0].name: expected a text, not ['a']",
                "2 stage_transfers[1].expand.bash_command: there is no transfer 'a'",
            ],
        ),
    ],
)
def test_nothing_is_said_of_what_a_mistake_leaves_open(tmp_path, rows, said):
    path = tmp_path / "orders.yaml"
    path.write_text(f"dag: {{default_args: {{append_env: true}}}}\nstage_transfers: {rows}\n")
    known = "1 dag.default_args.append_env: no task of this Dag has an argument 'append_env'"
    assert [line for line in said_of(path) if line != known or "BASH" in rows] == said


READY = "airflow_provider_pipetrack.sensors.ready.TransferReadySensor"


@pytest.mark.parametrize("mapped", [False, True])
def test_a_transfer_may_wait_for_a_stage_of_another_pipeline(mapped):
    arguments = "stage: mart, deferrable: true"
    asks = (
        f"operator_args: {{{arguments}}}, expand: {{pipeline_id: [orders, sales]}}"
        if mapped
        else (f"operator_args: {{{arguments}, pipeline_id: orders}}")
    )
    dag = dag_of(f"stage_transfers:\n  - {{name: wait, operator: {READY}, {asks}}}\n")
    waits = dag.get_task("wait")
    if mapped:
        waits = waits.unmap({"pipeline_id": "orders"})
    assert (waits.pipeline_id, waits.stage) == ("orders", "mart")
    assert waits.pipetrack_spec.pipeline_id == "orders"
    with pytest.raises(ConfigError, match=r"operator_args\.pipeline_id: pipetrack sets pipeline_id; leave it out"):
        dag_of(f"stage_transfers: [{{name: a, operator: {BASH}, operator_args: {{bash_command: x, pipeline_id: y}}}}]")


BRANCHES = "airflow.providers.standard.operators."


@pytest.mark.parametrize(
    ("operator", "arguments", "audited", "refused"),
    [
        ("python.BranchPythonOperator", "{python_callable: builtins.print}", "", True),
        ("python.BranchPythonOperator", "{python_callable: builtins.print}", ", audit_enabled: false", False),
        ("python.ShortCircuitOperator", "{python_callable: builtins.print}", "", False),
        ("latest_only.LatestOnlyOperator", "{}", "", False),
    ],
)
def test_a_branch_has_no_audit_between_it_and_what_it_chooses(operator, arguments, audited, refused):
    row = f"{{name: a, operator: {BRANCHES}{operator}, operator_args: {arguments}{audited}}}"
    text = f"stage_transfers:\n  - {row}\n  - {{name: b, depends_on: [a]}}\n"
    if not refused:
        assert dag_of(text).task_ids
        return
    with pytest.raises(ConfigError) as raised:
        dag_of(text)
    (problem,) = raised.value.problems
    assert (problem.line, problem.key) == (2, "stage_transfers[0].audit_enabled")
    assert problem.message == (
        "BranchPythonOperator chooses among the tasks right behind it, and there is only its audit, so that all would "
        "be skipped; write audit_enabled: false"
    )


CHOICE = f"{BRANCHES}python.BranchPythonOperator, operator_args: {{python_callable: builtins.print}}"
CIRCUIT = f"{BRANCHES}python.ShortCircuitOperator, operator_args: {{python_callable: builtins.print}}"
NEXT_ONLY = f"{CIRCUIT[:-1]}, ignore_downstream_trigger_rules: false}}"
LATEST = f"{BRANCHES}latest_only.LatestOnlyOperator"
BESIDE = "{name: b, can_process_be_parallelized: false}"
ADVICE = "give it another transfer_order_number, or write can_process_be_parallelized: true"
MAY_SKIP = "{} of 'a' may skip 'b', which only waits for its turn; " + ADVICE
RIVAL = (
    "BranchPythonOperator of 'a' chooses among those right behind it, and {!r} waits for its turn behind 'b', so that "
    "it would run whenever 'b' does; " + ADVICE + " (a pool with one slot keeps them apart)"
)
BEHIND = [
    "{name: b, transfer_order_number: 2}",
    "{name: c, transfer_order_number: 2, can_process_be_parallelized: false}",
    "{name: d, transfer_order_number: 2, can_process_be_parallelized: false}",
]


@pytest.mark.parametrize(
    ("operator", "audited", "others", "mistakes"),
    [
        # What depends on it by turns alone.
        (CIRCUIT, False, [BESIDE], {"b": MAY_SKIP.format("ShortCircuitOperator")}),
        (CIRCUIT, True, [BESIDE], {"b": MAY_SKIP.format("ShortCircuitOperator")}),
        (NEXT_ONLY, False, [BESIDE], {"b": MAY_SKIP.format("ShortCircuitOperator")}),
        (NEXT_ONLY, True, [BESIDE], {}),
        (LATEST, False, [BESIDE], {"b": MAY_SKIP.format("LatestOnlyOperator")}),
        (LATEST, True, [BESIDE], {}),
        (CHOICE, False, [BESIDE], {"b": MAY_SKIP.format("BranchPythonOperator")}),
        (CIRCUIT, False, ["{name: b}"], {}),
        # What depends on it, and is skipped with reason.
        (CIRCUIT, False, BEHIND, {}),
        (CIRCUIT, False, [BESIDE.replace("b,", "b, depends_on: [a],")], {}),
        # What would run beside what is chosen.
        (CHOICE, False, BEHIND, {"c": RIVAL.format("c"), "d": RIVAL.format("d")}),
        (CHOICE, False, [BEHIND[0], BEHIND[0].replace("b,", "c,")], {}),
        (CHOICE, False, [BEHIND[0], "{name: c, transfer_order_number: 3, depends_on: [a, b]}"], {}),
    ],
)
def test_what_only_waits_for_its_turn_is_not_chosen_or_skipped(operator, audited, others, mistakes):
    rows = [f"{{name: a, operator: {operator}, audit_enabled: {str(audited).lower()}}}", *others]
    text = "defaults: {audit_enabled: false}\nstage_transfers:\n" + "".join(f"  - {row}\n" for row in rows)
    if not mistakes:
        assert dag_of(text).task_ids
        return
    with pytest.raises(ConfigError) as raised:
        dag_of(text)
    found = {problem.key: problem.message for problem in raised.value.problems}
    places = {f"stage_transfers[{' abcd'.index(name) - 1}]": message for name, message in mistakes.items()}
    assert found == {f"{place}.can_process_be_parallelized": message for place, message in places.items()}


def test_turns_that_a_branch_cannot_choose_cost_a_large_file_nothing(mocker):
    looks = mocker.spy(branches._Ways, "reached")
    levels = [f"{{name: t{i}, transfer_order_number: {2 + i // 9}}}" for i in range(27)]
    rows = [f"{{name: a, operator: {CHOICE}}}", *levels, "{name: z, transfer_order_number: 4, %s: false}"]
    text = "defaults: {audit_enabled: false}\nstage_transfers:\n" + "".join(f"  - {row}\n" for row in rows)
    assert "z__turn" in dag_of(text % "can_process_be_parallelized").task_ids
    assert looks.call_count == 0


@pytest.mark.parametrize("argument", ["depends_on_past", "wait_for_downstream"])
def test_only_what_the_file_names_waits_for_the_past(argument):
    rows = ["{name: a}", "{name: b, can_process_be_parallelized: false}"]
    dag = dag_of(f"dag: {{default_args: {{{argument}: true}}}}\nstage_transfers: [{', '.join(rows)}]")
    waiting = {task.task_id for task in dag.tasks if getattr(task, argument) or task.depends_on_past}
    assert waiting == {"a", "a__audit", "b", "b__audit"} == {*dag.task_ids} - {"b__turn", "pipeline_done"}


def test_a_circle_is_named_with_its_place():
    with pytest.raises(ConfigError) as raised:
        dag_of("stage_transfers:\n  - {name: a, depends_on: [b]}\n  - {name: b, depends_on: [a]}\n")
    (problem,) = raised.value.problems
    assert (problem.line, problem.key) == (2, "stage_transfers[0].depends_on")
    assert problem.message == "the transfers wait for each other in a circle: a -> b -> a"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            "schedule: '@dayly'",
            "1:17: dag.schedule: '@dayly' is neither a cron expression nor a preset nor a duration "
            "(did you mean '@daily'?)",
        ),
        (
            "schedule: every day",
            "1:17: dag.schedule: 'every day' is neither a cron expression nor a preset nor a duration",
        ),
        (
            "schedule: '0 0 31 2 *'",
            "1:17: dag.schedule: '0 0 31 2 *' is neither a cron expression nor a preset nor a duration",
        ),
        (
            "schedule: '@continuous'",
            "1:6: dag: Airflow refuses the Dag: Invalid max_active_runs: ContinuousTimetable requires "
            "max_active_runs <= 1",
        ),
        (
            f"tags: [{'x' * 101}]",
            "1:6: dag: Airflow refuses the Dag: tag cannot be longer than 100 characters",
        ),
        (
            "start_date: 2026-01-02, end_date: 2026-01-01",
            "1:41: dag.end_date: the last date comes before the first one, so nothing would run",
        ),
        (
            "fail_fast: true",
            "1:18: dag.fail_fast: fail_fast cannot go with can_process_be_parallelized: false, as of 'a': Airflow "
            "refuses it",
        ),
        (
            "default_args: {retris: 2}",
            "1:30: dag.default_args.retris: no task of this Dag has an argument 'retris' (did you mean 'retries'?)",
        ),
        (
            "default_args: {retries: 2}",
            "1:31: dag.default_args.retries: each transfer says this by max_retry_attempts; write max_retry_attempts "
            "under defaults instead",
        ),
        (
            "default_args: {retry_delay: soon}",
            "1:35: dag.default_args.retry_delay: 'soon' is no duration; expected a duration such as 45m, 1d12h30m, "
            "90s or PT45M",
        ),
        (
            "default_args: {on_failure_callback: company.tell}",
            "1:43: dag.default_args.on_failure_callback: on_failure_callback takes functions, which a file cannot "
            "give; for notifications there are alerts",
        ),
        (
            "default_args: {trigger_rule: sometimes}",
            "1:21: dag.default_args: MarkerOperator refuses its arguments: The trigger_rule must be one of",
        ),
    ],
)
def test_wrong_arguments_of_the_dag_are_named_with_their_place(settings, expected):
    with pytest.raises(ConfigError) as raised:
        dag_of(f"dag: {{{settings}}}\nstage_transfers: [{{name: a, can_process_be_parallelized: false}}]\n")
    assert any(str(problem).startswith(f"orders.yaml:{expected}") for problem in raised.value.problems), raised.value


def test_arguments_by_default_of_the_dag_are_for_its_functions_too():
    text = "dag: {default_args: {show_return_value_in_logs: false}}\nstage_transfers: [{name: a%s}]\n"
    assert dag_of(text % ", python_callable: builtins.print").get_task("a").show_return_value_in_logs is False
    with pytest.raises(ConfigError, match="no task of this Dag has an argument 'show_return_value_in_logs'"):
        dag_of(text % "")


def test_an_empty_text_is_no_pool():
    assert dag_of("stage_transfers: [{name: a, pool: ''}]").get_task("a").pool == "default_pool"


def test_an_operator_may_be_given_a_function_of_the_users(tmp_path):
    (tmp_path / "f.py").write_text("def is_there():\n    return True\n")
    path = tmp_path / "p.yaml"
    path.write_text(
        "user_functions: f.py\nstage_transfers:\n  - name: wait\n"
        "    operator: airflow.providers.standard.sensors.python.PythonSensor\n"
        "    operator_args: {python_callable: is_there, mode: reschedule}\n"
    )
    assert build_dag(path).get_task("wait").python_callable() is True


def test_arguments_by_default_are_for_the_functions_that_take_them(tmp_path):
    (tmp_path / "f.py").write_text("def load(table):\n    pass\n\ndef publish():\n    pass\n")
    path = tmp_path / "p.yaml"
    path.write_text(
        "user_functions: f.py\ndefaults: {operator_args: {table: x}}\n"
        "stage_transfers: [{name: a, python_callable: load}, {name: b, python_callable: publish}]\n"
    )
    assert build_dag(path).get_task("a").op_kwargs == {"table": "x"}


class TakesWhatItFinds(BaseOperator):
    """Finds an argument among its ``**kwargs``, as many operators do."""

    def __init__(self, **kwargs):
        self.table = kwargs.pop("table", None)
        super().__init__(**kwargs)


def test_an_argument_that_an_operator_does_not_name_but_takes_is_no_mistake(monkeypatch):
    monkeypatch.setitem(sys.modules, "company_operators", SimpleNamespace(Load=TakesWhatItFinds))
    row = "stage_transfers: [{name: a, operator: company_operators.Load, operator_args: {%s: orders}}]\n"
    assert dag_of(row % "table").get_task("a").table == "orders"
    with pytest.raises(ConfigError, match=r"operator_args\.tabel: TakesWhatItFinds has no argument 'tabel'"):
        dag_of(row % "tabel")


def test_durations_and_dates_of_tasks_are_written_as_everywhere():
    dag = dag_of(
        "dag: {default_args: {retry_delay: 5m, start_date: 2026-01-31, owner: ann}}\n"
        f"stage_transfers:\n  - name: a\n    operator: {BASH}\n"
        "    operator_args: {bash_command: 'echo 1', execution_timeout: 2h}\n"
    )
    task = dag.get_task("a")
    assert (task.retry_delay, task.execution_timeout) == (timedelta(minutes=5), timedelta(hours=2))
    assert task.start_date.isoformat() == "2026-01-31T00:00:00+00:00"
    assert task.owner == dag.get_task("a__audit").owner == "ann"


def test_the_owner_by_default_of_the_dag_is_that_of_the_records():
    text = (
        "dag: {default_args: {owner: ann}}\nstage_transfers: [{name: a}, {name: b, transfer_process_owner_name: bob}]\n"
    )
    dag = dag_of(text)
    assert {name: dag.get_task(name).owner for name in ("a", "b", "a__audit")} == {
        "a": "ann",
        "b": "bob",
        "a__audit": "ann",
    }
    specs = binding_of(dag).specs
    assert [specs[name].transfer.transfer_process_owner_name for name in ("a", "b")] == ["ann", "bob"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            "operator_args: {bash_command: x, retries: 9}",
            ".operator_args.retries: each transfer says this by max_retry_attempts; write max_retry_attempts instead",
        ),
        ("operator_args: {bash_command: x, dag: y}", ".operator_args.dag: pipetrack sets dag; leave it out"),
        (
            "operator_args: {bash_command: x}, expand: {bash_command: [y]}",
            ".expand.bash_command: 'bash_command' stands under operator_args too; it has one value or one for each "
            "index",
        ),
        (
            "operator_args: {bash_command: x, trigger_rule: sometimes}",
            ".operator_args: BashOperator refuses its arguments: The trigger_rule must be one of",
        ),
    ],
)
def test_arguments_that_a_task_refuses_or_that_would_be_lost_are_named(row, expected):
    with pytest.raises(ConfigError) as raised:
        dag_of(f"stage_transfers: [{{name: a, operator: {BASH}, {row}}}]\n")
    (problem,) = raised.value.problems
    assert f"stage_transfers[0]{expected}" in str(problem)


def test_an_empty_operator_becomes_a_task_that_runs():
    path = "airflow.providers.standard.operators.empty.EmptyOperator"
    task = dag_of(f"stage_transfers: [{{name: a, operator: {path}, audit_enabled: false}}]").get_task("a")
    assert not isinstance(task, EmptyOperator)
    assert task.inherits_from_empty_operator is False


def test_mapped_transfers(tmp_path):
    (tmp_path / "f.py").write_text("def load(country, year=1):\n    return [country]\n")
    path = tmp_path / "p.yaml"
    path.write_text(
        "user_functions: f.py\ndefaults: {audit_enabled: false}\nstage_transfers:\n"
        f"  - {{name: shell, operator: {BASH}, expand: {{bash_command: [a, b]}}}}\n"
        "  - {name: each, python_callable: load, expand: {country: [de, fr], year: [1, 2]}}\n"
        "  - {name: list, python_callable: load, operator_args: {country: x}}\n"
        "  - {name: rest, transfer_order_number: 2, python_callable: load, expand: {country: transfer.list}}\n"
    )
    dag = build_dag(path)
    assert all(dag.get_task(name).is_mapped for name in ("shell", "each", "rest"))
    assert dag.get_task("each").expand_input.value == {
        "op_kwargs": [
            {"country": "de", "year": 1},
            {"country": "de", "year": 2},
            {"country": "fr", "year": 1},
            {"country": "fr", "year": 2},
        ]
    }
    assert "list" in dag.get_task("rest").upstream_task_ids
    assert '"rest"' in json.dumps(DagSerialization.to_dict(dag))
    for name in ("shell", "each", "rest"):
        kwargs = dag.get_task(name).partial_kwargs
        assert kwargs["transfer"] == name
        assert not {"pipeline", "pipeline_id"} & set(kwargs)


def test_a_file_that_an_argument_names_is_found_beside_the_pipeline(tmp_path):
    (tmp_path / "run.sh").write_text("echo {{ day }}")
    (tmp_path / "p.yaml").write_text(
        f"stage_transfers: [{{name: a, operator: {BASH}, operator_args: {{bash_command: run.sh}}}}]\n"
    )
    task = build_dag(tmp_path / "p.yaml").get_task("a")
    task.render_template_fields({"day": "monday"})
    assert task.bash_command == "echo monday"


def test_arguments_of_a_mapped_function_reach_each_of_its_calls(tmp_path):
    (tmp_path / "f.py").write_text("def load(country, table='x'):\n    return [country]\n")
    path = tmp_path / "p.yaml"
    path.write_text(
        "user_functions: f.py\ndefaults: {audit_enabled: false, operator_args: {table: orders}}\nstage_transfers:\n"
        "  - {name: each, python_callable: load, expand: {country: [de, fr]}}\n"
        "  - {name: whole, python_callable: load, expand: {op_kwargs: [{country: de}, {table: own}]}}\n"
        "  - {name: places, python_callable: load, expand: {op_args: [[de], [fr]]}}\n"
        "  - {name: rest, transfer_order_number: 2, python_callable: load, expand: {country: transfer.each}}\n"
    )
    dag = build_dag(path)
    assert dag.get_task("each").expand_input.value["op_kwargs"] == [
        {"table": "orders", "country": "de"},
        {"table": "orders", "country": "fr"},
    ]
    assert dag.get_task("whole").expand_input.value["op_kwargs"] == [
        {"table": "orders", "country": "de"},
        {"table": "own"},
    ]
    assert dag.get_task("places").partial_kwargs["op_kwargs"] == {"table": "orders"}
    (keywords,) = dag.get_task("rest").expand_input.value["op_kwargs"].callables
    assert keywords("it") == {"country": "it"}
    assert dag.get_task("rest").partial_kwargs["common_kwargs"] == {"table": "orders"}
    for name in ("each", "rest"):
        operator = dag.get_task(name).operator_class.operator_path
        assert operator == "airflow.providers.standard.operators.python.PythonOperator"


def test_a_mapped_transfer_may_have_an_owner():
    row = f"operator: {BASH}, expand: {{bash_command: [a, b]}}, transfer_process_owner_name: shop_team"
    assert dag_of(f"stage_transfers: [{{name: load, {row}}}]").get_task("load").partial_kwargs["owner"] == "shop_team"


def test_an_operator_argument_enters_the_serialized_dag_only_through_airflows_templates():
    dag = dag_of(
        f"variables: {{hidden: s3cret-one}}\nstage_transfers:\n  - name: a\n    operator: {BASH}\n"
        "    operator_args: {bash_command: echo, env: {A: b}}\n    extra_columns: {note: s3cret-two}\n"
        '    tracking_location: ["local_file||/s3cret/three.json"]\n'
    )
    assert "s3cret" not in json.dumps(DagSerialization.to_dict(dag))


def test_a_serialized_dag_comes_back_and_is_little_larger_than_a_hand_written_one():
    rows = "".join(
        f"  - {{name: t{i}, transfer_order_number: {i}, max_retry_attempts: 2, transfer_process_owner_name: team, "
        f"stage_i_details: stage_{i}, stage_i_plus_1_details: stage_{i + 1}}}\n"
        for i in range(500)
    )
    ours = dag_of(f"defaults: {{audit_enabled: false}}\nstage_transfers:\n{rows}")
    with DAG("orders", schedule=None) as base:
        previous = None
        for i in range(500):
            task = EmptyOperator(task_id=f"t{i}", retries=2, owner="team")
            if previous is not None:
                previous >> task
            previous = task
    sizes = [len(json.dumps(DagSerialization.to_dict(dag))) for dag in (ours, base)]
    assert sizes[0] / sizes[1] <= 1.2
    again = DagSerialization.from_dict(DagSerialization.to_dict(ours))
    assert again.get_task("t1").upstream_task_ids == {"t0"}
    assert again.get_task("t1").has_on_failure_callback == scheduler_bears_callbacks()
    assert again.get_task("t1").has_on_retry_callback == scheduler_bears_callbacks()
    assert again.has_on_failure_callback
    assert again.has_on_success_callback


def test_edges_are_those_that_airflow_would_set():
    made = []
    for connected in (True, False):
        with DAG("d", schedule=None) as dag:
            tasks = {name: EmptyOperator(task_id=name) for name in "abc"}
        if connected:
            connect(tasks, {"a": [], "b": ["a"], "c": ["a", "b"]})
        else:
            tasks["b"].set_upstream([tasks["a"]])
            tasks["c"].set_upstream([tasks["a"], tasks["b"]])
        made.append(DagSerialization.to_dict(dag))
    assert made[0] == made[1]


def test_sixty_stages_build():
    rows = "".join(
        f"  - {{stage_i_details: s{i}, stage_i_plus_1_details: s{i + 1}, transfer_order_number: {i}}}\n"
        for i in range(60)
    )
    dag = dag_of(f"stage_transfers:\n{rows}")
    assert len(dag.tasks) == 120
    assert dag.get_task("s59__to__s60").upstream_task_ids == {"s58__to__s59__audit"}
