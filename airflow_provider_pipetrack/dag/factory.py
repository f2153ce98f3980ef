"""From a pipeline's model and graph to an Airflow Dag."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, BaseOperator

from airflow_provider_pipetrack.attempts.binding import bind_pipeline, binding_of
from airflow_provider_pipetrack.collector import collector_paused
from airflow_provider_pipetrack.compat import connect, is_cron
from airflow_provider_pipetrack.config import PipelineConfig, StageTransfer
from airflow_provider_pipetrack.config.checks import Mistake, mapped_reference
from airflow_provider_pipetrack.config.classes import ClassError
from airflow_provider_pipetrack.config.durations import parse_duration
from airflow_provider_pipetrack.config.problems import in_file_order, suggest
from airflow_provider_pipetrack.dag.assets import asset_mistake, assets_of
from airflow_provider_pipetrack.dag.branches import branch_mistake, turn_mistakes
from airflow_provider_pipetrack.dag.deadline import run_deadline
from airflow_provider_pipetrack.dag.graph import Graph, Kind, Node, mapped_over, plan_graph
from airflow_provider_pipetrack.dag.mapping import calls_of
from airflow_provider_pipetrack.dag.operators import find_operator, operator_mistakes
from airflow_provider_pipetrack.dag.task_arguments import task_argument_mistakes, task_arguments
from airflow_provider_pipetrack.errors import ConfigError, Problem
from airflow_provider_pipetrack.operators.arguments import arguments_of
from airflow_provider_pipetrack.operators.function import mapped_function_operator
from airflow_provider_pipetrack.operators.marker import MarkerOperator
from airflow_provider_pipetrack.operators.tracked import tracked

#: Start of Dags that name none, so that a schedule works without one.
DEFAULT_START = datetime(2024, 1, 1, tzinfo=timezone.utc)
TAG = "pipetrack"
_PYTHON = "airflow.providers.standard.operators.python.PythonOperator"
#: The schedules that Airflow knows by a name.
SCHEDULE_PRESETS = ("@once", "@continuous", "@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")
_PASSED_ON = (
    "params",
    "owner_links",
    "fail_fast",
    "render_template_as_native_obj",
    "end_date",
    "max_active_runs",
    "max_active_tasks",
    "dagrun_timeout",
    "is_paused_upon_creation",
    "doc_md",
)


def build_dag(pipeline: str | Path | PipelineConfig) -> DAG:
    """Return the Dag of a pipeline.

    :param pipeline: a pipeline file, or its model.
    :raises ConfigError: with every mistake in it.
    """
    with collector_paused():
        config = pipeline if isinstance(pipeline, PipelineConfig) else read_config(pipeline)
        graph = plan_graph(config.stage_transfers)
        problems = find_problems(config, graph)
        if problems:
            raise ConfigError(problems)
        return _Factory(config, graph).build()


def read_config(path: str | Path) -> PipelineConfig:
    """Read a pipeline file; when it has mistakes, those that only Airflow and the graph can see are named, too.

    :raises ConfigError: with every mistake.
    """
    return PipelineConfig.from_file(path, check_rest=_check_rest)


def find_problems(config: PipelineConfig, graph: Graph, *, is_whole: bool = True) -> list[Problem]:
    """Return the mistakes that only show with the graph or with Airflow: cycles, operators and their arguments.

    :param is_whole: whether nothing was left out of the file, so that all its operators are known.
    """
    by_name = {transfer.name: transfer for transfer in config.stage_transfers}
    problems = []
    if graph.cycle:
        first = next((by_name[n] for n in graph.cycle if by_name[n].depends_on is not None), by_name[graph.cycle[0]])
        circle = " -> ".join(graph.cycle)
        key = "depends_on" if first.depends_on is not None else "expand" if mapped_over(first) else ""
        problems.append(config.problem(first, key, f"the transfers wait for each other in a circle: {circle}"))
    for transfer in config.stage_transfers:
        problems.extend(_operator_problems(config, transfer))
        for key, mistake in (("asset", asset_mistake(transfer)), ("audit_enabled", branch_mistake(transfer))):
            if mistake:
                problems.append(config.problem(transfer, key, mistake))
    for transfer, mistake in turn_mistakes(graph, by_name):
        problems.append(config.problem(transfer, "can_process_be_parallelized", mistake))
    problems.extend(_default_argument_problems(config, is_whole=is_whole))
    return in_file_order([*problems, *_dag_problems(config), *_alert_problems(config)])


class _Factory:
    """Makes the tasks of one Dag."""

    def __init__(self, config: PipelineConfig, graph: Graph) -> None:
        self.config = config
        self.graph = graph
        self.transfers = {transfer.name: transfer for transfer in config.stage_transfers}
        with _refusal_named(config):
            self.dag = DAG(**_dag_arguments(config))
        self.assets = assets_of(config)
        deadline = run_deadline(config, graph)
        if deadline is not None:
            self.dag.deadline = deadline
        self.tasks: dict[str, Any] = {}

    def build(self) -> DAG:
        """Return the Dag with its tasks and edges.

        :raises ConfigError: with everything that Airflow or an operator refuses.
        """
        bind_pipeline(self.dag, self.config, self.graph.upstreams)
        refused: dict[Problem, None] = {}
        for node in self.graph.nodes.values():
            try:
                self._made(node)
            except ConfigError as error:
                refused.update(dict.fromkeys(error.problems))
        if refused:
            raise ConfigError(in_file_order(refused))
        connect(self.tasks, self.graph.upstream)
        with _refusal_named(self.config):
            self.dag.validate()  # type: ignore[no-untyped-call]
        return self.dag

    def _made(self, node: Node) -> Any:
        """Return the task of a node, which is made the first time.

        :raises ConfigError: with what Airflow or the operator does not accept, at its place in the file.
        """
        if node.task_id in self.tasks:
            return self.tasks[node.task_id]
        try:
            task = self.tasks[node.task_id] = self._task(node)
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001  it may be anybody's operator
            raise ConfigError([self._refused_task(node, error)]) from None
        return task

    def _refused_task(self, node: Node, error: Exception) -> Problem:
        if node.kind is not Kind.TRANSFER:
            what = f"the task {node.task_id} refuses them"
            return _refusal(self.config, None, "dag.default_args", what, error)
        transfer = self.transfers[str(node.transfer)]
        by_default = self.config.dag.default_args and not (transfer.operator_args or transfer.expand)
        owner, key = (None, "dag.default_args") if by_default else (transfer, "operator_args")
        operator, _ = _operator_of(self.config, transfer)
        return _refusal(self.config, owner, key, f"{operator.__name__} refuses its arguments", error)

    def _task(self, node: Node) -> Any:
        if node.kind is Kind.TRANSFER:
            return self._transfer_task(self.transfers[str(node.transfer)])
        if node.kind is Kind.AUDIT:
            return self._audit_task(node.task_id, self.transfers[str(node.transfer)])
        from airflow.providers.standard.operators.empty import EmptyOperator

        rule = "all_done" if node.kind is Kind.TURN else "none_failed"
        # The past is the transfers' own matter: the file says nothing of these tasks, which come and go as it changes.
        now: dict[str, Any] = {"depends_on_past": False, "wait_for_downstream": False}
        return EmptyOperator(task_id=node.task_id, trigger_rule=rule, dag=self.dag, **now)

    def _transfer_task(self, transfer: StageTransfer) -> Any:
        operator, arguments = _operator_of(self.config, transfer)
        arguments.update(transfer.task_arguments(), task_id=transfer.name, dag=self.dag, task_group=self.dag.task_group)
        arguments["transfer"] = transfer.name  # found again in the Dag's binding
        mapped = {key: self._mapped_value(value) for key, value in (transfer.expand or {}).items()}
        if mapped and transfer.python_callable:
            mapped, common = calls_of(mapped, transfer.operator_args)
            if common:
                operator, arguments["common_kwargs"] = mapped_function_operator(), dict(common)
        if mapped:
            return tracked(operator).partial(**arguments).expand(**mapped)
        task = tracked(operator)(**arguments)
        asset = self.assets.get(transfer.name)
        if asset is not None and not transfer.audit_enabled:
            binding_of(self.dag).assets[transfer.name] = asset.uri
            if asset.is_declared:
                task.outlets = [*task.outlets, Asset(asset.uri)]  # an operator may have its own
        return task

    def _mapped_value(self, value: Any) -> Any:
        """Return what to map over: a list as it is, ``transfer.<name>`` as that transfer's result."""
        name = mapped_reference(value)
        if name is None:
            return value
        return self._made(self.graph.nodes[name]).output

    def _audit_task(self, task_id: str, transfer: StageTransfer) -> Any:
        from airflow_provider_pipetrack.sensors.audit import AuditSensor

        arguments: dict[str, Any] = {"poke_interval": 60.0, "timeout": 86_400.0}
        if transfer.audit is not None:
            arguments = {
                "mode": transfer.audit.mode,
                "poke_interval": transfer.audit.poke_interval.total_seconds(),
                "timeout": transfer.audit.timeout.total_seconds(),
                "retries": transfer.audit.retries,
            }
        if transfer.transfer_process_owner_name:
            arguments["owner"] = transfer.transfer_process_owner_name
        if transfer.name in self.assets:
            arguments["outlets"] = [Asset(self.assets[transfer.name].uri)]
        return AuditSensor(task_id=task_id, transfer=transfer.name, dag=self.dag, **arguments)


