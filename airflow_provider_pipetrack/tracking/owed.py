"""What locations keep for others that lack it, record by record, as a list for people."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.queries.catalog import RECORD_COLUMNS
from airflow_provider_pipetrack.storage.base import Record, StorageAdapter
from airflow_provider_pipetrack.storage.complete import complete
from airflow_provider_pipetrack.tracking.leg import Leg
from airflow_provider_pipetrack.tracking.reading import check_visible

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.store import TrackingStore

#: Seconds that one location may take.
_LIMIT = 5.0
#: Most records of one location that are listed; after a long outage it may hold very many.
MOST_OWED = 10_000
#: The columns of the list.
COLUMNS = ("location", "lacked_by", *RECORD_COLUMNS)

_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)


@dataclass
class Owed:
    """What is kept for others.

    :param rows: the records with the columns :data:`COLUMNS`, what was stored last first; one that stands in several
        locations is in each of them.
    :param left: how many more a location holds than are among the rows, by its name.
    :param unreachable: why a location could not be asked, by its name.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)


def owed_to_others(stores: Iterable[TrackingStore]) -> Owed:
    """Return the records that a location of some chains holds and another lacks; all are asked at the same time."""
    legs = list({leg.identity: leg for store in stores for leg in store.legs}.values())
    found = Owed()
    with ThreadPoolExecutor(len(legs), "pipetrack: owed") as pool:
        asked = [(leg, pool.submit(_kept_by, leg)) for leg in legs]
    for leg, answer in asked:
        try:
            records, number = answer.result()
        except StorageError as error:
            found.unreachable[leg.name] = error.message
            continue
        found.rows += [_row(leg.name, record) for record in records]
        if number > len(records):
            found.left[leg.name] = number - len(records)
    found.rows.sort(key=lambda row: row["stored_at"] or _LONG_AGO, reverse=True)
    return found


def _kept_by(leg: Leg) -> tuple[list[Record], int]:
    """Return what a location keeps for others, up to a limit, and how many records that are in all.

    :raises StorageError: when it cannot be asked.
    """
    check_visible(leg)
    return leg.call(_kept, _LIMIT, large=True) if leg.keeps_owed else ([], 0)


def _kept(adapter: StorageAdapter) -> tuple[list[Record], int]:
    records = adapter.owed_records(limit=MOST_OWED)
    return records, len(records) if len(records) < MOST_OWED else adapter.count_owed()


def _row(location: str, record: Record) -> dict[str, Any]:
    told = {
        **complete(record),
        "location": location,
        "lacked_by": ", ".join(record["owed"] or ()),
        # A change without its start group does not know its pipeline.
        "pipeline_id": record["pipeline_id"] or record["dag_id"],
    }
    return {name: told.get(name) for name in COLUMNS}
