"""Questions: what pages, commands and sensors ask about many records at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.queries import Asked
from airflow_provider_pipetrack.records.queries.combined import (
    WHOLE,
    Joined,
    combine,
    key_of,
    newer_record,
    run_together,
)
from airflow_provider_pipetrack.storage.memory import answer_from_records
from airflow_provider_pipetrack.tracking.sources import Round, Source
from airflow_provider_pipetrack.tracking.store import TrackingStore
from airflow_provider_pipetrack.tracking.upkeep import shown_stores

#: Seconds for which it is believed of which Dags a location has records.
_DAGS_AGE = 30.0
#: How far apart the parts of one run may begin that stand in several locations, and how many runs are looked through.
_RUN_SPREAD, _MOST_RUNS = timedelta(days=1), 2000


@dataclass(frozen=True)
class Answer:
    """One page of an answer.

    :param rows: plain column dicts; times are aware, UTC.
    :param total: how many rows match, before limit and offset.
    :param unreachable: why a location could not be asked, by its name; its records may be missing.
    :param sources: names of the locations that answered.
    :param bounds: what was looked at only, where nobody narrowed the question: so many of the newest records or runs.
    """

    rows: list[dict[str, Any]]
    total: int
    unreachable: dict[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    bounds: Mapping[str, int] = field(default_factory=dict)


class Questions:
    """Asks chains of locations the bundled questions.

    Of each chain the first location that answers is asked by one query; what waits in this host's journal for it, or is
    kept elsewhere as owed to it, counts too. Databases filter, sort and page; for storages without SQL their records
    are read and asked the same way. The answers of several chains are put together: what stands in more than one counts
    once, and a row whose parts stand in several says what they say together.

    :param store: whose chain is asked.
    :param others: stores of more chains.
    :param left_out: why another chain is not asked, by its name; said with every answer.
    """

    def __init__(self, store: TrackingStore, *others: TrackingStore, left_out: Mapping[str, str] | None = None) -> None:
        self.stores = (store, *others)
        self.left_out = dict(left_out or {})
        self._late: dict[Any, float] = {}
        self._dags: dict[Any, tuple[float, frozenset[str]]] = {}

    @property
    def store(self) -> TrackingStore:
        """The first store."""
        return self.stores[0]

    def asks_as(self, other: Questions) -> bool:
        """Return whether another one asks the same stores."""
        return self.stores == other.stores and self.left_out == other.left_out

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

        Where neither a pipeline, a Dag, a run, a transfer nor a time narrows it, ``slow`` and ``flaky`` look at the
        newest 50,000 records, and ``readiness`` at the newest 100 runs; :attr:`Answer.bounds` says so. Likewise
        ``attempts``, ``transfers`` and ``durations``, and ``runs`` at the newest 1,000 runs, where they are searched or
        sorted by another column than the one they are sorted by anyway.

        :param question: a name of :data:`airflow_provider_pipetrack.records.queries.QUESTIONS`.
        :param dag_ids: the Dags that the asker may read; None for all, empty for none.
        :param limit: most rows of the page; None for all.
        :param order_by: a column of the answer; the question's own order when None.
        :param filters: what the rows must have, such as ``pipeline_id="orders"``; None counts as not given.
        :raises QuestionError: for a question, filter or column that does not exist.
        """
        given = {name: value for name, value in filters.items() if value is not None}
        seen = None if dag_ids is None else _seen(dag_ids, given.get("dag_id"))
        plain = Asked(question, given, seen, order_by, descending, limit, offset)
        if seen == []:
            return Answer([], 0)
        asked = plain.bounded()
        asking = Round(self.stores, self._late)
        sources = asking.ask(asked, _widened(asked))
        if len(sources) == 1 and not asking.is_wide:
            rows, total = sources[0].rows, sources[0].total
        else:
            rows, total = self._put_together(asked, sources, asking.unreachable)
        names = tuple(source.leg.name for source in sources if source.leg)
        return Answer(rows, total, {**self.left_out, **asking.unreachable}, names, plain.bounds)

    def _put_together(
        self, asked: Asked, sources: Sequence[Source], unreachable: dict[str, str]
    ) -> tuple[list[dict[str, Any]], int]:
        """Return the page of an answer that several locations gave, and how many rows there are."""
        apart = self._are_apart(sources)
        found = combine(asked, [source.rows for source in sources], apart=apart)
        try:
            shared = self._shared_dags(asked, sources, found)
            if asked.question in ("pipelines", "runs") and shared:
                self._complete(asked, sources, found, shared)
            if asked.question in ("pipelines", "runs", "last_runs", "readiness") and not apart:
                self._recount(asked, sources, found)
            if asked.question in WHOLE:
                found = [one for one in found if _fits(asked, one.row)]
                total = len(found)
            else:
                total = sum(source.total for source in sources) - self._repeated(asked, sources, found, shared)
        except StorageError as error:
            unreachable[error.location] = error.message
            total = max(len(found), *(source.total for source in sources))
        last = None if asked.limit is None else asked.offset + asked.limit
        return [one.row for one in found[asked.offset : last]], total

    def _are_apart(self, sources: Sequence[Source]) -> bool:
        """Return whether no record can stand in two of the locations: no chain has two of them."""
        asked = {source.leg.identity for source in sources if source.leg}
        return all(len(asked & {leg.identity for leg in store.legs}) < 2 for store in self.stores)

    def _recount(self, asked: Asked, sources: Sequence[Source], found: Sequence[Joined]) -> None:
        """Count runs anew from their records, where several locations may have the same ones."""
        last = None if asked.limit is None or asked.question in WHOLE else asked.offset + asked.limit
        for one in found[:last]:
            if len(one.sources) > 1:
                of_run = {name: one.row[name] for name in ("pipeline_id", "dag_id", "run_id")}
                attempts = Asked("attempts", of_run, limit=None)
                records: dict[str, dict[str, Any]] = {}
                for row in (row for place in one.sources for row in sources[place].ask(attempts)[0]):
                    known = records.setdefault(row["record_id"], row)
                    records[row["record_id"]] = newer_record(known, row)
                again = Asked(asked.question, {"dag_id": one.row["dag_id"]}, limit=None, now=asked.now)
                counted, _ = answer_from_records(again, records.values())
                one.row = next((row for row in counted if key_of(asked, row) == key_of(asked, one.row)), one.row)

    def _shared_dags(self, asked: Asked, sources: Sequence[Source], found: Sequence[Joined]) -> list[str]:
        """Return the Dags of which several locations have records, as far as that matters for an answer."""
        is_whole = all(len(source.rows) == source.total for source in sources)
        if is_whole and (asked.question not in ("pipelines", "runs") or not found):
            return []
        counted = Counter(dag_id for source in sources for dag_id in self._dags_of(source, asked))
        seen = asked.dag_ids
        return [dag_id for dag_id, number in counted.items() if number > 1 and (seen is None or dag_id in seen)]

    def _dags_of(self, source: Source, asked: Asked) -> frozenset[str]:
        identity = source.leg.identity if source.leg else None
        at, dags = self._dags.get(identity, (0.0, frozenset()))
        if time.monotonic() - at > _DAGS_AGE:
            rows, _ = source.ask(Asked("pipelines", _storage_filters(asked), limit=None, keys_only=True))
            dags = frozenset(row["dag_id"] for row in rows)
            if not _storage_filters(asked):
                self._dags[identity] = time.monotonic(), dags
        return dags | {row["dag_id"] for row in source.rows}

    def _repeated(self, asked: Asked, sources: Sequence[Source], found: Sequence[Joined], shared: Sequence[str]) -> int:
        """Return how often a row was counted again that another location has, too."""
        if not shared:
            return sum(len(source.rows) for source in sources) - len(found)
        keys = replace(asked, dag_ids=shared, keys_only=True)
        counted = Counter(key_of(asked, row) for source in sources for row in source.ask(keys)[0])
        return sum(number - 1 for number in counted.values())

    def _complete(
        self, asked: Asked, sources: Sequence[Source], found: Sequence[Joined], shared: Sequence[str]
    ) -> None:
        """Add to runs that are shown what other locations have of them, though it did not fit or come up by itself."""
        last = None if asked.limit is None or asked.question in WHOLE else asked.offset + asked.limit
        page = [one for one in found[:last] if one.row["dag_id"] in shared and one.row["began_at"]]
        if not page:
            return
        began = [one.row["began_at"] for one in page]
        window = {"since": min(began) - _RUN_SPREAD, "until": max(began) + _RUN_SPREAD}
        runs = Asked("runs", {**_storage_filters(asked), **window}, shared, limit=_MOST_RUNS, now=asked.now)
        for place, source in enumerate(sources):
            if all(place in one.sources for one in page):
                continue
            parts = {(row["dag_id"], row["run_id"]): row for row in source.ask(runs)[0]}
            for one in page:
                part = parts.get((one.row["dag_id"], one.row["run_id"]))
                if part is not None and place not in one.sources:
                    one.row = run_together(one.row, part)
                    one.sources.add(place)