@contextmanager
def _refusal_named(config: PipelineConfig) -> Iterator[None]:
    """Turn what Airflow does not accept of the Dag itself into a problem of the file."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001  it may be anybody's code
        raise ConfigError([_refusal(config, None, "dag", "Airflow refuses the Dag", error)]) from None


def _refusal(config: PipelineConfig, transfer: StageTransfer | None, key: str, what: str, error: Exception) -> Problem:
    reason = " ".join(str(error).split()) or type(error).__name__
    return config.problem(transfer, key, f"{what}: {reason}")


def _operator_of(config: PipelineConfig, transfer: StageTransfer) -> tuple[type[BaseOperator], dict[str, Any]]:
    """Return the operator class of a transfer, and the arguments that the file gives it."""
    if transfer.operator:
        given = task_arguments(transfer.operator_args)
        if isinstance(given.get("python_callable"), str):  # of a PythonSensor, a branch, …
            given["python_callable"] = config.functions.resolve_callable(given["python_callable"])
        return find_operator(transfer.operator), given
    if transfer.python_callable:
        from airflow.providers.standard.operators.python import PythonOperator

        function = config.functions.resolve_callable(transfer.python_callable)
        mapped = set(transfer.expand or ()) - {"op_args"}  # then the arguments are part of what is mapped over
        own = {"op_kwargs": dict(transfer.operator_args)} if transfer.operator_args and not mapped else {}
        return PythonOperator, {"python_callable": function, **own}
    return MarkerOperator, {}


def _dag_arguments(config: PipelineConfig) -> dict[str, Any]:
    settings, metadata = config.dag, config.pipeline_metadata
    arguments: dict[str, Any] = {
        "dag_id": config.dag_id,
        "schedule": _schedule(settings.schedule),
        "start_date": settings.start_date or DEFAULT_START,
        "catchup": settings.catchup,
        "tags": list(dict.fromkeys([*settings.tags, TAG])),
        "description": settings.description or metadata.pipeline_description or metadata.pipeline_name or None,
    }
    for name in _PASSED_ON:
        value = getattr(settings, name)
        if value is not None and value != {}:
            arguments[name] = dict(value) if isinstance(value, dict) else value
    if config.source is not None:
        # Files that arguments name, such as queries, stand beside the pipeline, not beside the file that loads it.
        arguments["template_searchpath"] = [str(config.source.parent.absolute())]
    if settings.default_args:
        arguments["default_args"] = task_arguments(settings.default_args)
    return arguments


def _schedule(text: str | None) -> Any:
    """Return a schedule: a preset or cron expression as it is, a duration as such."""
    if not text:
        return None
    try:
        return parse_duration(text) or text
    except ValueError:
        return text


def _dag_problems(config: PipelineConfig) -> Iterator[Problem]:
    """Yield what is wrong with the arguments of the Dag, as far as Airflow does not say so itself."""
    settings = config.dag
    if not _is_schedule(settings.schedule):
        message = f"{settings.schedule!r} is neither a cron expression nor a preset nor a duration"
        presets = SCHEDULE_PRESETS if str(settings.schedule).startswith("@") else ()
        yield config.problem(None, "dag.schedule", message, suggest(str(settings.schedule), presets))
    if settings.start_date and settings.end_date and settings.end_date < settings.start_date:
        yield config.problem(None, "dag.end_date", "the last date comes before the first one, so nothing would run")
    serial = [row.name for row in config.stage_transfers if not row.can_process_be_parallelized]
    if settings.fail_fast and serial:
        message = (
            f"fail_fast cannot go with can_process_be_parallelized: false, as of {serial[0]!r}: Airflow refuses it"
        )
        yield config.problem(None, "dag.fail_fast", message)


def _is_schedule(text: str | None) -> bool:
    if not text or not isinstance(_schedule(text), str):
        return True
    return text in SCHEDULE_PRESETS or is_cron(text)


def _default_argument_problems(config: PipelineConfig, *, is_whole: bool) -> Iterator[Problem]:
    written = config.dag.default_args
    if not written:
        return
    unknown = _unknown_default_arguments(config) if is_whole else ()
    for keys, message, suggestion in (*task_argument_mistakes(written, "default_args", of_all=True), *unknown):
        yield config.problem(None, ("dag", *keys), message, suggestion)


def _unknown_default_arguments(config: PipelineConfig) -> Iterator[Mistake]:
    known = set(arguments_of(BaseOperator))
    for transfer in config.stage_transfers:
        path = transfer.operator or (_PYTHON if transfer.python_callable else None)
        try:
            known.update(arguments_of(find_operator(path)) if path else ())
        except ClassError:
            return  # which arguments it has is not known
    for name in config.dag.default_args:
        if name not in known:
            yield ("default_args", name), f"no task of this Dag has an argument {name!r}", suggest(name, known)


def _alert_problems(config: PipelineConfig) -> Iterator[Problem]:
    if not config.alerts:
        return
    from airflow_provider_pipetrack.notifications.channels import check_notifier_arguments, find_notifier

    for index, alert in enumerate(config.alerts):
        key = "notifier"
        try:
            notifier = find_notifier(alert.notifier)
            key = "kwargs"
            check_notifier_arguments(notifier, alert.kwargs)
        except ClassError as error:
            yield config.problem(None, ("alerts", index, key), error.message, error.suggestion)


def _operator_problems(config: PipelineConfig, transfer: StageTransfer) -> Iterator[Problem]:
    found = operator_mistakes(transfer.operator, transfer.operator_args, transfer.expand, config.dag.default_args)
    for keys, message, suggestion in found:
        yield config.problem(transfer, keys, message, suggestion)


def _check_rest(rest: PipelineConfig, changed: frozenset[int]) -> list[Problem]:
    """Return what is wrong with the rest of a file that has other mistakes, too.

    :param changed: the transfers that have lost something; what they wait for is not known.
    """
    unknown = {"depends_on": (), "expand": None}
    transfers = [
        row.model_copy(update=unknown) if index in changed else row for index, row in enumerate(rest.stage_transfers)
    ]
    has_own_names = len({row.name for row in transfers}) == len(transfers)
    return find_problems(rest, plan_graph(transfers) if has_own_names else Graph(), is_whole=not changed)
