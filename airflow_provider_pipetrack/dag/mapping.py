"""What the calls of a mapped function are given."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from airflow.sdk import XComArg

#: Arguments of ``PythonOperator`` that hold those of its function.
_WHOLE = {"op_kwargs", "op_args"}


def calls_of(mapped: Mapping[str, Any], fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a ``PythonOperator`` to map over.

    :param mapped: what the file maps over: arguments of the function, or ``op_kwargs`` and ``op_args``, each a list or
        another task's result.
    :param fixed: arguments of the function that all calls have.
    """
    if not set(mapped) <= _WHOLE:
        return {"op_kwargs": _every_combination(mapped, fixed)}
    if fixed and "op_kwargs" in mapped:
        return {**mapped, "op_kwargs": _for_each(mapped["op_kwargs"], _keywords(fixed))}
    return dict(mapped)


def _every_combination(mapped: Mapping[str, Any], fixed: Mapping[str, Any]) -> Any:
    """Return the keyword arguments of each call: every combination of the lists, as Airflow expands several."""
    key, value = next(iter(mapped.items()))
    if isinstance(value, XComArg):
        return _for_each(value, _keywords(fixed, key))  # the only one, as the file was checked for
    return [{**fixed, **dict(zip(mapped, values, strict=True))} for values in itertools.product(*mapped.values())]


def _for_each(items: Any, keywords: Callable[[Any], dict[str, Any]]) -> Any:
    return items.map(keywords) if isinstance(items, XComArg) else [keywords(item) for item in items]


def _keywords(fixed: Mapping[str, Any], key: str = "") -> Callable[[Any], dict[str, Any]]:
    """Return what turns each item to map over into the keyword arguments of a call.

    :param key: the argument that the item is; empty when it is a mapping of arguments itself.
    """

    # Airflow keeps the source of what maps a result, which only a function has.
    def as_arguments(item: Any) -> dict[str, Any]:
        return {**fixed, **({key: item} if key else item)}

    return as_arguments
