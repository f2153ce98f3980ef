"""What stands in the cells of tables: a row's values in words, with states and links."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from airflow_provider_pipetrack.ui.paths import (
    attempts_link,
    attempts_of,
    link,
    log_address,
    pipeline_link,
    run_link,
    transfer_link,
    transfers_link,
)
from airflow_provider_pipetrack.ui.tables import Cell, Context, Part, Row, parted
from airflow_provider_pipetrack.ui.words import (
    AUDIT_FAILED,
    attempt_words,
    audit_reason,
    audit_state,
    duration,
    evidence_words,
    exact,
    first_line,
    number,
    readiness_state,
    reason_state,
    run_state,
    sending_state,
    state_of,
    took,
)

_BLANK = Cell()


def drawn(row: Row, context: Context) -> Cell:
    """Nothing: the page draws it."""
    del row, context  # it has them, too
    return _BLANK


def pipeline(row: Row, context: Context) -> Cell:
    """The pipeline, leading to its page."""
    name = row["pipeline_id"]
    return Cell(first_line(name, 40), pipeline_link(context.root, row), full=name)


def run(row: Row, context: Context) -> Cell:
    """The run, leading to its page."""
    return Cell(first_line(row["run_id"], 48), run_link(context.root, row), full=row["run_id"])


def transfer(row: Row, context: Context) -> Cell:
    """The transfer, leading to its page."""
    index = row.get("map_index", -1)
    name = row["task_id"] if index in (None, -1) else f"{row['task_id']} [{index}]"
    return Cell(first_line(name, 40), transfer_link(context.root, row), full=name)


def transfer_of_run(row: Row, context: Context) -> Cell:
    """The transfer, leading to its attempts in this run."""
    cell = transfer(row, context)
    return Cell(cell.text, attempts_link(context.root, row), full=cell.full)


def of_a_transfer(cell: Callable[[Row, Context], Cell]) -> Callable[[Row, Context], Cell]:
    """Return a cell that says nothing of what is about a run as a whole."""
    return lambda row, context: cell(row, context) if row["task_id"] else Cell()


def state(row: Row, context: Context) -> Cell:
    """How an attempt stands."""
    state = state_of(row, context.now)
    return Cell(state.word, state=state)


def state_of_run(row: Row, context: Context) -> Cell:
    """How a run stands, leading to its page."""
    state = run_state(row)
    return Cell(state.word, run_link(context.root, row), state)


def readiness(row: Row, context: Context) -> Cell:
    """How far a stage is, leading to the run."""
    state = readiness_state(row["state"])
    return Cell(state.word, run_link(context.root, row), state)


def reason(row: Row, context: Context) -> Cell:
    """Why it needs attention."""
    state = reason_state(row["reason"])
    words = state.word
    if row["reason"] == "failed":
        words += f" (attempt {attempt_words(row)})"
    elif row["reason"] == "overdue":
        late = (context.now - row["transfer_start_timestamp"]).total_seconds() - row["estimated_seconds"]
        words += f" by {duration(late)}"
    return Cell(words, state=state)


def log(row: Row, context: Context) -> Cell:
    """Where Airflow shows the log of an attempt."""
    del context  # a log is the same everywhere
    href = log_address(row["log_url"])
    return Cell("in Airflow", href, in_airflow=True) if href else Cell()


def kind(row: Row, context: Context) -> Cell:
    """What an alert tells."""
    del context  # a kind is the same everywhere
    return Cell(str(row["kind"]).replace("_", " "))


def sending(row: Row, context: Context) -> Cell:
    """Whether an alert is still tried."""
    del context  # an alert is the same everywhere
    state = sending_state(row["sending"])
    return Cell(state.word, state=state)


def audit(row: Row, context: Context) -> Cell:
    """What the audit found."""
    del context  # a result is the same everywhere
    state = audit_state(row)
    return Cell(state.word, state=state) if state else Cell()


def accepted(row: Row, context: Context) -> Cell:
    """Who accepted it in spite of its audit."""
    whole = context.accepted.get(row["record_id"], "")
    return Cell(first_line(whole, 80), full=whole)


def audits(row: Row, context: Context) -> Cell:
    """How many audits matched, and of how many, each number leading to those; the word leads to the evidence."""
    total, matched = row["audits_total"], row["audits_matched"]
    if not total:
        return Cell()
    worst = "mismatched" if row["audits_mismatched"] else "matched" if matched == total else "pending"
    failed = row["audits_failed"] and not row["audits_mismatched"]
    state = AUDIT_FAILED if failed else audit_state({"audit_result": worst, "audit_metadata": None})
    of_run = {name: row[name] for name in ("pipeline_id", "dag_id", "run_id")}
    parts = [
        _counted(row, context, matched, "", audit_result="matched") if matched else Part("0"),
        Part(" of "),
        _counted(row, context, total, "", audit_result="audited"),
        Part(" "),
        Part("matched", link(context.root, "audits", **of_run)),
    ]
    return parted(parts, state)


def audits_of_run(row: Row, context: Context) -> Cell:
    """How many audits of a Dag run matched, leading to them."""
    return audits(_of_run(row, context), context)


def counts_of_run(row: Row, context: Context) -> Cell:
    """How many transfers of a Dag run are how far, each number leading to those."""
    return counts(_of_run(row, context), context)


def _of_run(row: Row, context: Context) -> Row:
    """Return a run with the pipeline that it was counted by; a Dag that is written by hand may have several."""
    return {**row, "pipeline_id": context.asked.get("pipeline_id")}


def overdue(row: Row, context: Context) -> Cell:
    """How many transfers are overdue, leading to them."""
    count = row["overdue"]
    return Cell(number(count), transfers_link(context.root, row, status="overdue")) if count else Cell()


def counts(row: Row, context: Context) -> Cell:
    """How many transfers of a pipeline's run are how far, each number leading to those; of none nothing is said."""
    wanted = [
        (row["completed"], "completed", "completed"),
        (row["in_progress"], "running", "in_progress"),
        (row["failed"], "failed", "failed"),
        (row["pending"], "pending", "waiting"),
        (row["not_run"], "not run", "not_run"),
    ]
    told = [_counted(row, context, count, f" {word}", status=status) for count, word, status in wanted if count]
    return parted([part for one in told for part in (Part(", "), one)][1:])


