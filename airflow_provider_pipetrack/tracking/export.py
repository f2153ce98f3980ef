"""Tracking data as files with a manifest, for archives and auditors; what was exported can be verified offline."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.tracking.moving import CONTENT, EVENT, all_records, canonical, plain_event

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.store import TrackingStore

MANIFEST = "manifest.json"


class ExportError(PipetrackError):
    """An export cannot be written or verified."""


class _File:
    """A file that counts its rows and knows its hash."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path, self.columns = path, columns
        self.rows = 0
        self._hash = hashlib.sha256()
        self._file = path.open("wb")
        if path.suffix == ".csv":
            self._write(_csv_line(columns))

    def add(self, values: Mapping[str, Any]) -> None:
        self.rows += 1
        if self.path.suffix == ".csv":
            self._write(_csv_line([_cell(values.get(name)) for name in self.columns]))
        else:
            self._write(canonical({name: values.get(name) for name in self.columns}) + "\n")

    def close(self) -> dict[str, Any]:
        self._file.close()
        return {"rows": self.rows, "sha256": self._hash.hexdigest()}

    def _write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        self._hash.update(data)
        self._file.write(data)


def export(
    stores: Sequence[TrackingStore],
    folder: Path,
    form: str,
    progress: Callable[[int], None],
    pipeline_id: str | None = None,
    left_out: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write all records and their history into a folder, with a manifest; the same data gives the same bytes.

    :param stores: whose chains are read; what stands in several of them is written once.
    :param folder: a new or empty folder.
    :param form: ``ndjson`` or ``csv``.
    :param progress: called with how many records have been written so far.
    :param pipeline_id: only this pipeline.
    :param left_out: why another chain is not read, by its name; said in the manifest.
    :return: the manifest: when, from which chains, rows and SHA-256 of each file, which locations keep no history, and
        what could not be read.
    :raises ExportError: when the folder has something in it, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ExportError(f"{folder} is not empty; name a new folder")
        return _export(stores, folder, form, progress, pipeline_id, dict(left_out or {}))
    except OSError as error:
        raise ExportError(f"{folder} cannot be written: {error.strerror or error}") from error


def verify(folder: Path) -> list[str]:
    """Return what is wrong with an export: files that are missing, were changed, or have other rows than it says.

    :raises ExportError: when there is no manifest that can be read.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        described = {
            Path(name).name: {"rows": int(facts["rows"]), "sha256": str(facts["sha256"])}
            for name, facts in manifest["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{folder / MANIFEST} cannot be read: {error}") from error
    return [problem for name, facts in described.items() for problem in _wrong(folder / name, facts)]


def _export(
    stores: Sequence[TrackingStore],
    folder: Path,
    form: str,
    progress: Callable[[int], None],
    pipeline_id: str | None,
    unreachable: dict[str, str],
) -> dict[str, Any]:
    files = _File(folder / f"records.{form}", CONTENT), _File(folder / f"history.{form}", EVENT)
    try:
        _fill(*files, stores, progress, pipeline_id, unreachable)
    except BaseException:
        # Without its manifest it would be no export, and nothing but in the way of the next one.
        for file in files:
            file.close()
            file.path.unlink()
        raise
    read = {leg.name: leg for store in stores for leg in store.legs if leg.name not in unreachable}
    manifest = {
        "exported_at": utc_now().isoformat(),
        # Chains that differ in their functions alone are of the same locations.
        "chains": [list(chain) for chain in dict.fromkeys(tuple(store.shown_locations) for store in stores)],
        "pipeline_id": pipeline_id,
        "files": {file.path.name: file.close() for file in files},
        "without_history": [name for name, leg in read.items() if not leg.keeps_history],
        "unreachable": unreachable,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return manifest


def _fill(
    records: _File,
    history: _File,
    stores: Sequence[TrackingStore],
    progress: Callable[[int], None],
    pipeline_id: str | None,
    unreachable: dict[str, str],
) -> None:
    for record, events in all_records(stores, unreachable):
        if pipeline_id is None or record["pipeline_id"] == pipeline_id:
            records.add(record)
            for event in events:
                history.add(plain_event(event))
            if records.rows % 100 == 0:
                progress(records.rows)
    progress(records.rows)


def _wrong(path: Path, facts: Mapping[str, Any]) -> Iterator[str]:
    if not path.is_file():
        yield f"{path.name} is missing"
        return
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != facts["sha256"]:
        yield f"{path.name} is not as it was exported: its SHA-256 differs"
    rows = _csv_lines(data) - 1 if path.suffix == ".csv" else data.count(b"\n")
    if rows != facts["rows"]:
        yield f"{path.name} has {rows:,} rows instead of {facts['rows']:,}"


def _csv_lines(data: bytes) -> int:
    """Return how many lines end outside of quotes; Python's reader refuses a cell as long as a change may be."""
    # A quote within a cell is doubled, so what is inside and what is outside take turns all the same.
    return sum(outside.count(b"\n") for outside in data.split(b'"')[::2])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    text = canonical(value)
    return text.strip('"') if not isinstance(value, (dict, list)) else text


def _csv_line(values: Sequence[str]) -> str:
    line = io.StringIO()
    # Cells with signs of the line's end are quoted; a lone return would end the line for many who read it.
    csv.writer(line, lineterminator="\r\n").writerow(values)
    return line.getvalue().removesuffix("\r\n") + "\n"
