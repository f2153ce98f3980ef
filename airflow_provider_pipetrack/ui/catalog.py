"""The tables of the pages: which question each asks and what its columns show."""

from __future__ import annotations

from dataclasses import replace

from airflow_provider_pipetrack.ui.paths import link, pipeline_link, run_link, transfer_link
from airflow_provider_pipetrack.ui.tables import (
    Cell,
    Column,
    Context,
    Row,
    Table,
    duration_cell,
    moment_cell,
    number_cell,
    text_cell,
)
from airflow_provider_pipetrack.ui.words import (
    attempt_words,
    audit_state,
    duration,
    evidence_words,
    exact,
    first_line,
    number,
    readiness_state,
    reason_state,
    run_state,
    state_of,
    took,
)


def _pipeline(row: Row, context: Context) -> Cell:
    name = row["pipeline_id"]
    return Cell(first_line(name, 40), pipeline_link(context.root, row), full=name)


def _run(row: Row, context: Context) -> Cell:
    return Cell(first_line(row["run_id"], 48), run_link(context.root, row), full=row["run_id"])


def _transfer(row: Row, context: Context) -> Cell:
    index = row.get("map_index", -1)
    name = row["task_id"] if index in (None, -1) else f"{row['task_id']} [{index}]"
    return Cell(first_line(name, 40), transfer_link(context.root, row), full=name)


def _transfer_of_run(row: Row, context: Context) -> Cell:
    cell = _transfer(row, context)
    return Cell(
        cell.text, transfer_link(context.root, row, run_id=row["run_id"], map_index=_index(row)), full=cell.full
    )


def _index(row: Row) -> int | None:
    return None if row["map_index"] == -1 else row["map_index"]


def _state(row: Row, context: Context) -> Cell:
    state = state_of(row, context.now)
    return Cell(state.word, state=state)


def _run_state(row: Row, context: Context) -> Cell:
    state = run_state(row)
    return Cell(state.word, run_link(context.root, row), state)


def _readiness(row: Row, context: Context) -> Cell:
    state = readiness_state(row["state"])
    return Cell(state.word, run_link(context.root, row), state)


def _reason(row: Row, context: Context) -> Cell:
    del context  # a reason is the same everywhere
    state = reason_state(row["reason"])
    words = f"{state.word} (attempt {attempt_words(row)})" if row["reason"] == "failed" else state.word
    return Cell(words, state=state)


def _audit(row: Row, context: Context) -> Cell:
    del context  # a result is the same everywhere
    state = audit_state(row["audit_result"])
    return Cell(state.word, state=state) if state else Cell()


def _audits(row: Row, context: Context) -> Cell:
    total, matched = row["audits_total"], row["audits_matched"]
    if not total:
        return Cell()
    href = link(context.root, "audits", pipeline_id=row["pipeline_id"], dag_id=row["dag_id"], run_id=row["run_id"])
    state = audit_state("mismatched" if row["audits_mismatched"] else "matched" if matched == total else "pending")
    return Cell(f"{number(matched)} of {number(total)} matched", href, state)


def _counts(row: Row, context: Context) -> Cell:
    """How many transfers of the run are how far; what is not there is not said."""
    parts = [
        (row["completed"], "completed"),
        (row["in_progress"], "running"),
        (row["failed"], "failed"),
        (row["pending"], "pending"),
        (row["not_run"], "not run"),
    ]
    text = ", ".join(f"{number(count)} {word}" for count, word in parts if count)
    return Cell(text, link(context.root, "transfers", dag_id=row["dag_id"], run_id=row["run_id"]))


def _failed_names(row: Row, context: Context) -> Cell:
    names = ", ".join(row["failed_transfers"] or ())
    href = link(context.root, "transfers", dag_id=row["dag_id"], run_id=row["run_id"], status="failed")
    return Cell(first_line(names, 80), href if names else None, full=names)


def _run_took(row: Row, context: Context) -> Cell:
    if row["started_at"] is None:
        return Cell()
    open_still = row["state"] == "in_progress" or row["ended_at"] is None
    end = context.now if open_still else row["ended_at"]
    return Cell(duration(max((end - row["started_at"]).total_seconds(), 0.0)) + (" so far" if open_still else ""))


def _took(row: Row, context: Context) -> Cell:
    return Cell(took(row, context.now))


def _estimate(row: Row, context: Context) -> Cell:
    del context  # an estimate is the same everywhere
    seconds = row["estimated_seconds"]
    return Cell(duration(seconds) if seconds else row["estimated_duration"] or "")


def _attempt(row: Row, context: Context) -> Cell:
    del context  # an attempt is the same everywhere
    return Cell(attempt_words(row))