def _counted(row: Row, context: Context, count: int, words: str, **query: str) -> Part:
    """Return a number of transfers of a run, leading to them.

    :param query: the filters of those that it counts.
    """
    return Part(f"{number(count)}{words}", transfers_link(context.root, row, **query))


def failed_names(row: Row, context: Context) -> Cell:
    """Which transfers failed, leading to them."""
    names = ", ".join(row["failed_transfers"] or ())
    status = None if row["audits_failed"] else "failed"  # a transfer whose audit failed has completed itself
    href = transfers_link(context.root, _of_run(row, context), status=status)
    return Cell(first_line(names, 80), href if names else None, full=names)


def run_took(row: Row, context: Context) -> Cell:
    """What a run took, or takes so far."""
    if row["started_at"] is None:
        return Cell()
    open_still = row["state"] == "in_progress" or row["ended_at"] is None
    end = context.now if open_still else row["ended_at"]
    return Cell(duration(max((end - row["started_at"]).total_seconds(), 0.0)) + (" so far" if open_still else ""))


def taken(row: Row, context: Context) -> Cell:
    """What an attempt took, or takes so far."""
    return Cell(took(row, context.now))


def estimate(row: Row, context: Context) -> Cell:
    """What it was estimated to take."""
    del context  # an estimate is the same everywhere
    seconds = row["estimated_seconds"]
    return Cell(duration(seconds) if seconds else row["estimated_duration"] or "")


def attempt(row: Row, context: Context) -> Cell:
    """Which attempt it is."""
    del context  # an attempt is the same everywhere
    return Cell(attempt_words(row))


def records(row: Row, context: Context) -> Cell:
    """How many records were moved, and how many were not."""
    del context  # counts are the same everywhere
    moved, failed = row["records_succeeded"], row["records_failed"]
    if moved is None and failed is None:
        return Cell()
    return Cell(number(moved or 0) + (f", {number(failed)} failed" if failed else ""))


def records_of_run(row: Row, context: Context) -> Cell:
    """How many records a Dag run moved, and how many not, leading to its transfers."""
    cell = records(row, context)
    return cell._replace(href=transfers_link(context.root, _of_run(row, context))) if cell.text else cell


def of_stage(name: str, zero: str = "0", **query: str) -> Callable[[Row, Context], Cell]:
    """Return the cell of a number of transfers that fill a stage in a run, leading to them.

    :param zero: what stands there for none.
    :param query: filters of those that it counts.
    """

    def cell(row: Row, context: Context) -> Cell:
        href = transfers_link(context.root, row, target=row["stage"], **query)
        return Cell(number(row[name]), href) if row[name] else Cell(zero)

    return cell


