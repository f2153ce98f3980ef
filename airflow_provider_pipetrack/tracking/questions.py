"""Questions: what pages, commands and sensors ask about many records at once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.merge import merge
from airflow_provider_pipetrack.records.queries import Asked
from airflow_provider_pipetrack.storage.base import complete
from airflow_provider_pipetrack.storage.memory import answer_from_records
from airflow_provider_pipetrack.tracking.reading import READ_LIMIT, check_visible, waiting_records
from airflow_provider_pipetrack.tracking.store import TrackingStore

if TYPE_CHECKING:
    from airflow_provider_pipetrack.storage.base import Record
    from airflow_provider_pipetrack.tracking.leg import Leg

#: Seconds that a location may take to say what it keeps for another one.
_OWED_LIMIT = 3.0


@dataclass(frozen=True)
class Answer:
    """One page of an answer.

    :param rows: plain column dicts; times are aware, UTC.
    :param total: how many rows match, before limit and offset.
    :param unreachable: why a location could not be asked, by its name; its records may be missing.
    """

    rows: list[dict[str, Any]]
    total: int
    unreachable: dict[str, str] = field(default_factory=dict)


class Questions:
    """Asks a store's chain the bundled questions.

    The first location that answers is asked by one query; what waits in this host's journal for it, or is kept
    elsewhere as owed to it, counts too. Databases filter, sort and page; for storages without SQL their records are
    read and asked the same way.

    :param store: whose chain is asked.
    """

    def __init__(self, store: TrackingStore) -> None:
        self.store = store

    def ask(
        self,
        question: str,
        *,
        dag_ids: Collection[str] | None = None,
        limit: int | None = 100,
        offset: int = 0,
        order_by: str | None = None,
        descending: bool = False,
        **filters: Any,
    ) -> Answer:
        """Return one page of a question's answer.

        :param question: a name of :data:`airflow_provider_pipetrack.records.queries.QUESTIONS`.
        :param dag_ids: the Dags that the asker may read; None for all, empty for none.
        :param limit: most rows of the page; None for all.
        :param order_by: a column of the answer; the question's own order when None.
        :param filters: what the rows must have, such as ``pipeline_id="orders"``; None counts as not given.
        :raises QuestionError: for a question, filter or column that does not exist.
        """
        given = {name: value for name, value in filters.items() if value is not None}
        seen = None if dag_ids is None else sorted(set(dag_ids))
        asked = Asked(question, given, seen, order_by, descending, limit, offset)
        if seen == []:
            return Answer([], 0)
        unreachable: dict[str, str] = {}
        for leg in self.store.legs:
            try:
                rows, total = self._answer(leg, asked, unreachable)
            except StorageError as error:
                unreachable[leg.name] = error.message
            else:
                unreachable.pop(leg.name, None)
                return Answer(rows, total, unreachable)
        rows, total = answer_from_records(asked, waiting_records(self.store.journal_folder))
        return Answer(rows, total, unreachable)

    def _answer(self, leg: Leg, asked: Asked, unreachable: dict[str, str]) -> tuple[list[dict[str, Any]], int]:
        check_visible(leg)
        newer = self._newer(leg, unreachable)
        return leg.call(lambda adapter: adapter.answer(asked, newer), READ_LIMIT)

    def _newer(self, asked: Leg, unreachable: dict[str, str]) -> list[Record]:
        """Return what the asked location may not have yet: from the journal, and from those that keep it as owed."""
        found = waiting_records(self.store.journal_folder)
        for leg in self.store.legs:
            if leg is asked or leg.name in unreachable:
                continue
            try:
                check_visible(leg)
                records = leg.call(lambda adapter: adapter.owed_records(), _OWED_LIMIT)
            except StorageError as error:
                unreachable[leg.name] = error.message
                continue
            found += [complete(record) for record in records if asked.name in (record["owed"] or ())]
        merged: dict[str, Record] = {}
        for record in found:
            known = merged.get(record["record_id"])
            merged[record["record_id"]] = record if known is None else merge(known, record)
        return list(merged.values())


def questions_from_settings() -> Questions:
    """Return the questions of the store that ``[pipetrack]`` describes."""
    return Questions(TrackingStore.from_settings())
