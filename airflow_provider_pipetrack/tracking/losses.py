"""What was kept nowhere, or where nobody will look for it: counted, and said at ERROR.

A record that neither the journal nor a location could keep is written whole into the log, and, where the disk allows
that, into a list beside the counter, which people are shown and from which it is taken back as from a log. One that
stands in a fallback which can note no debts, while the journal could not be written, is brought home by comparing all
locations, where those that lack it can list what they have.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_pipetrack.records.change import Change, utc_now
from airflow_provider_pipetrack.tracking.journal import FOLDER_MODE

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.leg import Leg
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.delivery")

_KEEP = "Keep this line: "
_LOST, _LIST = "lost", "lost.ndjson"
#: Largest list, in bytes; beyond it, a loss is only counted and logged.
MAX_LIST = 10_000_000
_LIST_MODE = 0o660
_LONGEST_REASON = 1000
_UNNOTED = "unnoted-"


@dataclass(frozen=True)
class Loss:
    """A change that nothing could keep.

    :param at: when that was, UTC.
    :param process: the id of the process that had it.
    :param reason: why no location took it.
    """

    at: datetime
    process: int
    reason: str
    change: Change


class LossCounter:
    """Counts records that neither the journal nor any location could keep; they stand in the log instead."""

    def __init__(self) -> None:
        self.lost = 0

    def log(self, changes: Sequence[Change], failures: dict[str, str], folder: Path) -> None:
        """Write the records into the log, whole, so that they can be brought back by hand.

        :param folder: the host's journal folder, where the number is kept for ``pipetrack doctor``.
        """
        self.lost += len(changes)
        reason = "; ".join(f"{name}: {reason}" for name, reason in failures.items()) or "no location"
        _add_to(counter_of(folder), len(changes))
        for change in changes:
            log.error(
                "pipetrack could not keep this record anywhere (%d so far in process %d; %s). " + _KEEP + "%s",
                self.lost,
                os.getpid(),
                reason,
                json.dumps(change.to_json(), separators=(",", ":")),
            )
        _add_to_list(list_of(folder), changes, reason)


LOSSES = LossCounter()


def counter_of(folder: Path) -> Path:
    """Return the file that counts what a host could keep nowhere; who has taken care of that may remove it.

    :param folder: the host's journal folder.
    """
    return folder / _LOST


def list_of(folder: Path) -> Path:
    """Return the file that has the losses of a host whole, as far as the disk took them; it may go with the counter.

    :param folder: the host's journal folder.
    """
    return folder / _LIST


def losses_of(folder: Path) -> list[Loss]:
    """Return the losses of a host that are listed, the oldest first."""
    try:
        lines = list_of(folder).read_bytes().splitlines()
    except OSError:
        return []
    return [loss for line in lines if (loss := _loss(line)) is not None]


def lost_on_host(folder: Path) -> int:
    """Return how many records this host could keep nowhere, in all its processes together, since somebody looked."""
    return _size(counter_of(folder))


def lost_in(log_text: str) -> Iterator[Change]:
    """Yield the changes that a log holds since nothing could keep them; its lines may be text, or JSON as Airflow's."""
    for line in log_text.splitlines():
        if (listed := _loss(line)) is not None:
            yield listed.change
        elif _KEEP in line:
            try:
                change, _ = json.JSONDecoder().raw_decode(_event(line).partition(_KEEP)[2])
                yield Change.from_json(change)
            except (ValueError, KeyError, TypeError) as error:
                log.warning("pipetrack cannot read this line: %s: %.200s", error, line)


def _loss(line: str | bytes) -> Loss | None:
    """Return what a line of the list says; None for one of a log, and for one that a full disk has cut."""
    try:
        told = json.loads(line)
        moment = datetime.fromisoformat(told["at"])
        return Loss(moment, int(told["process"]), str(told["reason"]), Change.from_json(told["change"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # a log may hold anything
        return None


def _event(line: str) -> str:
    try:
        return str(json.loads(line)["event"])
    except (ValueError, KeyError, TypeError):
        return line


def log_unnoted(store: TrackingStore, number: int, failures: Mapping[str, str]) -> None:
    """Say that a fallback has changes which others lack, and that nothing but this will remember it.

    :param number: how many.
    :param failures: why the others did not take them, by name.
    """
    keeper = next((leg for leg in store.legs if leg.name not in failures), store.legs[-1])
    comparable = {leg.name for leg in store.legs if leg.can_list} if keeper.can_list else set()
    helped = [name for name in failures if name in comparable]
    if helped:
        _add_to(_unnoted_of(store), number)
        _say_unnoted(keeper, number, helped, "run pipetrack reconcile --full when all is well")
    if others := [name for name in failures if name not in comparable]:
        _say_unnoted(keeper, number, others, "only there they can be read")


def _say_unnoted(keeper: Leg, number: int, lacking: Sequence[str], advice: str) -> None:
    log.error(
        "pipetrack: %d changes stand in %s, which cannot note that %s lacks them: %s",
        number, keeper.name, ", ".join(lacking), advice,
    )  # fmt: skip


def unnoted_by(store: TrackingStore) -> int:
    """Return how many changes stand in a fallback of a chain alone, of which only a full reconcile knows."""
    return _size(_unnoted_of(store))


def unnoted_on_host(folder: Path) -> int:
    """Return the same for all chains of a host."""
    return sum(_size(path) for path in folder.glob(f"{_UNNOTED}*"))


def forget_unnoted(store: TrackingStore) -> None:
    """Note that all locations of a chain have the same now."""
    with suppress(OSError):
        _unnoted_of(store).unlink()


def _unnoted_of(store: TrackingStore) -> Path:
    chain = json.dumps(store.chain(), sort_keys=True)
    return store.journal_folder / f"{_UNNOTED}{hashlib.sha256(chain.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _size(counter: Path) -> int:
    try:
        return counter.stat().st_size
    except OSError:
        return 0


def _add_to(counter: Path, number: int) -> None:
    """Add to a file whose size is the count: appending needs no lock, and often works where a disk is full."""
    try:
        counter.parent.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        with counter.open("ab", buffering=0) as file:
            file.write(b"." * number)
    except OSError as error:
        log.warning("pipetrack cannot count this in %s: %s", counter, error)


def _add_to_list(path: Path, changes: Sequence[Change], reason: str) -> None:
    """Add changes to the list of losses. No lock is waited for: what is appended in one go stands together.

    :param path: the list, in a folder whose disk may be full or read-only.
    """
    told = {"at": utc_now().isoformat(), "process": os.getpid(), "reason": reason[:_LONGEST_REASON]}
    listed = [{**told, "change": change.to_json()} for change in changes]
    lines = "".join(json.dumps(loss, separators=(",", ":")) + "\n" for loss in listed)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _LIST_MODE)
        try:
            size = os.fstat(descriptor).st_size
            # A full disk, or a crash, may have cut the last line short.
            data = ("\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else "") + lines
            if size + len(data) <= MAX_LIST:
                os.write(descriptor, data.encode())
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        log.warning("pipetrack cannot list this in %s: %s", path, error)
