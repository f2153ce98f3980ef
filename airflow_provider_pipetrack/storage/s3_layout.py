"""Where things are in a bucket: names of objects, and what is written into them.

Below ``<prefix>v1/``::

    runs/<dag>/<run>/events/<event>!<record>!<state>!<digest>.ndjson
                                                             changes, one a line; listed in the order in which they came
    runs/<dag>/<run>/run.ndjson                              all changes of a run that is over
    open/<dag>/<run>                                         a run that has objects under events/, or is not over
    pipelines/<pipeline>/<dag>/<run>                         which runs a pipeline has
    unique/<the user's id>/<dag>/<run>                       which run has a record with that id
    configs/<pipeline or dag>/<hash>.json                    a configuration that records were made by
    owed/<dag>/<run>/<record>/<event>                        a record that another location lacks
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, unquote

from airflow_provider_pipetrack.records.change import Change, Rank
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.merge import fold
from airflow_provider_pipetrack.storage.base import Listed, listed

#: Stands between the parts of an object's name; never in a part.
SEPARATOR = "!"
#: Stands for the record in the name of an object with changes of several.
MANY = "many"
TOGETHER = "run.ndjson"
EVENTS = "events/"
#: A key may have 1,024 bytes.
_LONGEST_PART = 150
#: Stands before the hash of a part that was cut.
_CUT = "%~"


@dataclass(frozen=True)
class Line:
    """A change as it stands in an object.

    :param stored_at: when the storage got it.
    """

    change: Change
    stored_at: datetime


def part(text: str) -> str:
    """Return a text as one part of a key; a long one is cut, and told apart by its hash."""
    written = quote(text, safe="-_.:+=@,", errors="surrogatepass") or "%"
    if written in {".", ".."}:
        written = written.replace(".", "%2E")
    if len(written) <= _LONGEST_PART:
        return written
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    return f"{written[: _LONGEST_PART - 26]}{_CUT}{digest}"


def run_of(change: Change) -> str:
    """Return what stands for a change's run, in parts of a name: ``<dag>/<run>``."""
    return f"{part(str(change.columns['dag_id']))}/{part(str(change.columns['run_id']))}"


def run_of_record(record_id: str) -> str:
    """Return the same for a record.

    :raises ValueError: when the text is no record id.
    """
    key = RecordKey.parse(record_id)
    return f"{part(key.dag_id)}/{part(key.run_id)}"


def begin_of_id(record_id: str) -> str:
    """Return what the ids of all records of a record's run begin with."""
    return "".join(f"{written}/" for written in record_id.split("/")[:2])


def begin_of_ids(run: str) -> str | None:
    """Return the same for a run as :func:`run_of` names it; None for one with a name that was cut."""
    if _CUT in run:
        return None
    dag_id, run_id = (unquote(text.removesuffix("%"), errors="surrogatepass") for text in run.split("/"))
    return begin_of_id(RecordKey(dag_id, run_id, "").record_id)


def marks_of(run: str, changes: Sequence[Change]) -> set[str]:
    """Return the names of the marks by which a run is found."""
    marks = {f"open/{run}"}
    for change in changes:
        pipeline = change.columns.get("pipeline_id") or change.columns["dag_id"]
        marks.add(f"pipelines/{part(str(pipeline))}/{run}")
        unique = change.columns.get("transfer_unique_id")
        # What is only announced has no attempt yet that an id could mean, and is announced by the hundred.
        if unique and (change.by != "task" or change.keys.get("start", "") >= f"{int(Rank.STARTED)}."):
            marks.add(f"unique/{part(str(unique))}/{run}")
    return marks


def config_name(pipeline_id: str, config_hash: str = "") -> str:
    """Return the name of a configuration of a pipeline or Dag; the folder of all of them without its hash."""
    return f"configs/{part(pipeline_id)}/" + (f"{part(config_hash)}.json" if config_hash else "")


def owed_folder(record_id: str) -> str:
    """Return where it is noted that other locations lack a record."""
    return f"owed/{run_of_record(record_id)}/{record_part(record_id)}/"


def folder_of_note(name: str) -> str:
    """Return the folder of a note that other locations lack a record: there is one for each record."""
    return f"{name.rpartition('/')[0]}/"


def end_of_notes(record_id: str) -> str:
    """Return a name behind all notes of a record and before those of the next; empty for no record."""
    return f"{owed_folder(record_id)}~" if record_id else ""


def owed_mark(record_id: str, owed: Iterable[str]) -> bytes:
    """Return the note that locations lack a record."""
    return json.dumps({"record_id": record_id, "owed": sorted(owed)}).encode()


def record_part(record_id: str) -> str:
    """Return what stands for a record within its run."""
    return part(record_id.split("/", 2)[-1].replace("/", "."))


def event_name(changes: Sequence[Change]) -> str:
    """Return the name of the object that holds changes of one run; the same changes give the same name."""
    records = {change.record_id for change in changes}
    who = record_part(changes[0].record_id) if len(records) == 1 else MANY
    first = min(change.event_id for change in changes)
    digest = hashlib.sha256("\n".join(sorted(change.event_id for change in changes)).encode("utf-8", "surrogatepass"))
    return SEPARATOR.join((part(first), who, _state(changes), digest.hexdigest()[:12])) + ".ndjson"


