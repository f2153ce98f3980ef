"""The page of one run: what it is doing, what it did, and why it stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from airflow_provider_pipetrack.ui import catalog
from airflow_provider_pipetrack.ui.asking import Asker, asker_of
from airflow_provider_pipetrack.ui.paths import attempts_link, from_segment, link
from airflow_provider_pipetrack.ui.stops import affected_by, stops_of
from airflow_provider_pipetrack.ui.tables import row_key
from airflow_provider_pipetrack.ui.timeline import Axis, axis_of, line_of
from airflow_provider_pipetrack.ui.timeline_rows import TransferLine, timeline_rows
from airflow_provider_pipetrack.ui.views import view
from airflow_provider_pipetrack.ui.words import audit_state, natural, run_state, state_of

router = APIRouter()

#: Attempts of a run that the timeline shows.
_MOST_ATTEMPTS = 2000
_MOST_LINES = 300
#: Failures that are named.
_MOST_STOPS = 20


@router.get("/p/{pipeline}/r/{run}")
def run(request: Request, pipeline: str, run: str, asker: Asker = Depends(asker_of)) -> Response:
    """One run."""
    pipeline_id, run_id = from_segment(pipeline), from_segment(run)
    shown = view(request, asker, ("dag_id",), pipeline_id=pipeline_id, run_id=run_id)
    export = shown.export(catalog.RUN_ATTEMPTS)
    if export is not None:
        return export
    wanted = {**shown.filters.values, **shown.about}
    found = asker.ask("attempts", **wanted, limit=_MOST_ATTEMPTS, order_by="transfer_order_number")
    summary = asker.ask("runs", **wanted).rows
    rows = asker.compared(found.rows)
    axis = axis_of(rows, asker.now)
    lines = _with_pools(_lines(rows, axis, asker, shown.root), asker)
    stops = stops_of(asker, shown.root, wanted)
    drawn = lines[:_MOST_LINES]
    return shown.page(
        "run.html",
        status=200 if rows or asker.unreachable else 404,
        pipeline_id=pipeline_id,
        run_id=run_id,
        summary=summary,
        run_state=run_state,
        lines=timeline_rows(drawn, asker.now),
        left_out=max(sum(row["transfers"] + row["not_run"] for row in summary), len(lines)) - len(drawn),
        ticks=axis.ticks() if axis else [],
        begin=axis.begin if axis else None,
        affected=affected_by(stops, lines, asker.upstreams([line.row for line in lines]) if stops else {}),
        stops=stops[:_MOST_STOPS],
        more_stops=max(sum(row["failed"] + row["audits_failed"] for row in summary), len(stops)) - _MOST_STOPS,
        attempts=shown.show(catalog.RUN_ATTEMPTS),
        all_transfers=link(shown.root, "transfers", run_id=run_id, pipeline_id=pipeline_id),
    )


def _lines(rows: Sequence[Mapping[str, Any]], axis: Axis | None, asker: Asker, root: str) -> list[TransferLine]:
    """Return the run's transfers in their order, each with all its attempts."""
    tries: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["retry_attempt_number"]):
        tries.setdefault((row["dag_id"], row["task_id"], row["map_index"]), []).append(row)
    lines = [_line(attempts, axis, asker, root) for attempts in tries.values()]
    return sorted(lines, key=lambda line: _order(line.row))


def _with_pools(lines: Sequence[TransferLine], asker: Asker) -> list[TransferLine]:
    """Return lines with the pools that the configuration of the run names."""
    configured = asker.configured([line.row for line in lines])
    pools = {config_hash: known.pools for config_hash, known in configured.items() if known.pools}
    if not pools:
        return [*lines]
    return [line._replace(pool=pools.get(line.row["config_hash"], {}).get(line.row["task_id"])) for line in lines]


def _line(attempts: Sequence[Mapping[str, Any]], axis: Axis | None, asker: Asker, root: str) -> TransferLine:
    last = attempts[-1]
    return TransferLine(
        row=last,
        state=state_of(last, asker.now),
        audit=audit_state(last),
        line=line_of(attempts, axis, asker.now) if axis else None,
        href=attempts_link(root, last),
        key=row_key({**last, "record_id": f"{last['dag_id']}/{last['task_id']}/{last['map_index']}"}),
        attempts=len(attempts),
    )


def _order(row: Mapping[str, Any]) -> tuple[float, float, list[tuple[int, str]], int]:
    """Order of a run's lines: as configured, and within a level as they began."""
    began = row["transfer_start_timestamp"]
    return (
        row["transfer_order_number"] or 0,
        began.timestamp() if began else float("inf"),
        natural(row["task_id"]),
        row["map_index"],
    )
