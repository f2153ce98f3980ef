"""Rows that are at hand, asked as a question is: filtered, sorted and paged like those of a storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_pipetrack.tracking.questions import Answer

#: Columns that are searched in every list, beside those of its own.
_SEARCHED = ("pipeline_id", "dag_id", "run_id", "task_id")


@dataclass
class AtHand:
    """Some rows, all of them.

    :param rows: what there is, in the order of the list when nobody asks for another.
    :param searched: more columns that a search looks at.
    :param unreachable: why a location could not be asked for its rows, by its name.
    """

    rows: Sequence[Mapping[str, Any]]
    searched: Sequence[str] = ()
    unreachable: dict[str, str] = field(default_factory=dict)

    def again(self) -> AtHand:
        """Return what is asked for the next part of a long answer."""
        return self

    def compared(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Return rows as they are; no other word is known about them."""
        return rows

    def ask(
        self,
        question: str,
        *,
        limit: int | None = None,
        offset: int = 0,
        order_by: str | None = None,
        descending: bool = False,
        search: str = "",
        **filters: Any,
    ) -> Answer:
        """Return the rows whose columns have the values of the filters.

        :param question: what the list is called; there is no other.
        :param search: a text that one of their columns has.
        """
        del question  # all rows are about it
        found = [dict(row) for row in self.rows if self._fits(row, filters, search.lower())]
        if order_by:
            known = [row for row in found if row[order_by] is not None]
            known.sort(key=lambda row: row[order_by], reverse=descending)
            found = known + [row for row in found if row[order_by] is None]
        last = None if limit is None else offset + limit
        return Answer(found[offset:last], len(found))

    def _fits(self, row: Mapping[str, Any], filters: Mapping[str, Any], search: str) -> bool:
        if not all(row[name] == value for name, value in filters.items()):
            return False
        return not search or any(search in str(row[name] or "").lower() for name in (*_SEARCHED, *self.searched))
