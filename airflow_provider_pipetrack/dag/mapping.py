"""What the calls of a mapped function are given."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from airflow.sdk import XComArg

#: Arguments of ``PythonOperator`` that hold those of its function.
_WHOLE = {"op_kwargs", "op_args"}


def calls_of(mapped: Mapping[str, Any], fixed: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Return the arguments of a ``PythonOperator`` to map over, and what all calls have beside them.

    :param mapped: what the file maps over: arguments of the function, or ``op_kwargs`` and ``op_args``, each a list or
        another task's result.
    :param fixed: arguments of the function that all calls have. They are a part of lists; beside another task's result,
        in which Airflow renders no templates, they stay apart.
    """
    if not set(mapped) <= _WHOLE:
        key, value = next(iter(mapped.items()))
        if isinstance(value, XComArg):  # the only one, as the file was checked for
            return {"op_kwargs": value.map(_as_argument(key))}, fixed
        return {"op_kwargs": [{**fixed, **one} for one in _every_combination(mapped)]}, {}
    calls = mapped.get("op_kwargs")
    if calls is None or not fixed:
        return dict(mapped), {}
    if isinstance(calls, XComArg):
        return dict(mapped), fixed
    return {**mapped, "op_kwargs": [{**fixed, **one} for one in calls]}, {}


def _every_combination(mapped: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every combination of lists, as Airflow expands several."""
    return [dict(zip(mapped, values, strict=True)) for values in itertools.product(*mapped.values())]


def _as_argument(key: str) -> Callable[[Any], dict[str, Any]]:
    """Return what turns each item to map over into the keyword arguments of a call."""

    # Airflow keeps the source of what maps a result, which only a function has.
    def as_argument(item: Any) -> dict[str, Any]:
        return {key: item}

    return as_argument
