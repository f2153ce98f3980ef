"""What an alert says: one record as a subject, a text and an HTML page."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_pipetrack.notifications.targets import AlertKind
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.openness import AUDIT_ENDED
from airflow_provider_pipetrack.tracking.fitting import without_named_secrets

if TYPE_CHECKING:
    import jinja2

_LONGEST_SUBJECT = 150
_LONGEST_VALUE = 2000
_HEADLINES = {
    AlertKind.FAILED: "{name} failed and is not tried again",
    AlertKind.MISMATCHED: "The audit of {name} found a mismatch",
    AlertKind.OVERDUE: "{name} takes longer than estimated",
    AlertKind.ROLLBACK_OWED: "{name} failed and is not rolled back",
    AlertKind.UNDELIVERED: "Tracking records of {dag_id} are not delivered",
}
#: Of a run, which is told of as a transfer without a name.
_LATE_RUN = "Run {run_id} of {dag_id} has not ended in time"
_ADVICE = {
    AlertKind.ROLLBACK_OWED: "What the failed attempt left behind may still be in the target stage. A new attempt "
    "(clear the task in Airflow) rolls it back first.",
    AlertKind.UNDELIVERED: "No location of the record's chain took it; it waits in the local journal of the host and "
    "is not lost. `pipetrack doctor` says which location is down, `pipetrack reconcile` delivers what waits.",
}


@dataclass(frozen=True)
class Message:
    """An alert in words.

    :param subject: one line.
    :param text: the whole alert as plain text.
    :param html: the whole alert as HTML; everything in it is escaped.
    """

    subject: str
    text: str
    html: str


def compose(kind: AlertKind, record: Mapping[str, Any]) -> Message:
    """Put an alert about a record into words."""
    key = RecordKey.parse(str(record["record_id"]))
    name = key.name if key.map_index < 0 else f"{key.name}[{key.map_index}]"
    said = _HEADLINES[kind] if name else _LATE_RUN
    headline = one_line(said.format(name=name, dag_id=key.dag_id, run_id=key.run_id))
    subject = one_line(f"[pipetrack] {record.get('pipeline_id') or key.dag_id}: {headline}", _LONGEST_SUBJECT)
    shown = {
        "headline": headline,
        "advice": _ADVICE.get(kind),
        "facts": [(label, _cut(value)) for label, value in _facts(record, key, name)],
        "links": list(_links(record, key)),
    }
    environment = _environment()
    text = environment.get_template("alert.txt.jinja").render(shown)
    return Message(subject, text, environment.get_template("alert.html.jinja").render(shown))


def one_line(text: str, longest: int = _LONGEST_VALUE) -> str:
    """Return a text without line breaks and other characters that steer, cut to ``longest`` characters."""
    kinds = ((one, unicodedata.category(one)) for one in text)
    printable = "".join(" " if kind[0] in "CZ" else one for one, kind in kinds if kind != "Cf")
    joined = " ".join(printable.split())
    return joined if len(joined) <= longest else f"{joined[: longest - 1]}…"


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("airflow_provider_pipetrack.notifications"),
        autoescape=jinja2.select_autoescape(("html.jinja",), default=False),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _facts(record: Mapping[str, Any], key: RecordKey, name: str) -> Iterator[tuple[str, str]]:
    """Yield label and value of each line of an alert; what is not known has no line."""
    version = record.get("pipeline_version")
    most = record.get("max_retry_attempts")
    lines = {
        "Pipeline": f"{record.get('pipeline_id') or key.dag_id}{f', version {version}' if version else ''}",
        "Dag and run": f"{key.dag_id}, {key.run_id}",
        "Transfer": name,
        "Attempt": name and (f"{key.attempt}" if most is None else f"{key.attempt}, {most} retries allowed"),
        "Owner": record.get("transfer_process_owner_name"),
        "From": record.get("stage_i_details"),
        "To": record.get("stage_i_plus_1_details"),
        "Status": record.get("transfer_status"),
        "Error": record.get("error_message"),
        "Decision": record.get("decision"),
        "Records": _counts(record),
        "Audit": _audit(record),
        "Started": _moment(record.get("transfer_start_timestamp")),
        "Ended": _moment(record.get("transfer_end_timestamp")),
        "Took": record.get("actual_duration"),
        "Estimated" if name else "Deadline": record.get("estimated_duration"),
        "Tracked in": ", ".join(map(str, record.get("tracking_location") or ())),
    }
    yield from ((label, str(value)) for label, value in lines.items() if value not in (None, ""))


def _counts(record: Mapping[str, Any]) -> str | None:
    done, lost = record.get("records_succeeded"), record.get("records_failed")
    if done is None and lost is None:
        return None
    partial = ", partial data" if record.get("is_partial") else ""
    return f"{done or 0:,} moved, {lost or 0:,} failed{partial}"


def _audit(record: Mapping[str, Any]) -> str | None:
    result = record.get("audit_result")
    if not result:
        return None
    evidence = without_named_secrets(record.get("audit_metadata") or {})
    if isinstance(evidence, Mapping):
        evidence = {name: value for name, value in evidence.items() if name != AUDIT_ENDED}
    return f"{result} {json.dumps(evidence, default=str, ensure_ascii=False)}"


def _moment(value: Any) -> str | None:
    """Return a time for people; an alert that was kept on disk has it as text."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return str(value)
    return None if value is None else f"{value.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def _links(record: Mapping[str, Any], key: RecordKey) -> Iterator[tuple[str, str]]:
    """Yield the addresses of the attempt's log and of its run, as far as they are known."""
    log_url = one_line(str(record.get("log_url") or ""))
    if urlsplit(log_url).scheme not in {"http", "https"}:
        return
    run, is_log, _ = log_url.partition("/tasks/")
    if key.name:
        yield "Log in Airflow", log_url
    if is_log or not key.name:
        yield "Run in Airflow", run


def _cut(value: str) -> str:
    # Lone surrogates cannot be sent; a mail with a question mark in it is better than none.
    value = value.encode("utf-8", "replace").decode()
    return value if len(value) <= _LONGEST_VALUE else f"{value[: _LONGEST_VALUE - 1]}…"
