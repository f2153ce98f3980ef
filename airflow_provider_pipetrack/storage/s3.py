"""Tracking records in S3, through Airflow's S3Hook: one small object for each write, one per run when it is over."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta, timezone
from typing import Any, TypeVar

from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.configs import ConfigVersion
from airflow_provider_pipetrack.records.rows import config_from_row, config_row
from airflow_provider_pipetrack.storage import s3_layout as layout
from airflow_provider_pipetrack.storage.base import Event, Listed, MergingAdapter, Record, grouped
from airflow_provider_pipetrack.storage.clients import hook_of, import_client
from airflow_provider_pipetrack.storage.locations import Location
from airflow_provider_pipetrack.storage.s3_bucket import LIMITS, Bucket
from airflow_provider_pipetrack.storage.s3_client import make_client
from airflow_provider_pipetrack.storage.s3_errors import code_of, explained, is_about_keys

DEFAULT_CONN_ID = "aws_default"
#: A run is put into one object when it is over and nothing was written for so long.
QUIET = timedelta(minutes=15)
#: The same for a run that looks as if it went on.
GIVEN_UP = timedelta(days=1)
#: Seconds for which a process believes that a run is open which it has opened itself; others close it after QUIET.
_BELIEVED = 300.0
#: Seconds after which no further run is put together; the next pass goes on.
_TIDY = 20.0
#: Runs that are read in one go for an inventory: all of a bucket's would neither fit into memory nor into the time.
_RUNS = 200

T = TypeVar("T")


class S3Adapter(MergingAdapter):
    """Keeps changes as objects; readers fold them.

    Nothing is overwritten: an object's name says what is in it, and it is only written when it is not there. A run is
    found by one listing, a pipeline by one listing more for each of its runs.

    :param location: ``aws_s3||s3://bucket/prefix/``; the bucket must exist.
    :param conn_id: the Airflow connection.
    """

    keeps_owed = True
    keeps_history = True
    keeps_configs = True
    can_list = True

    def __init__(self, location: Location, conn_id: str | None = None) -> None:
        super().__init__(location.name)
        name, _, prefix = location.parts[0].removeprefix("s3://").partition("/")
        self.bucket = Bucket(name, f"{prefix}v1/", self._connect)
        self.conn_id: str = conn_id or DEFAULT_CONN_ID
        self._must_exist = conn_id is not None
        self._marked: set[str] = set()
        self._marked_until = 0.0
        self._order: list[tuple[str, str]] | None = None

    def load(self) -> None:
        """Import the hook and the driver."""
        import_client(self, "Amazon", "amazon", "boto3", "airflow.providers.amazon.aws.hooks.s3")

    def make_ready(self) -> None:
        """Make the client, which takes longer than to import it."""
        with self._explaining():
            self.bucket.make_ready()

    def apply(self, changes: Sequence[Change], *, owed: Sequence[str] = ()) -> None:
        """Write one object for each run that the changes belong to."""
        runs: dict[str, list[Change]] = {}
        for group in grouped(changes).values():
            runs.setdefault(layout.run_of(group[0]), []).extend(group)
        objects: dict[str, bytes] = {}
        if time.monotonic() > self._marked_until:
            self._marked, self._marked_until = set(), time.monotonic() + _BELIEVED
        for run, group in runs.items():
            objects.update((mark, b"") for mark in layout.marks_of(run, group) if mark not in self._marked)
            objects[f"runs/{run}/{layout.EVENTS}{layout.event_name(group)}"] = layout.written(group)
        with self._explaining():
            self.bucket.each(self._write, list(objects.items()))
            self._marked.update(name for name, body in objects.items() if not body)
            if owed:
                self.bucket.each(lambda item: self.bucket.put(*item), list(_owed_marks(changes, owed)))

    def read_tracking_records(self, pipeline_id: str) -> list[Record]:
        """Return all records of a pipeline."""
        found = self._records_marked(f"pipelines/{layout.part(pipeline_id)}/")
        return [record for record in found if record["pipeline_id"] == pipeline_id]

    def read_run(self, dag_id: str, run_id: str, pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records of a run."""
        del pipeline_ids
        found = self._records([f"{layout.part(dag_id)}/{layout.part(run_id)}"])
        return [record for record in found if (record["dag_id"], record["run_id"]) == (dag_id, run_id)]

    def read_record(self, record_id: str, pipeline_ids: Iterable[str] = ()) -> Record | None:
        """Return one record, or None."""
        del pipeline_ids
        lines = self._lines_of(record_id)
        return layout.records_of(lines)[0] if lines else None

    def read_unique(self, transfer_unique_id: str, pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records with the user's own id, once their attempt has begun."""
        del pipeline_ids
        found = self._records_marked(f"unique/{layout.part(transfer_unique_id)}/")
        return [record for record in found if record["transfer_unique_id"] == transfer_unique_id]

    def read_all(self) -> list[Record]:
        """Return every record."""
        return self._records(self._runs())

    def read_open_runs(self) -> list[Record]:
        """Return the records of all runs that are not known to be over."""
        return self._records_marked("open/")

    def read_records(self, record_ids: Sequence[str], pipeline_ids: Iterable[str] = ()) -> list[Record]:
        """Return the records with these ids, as far as they are known."""
        del pipeline_ids
        wanted = set(record_ids)
        found = self._records(_runs_of(wanted))
        return [record for record in found if record["record_id"] in wanted]

    def inventory(self, after: str, limit: int) -> list[Listed]:
        """Return the next records behind an id, in the order of the bytes of theirs; those of whole runs."""
        if not after or self._order is None:  # the names of runs sort otherwise than ids
            self._order = sorted(self._begins_of_ids(self._runs()))
        left = [run for begin, run in self._order if begin > after or after.startswith(begin)]
        found: list[Listed] = []
        while left and len(found) < limit:
            some, left = left[:_RUNS], left[_RUNS:]
            found += [one for one in layout.inventory_of(self._all_lines(some)) if one.record_id > after]
        return sorted(found)

    def owed_records(self, *, after: str = "", limit: int | None = None) -> list[Record]:
        """Return the records that another location lacks, in the order of their notes."""
        found: list[Record] = []
        while not found and (owed := self._owed(after, limit)):
            # Where a rule of the bucket removes old records, their notes stay; those behind them are still owed.
            records = self._records(_runs_of(owed))
            found = [{**r, "owed": owed[r["record_id"]]} for r in records if r["record_id"] in owed]
            after = max(owed, key=layout.owed_folder)
        return sorted(found, key=lambda record: layout.owed_folder(record["record_id"]))

    def count_owed(self) -> int:
        """Return how many records another location lacks."""
        with self._explaining():
            return len({layout.folder_of_note(name) for name in self.bucket.names("owed/")})

    def settle(self, record: Record, owed: Sequence[str]) -> None:
        """Note which locations still lack a record, unless it has changed since it was read."""
        self.settle_all([(record, owed)])

    def settle_all(self, settled: Sequence[tuple[Record, Sequence[str]]]) -> None:
        """Note for several records which locations still lack them."""
        ids = [record["record_id"] for record, _ in settled]
        with self._explaining():
            # Before the changes are read: a mark is written after the change that it is for.
            folders = [layout.owed_folder(record_id) for record_id in ids]
            marks = {name for names in self.bucket.each(self.bucket.names, folders) for name in names}
            events = layout.events_by_record(self._all_lines(_runs_of(ids)))
            done = [
                (name, layout.owed_mark(record["record_id"], owed) if owed else b"")
                for record, owed in settled
                if len(events.get(record["record_id"], ())) == record["record_version"]
                for name in layout.owed_names(record["record_id"], events[record["record_id"]])
                if name in marks
            ]
            self.bucket.each(lambda item: self.bucket.put(*item) if item[1] else self.bucket.delete(item[0]), done)

    def _owed(self, after: str, limit: int | None) -> dict[str, list[str]]:
        """Return which locations lack a record, by its id, of so many records at most."""
        with self._explaining():
            notes = (note["Name"] for note in self.bucket.behind("owed/", layout.end_of_notes(after)))
            some = itertools.islice(itertools.groupby(notes, layout.folder_of_note), limit)
            marks = self.bucket.each(self.bucket.get, [name for _, names in some for name in names])
        owed: dict[str, list[str]] = {}
        for mark in (json.loads(got["Content"]) for got in marks if got):
            # A chain is tried in its order, so the longer list of locations contains the shorter one.
            if len(mark["owed"]) > len(owed.get(mark["record_id"], [])):
                owed[mark["record_id"]] = mark["owed"]
        return owed

    def history(self, record_id: str) -> list[dict[str, Any]]:
        """Return the changes of a record, oldest first."""
        return [layout.event_of(line) for line in layout.distinct(self._lines_of(record_id))]

    def histories(self, record_ids: Sequence[str]) -> list[Event]:
        """Return the changes of several records."""
        wanted = set(record_ids)
        found = layout.distinct(self._all_lines(_runs_of(wanted)))
        return [layout.event_of(line) for line in found if line.change.record_id in wanted]

    def keep_config(self, version: ConfigVersion) -> None:
        """Keep a configuration, unless it is there."""
        body = json.dumps(config_row(version, native_times=False)).encode()
        with self._explaining():
            for name in sorted({version.pipeline_id, version.dag_id}):
                self.bucket.put(layout.config_name(name, version.config_hash), body, IfNoneMatch="*")

    def config_versions(self, pipeline_id: str) -> list[ConfigVersion]:
        """Return the configurations of a pipeline, in the order of their first use."""
        with self._explaining():
            kept = self.bucket.each(self.bucket.get, self.bucket.names(layout.config_name(pipeline_id)))
        found = [config_from_row(json.loads(got["Content"])) for got in kept if got]
        of_it = [version for version in found if pipeline_id in (version.pipeline_id, version.dag_id)]
        return sorted(of_it, key=lambda version: (version.first_used_at, version.config_hash))

    def prepare(self) -> None:
        """Make sure that the bucket is there. It is not made: a name that was misspelt is no new bucket."""
        self.check()

    def check(self) -> None:
        """Ask the bucket for one name."""
        with self._explaining():
            self.bucket.check()

    def check_writing(self) -> None:
        """Write an object and remove it."""
        with self._explaining():
            self.bucket.put("trial", b"pipetrack tries whether it may write here")
            self.bucket.delete("trial")

    def tidy(self) -> None:
        """Put each run that is over into one object, which makes it fast to read; nothing of its history is dropped."""
        until = time.monotonic() + _TIDY
        with self._explaining():
            # Marked anew by the next write: another process may have found a run to be over since.
            self._marked.clear()
            # Those that never end must not keep the others from their turn.
            for mark in sorted(self.bucket.list("open/"), key=lambda mark: mark["Age"]):
                if time.monotonic() < until:
                    self._put_together(mark["Name"].removeprefix("open/"), mark["Age"])

    def close(self) -> None:
        """Close the connections."""
        self.bucket.close()

    def abandon(self) -> None:
        """Shut the sockets of what is under way, so that threads that wait on them go on at once."""
        self.bucket.abandon()

    def _write(self, item: tuple[str, bytes]) -> None:
        name, body = item
        if body:
            # What is there already has the same content: its name says so.
            self.bucket.put(name, body, IfNoneMatch="*")
        else:
            # Tasks that begin at once write the same mark, and S3 lets only one of several conditions at a time hold.
            self.bucket.put(name, body)

    def _put_together(self, run: str, marked: timedelta) -> None:
        """Put a run into one object when it is over, or nothing more comes; and close it when it is over.

        :param marked: how long ago it was opened; its first object may still be on the way.
        """
        folder = f"runs/{run}/"
        # None where it was put together before it was over, or by a process that was killed before it closed it.
        events = [item for item in self.bucket.list(folder) if not item["Name"].endswith(layout.TOGETHER)]
        names = [item["Name"] for item in events]
        age = min((item["Age"] for item in events), default=marked)
        if age < QUIET or (age < GIVEN_UP and layout.is_under_way(names)):
            return
        before, version = self._together(folder)
        lines = layout.distinct([*before, *_flat(self.bucket.each(self._event_lines, names))])
        is_over = layout.is_over(layout.records_of(lines))
        if age < GIVEN_UP and not is_over:
            return
        if names and not self._replace(folder + layout.TOGETHER, layout.rewritten(lines), version):
            return
        self.bucket.each(self.bucket.delete, names)
        if is_over:  # as long as an attempt is open, whoever may close it has to find it
            self.bucket.delete(f"open/{run}")

    def _runs(self) -> list[str]:
        with self._explaining():
            return sorted({"/".join(name.split("/")[-2:]) for name in self.bucket.names("pipelines/")})

    def _begins_of_ids(self, runs: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield what the ids of each run's records begin with, and the run."""
        known = {run: layout.begin_of_ids(run) for run in runs}
        yield from ((begin, run) for run, begin in known.items() if begin is not None)
        cut = [run for run, begin in known.items() if begin is None]
        for some in (cut[at : at + _RUNS] for at in range(0, len(cut), _RUNS)):
            changes = [line.change for line in self._all_lines(some)]
            yield from {(layout.begin_of_id(change.record_id), layout.run_of(change)) for change in changes}

    def _replace(self, name: str, body: bytes, version: str | None) -> bool:
        """Write an object in place of one version of it; return False when another process has done the same."""
        condition = {"IfMatch": version} if version else {"IfNoneMatch": "*"}
        try:
            return self.bucket.put(name, body, **condition)
        except Exception as error:
            if code_of(error) == "ConditionalRequestConflict":
                return False
            raise

    def _records_marked(self, folder: str) -> list[Record]:
        with self._explaining():
            runs = [name.removeprefix(folder) for name in self.bucket.names(folder)]
        return self._records(runs)

    def _records(self, runs: Sequence[str]) -> list[Record]:
        """Return the records of runs; each is named ``<dag>/<run>``, in parts of a name."""
        return layout.records_of(self._all_lines(runs))

    def _all_lines(self, runs: Sequence[str]) -> list[layout.Line]:
        folders = [f"runs/{run}/" for run in runs]
        with self._explaining():
            listed = self.bucket.each(self.bucket.names, folders)
            together, loose = self._split(folders, listed)
            lines = self.bucket.each(self._event_lines, loose)
            # An object that has gone since it was listed is in its run's one object, which therefore is read last.
            gone = [_folder(name) for name, found in zip(loose, lines, strict=True) if found is None]
            rest = self.bucket.each(lambda folder: self._together(folder)[0], sorted({*together, *gone}))
        return [*_flat(lines), *_flat(rest)]

    @staticmethod
    def _split(folders: Sequence[str], listed: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
        """Return the runs that have been put together, and the names of all loose objects."""
        together = [folder for folder, names in zip(folders, listed, strict=True) if folder + layout.TOGETHER in names]
        return together, [name for names in listed for name in names if not name.endswith(layout.TOGETHER)]

    def _lines_of(self, record_id: str) -> list[layout.Line]:
        """Return the changes of one record; nothing when the text is no record id."""
        try:
            folder = f"runs/{layout.run_of_record(record_id)}/"
        except ValueError:
            return []
        who = layout.record_part(record_id)
        with self._explaining():
            names = self.bucket.names(folder)
            loose = self.bucket.each(self._event_lines, [name for name in names if layout.may_tell_of(name, who)])
            gone = any(found is None for found in loose)
            rest = self._together(folder)[0] if gone or folder + layout.TOGETHER in names else []
        return [line for line in [*rest, *_flat(loose)] if line.change.record_id == record_id]

    def _event_lines(self, name: str) -> list[layout.Line] | None:
        got = self.bucket.get(name)
        return None if got is None else self._lines(name, got)

    def _together(self, folder: str) -> tuple[list[layout.Line], str | None]:
        """Return the changes in a run's one object and the object's version; nothing when there is none."""
        got = self.bucket.get(folder + layout.TOGETHER)
        return ([], None) if got is None else (self._lines(folder + layout.TOGETHER, got), got["ETag"])

    def _lines(self, name: str, got: Mapping[str, Any]) -> list[layout.Line]:
        try:
            return layout.lines_of(got["Content"], got["LastModified"].astimezone(timezone.utc))
        except ValueError as error:
            key = f"s3://{self.bucket.bucket}/{self.bucket.root}{name}"
            text = f"{key} is not pipetrack's ({error}); remove it, or choose another prefix"
            raise StorageError(self.location, text, transient=False) from error

    def _connect(self) -> Any:
        own = self._own_client()
        if own is not None:
            return own
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        if self._must_exist:
            # The hook alone would go on without the connection, as whoever the machine happens to be.
            hook_of(self, S3Hook).get_connection(self.conn_id)
        return make_client(hook_of(self, S3Hook)(aws_conn_id=self.conn_id), LIMITS)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            if is_about_keys(error):
                self.close()  # Airflow is asked anew: its connection may have others by now
            raise explained(error, self.location, self.conn_id, self.bucket.bucket, self.bucket.root) from error


def _owed_marks(changes: Sequence[Change], owed: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for record_id, group in grouped(changes).items():
        name = layout.owed_folder(record_id) + layout.part(group[0].event_id)
        yield name, layout.owed_mark(record_id, owed)


def _runs_of(record_ids: Iterable[str]) -> list[str]:
    """Return the runs that records belong to."""
    return sorted({layout.run_of_record(record_id) for record_id in record_ids})


def _folder(name: str) -> str:
    """Return the folder of the run that an object belongs to."""
    return name.partition(layout.EVENTS)[0]


def _flat(parts: Iterable[Sequence[T] | None]) -> list[T]:
    return [item for found in parts for item in found or ()]
