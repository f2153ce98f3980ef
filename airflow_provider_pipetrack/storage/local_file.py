"""Tracking records in a file that a person can read: one JSON line per change."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.configs import ConfigVersion
from airflow_provider_pipetrack.records.handmade import change_of_record
from airflow_provider_pipetrack.records.merge import merge, record_of
from airflow_provider_pipetrack.storage.base import Listed, MergingAdapter, Record, listed
from airflow_provider_pipetrack.storage.files import file_is_here
from airflow_provider_pipetrack.storage.locations import Location

#: A file is folded to one line per record whenever it grows beyond a multiple of this size, in bytes.
COMPACT_ABOVE = 32_000_000
#: How the file of this adapter begins; a crash may have left less of it.
_BEGINNING = b'{"event_id"'


class LocalFileAdapter(MergingAdapter):
    """Appends changes to a file; readers fold them.

    Lines are written under a lock, in one piece, and are on disk before they count. A line that a crash cut short is
    removed by the next writer. It keeps no history once the file is folded. A file that begins with something else than
    such a line is somebody's own and stays as it is.

    :param location: ``local_file||/path/of/tracking.json``; the file and its folder are made when they are missing.
    """

    host_local = True
    keeps_configs = True
    can_list = True

    def __init__(self, location: Location, conn_id: str | None = None) -> None:
        super().__init__(location.name)
        del conn_id  # a file needs none
        self.path = Path(location.parts[0])

    def apply(self, changes: Sequence[Change], *, owed: Sequence[str] = ()) -> None:
        """Append the changes, all or none of them."""
        del owed
        lines = "".join(json.dumps(change.to_json(), separators=(",", ":")) + "\n" for change in changes).encode()
        try:
            with self._locked() as descriptor:
                size = _cut_torn_line(descriptor)
                _append(descriptor, lines, size)
            # Not whenever it is large: many records are still many when they are folded, and that takes seconds.
            if size // COMPACT_ABOVE < (size + len(lines)) // COMPACT_ABOVE:
                self._compact()
        except OSError as error:
            raise self._explained(error) from error

    def read_tracking_records(self, pipeline_id: str) -> list[Record]:
        """Return all records of a pipeline."""
        return [record for record in self._records() if record.get("pipeline_id") == pipeline_id]

    def read_run(self, dag_id: str, run_id: str, pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records of a run."""
        del pipeline_ids
        return [r for r in self._records() if r.get("dag_id") == dag_id and r.get("run_id") == run_id]

    def read_record(self, record_id: str, pipeline_ids: Iterable[str] = ()) -> Record | None:
        """Return one record, or None."""
        del pipeline_ids
        return next((r for r in self._records() if r["record_id"] == record_id), None)

    def read_unique(self, transfer_unique_id: str, pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records with the user's own id."""
        del pipeline_ids
        return [record for record in self._records() if record.get("transfer_unique_id") == transfer_unique_id]

    def keep_config(self, version: ConfigVersion) -> None:
        """Append a configuration to the file beside, whose name ends in ``.configs``, unless it is there."""
        try:
            with self._locked() as descriptor:
                if all(known.config_hash != version.config_hash for known in self._configs()):
                    is_new = not self._configs_path.exists()
                    with open(self._configs_path, "a", opener=_private) as file:
                        if is_new:
                            _take_rights(file.fileno(), descriptor)
                        file.write(json.dumps(version.as_dict(), default=str) + "\n")
        except OSError as error:
            raise self._explained(error) from error

    def config_versions(self, pipeline_id: str) -> list[ConfigVersion]:
        """Return the configurations of a pipeline, in the order of their first use."""
        found = [version for version in self._configs() if pipeline_id in (version.pipeline_id, version.dag_id)]
        return sorted(found, key=lambda version: (version.first_used_at, version.config_hash))

    def is_here(self) -> bool:
        """Return whether the file is on this host."""
        return file_is_here(self.path)

    def read_all(self) -> list[Record]:
        """Return every record."""
        return self._records()

    def inventory(self, after: str, limit: int) -> list[Listed]:
        """Return all records behind an id, in the order of their ids; the file has to be read as a whole anyway."""
        del limit
        return [one for one in sorted(map(listed, self._records())) if one.record_id > after]

    def read_records(self, record_ids: Sequence[str], pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records with these ids, as far as they are known."""
        del pipeline_ids
        wanted = frozenset(record_ids)
        return [record for record in self._records() if record["record_id"] in wanted]

    def check(self) -> None:
        """Open the file as a writer would."""
        try:
            with self._locked():
                pass
        except OSError as error:
            raise self._explained(error) from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Give the file's descriptor under its lock; a file that was replaced meanwhile is opened anew."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _same_file(descriptor, self.path):
                    self._insist_on_ours(descriptor)
                    yield descriptor
                    return
            finally:
                os.close(descriptor)

    def _insist_on_ours(self, descriptor: int) -> None:
        found = os.pread(descriptor, len(_BEGINNING), 0)
        if not _BEGINNING.startswith(found):
            raise StorageError(
                self.location,
                f"{self.path} is not pipetrack's and is left as it is; name another file",
                transient=False,
            )

    @property
    def _configs_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.configs")

    def _configs(self) -> Iterator[ConfigVersion]:
        if not self._configs_path.exists():
            return
        for line in self._configs_path.read_text().splitlines():
            try:
                fields = json.loads(line)
                first = datetime.fromisoformat(fields.pop("first_used_at"))
                yield ConfigVersion(first_used_at=first, **fields)
            except (ValueError, KeyError, TypeError):
                continue  # a line that a crash cut short

    def _records(self) -> list[Record]:
        return self._folded()[0]

    def _folded(self) -> tuple[list[Record], list[bytes]]:
        """Return the records, and the lines that are none of ours."""
        try:
            # A device such as /dev/zero has no end: to read it would take all memory.
            mode = self.path.stat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise StorageError(self.location, f"{self.path} is a device or a pipe, not a file", transient=False)
            data = self.path.read_bytes()
        except FileNotFoundError:
            return [], []
        except OSError as error:
            raise self._explained(error) from error
        records: dict[str, Record] = {}
        others: list[bytes] = []
        for line in data.splitlines():
            change = _change_of(line)
            if change is None:
                others.append(line)
                continue
            version = record_of(change)
            known = records.get(change.record_id)
            records[change.record_id] = version if known is None else merge(known, version)
        return list(records.values()), others

    def _compact(self) -> None:
        """Replace the file by one with a line per record, and what else it has, unless another process is doing so."""
        with self._locked() as descriptor:
            if self.path.stat().st_size <= COMPACT_ABOVE:
                return
            records, others = self._folded()
            folded = (
                json.dumps(change_of_record(record).to_json(), separators=(",", ":")).encode() for record in records
            )
            fresh = self.path.with_name(f"{self.path.name}.folding")
            with open(fresh, "wb", opener=_private) as file:
                _take_rights(file.fileno(), descriptor)
                file.writelines(line + b"\n" for line in (*folded, *others))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)

    def _explained(self, error: OSError) -> StorageError:
        if isinstance(error, PermissionError):
            return StorageError(
                self.location, f"{error.strerror}; let Airflow's user write {self.path}", transient=False
            )
        if isinstance(error, (NotADirectoryError, IsADirectoryError, FileExistsError)):
            return StorageError(self.location, f"{self.path} cannot be a file: {error.strerror}", transient=False)
        return StorageError(self.location, f"{self.path}: {error.strerror or error}")


def _private(path: str, flags: int) -> int:
    """Open a file that is its owner's alone where it is made anew."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _take_rights(fresh: int, known: int) -> None:
    """Let those use a new file who may use another one, such as the users of run_as_user."""
    status = os.fstat(known)
    with suppress(PermissionError):  # a user who is not in that group
        os.fchown(fresh, -1, status.st_gid)
    os.fchmod(fresh, stat.S_IMODE(status.st_mode))


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _cut_torn_line(descriptor: int) -> int:
    """Remove what a crash left behind the last complete line; return the file's size."""
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    end, step = size, 65_536
    while end > 0:
        begin = max(0, end - step)
        found = os.pread(descriptor, end - begin, begin).rfind(b"\n")
        if found >= 0:
            os.ftruncate(descriptor, begin + found + 1)
            return begin + found + 1
        end = begin
    os.ftruncate(descriptor, 0)
    return 0


def _append(descriptor: int, data: bytes, size: int) -> None:
    """Write ``data`` in one piece and onto the disk, or leave the file as it was."""
    try:
        written = os.write(descriptor, data)
        if written != len(data):
            # A full disk takes a part without an error; asking for the rest says why.
            written += os.write(descriptor, data[written:])
        if written != len(data):
            raise OSError(f"only {written} of {len(data)} bytes were written")  # noqa: TRY301  undone below
        os.fdatasync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def _change_of(line: bytes) -> Change | None:
    try:
        data: Any = json.loads(line)
        return Change.from_json(data)
    except (ValueError, KeyError, TypeError):
        return None
