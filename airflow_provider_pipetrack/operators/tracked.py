"""TrackedOperator: any Airflow operator, with one tracking record per attempt.

``TrackedOperator(operator=BashOperator, operator_args={…})`` makes an instance of a class that is generated once per
operator class and inherits from both, so that deferral, sensors, mapping, templates, XCom, outlets, links and pools
are the operator's own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_pipetrack.attempts.attempt import Attempt
from airflow_provider_pipetrack.attempts.binding import Spec, binding_of
from airflow_provider_pipetrack.attempts.declare import (
    asked_of_the_task,
    declare,
    declare_mapped,
    declared_spec,
    is_declared,
    note_retries,
    spec_from,
    whole_task_id,
)
from airflow_provider_pipetrack.attempts.gate import check_upstreams
from airflow_provider_pipetrack.attempts.outlets import named_asset
from airflow_provider_pipetrack.attempts.starting import make_ready
from airflow_provider_pipetrack.attempts.versions import check_version
from airflow_provider_pipetrack.callbacks.attach import (
    add_task_callbacks,
    as_list,
    hook_dag,
    inherited_arguments,
    show_task_callbacks,
    with_task_callbacks,
)
from airflow_provider_pipetrack.callbacks.task import record_skip, record_success
from airflow_provider_pipetrack.compat import (
    CONTROL_FLOW,
    SUCCESSFUL_EXITS,
    AirflowException,
    AirflowSkipException,
    current_dag,
    executed_when_mapped,
    is_asked_to_stop,
    is_plain_constructor,
    is_unmapping,
    plain_constructor,
)
from airflow_provider_pipetrack.config.functions import done
from airflow_provider_pipetrack.operators.arguments import arguments_of, unknown_arguments

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from airflow_provider_pipetrack.config import StageTransfer

_OWN_ARGUMENTS = ("operator", "operator_args", "python_callable")


class _TrackedMeta(type(BaseOperator)):  # type: ignore[misc]
    """Turns ``TrackedOperator(operator=X, …)`` into an instance of the tracked ``X``."""

    @classmethod
    def _apply_defaults(cls, func: Any) -> Any:
        return func if is_plain_constructor(func) else super()._apply_defaults(func)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is not TrackedOperator:
            return super().__call__(*args, **kwargs)
        operator, arguments = choose_operator(kwargs)
        try:
            return tracked(operator)(*args, **arguments)
        except TypeError as error:
            reason = unknown_arguments(operator, set(arguments) - {"transfer", "pipeline_id"})
            if not reason:
                raise
            raise TypeError(reason) from error


class _TrackedPartial:
    """``.partial()`` that carries the callbacks too, since a mapped task's constructor never runs at parse time."""

    def __get__(self, task: Any, owner: type[Any]) -> Callable[..., Any]:
        if task is not None:
            return BaseOperator.__dict__["partial"].__get__(task, owner)  # type: ignore[no-any-return]
        return functools.partial(_partial, owner)