def records_of_stage(row: Row, context: Context) -> Cell:
    """How many records were brought to a stage, and how many not, leading to the transfers that did."""
    cell = records(row, context)
    return cell._replace(href=transfers_link(context.root, row, target=row["stage"])) if cell.text else cell


def of_attempts(name: str, written: Callable[[Any], str] = number, **query: str) -> Callable[[Row, Context], Cell]:
    """Return the cell of a number about attempts of a transfer, leading to those that make it up.

    :param written: what writes the number.
    :param query: filters of those that it is about, and their order.
    """
    return lambda row, context: Cell(written(row[name]), _attempts(row, context, **query))


def _attempts(row: Row, context: Context, **query: str) -> str:
    """Return the link to the attempts of a transfer, of the time that the rows were counted in."""
    window = {name: context.asked[name] for name in ("since", "until") if name in context.asked}
    return attempts_of(context.root, row, **window, **query)


def remark(row: Row, context: Context) -> Cell:
    """Why it is so: the error before the decision, since it says more."""
    del context  # a remark is the same everywhere
    whole = "\n".join(text for text in (row["error_message"], row["decision"]) if text)
    return Cell(first_line(whole, 120), full=whole if whole != first_line(whole, 120) else None)


def why(row: Row, context: Context) -> Cell:
    """Why it needs attention, by what it is."""
    started, audited = row["transfer_start_timestamp"], row["audit_metadata"]
    if row["reason"] == "mismatched" and audited:
        return evidence(row, context)
    if row["reason"] == "audit_failed":
        return Cell(first_line(audit_reason(row), 120), full=audit_reason(row))
    if row["reason"] in ("overdue", "stale") and started is not None:
        estimate = duration(row["estimated_seconds"]) or row["estimated_duration"] or "none"
        return Cell(f"runs for {duration((context.now - started).total_seconds())}, estimate {estimate}")
    return remark(row, context)


def map_index(row: Row, context: Context) -> Cell:
    """The map index, where there is one."""
    del context  # an index is the same everywhere
    return Cell("" if row["map_index"] == -1 else number(row["map_index"]))


def owners(row: Row, context: Context) -> Cell:
    """Who owns the transfers; one owner leads to all that is theirs."""
    owners = row["owners"] or []
    href = link(context.root, owner=owners[0]) if len(owners) == 1 else None
    return Cell(first_line(", ".join(owners), 60), href, full=", ".join(owners))


def strip(row: Row, context: Context) -> Cell:
    """The last runs."""
    return Cell(marks=context.strips.get((row["pipeline_id"], row["dag_id"]), ()))


def following(row: Row, context: Context) -> Cell:
    """When it runs next."""
    following = context.nexts.get((row["pipeline_id"], row["dag_id"]))
    if following is None:
        return Cell()
    if following.moment is None:
        return Cell(following.text)
    return Cell(following.text, moment=following.moment, full=exact(following.moment))


def evidence(row: Row, context: Context) -> Cell:
    """What an audit found, and all of it on a click."""
    del context  # evidence is the same everywhere
    if not row["audit_metadata"]:
        return Cell()
    words = evidence_words(row["audit_metadata"])
    return Cell(words, full=json.dumps(row["audit_metadata"], ensure_ascii=False, indent=2)) if words else Cell()


def parallel(row: Row, context: Context) -> Cell:
    """Whether it shares its level with others, and the pool whose slots it shares."""
    flag = row["can_process_be_parallelized"]
    known = context.configured.get(row["config_hash"])
    pool = known.pools.get(row["task_id"]) if known else None
    words = ["alone" if flag is False else "beside others" if flag else "", f"pool {pool}" if pool else ""]
    return Cell(first_line(", ".join(word for word in words if word), 60))


def historical(row: Row, context: Context) -> Cell:
    """Whether data of the past can be asked for."""
    del context  # a flag is the same everywhere
    return Cell("yes" if row["can_access_historical_data"] else "no")


def data_date(row: Row, context: Context) -> Cell:
    """Return the date of the data, in full: it is asked for by date."""
    del context  # a date is the same everywhere
    return Cell(exact(row["data_date"]), moment=row["data_date"])
