"""The operator of a function that is mapped over what another task has returned."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any


@functools.cache
def mapped_function_operator() -> type[Any]:
    """Return a ``PythonOperator`` that also takes ``common_kwargs``: arguments that all calls have.

    Their texts may be templates, and those of ``op_kwargs`` count more. Airflow renders no templates in what another
    task has returned, and so none in a mapping where that is a part.
    """
    from airflow.providers.standard.operators.python import PythonOperator

    class MappedFunctionOperator(PythonOperator):
        """Call a function for each item that another task has returned."""

        __qualname__ = "MappedFunctionOperator"
        template_fields: Sequence[str] = (*PythonOperator.template_fields, "common_kwargs")
        custom_operator_name = "PythonOperator"
        #: What records say: the class that everybody knows.
        operator_path = f"{PythonOperator.__module__}.{PythonOperator.__qualname__}"

        def __init__(self, *, common_kwargs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.common_kwargs = dict(common_kwargs or {})

        def execute(self, context: Any) -> Any:
            self.op_kwargs = {**self.common_kwargs, **self.op_kwargs}
            return super().execute(context)

    return MappedFunctionOperator
