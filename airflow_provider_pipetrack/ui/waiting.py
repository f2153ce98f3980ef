"""The lists of what waits: changes for their delivery, records for places that lack them, alerts; and of losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.notifications.kept import kept_alerts
from airflow_provider_pipetrack.tracking.losses import counter_of, list_of
from airflow_provider_pipetrack.tracking.owed import Owed, owed_to_others
from airflow_provider_pipetrack.tracking.waiting import lost_changes, undelivered_changes
from airflow_provider_pipetrack.ui import catalog
from airflow_provider_pipetrack.ui.asking import Asker, asker_of
from airflow_provider_pipetrack.ui.at_hand import AtHand
from airflow_provider_pipetrack.ui.health import require_health
from airflow_provider_pipetrack.ui.tables import Table
from airflow_provider_pipetrack.ui.views import view

router = APIRouter()

_OF_RECORDS = ("pipeline_id", "task_id", "run_id", "dag_id")


@router.get("/undelivered")
def undelivered(request: Request, asker: Asker = Depends(asker_of)) -> Response:
    """Which changes wait, here and on hosts that share the journal folder."""
    require_health(asker)
    changes = asker.bounded(lambda: undelivered_changes(asker.questions.store.journal_folder)) or []
    found = AtHand(changes, ("says", "host"))
    return _listed(request, asker, catalog.UNDELIVERED, found, "change", ("host",))


@router.get("/owed")
def owed(request: Request, asker: Asker = Depends(asker_of)) -> Response:
    """Which records a location holds that another one lacks."""
    require_health(asker)
    kept = asker.bounded(lambda: owed_to_others(asker.questions.stores)) or Owed()
    asker.unreachable.update(kept.unreachable)
    found = AtHand(kept.rows, ("location", "lacked_by"), dict(asker.unreachable))
    return _listed(request, asker, catalog.OWED, found, "record", ("location",), left=kept.left)


@router.get("/lost")
def lost(request: Request, asker: Asker = Depends(asker_of)) -> Response:
    """What neither the journal nor a location could keep, here and on hosts that share the journal folder."""
    require_health(asker)
    folder = asker.questions.store.journal_folder
    rows, left = asker.bounded(lambda: lost_changes(folder)) or ([], {})
    found = AtHand(rows, ("says", "host", "reason"))
    unlisted = "Which records these were is not listed; logs have them." if left else catalog.LOST.empty
    table, files = replace(catalog.LOST, empty=unlisted), (list_of(folder), counter_of(folder))
    return _listed(request, asker, table, found, "change", ("host",), left=left, files=files)


@router.get("/alerts")
def alerts(request: Request, asker: Asker = Depends(asker_of)) -> Response:
    """Which alerts wait to be sent or were given up, here and on hosts that share the journal folder."""
    require_health(asker)
    folder = settings.alerts_dir()
    found = AtHand(asker.bounded(lambda: kept_alerts(folder)) or [], ("to", "error"))
    return _listed(request, asker, catalog.ALERTS, found, "alert", ("sending", "kind"), folder=folder)


def _listed(
    request: Request, asker: Asker, table: Table, found: AtHand, word: str, own: Sequence[str], **more: Any
) -> Response:
    """Answer with what of a list is of Dags that the reader may read, and with how much is not.

    :param word: what a row is.
    :param own: filters that say nothing about a Dag; the first is that of the numbers that lead to the list.
    """
    names = ("search", *own, *_OF_RECORDS)
    shown = view(request, asker, names)
    place = shown.filters.values.get(own[0])
    seen = replace(found, rows=[row for row in found.rows if row["dag_id"] in asker.reader.dag_ids])
    hidden = _within(found, own[0], place) - _within(seen, own[0], place)
    if hidden:
        table = replace(table, empty="Nothing here is of a Dag that you may read.")
    return shown.export(table, source=seen) or shown.page(
        f"{table.key}.html", shown=shown.show(table, source=seen), names=names, hidden=hidden, word=word, **more
    )


def _within(found: AtHand, name: str, value: Any) -> int:
    """Return how many rows have a value; all of them where it is None."""
    return sum(1 for row in found.rows if value is None or row[name] == value)
