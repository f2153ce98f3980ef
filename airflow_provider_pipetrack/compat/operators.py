"""How Airflow makes operators, mapped and not."""

from __future__ import annotations

import copy
import functools
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import airflow


def plain_constructor(function: Any, operator: Any, parameters: Sequence[str]) -> Any:
    """Make ``function`` a constructor that Airflow's operator metaclass leaves as it is.

    The metaclass wraps every constructor to fill in default arguments, which costs as much as the rest of making a
    task. The operator's own constructor, which is called next, is wrapped already.

    :param operator: the operator class whose constructor ``function`` calls.
    :param parameters: the names that ``function`` takes itself; they may be used in ``partial()``.
    """
    function.__wrapped__ = operator.__init__.__wrapped__
    function._BaseOperatorMeta__param_names = set(parameters)  # noqa: SLF001  read by the metaclass
    function._BaseOperatorMeta__non_optional_args = set()  # noqa: SLF001
    function.pipetrack_plain = True
    return function


def is_plain_constructor(function: Any) -> bool:
    """Return whether :func:`plain_constructor` made this constructor."""
    return bool(getattr(function, "pipetrack_plain", False))


def is_unmapping(arguments: Mapping[str, Any]) -> bool:
    """Return whether an operator's constructor is called for one index of a mapped task."""
    return "_airflow_from_mapped" in arguments


def is_index(task: Any) -> bool:
    """Return whether a task is one index of a mapped task, which Airflow does not prepare for execution."""
    return bool(getattr(task, "_BaseOperator__from_mapped", False))


def is_asked_to_stop() -> bool:
    """Return whether it is Airflow that calls the ``on_kill`` which asks this.

    Operators call their own, to clean up after a failure.
    """
    frame = sys._getframe(1)  # noqa: SLF001  nothing else says who calls
    while frame.f_back is not None and frame.f_code.co_name == "on_kill":
        frame = frame.f_back
    return str(frame.f_globals.get("__name__")).startswith("airflow.sdk.execution_time.")


def scheduler_bears_callbacks() -> bool:
    """Return whether Airflow's scheduler may be told that a task has callbacks for its failures.

    That of the betas of 3.4 ends when it sends those of a killed task that has retries: what sends them closes the
    session in which the task's next try is made then.
    """
    return re.match(r"3\.4\.0(a|b|rc)", airflow.__version__) is None


def executed_when_mapped(partial: Any) -> Any:
    """Return a partial whose mapped task Airflow executes, also when its operator is an ``EmptyOperator``.

    Airflow's scheduler marks the indexes of such a task as done without running them. It asks the mapped task, which is
    told by the operator's ancestors, whatever the operator's class says of itself.

    :param partial: what ``Operator.partial()`` returns.
    """
    kind: Any = type(partial)
    partial.__class__ = _executed(kind)
    return partial


@functools.cache
def _executed(kind: Any) -> Any:
    class Executed(kind):  # type: ignore[misc]
        __slots__ = ()

        def _expand(self, *args: Any, **kwargs: Any) -> Any:
            mapped = kind._expand(self, *args, **kwargs)  # noqa: SLF001
            mapped._is_empty = False  # noqa: SLF001  of which ``inherits_from_empty_operator`` is made
            return mapped

    return Executed


def prepared_for_mapping(decorator: Any, prepare: Any) -> Any:
    """Return a task decorator whose mapped tasks have the arguments that ``prepare`` makes of those it was given.

    :param decorator: what ``task_decorator_factory`` returns.
    """
    kind = type(decorator)

    class Prepared(kind):  # type: ignore[misc,valid-type]
        def _expand(self, *args: Any, **kwargs: Any) -> Any:
            mapped = copy.copy(self)
            mapped.kwargs = dict(prepare(self.kwargs))
            return kind._expand(mapped, *args, **kwargs)  # noqa: SLF001

    decorator.__class__ = Prepared
    return decorator