class TrackedOperator(BaseOperator, metaclass=_TrackedMeta):
    """Run an operator as a tracked transfer.

    :param operator: the operator class to run, for example ``BashOperator``; give this or ``python_callable``.
    :param operator_args: its arguments; they may also be given directly.
    :param python_callable: a function to run, as with ``PythonOperator``; ``operator_args`` are its ``op_kwargs``.
        Beside ``operator`` it is that operator's own argument.
    :param transfer: the name of a transfer of this Dag, or the transfer's fields as in a pipeline file, such as
        ``{"stage_i_details": "raw", "stage_i_plus_1_details": "clean"}``. Fields that are given set the task's
        ``retries``, ``owner``, ``retry_delay``, ``execution_timeout``, ``pool`` and ``max_active_tis_per_dag``, unless
        the task has its own, which then stand in the records, too. Where they are not given, ``retries`` and ``owner``
        of ``default_args`` fill ``max_retry_attempts`` and ``transfer_process_owner_name``.
    :param pipeline_id: the pipeline that the records belong to; the Dag's id when not given. Where the operator has an
        argument of this name, as ``TransferReadySensor`` has, it is the operator's.

    All other arguments are those of the operator and of every Airflow task.

    :raises TypeError: when ``operator`` is no operator class, or an argument is unknown to it or given twice.
    :raises ConfigError: when ``transfer`` has mistakes; all of them are named.
    """

    partial = _TrackedPartial()

    #: Whether the operator itself has an argument ``pipeline_id``.
    takes_pipeline_id = False

    _pipetrack_spec: Spec | None = None
    _pipetrack_name: str | None = None
    _pipetrack_attempt: Attempt | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            task_id: str,
            operator: type[BaseOperator] | None = None,
            operator_args: Mapping[str, Any] | None = None,
            python_callable: Callable[..., Any] | None = None,
            transfer: StageTransfer | Mapping[str, Any] | str | None = None,
            pipeline_id: str | None = None,
            **kwargs: Any,
        ) -> None: ...

    @property
    def dag(self) -> DAG:
        """Return the task's Dag."""
        return BaseOperator.dag.fget(self)  # type: ignore[attr-defined,no-any-return]

    @dag.setter
    def dag(self, dag: DAG | None) -> None:
        BaseOperator.dag.fset(self, dag)  # type: ignore[attr-defined]
        if dag is not None:
            self._bind(dag)

    @property
    def pipetrack_spec(self) -> Spec:
        """The transfer that this task runs."""
        if self._pipetrack_spec is None:
            self._pipetrack_spec = declare(self.dag, self._pipetrack_name or self.task_id, self.task_id)
        return self._pipetrack_spec

    def prepare_for_execution(self) -> Any:
        """Return the task as the task process runs it, with the callbacks that only this process needs."""
        return _prepared(super().prepare_for_execution())

    def execute(self, context: Any) -> Any:
        """Run the operator, between the record's start and its end."""
        return self._run_tracked(context, lambda: super(TrackedOperator, self).execute(context), resumed=False)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Any) -> Any:
        """Go on after a deferral; the record stays the same."""
        return self._run_tracked(
            context,
            lambda: super(TrackedOperator, self).resume_execution(next_method, next_kwargs, context),
            resumed=True,
        )

    def on_kill(self) -> None:
        """Stop the operator; its record is ended by whoever knows how it ended."""
        if self._pipetrack_attempt is not None and is_asked_to_stop():
            self._pipetrack_attempt.killed()
        super().on_kill()

    def _bind(self, dag: DAG) -> None:
        hook_dag(dag)
        if self._pipetrack_spec is not None:
            binding_of(dag).specs.setdefault(self.task_id, self._pipetrack_spec)
        elif self._pipetrack_name is not None:
            # Not as an argument of the operator, for which Airflow looks at every attribute that is set.
            object.__setattr__(self, "_pipetrack_spec", declare(dag, self._pipetrack_name, self.task_id))

    def _declare_asset(self, transfer: StageTransfer) -> None:
        """Add the asset that the transfer names; a mapped task has none, since each index would emit its event."""
        uri = named_asset(transfer)
        if uri is not None:
            from airflow.sdk import Asset

            self.outlets = [*self.outlets, Asset(uri)]

    def _run_tracked(self, context: Any, run: Callable[[], Any], *, resumed: bool) -> Any:
        attempt = self._pipetrack_attempt = Attempt(self, context, self.pipetrack_spec, resumed=resumed)
        attempt.begin()
        try:
            if attempt.is_first_leg:
                attempt.note(attempt.rollback.pay_debt())
                attempt.note(check_version(self, self.pipetrack_spec, attempt.store))
                if self.pipetrack_spec.transfer.upstream_completion_required:
                    attempt.note(check_upstreams(self, context))
                attempt.rollback.owe()
            else:
                attempt.rollback.still_owe()
            attempt.user_code_begins()
            # Airflow awaits async functions from 3.2 on.
            result = done(run(), getattr(self, "python_callable", type(self)))
        except CONTROL_FLOW:
            attempt.pause()
            raise
        except SUCCESSFUL_EXITS:
            attempt.complete(None)
            raise
        except AirflowSkipException as skip:
            attempt.skip(skip)
            raise
        except BaseException as error:
            attempt.fail(error)
            raise
        attempt.complete(result)
        return result