def _seen(dag_ids: Collection[str], dag_id: str | None) -> list[str]:
    """Return the Dags that a question looks at: of those that may be read the one that it names, or all."""
    if dag_id is None:
        return sorted(dag_ids)
    return [dag_id] if dag_id in dag_ids else []


def _widened(asked: Asked) -> Asked:
    """Return what each of several locations is asked, so that any page of the whole can be made from the answers."""
    if asked.question in WHOLE:
        filters = {name: value for name, value in asked.filters.items() if name not in asked.known.of_the_answer}
        return replace(asked, filters=filters, limit=None, offset=0)
    return replace(asked, limit=None if asked.limit is None else asked.offset + asked.limit, offset=0)


def _fits(asked: Asked, row: Mapping[str, Any]) -> bool:
    """Return whether a row is one that the filters of the answer want, which no location could look at for itself."""
    wanted = ((asked.filters.get(name), column) for name, column in asked.known.of_the_answer.items())
    return all(value in (None, "") or row[column] == value for value, column in wanted)


def _storage_filters(asked: Asked) -> dict[str, Any]:
    """Return the filter without which a storage of three methods cannot be asked."""
    return {name: asked.filters[name] for name in ("pipeline_id",) if name in asked.filters}


def questions_from_settings(*, own_code: bool = False) -> Questions:
    """Return the questions of all that people are shown, see :func:`~.upkeep.shown_stores`.

    :param own_code: whether storage code of the pipelines' own may be loaded; not in the api-server.
    """
    stores, left_out = shown_stores(own_code=own_code)
    return Questions(*stores, left_out=left_out)
