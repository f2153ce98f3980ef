"""``@task.tracked``: a Python function as a tracked transfer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.decorator import task_decorator_factory

from airflow_provider_pipetrack.attempts.declare import declare_function
from airflow_provider_pipetrack.callbacks.attach import hook_dag, with_task_callbacks
from airflow_provider_pipetrack.compat import current_dag
from airflow_provider_pipetrack.operators.tracked import tracked

if TYPE_CHECKING:
    from airflow_provider_pipetrack.config import StageTransfer


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
        dag = current_dag()
        if dag is not None:
            hook_dag(dag)  # a mapped task's constructor, which does so too, never runs at parse time
        name = declare_function(f"{function.__module__}:{function.__qualname__}", transfer, pipeline_id)
        return task_decorator_factory(
            python_callable=function,
            multiple_outputs=multiple_outputs,
            decorated_operator_class=tracked(_PythonDecoratedOperator),
            transfer=name,
            **with_task_callbacks(kwargs),
        )

    return decorate if python_callable is None else decorate(python_callable)
