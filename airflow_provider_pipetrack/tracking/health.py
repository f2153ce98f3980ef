"""How the tracking of this host is: what waits, where, why, and which guarantees hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.errors import StorageError
from airflow_provider_pipetrack.records.change import utc_now
from airflow_provider_pipetrack.tracking.dead_letters import DeadLetter, DeadLetters
from airflow_provider_pipetrack.tracking.journal import FOLDER_MODE, MAX_FOLDER, journal_size
from airflow_provider_pipetrack.tracking.leg import Leg
from airflow_provider_pipetrack.tracking.losses import lost_on_host, unnoted_on_host
from airflow_provider_pipetrack.tracking.reading import check_visible, waiting_changes
from airflow_provider_pipetrack.tracking.waiting import journals

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.store import TrackingStore

#: Seconds that one location may take to give a sign of life.
ASK_LIMIT = 3.0

_IN_MEMORY = ("tmpfs", "ramfs")
_OVER_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.s3fs", "glusterfs", "ceph", "lustre")
_OF_A_CONTAINER = ("overlay", "aufs")


class LocationState(str, Enum):
    """How a location is."""

    UP = "up"
    DOWN = "down"
    LEFT_ALONE = "left alone"
    NOT_VISIBLE = "not visible here"


@dataclass(frozen=True)
class LocationHealth:
    """One location of the chain.

    :param name: the location, without secrets.
    :param chain: number of the chain that it is in, from 1.
    :param state: ``up``, ``down``, ``left alone`` (it did not answer a moment ago, and nobody asks it for a while) or
        ``not visible here`` (what stands in it belongs to another host).
    :param reason: why it is not up; empty when it is.
    :param host_local: whether only this host can see what is stored.
    :param owed: how many records it holds that another location lacks; None when it cannot say.
    :param since: since when nobody on this host has had an answer; None when it answers, or answers that it cannot.
    """

    name: str
    chain: int
    state: LocationState
    reason: str
    host_local: bool
    owed: int | None
    since: datetime | None = None


@dataclass(frozen=True)
class Guarantee:
    """What holds when something dies.

    :param against: ``process kill``, ``power loss`` or ``host loss``.
    :param holds: whether it does here.
    :param sentence: what is kept, or why it is not and what to do.
    """

    against: str
    holds: bool
    sentence: str


@dataclass(frozen=True)
class Health:
    """The tracking of one host.

    :param host: its name.
    :param journal_folder: where its journal is.
    :param undelivered: changes that wait in its journal.
    :param oldest_seconds: age of the oldest of them, in seconds; None when there is none.
    :param other_hosts: changes that wait in the journals of other hosts beside this one's, by host.
    :param dead_letters: entries that no location takes.
    :param lost: records that neither the journal nor a location could keep; each stands whole in a log.
    :param unnoted: changes that a fallback has alone and nobody has noted; only a full reconcile brings them home.
    :param locations: the locations of the chains, each once, in their order.
    :param guarantees: what holds when something dies.
    """

    host: str
    journal_folder: Path
    undelivered: int
    oldest_seconds: float | None
    other_hosts: dict[str, int]
    dead_letters: list[DeadLetter]
    lost: int
    unnoted: int
    locations: list[LocationHealth]
    guarantees: list[Guarantee]

    @property
    def is_well(self) -> bool:
        """Whether nothing needs a person: a location answers and none refuses, nothing is dead, lost or left behind.

        A file that this host does not have is no trouble beside a location that answers: a fallback that was never
        needed here has none.
        """
        states = {location.state for location in self.locations}
        return (
            LocationState.UP in states
            and states <= {LocationState.UP, LocationState.NOT_VISIBLE}
            and not (self.dead_letters or self.lost or self.unnoted or self.undelivered)
            and not any(self.other_hosts.values())
            and not any(location.owed for location in self.locations)
        )


def health(store: TrackingStore, *others: TrackingStore, writing: bool = False) -> Health:
    """Return how the tracking of this host and the chains of some stores are.

    Every location is asked, those of one chain one after another, for at most ``ASK_LIMIT`` seconds each.

    :param writing: True to ask whether each would take a record, too; False for a host that may only read.
    """
    folder = store.journal_folder
    undelivered, oldest = _waiting(folder)
    return Health(
        host=settings.host_name(),
        journal_folder=folder,
        undelivered=undelivered,
        oldest_seconds=None if oldest is None else max(0.0, (utc_now() - oldest).total_seconds()),
        other_hosts=_other_hosts(folder),
        dead_letters=DeadLetters(folder).read(),
        lost=lost_on_host(folder),
        unnoted=unnoted_on_host(folder),
        locations=_locations([store, *others], writing=writing),
        guarantees=guarantees(folder, *(one.legs for one in (store, *others))),
    )


def guarantees(folder: Path, *chains: Sequence[Leg]) -> list[Guarantee]:
    """Return what holds here when a process, the power or the host is lost.

    :param folder: the host's journal folder.
    :param chains: the chains, each with its locations.
    """
    trouble = _journal_trouble(folder)
    return [_process_kill(folder, trouble), _power_loss(folder, trouble), _host_loss(chains)]


def file_system(folder: Path) -> str:
    """Return the type of the file system that a folder is on, or an empty text when that is unknown."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        wanted = folder.resolve()
    except OSError:
        return ""
    best, kind = -1, ""
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = Path(left.split(" ")[4].replace("\\040", " "))
        if len(mount.parts) >= best and (mount == wanted or mount in wanted.parents):
            best, kind = len(mount.parts), right.split(" ")[0]
    return kind


