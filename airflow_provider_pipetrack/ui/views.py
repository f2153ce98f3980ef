"""What all pages have in common: reading the address, exporting a table, and showing one page of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from airflow_provider_pipetrack.tracking.reading import NOT_HERE
from airflow_provider_pipetrack.ui.asking import BUSY, Asker
from airflow_provider_pipetrack.ui.filters import CHOICES, STATUSES, Filters, linked, read_filters
from airflow_provider_pipetrack.ui.render import page, root_of
from airflow_provider_pipetrack.ui.tables import (
    MOST_EXPORTED,
    Added,
    Beside,
    Context,
    Orders,
    Row,
    Shown,
    Source,
    Table,
    address,
    exported,
    show,
)


@dataclass
class View:
    """One page while it is made.

    :param asked: the address's query.
    :param about: filters that the page itself stands for, which the reader cannot take away.
    :param choices: the words that its filters may have.
    """

    request: Request
    asker: Asker
    filters: Filters
    about: Mapping[str, Any]
    choices: Mapping[str, Sequence[str]]

    @property
    def asked(self) -> Mapping[str, str]:
        """The address's query."""
        return self.request.query_params

    @property
    def root(self) -> str:
        """The relative address of the overview."""
        return root_of(self.request)

    @property
    def _wanted(self) -> dict[str, Any]:
        return {**self.filters.values, **self.about}

    @property
    def window(self) -> dict[str, Any]:
        """The time that it is about, as it stands in an address."""
        asked = self._asked_texts
        return {name: asked[name] for name in ("since", "until") if name in asked}

    @property
    def _own(self) -> Mapping[str, str]:
        """What of the filters says which page it is: of a pipeline that several Dags may have, the Dag."""
        texts = self.filters.texts
        return {"dag_id": texts["dag_id"]} if "pipeline_id" in self.about and "dag_id" in texts else {}

    @property
    def is_filtered(self) -> bool:
        """Whether the reader has filtered what the page shows."""
        return self.filters.texts.keys() > self._own.keys()

    @property
    def cleared(self) -> str:
        """The page's own address without filters; of a pipeline that several Dags have, the Dag stays."""
        return address(self._own)

    @property
    def _asked_texts(self) -> dict[str, Any]:
        """Everything that it is filtered by, as it stands in an address."""
        about = {name: value.date() if isinstance(value, datetime) else value for name, value in self.about.items()}
        return {**self.filters.texts, **about}

    def without(self, name: str) -> View:
        """Return the same view as if the reader had not filtered by ``name``."""
        values, texts = (
            {key: value for key, value in known.items() if key != name}
            for known in (self.filters.values, self.filters.texts)
        )
        return replace(self, filters=replace(self.filters, values=values, texts=texts))

    def show(
        self,
        table: Table,
        beside: Beside | None = None,
        orders: Orders = MappingProxyType({}),
        source: Source | None = None,
    ) -> Shown:
        """Return the page of a table that the address wants.

        :param beside: gives what cells need beside their rows.
        :param orders: how columns are sorted that no query can sort by.
        :param source: what has the rows; the storages when None.
        """
        context = Context(self.root, self.asker.now, self._asked_texts)
        found = source or self.asker, self.asked, self._wanted, context
        return show(table, *found, filtered=self.is_filtered, beside=beside, orders=orders)

    def first(self, table: Table) -> Sequence[Row]:
        """Return the row that stands first in a table's own order, if there is one."""
        return self.asker.ask(table.question, **self._wanted, limit=1).rows

    def export(
        self,
        *tables: Table,
        orders: Orders = MappingProxyType({}),
        source: Source | None = None,
        added: Added | None = None,
    ) -> Response | None:
        """Return the table that the address wants as CSV, or None when it wants the page.

        :param orders: how columns are sorted that no query can sort by.
        :param source: what has the rows; the storages when None.
        :param added: a column more.
        """
        wanted = self.asked.get("export")
        for table in tables:
            if table.key == wanted:
                rows = exported(table, source or self.asker, self.asked, self._wanted, orders, added)
                named = {"Content-Disposition": f'attachment; filename="{table.key}.csv"', "Cache-Control": "no-store"}
                parts = self.asker.in_turns(rows, f"# incomplete: {BUSY}\r\n")
                return StreamingResponse(parts, media_type="text/csv; charset=utf-8", headers=named)
        return None

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """Answer with the page; what could not be asked is said on it."""
        return page(
            self.request,
            template,
            status=status,
            reader=self.asker.reader,
            now=self.asker.now,
            filters=self.filters,
            is_filtered=self.is_filtered,
            cleared=self.cleared,
            choices=self.choices,
            linked={name: linked(name, self.choices) for name in self.choices},
            unreachable=self.asker.unreachable,
            absent=[name for name, why in self.asker.unreachable.items() if why.startswith(NOT_HERE)],
            most_exported=MOST_EXPORTED,
            **values,
        )


def view(
    request: Request, asker: Asker, names: Sequence[str] = (), states: Sequence[str] = STATUSES, **about: Any
) -> View:
    """Return the view of a page.

    :param names: the filters that the page has.
    :param states: the words that its filter by state may have.
    """
    choices = {**CHOICES, "status": states}
    filters = read_filters(request.query_params, names, asker.now, choices)
    return View(request, asker, filters, about, choices)