def choose_operator(kwargs: Mapping[str, Any]) -> tuple[type[BaseOperator], dict[str, Any]]:
    """Return the operator class that the arguments of ``TrackedOperator`` ask for, and its arguments.

    :raises TypeError: when they ask for something that is no operator, or give an argument twice.
    """
    operator, function = kwargs.get("operator"), kwargs.get("python_callable")
    extra = dict(kwargs.get("operator_args") or {})
    arguments = {name: value for name, value in kwargs.items() if name not in _OWN_ARGUMENTS}
    if function is not None:
        arguments["python_callable"] = function
    if function is not None and operator is None:
        from airflow.providers.standard.operators.python import PythonOperator

        operator, extra = PythonOperator, {"op_kwargs": extra} if extra else {}
    elif operator is None:
        from airflow_provider_pipetrack.operators.marker import MarkerOperator

        operator = MarkerOperator
    if not (inspect.isclass(operator) and issubclass(operator, BaseOperator)):
        raise TypeError(f"operator={operator!r}: expected an operator class, such as BashOperator")
    twice = sorted(set(extra) & set(arguments))
    if twice:
        raise TypeError(f"given both directly and in operator_args: {', '.join(twice)}")
    return operator, {**arguments, **extra}


def tracked(operator: type[BaseOperator]) -> type[Any]:
    """Return the tracked form of an operator class; the same class gives the same result.

    >>> tracked(BashOperator).partial(task_id="load", transfer={…}).expand(bash_command=["echo 1", "echo 2"])

    :param operator: a subclass of ``BaseOperator``. ``EmptyOperator`` becomes a marker that really runs.
    :raises TypeError: when it is no operator class.
    """
    if not inspect.isclass(operator):
        raise _no_operator(operator)
    return _tracked(operator)


def _prepared(task: Any) -> Any:
    """Return a task of this process with its storage under way and callbacks for ends that ``execute`` does not see."""
    add_task_callbacks(task)
    task.on_skipped_callback = [*as_list(task.on_skipped_callback), record_skip]
    task.on_success_callback = [*as_list(task.on_success_callback), record_success]
    make_ready(task)
    return task


def _no_operator(given: Any) -> TypeError:
    return TypeError(f"tracked({given!r}): expected an operator class, such as BashOperator")


@functools.cache
def _tracked(operator: type[BaseOperator]) -> type[Any]:
    if not issubclass(operator, BaseOperator):
        raise _no_operator(operator)
    if issubclass(operator, TrackedOperator):
        return operator
    from airflow.providers.standard.operators.empty import EmptyOperator

    if operator is EmptyOperator:
        from airflow_provider_pipetrack.operators.marker import MarkerOperator

        operator = MarkerOperator
    name = f"Tracked{operator.__name__}"
    namespace: dict[str, Any] = {
        "__module__": operator.__module__,
        "__qualname__": name,
        "__doc__": operator.__doc__,
        "__init__": _constructor(operator),
        "operator_path": getattr(operator, "operator_path", f"{operator.__module__}.{operator.__qualname__}"),
        "takes_pipeline_id": "pipeline_id" in arguments_of(operator),
        # Airflow's scheduler would mark it done without running it, and nothing would be recorded.
        "inherits_from_empty_operator": False,
    }
    shown = getattr(operator, "custom_operator_name", None)
    if shown:
        namespace["custom_operator_name"] = f"Tracked {shown}"
    generated: type[Any] = _metaclass_with(type(operator))(name, (TrackedOperator, operator), namespace)
    generated.__signature__ = _signature(operator)
    return generated


