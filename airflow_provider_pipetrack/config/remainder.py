"""What is left of a file when its mistakes are taken out, so that the mistakes of another kind show at once, too."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from airflow_provider_pipetrack.config.problems import Path, explain

if TYPE_CHECKING:
    from airflow_provider_pipetrack.config.types import Model

    AnyModel = TypeVar("AnyModel", bound=Model)

#: How often what is left may have new mistakes, of a model that looks at several values.
_ROUNDS = 3


def without_mistakes(model: type[AnyModel], data: Any) -> tuple[AnyModel | None, frozenset[int]]:
    """Return the model of a file's data without what is wrong there, and the transfers where that was, by their index.

    The transfers keep their places; of one that is no mapping nothing is left but a disabled one.

    :return: None for the model when too little is left.
    """
    rest = copy.deepcopy(data)
    changed: set[int] = set()
    for _ in range(_ROUNDS):
        try:
            return model.model_validate(rest), frozenset(changed)
        except ValidationError as error:
            for path, *_ in explain(error, model):
                _take_out(rest, path)
                changed.update(step for step in path[1:2] if path[0] == "stage_transfers" and isinstance(step, int))
    return None, frozenset()


def _take_out(data: Any, path: Path) -> None:
    """Take the value at ``path`` out, or the nearest one above it that stands under a key."""
    found: tuple[Any, Any] | None = None
    for place, step in enumerate(path):
        is_there = step in data if isinstance(data, dict) else isinstance(data, list) and isinstance(step, int)
        if not is_there:
            break
        is_row = place == 1 and path[0] == "stage_transfers"
        if isinstance(data, dict) or is_row:
            found = data, step
        data = data[step]
    if found is None:
        return
    container, step = found
    if isinstance(container, dict):
        del container[step]
    else:
        container[step] = {"transfer_enabled": False}
