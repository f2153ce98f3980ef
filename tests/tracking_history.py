"""Tracking records of some weeks, written the way tasks, audits and Airflow's verdicts write them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_provider_pipetrack.config import PipelineConfig
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.describe import (
    Content,
    Described,
    Outcome,
    audit_change,
    end_change,
    pending_change,
    start_change,
)

NOW = datetime.now(timezone.utc).replace(microsecond=0)

ORDERS = """
pipeline_metadata: {pipeline_id: orders, pipeline_version: "7"}
defaults: {max_retry_attempts: 2, transfer_process_owner_name: shop_team}
stage_transfers:
  - {name: load, stage_i_details: shop, stage_i_plus_1_details: staging, transfer_order_number: 1,
     estimated_duration: 10m, audit_enabled: true}
  - {name: clean, stage_i_details: staging, stage_i_plus_1_details: clean, transfer_order_number: 2,
     estimated_duration: 20m, audit_enabled: false, can_process_be_parallelized: false}
  - {name: publish, stage_i_details: clean, stage_i_plus_1_details: production, transfer_order_number: 3,
     estimated_duration: 5m, audit_enabled: false}
  - {name: archive, stage_i_details: production, stage_i_plus_1_details: archive, transfer_order_number: 4,
     transfer_enabled: false}
"""


class Run:
    """Writes the records of one run.

    :param began: when its first transfer was announced.
    """

    #: Of which index of a mapped transfer the next records are.
    index = -1

    def __init__(
        self, pipeline_id: str, run_id: str, began: datetime, *, dag_id: str | None = None, **texts: str
    ) -> None:
        self.pipeline_id, self.run_id, self.began = pipeline_id, run_id, began
        self.dag_id = dag_id or pipeline_id
        self.transfers = {t.name: t for t in PipelineConfig.from_text(ORDERS, "orders.yaml").stage_transfers}
        self.texts = texts
        self.changes: list[Change] = []
        for name in self.transfers:
            self._announce(name)

    def _described(self, name: str) -> Described:
        transfer = self.transfers[name]
        content = Content(
            self.pipeline_id,
            self.texts.get("stage", transfer.stage_i_details),
            f"{transfer.stage_i_details}-id",
            self.texts.get("stage", transfer.stage_i_plus_1_details),
            f"{transfer.stage_i_plus_1_details}-id",
            f"{self.pipeline_id}/{name}/{self.run_id}",
        )
        facts = {
            "logical_date": self.began,
            "pipeline_version": "7",
            "config_hash": self.texts.get("config_hash", f"{self.pipeline_id}-7"),
        }
        return Described(transfer, content, ("sqlite||/data/tracking.db||t",), facts)

    def key(self, name: str, attempt: int = 1) -> RecordKey:
        return RecordKey(self.dag_id, self.run_id, self.texts.get(name, name), self.index, attempt)

    def _put(self, change: Change, at: datetime) -> Change:
        moved = Change(change.record_id, change.columns, change.keys, change.by, change.event_id, at)
        self.changes.append(moved)
        return moved

    def _announce(self, name: str) -> None:
        decision = None if self.transfers[name].transfer_enabled else "disabled"
        self._put(pending_change(self._described(name), self.key(name), decision=decision), self.began)

    def start(self, name: str, after: float = 0, attempt: int = 1) -> Change:
        """A transfer starts ``after`` minutes."""
        started = self.began + timedelta(minutes=after)
        change = start_change(
            self._described(name),
            self.key(name, attempt),
            started=started,
            operator="airflow.providers.standard.operators.python.PythonOperator",
            log_url=f"http://localhost/dags/{self.dag_id}/runs/{self.run_id}/tasks/{name}",
        )
        return self._put(change, started)

    def end(self, name: str, after: float = 0, minutes: float = 1, attempt: int = 1, **outcome: Any) -> None:
        """A transfer starts ``after`` minutes and ends ``minutes`` later."""
        start = self.start(name, after, attempt)
        ended = self.began + timedelta(minutes=after + minutes)
        told = {"status": "completed", "ended": ended, "seconds": minutes * 60, "records_succeeded": 700, **outcome}
        self._put(end_change(start, Outcome(**told), by="task"), ended)

    def audit(self, name: str, result: str, after: float, attempt: int = 1, **evidence: Any) -> None:
        """The audit of an attempt answers ``after`` minutes."""
        base = pending_change(self._described(name), self.key(name, attempt))
        change = audit_change(base, result, {"rows": 700, **evidence}, try_number=1, final=True)
        self._put(change, self.began + timedelta(minutes=after))

    def fail_unbegun(self, name: str) -> None:
        """A transfer fails before its task has said that it begins, such as by a worker that was killed."""
        self.close_unbegun(name, status="failed")

    def close_unbegun(self, name: str, **outcome: Any) -> None:
        """A transfer ends, or is decided about, before its task has said that it begins."""
        base = pending_change(self._described(name), self.key(name))
        self._put(end_change(base, Outcome(**outcome), by="callback"), self.began)

    def stop(self, name: str, why: str, after: float) -> None:
        """A transfer never runs."""
        base = pending_change(self._described(name), self.key(name))
        change = end_change(base, Outcome("pending", decision=why), by="callback")
        self._put(change, self.began + timedelta(minutes=after))


def good_run(pipeline_id: str, run_id: str, began: datetime, **texts: str) -> Run:
    """All transfers completed, the first of them in part and audited."""
    run = Run(pipeline_id, run_id, began, **texts)
    run.end("load", 0, 4, is_partial=True, records_failed=300, decision="partial data accepted: 700 of 1,000 records")
    run.audit("load", "matched", 5)
    run.end("clean", 6, 3, attempt=1, status="failed", error_message="ConnectionError: the warehouse hung up")
    run.end("clean", 10, 12, attempt=2)
    run.end("publish", 23, 4)
    return run


def failed_run(pipeline_id: str, run_id: str, began: datetime, **texts: str) -> Run:
    """The second transfer fails for good, and what comes after it never runs."""
    run = Run(pipeline_id, run_id, began, **texts)
    run.end("load", 0, 5)
    run.audit("load", "mismatched", 6, difference=3, audit_ended="passed")
    for attempt in (1, 2, 3):
        run.end("clean", 10 * attempt, 4, attempt, status="failed", error_message="CRMError: CRM said no\nat line 7")
    run.stop("publish", "upstream failed: clean", 35)
    return run


def overdue_run(pipeline_id: str, run_id: str, began: datetime, **texts: str) -> Run:
    """The first transfer still runs, for longer than estimated."""
    run = Run(pipeline_id, run_id, began, **texts)
    run.start("load", 0)
    return run


def history(now: datetime = NOW) -> Iterator[Run]:
    """Three pipelines: ``orders`` (12 runs, the last failed), ``customers`` (3 good runs), ``finance`` (one overdue)."""
    for day in range(12, 1, -1):
        yield good_run("orders", f"scheduled__{(now - timedelta(days=day)).isoformat()}", now - timedelta(days=day))
    yield failed_run("orders", f"scheduled__{(now - timedelta(days=1)).isoformat()}", now - timedelta(days=1))
    for hour in (3, 2, 1):
        yield good_run("customers", f"manual__{hour}", now - timedelta(hours=hour))
    yield overdue_run("finance", "manual__finance", now - timedelta(minutes=28))
