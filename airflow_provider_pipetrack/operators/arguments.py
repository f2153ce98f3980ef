"""Which arguments an operator has."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING

from airflow_provider_pipetrack.config.problems import suggest

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


@functools.cache
def arguments_of(operator: type[BaseOperator]) -> frozenset[str]:
    """Return the names of all arguments of an operator, those of every task included."""
    names: set[str] = set()
    for base in operator.__mro__:
        init = base.__dict__.get("__init__")
        if init is None or base is object:
            continue
        parameters = inspect.signature(init).parameters.values()
        names.update(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return frozenset(names - {"self"})


def unknown_arguments(operator: type[BaseOperator], given: Iterable[str]) -> str:
    """Return a sentence about the arguments that an operator does not have, or an empty text."""
    known = arguments_of(operator)
    sentences = []
    for name in given:
        if name not in known:
            meant = suggest(name, known)
            sentences.append(
                f"{operator.__name__} has no argument {name!r}" + (f" (did you mean {meant!r}?)" if meant else "")
            )
    return "; ".join(sentences)