def _metaclass_with(other: type[type]) -> type[_TrackedMeta]:
    """Return our metaclass, together with the one of an operator that has its own."""
    return _TrackedMeta if issubclass(_TrackedMeta, other) else type("_TrackedMeta", (_TrackedMeta, other), {})


def _constructor(operator: type[BaseOperator]) -> Callable[..., None]:
    """Return the constructor of a tracked class; it takes what is ours and leaves the rest to the operator's own."""

    def __init__(  # noqa: N807  it becomes one
        self: Any,
        *,
        transfer: StageTransfer | Mapping[str, Any] | str | None = None,
        pipeline_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        if pipeline_id is not None and self.takes_pipeline_id:
            kwargs["pipeline_id"], pipeline_id = pipeline_id, None
        inherited = inherited_arguments(kwargs)
        if isinstance(transfer, str) and not is_declared(transfer):
            object.__setattr__(self, "_pipetrack_name", transfer)
        else:
            own = {**kwargs, "task_id": whole_task_id(kwargs)}
            spec = (
                declared_spec(transfer, own, inherited)
                if isinstance(transfer, str)
                else spec_from(transfer, own, inherited, pipeline_id=pipeline_id)
            )
            object.__setattr__(self, "_pipetrack_spec", spec)
            kwargs = {**asked_of_the_task(spec.transfer), **kwargs}
        operator.__init__(self, **kwargs)
        if self._pipetrack_name is None:
            spec = note_retries(self.get_dag(), self.task_id, self.pipetrack_spec, self.retries)
            object.__setattr__(self, "_pipetrack_spec", spec)
        if is_unmapping(kwargs):
            # Airflow has prepared the mapped task for execution, and does not do so for its index.
            _prepared(self)
            return
        # Not as arguments: an operator may give callbacks of its own to its base, or those that it was not given.
        show_task_callbacks(self)
        if self._pipetrack_name is None:
            self._declare_asset(self.pipetrack_spec.transfer)

    made: Callable[..., None] = plain_constructor(__init__, operator, ("transfer", "pipeline_id"))
    return made


def _signature(operator: type[BaseOperator]) -> inspect.Signature:
    """Return the arguments of the operator and ours, for editors and ``help()``."""
    parameters: dict[str, inspect.Parameter] = {}
    ours = inspect.signature(_constructor(operator), follow_wrapped=False)
    for signature in (ours, inspect.signature(operator.__init__), inspect.signature(BaseOperator.__init__)):
        for parameter in signature.parameters.values():
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD) and parameter.name != "self":
                parameters.setdefault(parameter.name, parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
    return inspect.Signature(list(parameters.values()))


def _partial(owner: type[Any], /, **kwargs: Any) -> Any:
    """Make the partial of a tracked operator: callbacks in, configuration out of what Airflow serializes."""
    if owner is TrackedOperator:
        operator, kwargs = choose_operator(kwargs)
        return tracked(operator).partial(**kwargs)
    dag = kwargs.get("dag") or current_dag()
    if dag is None:
        raise AirflowException(f"{owner.__name__}.partial() needs a Dag: call it inside `with DAG(…)` or pass dag=")
    hook_dag(dag)
    inherited = inherited_arguments(kwargs, dag)
    own = {"pipeline_id": kwargs.pop("pipeline_id")} if owner.takes_pipeline_id and "pipeline_id" in kwargs else {}
    declare_mapped(dag, kwargs, inherited)
    kwargs.update(own)
    made = BaseOperator.__dict__["partial"].__get__(None, owner)(**with_task_callbacks(kwargs, inherited))
    spec = binding_of(dag).specs.get(kwargs.get("transfer", ""))
    if spec is not None and spec.pipeline is None:
        note_retries(dag, kwargs["transfer"], spec, made.kwargs.get("retries"))
    return executed_when_mapped(made)
