"""From the template of a question to a statement: its parts, its sources, its placeholders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_pipetrack.records.columns import COLUMNS
from airflow_provider_pipetrack.records.queries.catalog import LISTS
from airflow_provider_pipetrack.records.queries.dialects import QueryDialect
from airflow_provider_pipetrack.records.queries.fragments import (
    ANNOUNCED,
    LATEST,
    READINESS_TERMS,
    RUN,
    RUNS_IN,
    TERMS,
)

NEWER = """WITH newer AS {once}({newer}),
tracking_now AS {inline}(
  SELECT {all_columns} FROM {table} WHERE record_id NOT IN (SELECT record_id FROM newer)
  UNION ALL
  SELECT {all_columns} FROM newer
)
"""
#: What a stored record must not be beside newer ones: an older version of one of them, or of a run that they are of.
_UNLESS_NEWER = {
    "unless_newer": "AND t.record_id NOT IN (SELECT record_id FROM newer)",
    "unless_run_newer": "AND ((r.pipeline_id, r.dag_id, r.run_id) IN "
    "(SELECT n.pipeline_id, n.dag_id, n.run_id FROM newer n)) IS NOT TRUE",
}
_WHATEVER_IS_NEWER = dict.fromkeys(_UNLESS_NEWER, "")
_TIMED = "(t.transfer_status = 'completed' AND t.actual_seconds IS NOT NULL)"
_ENDED = "t.transfer_status IN ('completed', 'failed')"
#: Words that filters may have beside those that stand in a record, each for records that some number counts.
_PARTS = {
    "status": {
        "partial": "t.is_partial",
        "overdue": "{overdue}",
        "not_run": "{not_run}",
        "waiting": "(t.transfer_status = 'pending' AND NOT {not_run})",
        "to_run": "NOT {not_run}",
        "enabled": "NOT {left_out}",
        "ended": _ENDED,
        "retried": f"({_ENDED} AND t.retry_attempt_number > 0)",
        "timed": _TIMED,
        "compared": f"({_TIMED} AND t.estimated_seconds > 0)",
        "late": f"({_TIMED} AND t.actual_seconds > t.estimated_seconds)",
    },
    "audit_result": {"audited": "({audited} AND NOT {not_run})", "stopped": "{audit_failed}"},
}
_MARK = re.compile(r"\{([a-z_]+)\}")
_VALUE = re.compile(r":([a-z_][a-z_0-9]*)")


def of_each_source(text: str, *, newer: bool) -> str:
    """Return a query whose parts in double brackets are asked of each source of records, and joined.

    What stands after ``{or_newer}`` in such a part is asked of the newer records instead.

    :param newer: whether there are newer records beside the table.
    """

    def asked(part: re.Match[str]) -> str:
        text, _, own = part[1].partition("{or_newer}")
        stored = text.replace("{source}", "{stored}")
        if not newer:
            return filled(stored, _WHATEVER_IS_NEWER)
        others = filled((own or text).replace("{source}", "newer"), _WHATEVER_IS_NEWER)
        return f"{filled(stored, _UNLESS_NEWER)}\nUNION ALL\n{others}"

    text = re.sub(r"\[\[(.*?)\]\]", asked, text, flags=re.DOTALL)
    if newer:
        for looked_up, joined in ((LATEST, " AND "), (ANNOUNCED, ", ")):
            stored, others = (looked_up.replace("{source}", source) for source in ("{stored}", "newer"))
            text = text.replace(stored, f"{stored}{joined}{others}")
    return text


def condition(name: str, question: str, value: Any) -> str:
    """Return the condition of a filter, with its value still to be bound."""
    if name in LISTS:
        return f"t.{LISTS[name]} IN ({', '.join(f':{name}_{number}' for number in range(len(value)))})"
    if question == "runs" and name == "status":
        return (
            "{completed_run}"
            if value == "completed"
            else f"{RUN} IN ({RUNS_IN.replace('{which}', 's.state = :status')})"
        )
    if value in _PARTS.get(name, ()):
        return _PARTS[name][value]
    own = READINESS_TERMS if question == "readiness" else {}
    return own.get(name) or TERMS.get(name) or f"t.{name} = :{name}"


def filled(text: str, fragments: Mapping[str, str]) -> str:
    """Return a template with its marks filled, those of the fragments included; the table stays open."""
    while True:
        result = _MARK.sub(lambda mark: fragments.get(mark[1], mark[0]), text)
        if result == text:
            return text
        text = result


def written(text: str, dialect: QueryDialect, table: str, source: str) -> str:
    """Return a statement with the database's placeholders, and then the table, whose name may hold any sign."""
    text = (
        text.replace("{inline}", "NOT MATERIALIZED " if dialect.once else "")
        .replace("{once}", dialect.once)
        .replace("{newer}", dialect.newer)
    )
    if dialect.placeholder.startswith("%"):
        text = text.replace("%", "%%")
        table, source = (name.replace("%", "%%") for name in (table, source))
    text = _VALUE.sub(lambda value: dialect.placeholder.format(value[1]), text)
    names = ", ".join(column.name for column in COLUMNS)
    last = {"table": table, "stored": table, "tracking": source, "columns": names, "all_columns": names}
    return _MARK.sub(lambda mark: last[mark[1]], text)


def escaped(text: str) -> str:
    """Return a text for a pattern of LIKE that stands for itself."""
    return re.sub(r"([!%_])", r"!\1", text)
