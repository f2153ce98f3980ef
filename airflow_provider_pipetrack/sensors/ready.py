"""TransferReadySensor: wait until a stage of a tracked pipeline is ready for a date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue

from airflow_provider_pipetrack.compat import airflow_option, triggers_may_ask
from airflow_provider_pipetrack.tracking.readiness import asked_here, is_ready
from airflow_provider_pipetrack.triggers.ready import TransferReadyTrigger, task_states_of


class TransferReadySensor(BaseSensorOperator):
    """Wait until a stage of a pipeline has its data for a date.

    It asks the tracking records as :func:`airflow_provider_pipetrack.is_ready` does, and returns that answer as a dict.
    A failed or mismatched stage is waited for too, since it may be mended, until ``timeout``.

    :param pipeline_id: the pipeline, as in its records.
    :param stage: text of the stage, as the transfers name their target.
    :param date: a day such as ``{{ ds }}``, or a moment such as ``{{ logical_date }}``; when not given, the day of
        this run's logical date, and the pipeline's newest run where it has none.
    :param tracking_location: locations of the records; when not given, the store of ``[pipetrack]`` and those that
            pipelines of this host have used.
    :param accept_partial: whether partial data is good enough.
    :param accept_pending_audit: whether data is good enough whose audit has not decided.
    :param deferrable: whether to wait in the triggerer, without a worker; ``[operators] default_deferrable`` when not
        given. In Airflow 3.1, whose triggerer does not bear it, the sensor is rescheduled instead.

    All other arguments are those of a sensor, such as ``mode``, ``poke_interval`` and ``timeout`` in seconds.
    """

    template_fields: Sequence[str] = ("pipeline_id", "stage", "date")
    ui_color = "#e8f7e4"

    def __init__(
        self,
        *,
        pipeline_id: str,
        stage: str,
        date: str | None = None,
        tracking_location: Sequence[str] = (),
        accept_partial: bool = False,
        accept_pending_audit: bool = False,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self.deferrable = _is_deferrable_by_default() if deferrable is None else deferrable
        if self.deferrable and not triggers_may_ask():
            self.deferrable = False
            kwargs["mode"] = "reschedule"
        super().__init__(**kwargs)
        self.pipeline_id = pipeline_id
        self.stage = stage
        self.date = date
        self.tracking_location = tuple(tracking_location)
        self.accept_partial = accept_partial
        self.accept_pending_audit = accept_pending_audit

    def execute(self, context: Any) -> Any:
        """Wait, here or in the triggerer, and return the answer."""
        if not self.deferrable:
            return super().execute(context)
        answer = self.poke(context)
        if not answer.is_done:
            self.defer(
                trigger=TransferReadyTrigger(
                    **self._question(context),
                    tracking_location=self.tracking_location,
                    poke_interval=float(self.poke_interval),
                ),
                method_name="execute_complete",
                timeout=timedelta(seconds=self.timeout),
            )
        return answer.xcom_value

    def execute_complete(self, context: Any, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer that the trigger has waited for."""
        del context
        self.log.info("Ready: %s", event["reason"])
        return dict(event)

    def poke(self, context: Any) -> PokeReturnValue:
        """Ask once."""
        answer = is_ready(
            **self._question(context), questions=asked_here(self.tracking_location), task_states=task_states_of
        )
        self.log.info("%s: %s", "Ready" if answer.ready else "Not ready", answer.reason)
        for location, reason in answer.unreachable.items():
            self.log.warning("%s could not be asked: %s", location, reason)
        return PokeReturnValue(is_done=answer.ready, xcom_value=answer.as_dict() if answer.ready else None)

    def _question(self, context: Any) -> dict[str, Any]:
        return {
            "pipeline_id": self.pipeline_id,
            "stage": self.stage,
            "date": self.date or context.get("ds"),
            "accept_partial": self.accept_partial,
            "accept_pending_audit": self.accept_pending_audit,
        }


def _is_deferrable_by_default() -> bool:
    return (airflow_option("operators", "default_deferrable") or "").lower() == "true"