def _kept(against: str, sentence: str) -> Guarantee:
    return Guarantee(against, holds=True, sentence=sentence)


def _broken(against: str, sentence: str) -> Guarantee:
    return Guarantee(against, holds=False, sentence=sentence)


def _process_kill(folder: Path, trouble: str) -> Guarantee:
    if trouble:
        return _broken(
            "process kill", f"{trouble}: a killed process loses what no location has confirmed; set journal_dir"
        )
    return _kept("process kill", f"a killed process loses nothing: every change is in {folder} first")


def _power_loss(folder: Path, trouble: str) -> Guarantee:
    kind = file_system(folder)
    if trouble:
        sentence = f"{trouble}: only what a location has confirmed is kept"
    elif kind in _IN_MEMORY:
        sentence = f"{folder} is in memory ({kind}): a restart loses what waits; set journal_dir to a disk"
    elif kind in _OF_A_CONTAINER:
        sentence = (
            f"{folder} is in a container's own layer ({kind}) and goes with the container; set journal_dir to a volume"
        )
    elif kind in _OVER_NETWORK:
        sentence = (
            f"{folder} is on a network file system ({kind}), whose locks and flushes cannot be relied on; "
            "set journal_dir to a local disk"
        )
    else:
        return _kept("power loss", f"ends, audits and decisions are flushed to {folder}; a start may be lost")
    return _broken("power loss", sentence)


def _host_loss(chains: Sequence[Sequence[Leg]]) -> Guarantee:
    remote = dict.fromkeys(leg.name for legs in chains for leg in legs if not leg.host_local)
    local = [legs for legs in chains if all(leg.host_local for leg in legs)]
    if not local:
        return _kept("host loss", f"what {' or '.join(remote)} has confirmed is kept; what waits here is lost")
    which = f"every location of the chain {', '.join(leg.name for leg in local[0])}" if remote else "every location"
    return _broken(
        "host loss",
        f"{which} is on this host: its records go with it, and other hosts do not see them; "
        "add a remote location to tracking_location",
    )


def _journal_trouble(folder: Path) -> str:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        full = journal_size(folder) > MAX_FOLDER
    except OSError as error:
        return f"the journal folder {folder} cannot be used ({error.strerror})"
    if not os.access(folder, os.W_OK):
        return f"the journal folder {folder} cannot be written"
    return f"the journal in {folder} is full" if full else ""


def _waiting(folder: Path) -> tuple[int, datetime | None]:
    """Return how many changes wait in a journal, which may be many, and since when the oldest does."""
    number, oldest = 0, None
    for change in waiting_changes(folder):
        number += 1
        oldest = change.at if oldest is None or change.at < oldest else oldest
    return number, oldest


def _other_hosts(folder: Path) -> dict[str, int]:
    others = ((name, path) for name, path in journals(folder).items() if path != folder)
    return {name: number for name, path in others if (number := _waiting(path)[0])}


def _locations(stores: Sequence[TrackingStore], *, writing: bool) -> list[LocationHealth]:
    """Ask all chains at the same time, so that one of which nothing answers keeps no other waiting."""
    chains: dict[Any, tuple[int, Leg]] = {}
    for number, store in enumerate(stores, 1):
        for leg in store.legs:
            chains.setdefault(leg.identity, (number, leg))
    with ThreadPoolExecutor(len(stores), "pipetrack: health") as pool:
        asked = [pool.submit(_location, number, leg, writing=writing) for number, leg in chains.values()]
        return [one.result() for one in asked]


def _location(chain: int, leg: Leg, *, writing: bool) -> LocationHealth:
    state, owed = LocationState.NOT_VISIBLE, None
    try:
        check_visible(leg)
        state = LocationState.LEFT_ALONE if leg.is_left_alone else LocationState.DOWN
        leg.call(lambda adapter: adapter.check(), ASK_LIMIT)
        if writing:
            leg.call(lambda adapter: adapter.check_writing(), ASK_LIMIT)
        owed = leg.call(lambda adapter: adapter.count_owed(), ASK_LIMIT, large=True) if leg.keeps_owed else None
    except StorageError as error:
        return LocationHealth(leg.name, chain, state, error.message, leg.host_local, owed, leg.down_since)
    return LocationHealth(leg.name, chain, LocationState.UP, "", leg.host_local, owed)
