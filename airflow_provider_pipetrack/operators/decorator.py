"""``@task.tracked``: a Python function as a tracked transfer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.decorator import task_decorator_factory

from airflow_provider_pipetrack.attempts.declare import asked_of_the_task, declare_function, declared_spec
from airflow_provider_pipetrack.callbacks.attach import hook_dag, inherited_arguments, with_task_callbacks
from airflow_provider_pipetrack.compat import current_dag, prepared_for_mapping
from airflow_provider_pipetrack.operators.tracked import tracked

if TYPE_CHECKING:
    from airflow_provider_pipetrack.config import StageTransfer


def _prepare_mapped(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Do at parse time for a mapped task what its constructor, which then never runs, does for another one."""
    dag = kwargs.get("dag") or current_dag()
    if dag is None:
        return kwargs
    hook_dag(dag)
    inherited = inherited_arguments(kwargs, dag)
    asked = asked_of_the_task(declared_spec(kwargs["transfer"], kwargs, inherited).transfer)
    return with_task_callbacks({**asked, **kwargs}, inherited)


def tracked_task(
    python_callable: Callable[..., Any] | None = None,
    *,
    transfer: StageTransfer | Mapping[str, Any] | None = None,
    pipeline_id: str | None = None,
    multiple_outputs: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Make a function a task whose attempts are tracked; used as ``@task.tracked(transfer={…})``.

    :param transfer: the transfer's fields as in a pipeline file.
    :param pipeline_id: the pipeline that the records belong to; the Dag's id when not given.
    :param multiple_outputs: as with ``@task``.

    All other arguments are those of ``@task``.
    """
    from airflow.providers.standard.decorators.python import _PythonDecoratedOperator

    def decorate(function: Callable[..., Any]) -> Any:
        name = declare_function(f"{function.__module__}:{function.__qualname__}", transfer, pipeline_id)
        made = task_decorator_factory(
            python_callable=function,
            multiple_outputs=multiple_outputs,
            decorated_operator_class=tracked(_PythonDecoratedOperator),
            transfer=name,
            **kwargs,
        )
        return prepared_for_mapping(made, _prepare_mapped)

    return decorate if python_callable is None else decorate(python_callable)
