"""The tables of the pages: which question each asks and what its columns show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from airflow_provider_pipetrack.ui import cells
from airflow_provider_pipetrack.ui.tables import Cell, Column, Context, Row, Table, moment_cell, text_cell
from airflow_provider_pipetrack.ui.words import duration, number, percent, times

#: The column of a timeline that has its bars, below the marks of its axis.
WHEN = "When"
_STAGES = (
    Column("From", text_cell("stage_i_details", 40), "stage_i_details"),
    Column("To", text_cell("stage_i_plus_1_details", 40), "stage_i_plus_1_details"),
)
_MATCHED = cells.of_stage("audits_matched", audit_result="matched")


def _compared(name: str, written: Callable[[Any], str] = number) -> Callable[[Row, Context], Cell]:
    """Return the cell of a number about attempts that were compared with their estimates, leading to those."""
    return cells.of_attempts(name, written, status="compared", **{"attempts.sort": "-actual_seconds"})


_OWNER = Column("Owner", text_cell("transfer_process_owner_name", 40), "transfer_process_owner_name")

PIPELINES = Table(
    "pipelines",
    "Pipelines",
    "pipelines",
    (
        Column("Pipeline", cells.pipeline, "pipeline_id"),
        Column(
            "Last runs, old to new", cells.strip, "failures", most_first=True, sorted_by="how many of these runs failed"
        ),
        Column("Now", cells.state_of_run, "state"),
        Column("Last run's transfers", cells.counts, "transfers", most_first=True),
        Column("Audits", cells.audits, "audits_mismatched", most_first=True),
        Column("Overdue", cells.overdue, "overdue", numeric=True),
        Column("Owner", cells.owners, "first_owner", sorted_by="the first of the owners"),
        Column("Last run began", moment_cell("began_at"), "began_at"),
        Column("Next", cells.following, "next_run_at", sorted_by="the moment; what has none comes last"),
    ),
    "No pipeline has left a record yet.",
    "Put a pipeline file into the dags folder, or use TrackedOperator in a Dag; its first run shows up here.",
)
RUNS = Table(
    "runs",
    "Runs",
    "runs",
    (
        Column("Run", cells.run, "run_id"),
        Column("Pipeline", cells.pipeline, "pipeline_id"),
        Column("State", cells.state_of_run, "state"),
        Column("Began", moment_cell("began_at"), "began_at"),
        Column("Took", cells.run_took, "took_seconds", numeric=True, sorted_by="what it took, or takes so far"),
        Column("Transfers", cells.counts_of_run, "transfers", most_first=True),
        Column("Failed", cells.failed_names, "failed", most_first=True),
        Column("Audits", cells.audits_of_run, "audits_mismatched", most_first=True),
        Column("Records", cells.records_of_run, "records_succeeded", numeric=True),
        Column("Version", text_cell("pipeline_version", 30), "pipeline_version"),
    ),
    "No run has left a record yet.",
    "Start a Dag in Airflow; its run shows up when its first transfer starts.",
)
TRANSFERS = Table(
    "transfers",
    "Transfers",
    "transfers",
    (
        Column("Transfer", cells.transfer_of_run, "task_id"),
        Column("State", cells.state, "transfer_status"),
        Column("Attempt", cells.attempt, "retry_attempt_number", numeric=True),
        Column("Pipeline", cells.pipeline, "pipeline_id"),
        Column("Run", cells.run, "run_id"),
        Column("Started", moment_cell("transfer_start_timestamp"), "transfer_start_timestamp"),
        Column("Took", cells.taken, "actual_seconds", numeric=True),
        Column("Estimate", cells.estimate, "estimated_seconds", numeric=True),
        Column("Audit", cells.audit, "audit_result"),
        _OWNER,
        Column("Remark", cells.remark, "error_message"),
        Column("Records", cells.records, "records_succeeded", numeric=True),
        Column("Parallel", cells.parallel, "can_process_be_parallelized"),
        *_STAGES,
    ),
    "No transfer has left a record yet.",
    "Start a Dag in Airflow; its transfers show up when the first of them starts.",
)
ATTEMPTS = Table(
    "attempts",
    "Attempts",
    "attempts",
    (
        Column("Run", cells.run, "run_id"),
        Column("Attempt", cells.attempt, "retry_attempt_number", numeric=True),
        Column("Map index", cells.map_index, "map_index", numeric=True),
        Column("State", cells.state, "transfer_status"),
        Column("Started", moment_cell("transfer_start_timestamp"), "transfer_start_timestamp"),
        Column("Took", cells.taken, "actual_seconds", numeric=True),
        Column("Estimate", cells.estimate, "estimated_seconds", numeric=True),
        Column("Records", cells.records, "records_succeeded", numeric=True),
        Column("Audit", cells.audit, "audit_result"),
        Column("Remark", cells.remark, "error_message"),
        _OWNER,
    ),
    "There is no record yet.",
    "Start the Dag in Airflow.",
)
#: The attempts of one run, which are of many transfers; the timeline above has drawn all of them.
RUN_ATTEMPTS = replace(
    ATTEMPTS, columns=(Column("Transfer", cells.transfer_of_run, "task_id"), *ATTEMPTS.columns[1:]), size=20
)
#: The transfers of one run. What stands in its cells is drawn, see :mod:`~airflow_provider_pipetrack.ui.timeline_rows`.
TIMELINE = Table(
    "timeline",
    "Timeline",
    "transfers",
    (
        Column("Transfer", cells.drawn, "task_id"),
        Column("Order", cells.drawn, "transfer_order_number", numeric=True, sorted_by="the order number"),
        Column("State", cells.drawn, "transfer_status"),
        Column(WHEN, cells.drawn, "transfer_start_timestamp", sorted_by="its start"),
        Column("Audit", cells.drawn, "audit_result"),
        Column("Took", cells.drawn, "actual_seconds", numeric=True),
        Column("Estimate", cells.drawn, "estimated_seconds", numeric=True),
        Column("Owner", cells.drawn, "transfer_process_owner_name"),
        Column("Records", cells.drawn, "records_succeeded", numeric=True),
        Column("Log", cells.drawn),
    ),
    "No transfer of this run has left a record yet.",
    size=100,
    order="transfer_order_number",
)
ATTENTION = Table(
    "attention",
    "What needs attention",
    "attention",
    (
        Column("What", cells.reason, "reason"),
        Column("Pipeline", cells.pipeline, "pipeline_id"),
        Column("Transfer", cells.transfer_of_run, "task_id"),
        Column("Run", cells.run, "run_id"),
        Column("Why", cells.why, "error_message"),
        _OWNER,
        Column("Since", moment_cell("updated_timestamp"), "updated_timestamp"),
    ),
    "Nothing needs attention: whatever failed for good has completed since, nothing is overdue.",
)
READINESS = Table(
    "readiness",
    "Stages and their data",
    "readiness",
    (
        Column("Stage", text_cell("stage", 60), "stage"),
        Column("State", cells.readiness, "state"),
        Column("Data of", cells.data_date, "data_date"),
        Column("Pipeline", cells.pipeline, "pipeline_id"),
        Column("Run", cells.run, "run_id"),
        Column("Transfers", cells.of_stage("transfers", status="enabled"), "transfers", numeric=True),
        Column("Completed", cells.of_stage("completed", status="completed"), "completed", numeric=True),
        Column("Partial", cells.of_stage("partial", zero="", status="partial"), "partial", numeric=True),
        Column("Audits matched", _MATCHED, "audits_matched", numeric=True),
        Column("Records", cells.records_of_stage, "records_succeeded", numeric=True),
        Column("Historical data", cells.historical, "can_access_historical_data"),
    ),
    "No run has filled a stage yet.",
    "Start a Dag in Airflow; its stages show up when its first transfer starts.",
)
AUDITS = Table(
    "audits",
    "Audits and decisions",
    "audit_trail",
    (
        Column("When", moment_cell("updated_timestamp"), "updated_timestamp"),
        Column("Result", cells.audit, "audit_result"),
        Column("Accepted by", cells.accepted, "audit_ended", sorted_by="whether the run went on or was stopped"),
        Column("Pipeline", cells.pipeline, "pipeline_id"),
        Column("Transfer", cells.transfer_of_run, "task_id"),
        Column("Evidence", cells.evidence),
        Column("Decision", text_cell("decision", 80), "decision"),
        Column("Run", cells.run, "run_id"),
        *_STAGES,
        Column("Ended by", text_cell("closed_by", 30), "closed_by"),
        _OWNER,
    ),
    "Nothing has been audited or decided yet.",
    "Give a transfer of a pipeline file an audit with a function.",
)
UNDELIVERED = Table(
    "undelivered",
    "What waits for its delivery",
    "undelivered",
    (
        Column("Since", moment_cell("changed_at"), "changed_at"),
        Column("Pipeline", cells.pipeline, "pipeline_id"),
        Column("Transfer", cells.transfer_of_run, "task_id"),
        Column("Run", cells.run, "run_id"),
        Column("Attempt", cells.attempt, "retry_attempt_number", numeric=True),
        Column("Says", text_cell("says", 60), "says"),
        Column("Said by", text_cell("changed_by", 30), "changed_by"),
        Column("On host", text_cell("host", 60), "host"),
    ),
    "Nothing waits: all that was tracked here stands in a location.",
)
LOST = Table(
    "lost",
    "What could be kept nowhere",
    "lost",
    (
        Column("When", moment_cell("lost_at"), "lost_at"),
        Column("Pipeline", cells.pipeline, "pipeline_id"),
        Column("Transfer", cells.transfer_of_run, "task_id"),
        Column("Run", cells.run, "run_id"),
        Column("Attempt", cells.attempt, "retry_attempt_number", numeric=True),
        Column("Says", text_cell("says", 60), "says"),
        Column("Why", text_cell("reason", 60), "reason"),
        Column("On host", text_cell("host", 60), "host"),
        Column("Process", text_cell("process"), "process", numeric=True),
        Column("Log", cells.log, "log_url"),
    ),
    "Nothing was lost: the journal or a location has kept all that was tracked here.",
)
OWED = Table(
    "owed",
    "What one place holds and another lacks",
    "owed",
    (
        Column("Stored", moment_cell("stored_at"), "stored_at"),
        Column("Pipeline", cells.pipeline, "pipeline_id"),
        Column("Transfer", cells.transfer_of_run, "task_id"),
        Column("Run", cells.run, "run_id"),
        Column("Attempt", cells.attempt, "retry_attempt_number", numeric=True),
        Column("State", cells.state, "transfer_status"),
        Column("Held by", text_cell("location", 28), "location"),
        Column("Lacked by", text_cell("lacked_by", 28), "lacked_by"),
    ),
    "Nothing is owed: every record stands in all places that it is meant for.",
)
ALERTS = Table(
    "alerts",
    "Alerts that are not sent",
    "alerts",
    (
        Column("Raised", moment_cell("raised_at"), "raised_at"),
        Column("Kind", cells.kind, "kind"),
        Column("State", cells.sending, "sending"),
        Column("Pipeline", cells.pipeline, "pipeline_id"),
        Column("Transfer", cells.of_a_transfer(cells.transfer_of_run), "task_id"),
        Column("Run", cells.run, "run_id"),
        Column("Attempt", cells.of_a_transfer(cells.attempt), "retry_attempt_number", numeric=True),
        Column("Still to", text_cell("to", 40), "to"),
        Column("Last error", text_cell("error", 60), "error"),
        Column("Tries", text_cell("tries"), "tries", numeric=True, sorted_by="how often it was tried in vain"),
        Column("Next try", moment_cell("next_try_at"), "next_try_at"),
    ),
    "Everybody was told: no alert waits here, and none was given up.",
)
FLAKY = Table(
    "flaky",
    "Transfers that failed",
    "flaky",
    (
        Column("Transfer", cells.transfer, "task_id"),
        Column(
            "Attempts that failed",
            cells.of_attempts("failed_share", percent, status="ended", **{"attempts.sort": "-transfer_status"}),
            "failed_share",
            numeric=True,
        ),
        Column("Failed", cells.of_attempts("failed", status="failed"), "failed", numeric=True),
        Column("Attempts", cells.of_attempts("attempts", status="ended"), "attempts", numeric=True),
        Column("Last failed", moment_cell("last_failed_at"), "last_failed_at"),
        _OWNER,
    ),
    "No attempt failed.",
    size=10,
)
SLOW = Table(
    "slow",
    "Transfers that took longer than estimated",
    "slow",
    (
        Column("Transfer", cells.transfer, "task_id"),
        Column("Takes", _compared("ratio", times), "ratio", numeric=True),
        Column(
            "Longer than estimated", cells.of_attempts("over_estimate", status="late"), "over_estimate", numeric=True
        ),
        Column("Completed", _compared("completed"), "completed", numeric=True),
        Column("On average", _compared("average_seconds", duration), "average_seconds", numeric=True),
        Column("Longest", _compared("longest_seconds", duration), "longest_seconds", numeric=True),
        Column("Estimate", _compared("estimated_seconds", duration), "estimated_seconds", numeric=True),
        _OWNER,
    ),
    "None took longer than estimated.",
    size=10,
)