def _state(changes: Iterable[Change]) -> str:
    """Return rank, authority and failure of each group's greatest key, for example ``s110.e210``."""
    greatest: dict[str, str] = {}
    for change in changes:
        for group, key in change.keys.items():
            greatest[group] = max(greatest.get(group, ""), key)
    return ".".join(f"{group[0]}{''.join(key.split('.')[:3])}" for group, key in sorted(greatest.items())) or "none"


def owed_names(record_id: str, event_ids: Iterable[str]) -> list[str]:
    """Return the names of the notes that may exist for changes of a record."""
    return [owed_folder(record_id) + part(event_id) for event_id in event_ids]


def may_tell_of(name: str, who: str) -> bool:
    """Return whether an object of ``events/`` may hold changes of a record."""
    return name.split(SEPARATOR)[1:2] in ([who], [MANY])


def is_under_way(names: Iterable[str]) -> bool:
    """Return whether the names alone of a run's objects say that a record has begun and not ended."""
    states: dict[str, str] = {}
    for name in names:
        who, state = name.split(SEPARATOR)[1:3]
        states[who] = states.get(who, "") + "." + state
    states.pop(MANY, None)
    return any(f"e{int(Rank.STARTED)}" in state and f"e{int(Rank.ENDED)}" not in state for state in states.values())


def is_over(records: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether nothing more is to be expected of a run's records."""
    return all(
        record["transfer_status"] in {"completed", "failed"}
        or (record["transfer_status"] == "pending" and (record["decision"] or record["transfer_enabled"] is False))
        for record in records
    )


def written(changes: Iterable[Change]) -> bytes:
    """Return changes as the content of an object."""
    lines = (json.dumps(change.to_json(), separators=(",", ":")) for change in changes)
    return "".join(f"{line}\n" for line in lines).encode()


def rewritten(lines: Iterable[Line]) -> bytes:
    """Return changes as the content of a run's one object, which also says when each was stored."""
    rows = ({**line.change.to_json(), "stored_at": line.stored_at.isoformat()} for line in lines)
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode()


def lines_of(body: bytes, stored_at: datetime) -> list[Line]:
    """Return the changes in an object.

    :param stored_at: when the object was written, for changes that do not say it themselves.
    :raises ValueError: when the object is not one of pipetrack's.
    """
    try:
        rows = [json.loads(row) for row in body.splitlines() if row]
        return [
            Line(Change.from_json(row), datetime.fromisoformat(row["stored_at"]) if "stored_at" in row else stored_at)
            for row in rows
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def distinct(lines: Iterable[Line]) -> list[Line]:
    """Return each change once, in the order in which they happened."""
    found: dict[str, Line] = {}
    for line in lines:
        known = found.get(line.change.event_id)
        if known is None or line.stored_at < known.stored_at:
            found[line.change.event_id] = line
    return sorted(found.values(), key=lambda line: (line.change.at, line.change.event_id))


def records_of(lines: Iterable[Line]) -> list[dict[str, Any]]:
    """Return the records that changes make, in the order of a pipeline."""
    records = [_record(found) for found in _by_record(lines).values()]
    return sorted(records, key=lambda record: (record["transfer_order_number"] or 0, record["record_id"]))


def events_by_record(lines: Iterable[Line]) -> dict[str, list[str]]:
    """Return the ids of each record's changes."""
    return {record_id: [line.change.event_id for line in found] for record_id, found in _by_record(lines).items()}


def inventory_of(lines: Iterable[Line]) -> Iterator[Listed]:
    """Yield each record that changes make as an inventory lists it."""
    for record_id, found in _by_record(lines).items():
        ids = [line.change.event_id for line in found]
        yield listed(_record(found))._replace(record_id=record_id, events=f"{len(ids)}:{min(ids)}:{max(ids)}")


def _by_record(lines: Iterable[Line]) -> dict[str, list[Line]]:
    by_record: dict[str, list[Line]] = {}
    for line in distinct(lines):
        by_record.setdefault(line.change.record_id, []).append(line)
    return by_record


def _record(lines: Sequence[Line]) -> dict[str, Any]:
    record = fold(line.change for line in lines)
    # A change without its start group does not know its pipeline; whatever knows better wins later.
    record["pipeline_id"] = record["pipeline_id"] or record["dag_id"]
    stored = max(line.stored_at for line in lines).astimezone(timezone.utc)
    return {**record, "record_version": len(lines), "stored_at": stored, "owed": []}


def event_of(line: Line) -> dict[str, Any]:
    """Return a change as the history shows it."""
    data = line.change.to_json()
    return {
        "event_id": line.change.event_id,
        "record_id": line.change.record_id,
        "changed_at": line.change.at,
        "changed_by": line.change.by,
        "columns": data["columns"],
        "keys": data["keys"],
        "stored_at": line.stored_at,
    }