def _records(row: Row, context: Context) -> Cell:
    del context  # counts are the same everywhere
    moved, failed = row["records_succeeded"], row["records_failed"]
    if moved is None and failed is None:
        return Cell()
    return Cell(number(moved or 0) + (f", {number(failed)} failed" if failed else ""))


def _remark(row: Row, context: Context) -> Cell:
    """Why it is so: the error before the decision, since it says more."""
    del context  # a remark is the same everywhere
    whole = "\n".join(text for text in (row["error_message"], row["decision"]) if text)
    return Cell(first_line(whole, 120), full=whole if whole != first_line(whole, 120) else None)


def _why(row: Row, context: Context) -> Cell:
    """Why it needs attention, by what it is."""
    started, audited = row["transfer_start_timestamp"], row["audit_metadata"]
    if row["reason"] == "mismatched" and audited:
        return _evidence(row, context)
    if row["reason"] in ("overdue", "stale") and started is not None:
        estimate = duration(row["estimated_seconds"]) or row["estimated_duration"] or "none"
        return Cell(f"runs for {duration((context.now - started).total_seconds())}, estimate {estimate}")
    return _remark(row, context)


def _map_index(row: Row, context: Context) -> Cell:
    del context  # an index is the same everywhere
    return Cell("" if row["map_index"] == -1 else number(row["map_index"]))


def _owners(row: Row, context: Context) -> Cell:
    owners = row["owners"] or []
    href = link(context.root, owner=owners[0]) if len(owners) == 1 else None
    return Cell(first_line(", ".join(owners), 60), href, full=", ".join(owners))


def _strip(row: Row, context: Context) -> Cell:
    return Cell(marks=context.strips.get((row["pipeline_id"], row["dag_id"]), ()))


def _next(row: Row, context: Context) -> Cell:
    following = context.nexts.get((row["pipeline_id"], row["dag_id"]))
    if following is None:
        return Cell()
    if following.moment is None:
        return Cell(following.text)
    return Cell(following.text, moment=following.moment, full=exact(following.moment))


def _evidence(row: Row, context: Context) -> Cell:
    import json

    del context  # evidence is the same everywhere
    if not row["audit_metadata"]:
        return Cell()
    whole = json.dumps(row["audit_metadata"], ensure_ascii=False, indent=2)
    return Cell(evidence_words(row["audit_metadata"]), full=whole)


def _historical(row: Row, context: Context) -> Cell:
    del context  # a flag is the same everywhere
    return Cell("yes" if row["can_access_historical_data"] else "no")


def _exactly(row: Row, context: Context) -> Cell:
    """Return the date of the data, in full: it is asked for by date."""
    del context  # a date is the same everywhere
    return Cell(exact(row["data_date"]), moment=row["data_date"])


def _share(row: Row, context: Context) -> Cell:
    del context  # a share is the same everywhere
    return Cell(f"{row['failed_share'] * 100:.0f} %")


def _ratio(row: Row, context: Context) -> Cell:
    del context  # a ratio is the same everywhere
    return Cell(f"{row['ratio']:.1f} times")


_STAGES = (
    Column("From", text_cell("stage_i_details", 40), "stage_i_details"),
    Column("To", text_cell("stage_i_plus_1_details", 40), "stage_i_plus_1_details"),
)
_OWNER = Column("Owner", text_cell("transfer_process_owner_name", 40), "transfer_process_owner_name")
_DAG = Column("Dag", text_cell("dag_id", 60), "dag_id")

