"""The operator of a transfer that moves nothing itself: it marks a stage in the Dag and in the tracking."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator


class MarkerOperator(BaseOperator):
    """Do nothing, but as a real task.

    Airflow's scheduler marks an ``EmptyOperator`` as done without starting it, so nothing could be recorded.
    """

    def execute(self, context: Any) -> None:
        """Succeed at once."""
        del context  # nothing to do with it
        self.log.info("This transfer has no operator and no python_callable: it only marks its stage.")
