"""Answers from records that are at hand, for storages that have no query language: by SQLite, in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Any

from airflow_provider_pipetrack.records.clean import clean_columns
from airflow_provider_pipetrack.records.merge import merge
from airflow_provider_pipetrack.records.queries import SQLITE_QUERIES, Asked, know_all_letters
from airflow_provider_pipetrack.records.rows import record_row
from airflow_provider_pipetrack.records.statements import SQLITE, Statements
from airflow_provider_pipetrack.storage.base import Record
from airflow_provider_pipetrack.storage.complete import complete
from airflow_provider_pipetrack.storage.locations import DEFAULT_TABLE


def answer_from_records(asked: Asked, records: Iterable[Record]) -> tuple[list[dict[str, Any]], int]:
    """Return one page of a question's answer, and how many rows there are in all.

    :param records: at least all records that the question is about; versions of one record are merged.
    """
    merged: dict[str, Record] = {}
    for record in records:
        version, known = complete(record), merged.get(record["record_id"])
        merged[record["record_id"]] = version if known is None else merge(known, version)
    table = Statements(SQLITE, DEFAULT_TABLE)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        know_all_letters(connection)
        for statement in table.create():
            connection.execute(statement)
        rows = (record_row(clean_columns(record), (), native_times=False) for record in merged.values())
        connection.executemany(table.upsert, rows)
        page, count = asked.statements(SQLITE_QUERIES, table.name)
        values = asked.values(SQLITE_QUERIES)
        (total,) = connection.execute(count, values)
        return asked.rows(map(dict, connection.execute(page, values))), int(total["total"])
