"""The page of one run: what it is doing, what it did, and why it stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from airflow_provider_pipetrack.ui import catalog
from airflow_provider_pipetrack.ui.asking import Asker, asker_of
from airflow_provider_pipetrack.ui.filters import TRANSFER_STATES
from airflow_provider_pipetrack.ui.paths import attempts_link, from_segment, link
from airflow_provider_pipetrack.ui.stops import Stop, affected_by, stops_of
from airflow_provider_pipetrack.ui.tables import Row, hashed
from airflow_provider_pipetrack.ui.timeline import Axis, axis_of, line_of
from airflow_provider_pipetrack.ui.timeline_rows import TransferLine, timeline_rows
from airflow_provider_pipetrack.ui.views import View, view
from airflow_provider_pipetrack.ui.words import audit_state, natural, run_state, state_of

router = APIRouter()

#: What the timeline and the attempts below it are filtered by.
_FILTERS = ("search", "status", "owner", "audit_result", "task_id")
#: Earlier attempts of the transfers on a page of the timeline.
_MOST_EARLIER = 2000
#: Failures that are named.
_MOST_STOPS = 20
#: Transfers that did not run which are looked through for what a failure keeps waiting.
_MOST_PENDING = 2000


@router.get("/p/{pipeline}/r/{run}")
def run(request: Request, pipeline: str, run: str, asker: Asker = Depends(asker_of)) -> Response:
    """One run."""
    pipeline_id, run_id = from_segment(pipeline), from_segment(run)
    names = (*_FILTERS, "dag_id")
    shown = view(request, asker, names, TRANSFER_STATES, pipeline_id=pipeline_id, run_id=run_id)
    transfers = replace(shown, about={**shown.about, "include_not_run": True})
    export = transfers.export(catalog.TIMELINE) or shown.export(catalog.RUN_ATTEMPTS)
    if export is not None:
        return export
    whole = {**shown.about, "dag_id": shown.filters.values.get("dag_id")}
    summary = asker.ask("runs", **whole).rows
    timeline = transfers.show(catalog.TIMELINE)
    tries = _tries(asker, whole, timeline.records)
    axis = axis_of([attempt for attempts in tries for attempt in attempts], asker.now, summary)
    stops = stops_of(asker, shown.root, whole) if _has_stops(summary) else []
    affected, not_looked_at = _affected(asker, shown.root, whole, stops)
    return shown.page(
        "run.html",
        status=200 if summary or asker.unreachable else 404,
        pipeline_id=pipeline_id,
        run_id=run_id,
        summary=summary,
        run_state=run_state,
        names=_FILTERS,
        timeline=timeline,
        axis_title=catalog.WHEN,
        lines=timeline_rows(_lines(tries, axis, asker, shown), asker.now),
        ticks=axis.ticks() if axis else [],
        begin=axis.begin if axis else None,
        affected=affected,
        not_looked_at=not_looked_at,
        stops=stops[:_MOST_STOPS],
        more_stops=max(sum(row["failed"] + row["audits_failed"] for row in summary), len(stops)) - _MOST_STOPS,
        attempts=shown.show(catalog.RUN_ATTEMPTS),
        all_stops=link(shown.root, "attention", **whole, include_recovered="shown"),
        all_pending=link(shown.root, "transfers", **whole, status="pending"),
    )


def _has_stops(summary: Sequence[Row]) -> bool:
    """Return whether a transfer or an audit of the run failed, as far as that is known."""
    return not summary or any(row["failed"] or row["audits_failed"] for row in summary)


def _tries(asker: Asker, whole: Mapping[str, Any], rows: Sequence[Row]) -> list[list[Row]]:
    """Return the attempts of each transfer on a page of the timeline, the first first.

    :param whole: the filters that say which run it is.
    """
    retried = [row for row in rows if row["retry_attempt_number"]]
    of_retried = {
        "task_ids": sorted({row["task_id"] for row in retried}),
        "map_indexes": sorted({row["map_index"] for row in retried}),
    }
    earlier = asker.ask("attempts", **whole, **of_retried, limit=_MOST_EARLIER).rows if retried else []
    known: dict[tuple[str, str, int], list[Row]] = {}
    for row in sorted(earlier, key=itemgetter("retry_attempt_number")):
        known.setdefault(_transfer(row), []).append(row)
    return [[*(one for one in known.get(_transfer(row), ()) if _attempt(one) < _attempt(row)), row] for row in rows]


def _transfer(row: Row) -> tuple[str, str, int]:
    return row["dag_id"], row["task_id"], row["map_index"]


def _attempt(row: Row) -> int:
    return int(row["retry_attempt_number"])


def _lines(tries: Sequence[Sequence[Row]], axis: Axis | None, asker: Asker, shown: View) -> list[TransferLine]:
    """Return the lines of a page of the timeline, in their order."""
    lines = _with_pools([_line(attempts, axis, asker, shown.root) for attempts in tries], asker)
    # A database does not know that step_9 comes before step_10.
    return lines if f"{catalog.TIMELINE.key}.sort" in shown.asked else sorted(lines, key=lambda line: _order(line.row))


def _affected(
    asker: Asker, root: str, whole: Mapping[str, Any], stops: Sequence[Stop]
) -> tuple[list[TransferLine], int]:
    """Return what a failure keeps from running, in order, and how many pending transfers were not looked at."""
    if not stops:
        return [], 0
    order = {"order_by": catalog.TIMELINE.order, "limit": _MOST_PENDING}
    pending = asker.ask("transfers", **whole, include_not_run=True, status="pending", **order)
    lines = [_line([row], None, asker, root) for row in sorted(pending.rows, key=_order)]
    return affected_by(stops, lines, asker.upstreams(pending.rows)), pending.total - len(pending.rows)


def _with_pools(lines: Sequence[TransferLine], asker: Asker) -> list[TransferLine]:
    """Return lines with the pools that the configuration of the run names."""
    configured = asker.configured([line.row for line in lines])
    pools = {config_hash: known.pools for config_hash, known in configured.items() if known.pools}
    if not pools:
        return [*lines]
    return [line._replace(pool=pools.get(line.row["config_hash"], {}).get(line.row["task_id"])) for line in lines]


def _line(attempts: Sequence[Row], axis: Axis | None, asker: Asker, root: str) -> TransferLine:
    last = attempts[-1]
    return TransferLine(
        row=last,
        state=state_of(last, asker.now),
        audit=audit_state(last),
        line=line_of(attempts, axis, asker.now) if axis else None,
        href=attempts_link(root, last),
        key=hashed(f"{last['dag_id']}/{last['task_id']}/{last['map_index']}"),
        attempts=len(attempts),
    )


def _order(row: Row) -> tuple[float, float, list[tuple[int, str]], int]:
    """Order of a run's lines: as configured, and within a level as they began."""
    began = row["transfer_start_timestamp"]
    return (
        row["transfer_order_number"] or 0,
        began.timestamp() if began else float("inf"),
        natural(row["task_id"]),
        row["map_index"],
    )
