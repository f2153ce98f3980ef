"""Waits in the triggerer until a stage of a pipeline is ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from airflow_provider_pipetrack.compat import task_states, trigger_classes
from airflow_provider_pipetrack.tracking.readiness import Readiness, asked_here, is_ready

_BaseTrigger, _TriggerEvent = trigger_classes()


class TransferReadyTrigger(_BaseTrigger):  # type: ignore[misc,valid-type]
    """Ask for a stage's readiness, again and again; the first yes is the event.

    :param pipeline_id: the pipeline.
    :param stage: text of the stage.
    :param date: a day or a moment as text; None for the newest run.
    :param tracking_location: where the records are; empty for all stores that are known.
    :param accept_partial: see :func:`airflow_provider_pipetrack.is_ready`.
    :param accept_pending_audit: see :func:`airflow_provider_pipetrack.is_ready`.
    :param poke_interval: seconds between two questions.
    """

    def __init__(
        self,
        *,
        pipeline_id: str,
        stage: str,
        date: str | None = None,
        tracking_location: Sequence[str] = (),
        accept_partial: bool = False,
        accept_pending_audit: bool = False,
        poke_interval: float = 60.0,
    ) -> None:
        super().__init__()
        self.poke_interval = poke_interval
        self._place = tuple(tracking_location)
        self._question: dict[str, Any] = {
            "pipeline_id": pipeline_id,
            "stage": stage,
            "date": date,
            "accept_partial": accept_partial,
            "accept_pending_audit": accept_pending_audit,
        }

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer makes this trigger from."""
        path = f"{type(self).__module__}.{type(self).__qualname__}"
        return path, {**self._question, "tracking_location": list(self._place), "poke_interval": self.poke_interval}

    async def run(self) -> AsyncIterator[Any]:
        """Yield one event, with the answer, once the stage is ready."""
        while True:
            answer = await asyncio.to_thread(self._ask)
            if answer.ready:
                yield _TriggerEvent(answer.as_dict())
                return
            self.log.info("Not ready: %s", answer.reason)
            await asyncio.sleep(self.poke_interval)

    def _ask(self) -> Readiness:
        return is_ready(**self._question, questions=asked_here(self._place), task_states=task_states_of)


def task_states_of(dag_id: str, run_id: str, task_ids: Sequence[str]) -> Any:
    """Return the states that Airflow gives some tasks of a run, by task id."""
    return task_states(dag_id, run_id, task_ids=task_ids)
