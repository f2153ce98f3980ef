"""Records that neither the journal nor any location could keep: counted, and written whole into the log."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.tracking.journal import FOLDER_MODE

log = logging.getLogger("airflow_provider_pipetrack.delivery")


class LossCounter:
    """Counts records that neither the journal nor any location could keep; they stand in the log instead."""

    def __init__(self) -> None:
        self.lost = 0

    def log(self, changes: Sequence[Change], failures: dict[str, str], folder: Path) -> None:
        """Write the records into the log, whole, so that they can be brought back by hand.

        :param folder: the host's journal folder, where the number is kept for ``pipetrack doctor``.
        """
        self.lost += len(changes)
        _add_to(counter_of(folder), len(changes))
        for change in changes:
            log.error(
                "pipetrack could not keep this record anywhere (%d so far in process %d; %s). Keep this line: %s",
                self.lost,
                os.getpid(),
                "; ".join(f"{name}: {reason}" for name, reason in failures.items()) or "no location",
                json.dumps(change.to_json(), separators=(",", ":")),
            )


LOSSES = LossCounter()


def counter_of(folder: Path) -> Path:
    """Return the file that counts what a host could keep nowhere; who has taken care of that may remove it.

    :param folder: the host's journal folder.
    """
    return folder / "lost"


def lost_on_host(folder: Path) -> int:
    """Return how many records this host could keep nowhere, in all its processes together, since somebody looked."""
    try:
        return counter_of(folder).stat().st_size
    except OSError:
        return 0


def _add_to(counter: Path, number: int) -> None:
    """Add to a file whose size is the count: appending needs no lock, and often works where a disk is full."""
    try:
        counter.parent.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        with counter.open("ab", buffering=0) as file:
            file.write(b"." * number)
    except OSError as error:
        log.warning("pipetrack cannot count the loss in %s: %s", counter, error)