PIPELINES = Table(
    "pipelines",
    "Pipelines",
    "pipelines",
    (
        Column("Pipeline", _pipeline, "pipeline_id"),
        Column("Last runs, old to new", _strip),
        Column("Now", _run_state, "state"),
        Column("Last run's transfers", _counts),
        Column("Audits", _audits),
        Column("Overdue", number_cell("overdue", zero=""), "overdue", numeric=True),
        Column("Owner", _owners),
        Column("Last run began", moment_cell("began_at"), "began_at"),
        Column("Next", _next),
    ),
    "No pipeline has left a record yet.",
    "Put a pipeline file into the dags folder, or use TrackedOperator in a Dag; its first run shows up here.",
)
RUNS = Table(
    "runs",
    "Runs",
    "runs",
    (
        Column("Run", _run, "run_id"),
        Column("Pipeline", _pipeline, "pipeline_id"),
        Column("State", _run_state, "state"),
        Column("Began", moment_cell("began_at"), "began_at"),
        Column("Took", _run_took, numeric=True),
        Column("Transfers", _counts),
        Column("Failed", _failed_names),
        Column("Audits", _audits),
        Column("Records", _records, "records_succeeded", numeric=True),
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
        Column("Transfer", _transfer_of_run, "task_id"),
        Column("State", _state, "transfer_status"),
        Column("Attempt", _attempt, "retry_attempt_number", numeric=True),
        Column("Pipeline", _pipeline, "pipeline_id"),
        Column("Run", _run, "run_id"),
        Column("Started", moment_cell("transfer_start_timestamp"), "transfer_start_timestamp"),
        Column("Took", _took, "actual_seconds", numeric=True),
        Column("Estimate", _estimate, "estimated_seconds", numeric=True),
        Column("Audit", _audit, "audit_result"),
        _OWNER,
        Column("Remark", _remark),
        Column("Records", _records, "records_succeeded", numeric=True),
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
        Column("Run", _run, "run_id"),
        Column("Attempt", _attempt, "retry_attempt_number", numeric=True),
        Column("Map index", _map_index, "map_index", numeric=True),
        Column("State", _state, "transfer_status"),
        Column("Started", moment_cell("transfer_start_timestamp"), "transfer_start_timestamp"),
        Column("Took", _took, "actual_seconds", numeric=True),
        Column("Estimate", _estimate, "estimated_seconds", numeric=True),
        Column("Records", _records, "records_succeeded", numeric=True),
        Column("Audit", _audit, "audit_result"),
        Column("Remark", _remark),
        _OWNER,
    ),
    "There is no record yet.",
    "Start the Dag in Airflow.",
)
#: The attempts of one run, which are of many transfers.
RUN_ATTEMPTS = replace(ATTEMPTS, columns=(Column("Transfer", _transfer_of_run, "task_id"), *ATTEMPTS.columns[1:]))
ATTENTION = Table(
    "attention",
    "What needs attention",
    "attention",
    (
        Column("What", _reason),
        Column("Pipeline", _pipeline, "pipeline_id"),
        Column("Transfer", _transfer_of_run, "task_id"),
        Column("Run", _run, "run_id"),
        Column("Why", _why),
        _OWNER,
        Column("Since", moment_cell("updated_timestamp"), "updated_timestamp"),
    ),
    "Nothing needs attention: no transfer has failed for good, no audit mismatched, nothing is overdue.",
)
READINESS = Table(
    "readiness",
    "Stages and their data",
    "readiness",
    (
        Column("Stage", text_cell("stage", 60), "stage"),
        Column("State", _readiness, "state"),
        Column("Data of", _exactly, "data_date"),
        Column("Pipeline", _pipeline, "pipeline_id"),
        Column("Run", _run, "run_id"),
        Column("Transfers", number_cell("transfers"), "transfers", numeric=True),
        Column("Completed", number_cell("completed"), "completed", numeric=True),
        Column("Partial", number_cell("partial", zero=""), "partial", numeric=True),
        Column("Audits matched", number_cell("audits_matched"), "audits_matched", numeric=True),
        Column("Records", _records, "records_succeeded", numeric=True),
        Column("Historical data", _historical, "can_access_historical_data"),
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
        Column("Result", _audit, "audit_result"),
        Column("Pipeline", _pipeline, "pipeline_id"),
        Column("Transfer", _transfer_of_run, "task_id"),
        Column("Evidence", _evidence),
        Column("Decision", text_cell("decision", 80), "decision"),
        Column("Run", _run, "run_id"),
        *_STAGES,
        Column("Ended by", text_cell("closed_by", 30), "closed_by"),
        _OWNER,
    ),
    "Nothing has been audited or decided yet.",
    "Give a transfer of a pipeline file an audit with a function.",
)
FLAKY = Table(
    "flaky",
    "Transfers that fail",
    "flaky",
    (
        Column("Transfer", _transfer, "task_id"),
        Column("Attempts that failed", _share, "failed_share", numeric=True),
        Column("Failed", number_cell("failed"), "failed", numeric=True),
        Column("Attempts", number_cell("attempts"), "attempts", numeric=True),
        Column("Runs", number_cell("runs"), "runs", numeric=True),
        Column("Last failed", moment_cell("last_failed_at"), "last_failed_at"),
        _OWNER,
    ),
    "No attempt has failed.",
    size=10,
)
SLOW = Table(
    "slow",
    "Transfers that take longer than estimated",
    "slow",
    (
        Column("Transfer", _transfer, "task_id"),
        Column("Takes", _ratio, "ratio", numeric=True),
        Column("Longer than estimated", number_cell("over_estimate"), "over_estimate", numeric=True),
        Column("Completed", number_cell("completed"), "completed", numeric=True),
        Column("On average", duration_cell("average_seconds"), "average_seconds", numeric=True),
        Column("Longest", duration_cell("longest_seconds"), "longest_seconds", numeric=True),
        Column("Estimate", duration_cell("estimated_seconds"), "estimated_seconds", numeric=True),
        _OWNER,
    ),
    "None has taken longer than estimated.",
    size=10,
)
