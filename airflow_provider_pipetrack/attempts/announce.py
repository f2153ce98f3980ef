"""Make all transfers of a run visible as pending when its first tracked task starts."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.attempts.binding import Spec, binding_of, is_mapped
from airflow_provider_pipetrack.attempts.content import describe_announced
from airflow_provider_pipetrack.attempts.stores import store_for
from airflow_provider_pipetrack.compat import is_temporary
from airflow_provider_pipetrack.records.change import Change
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.records.openness import DISABLED
from airflow_provider_pipetrack.tracking.describe import pending_change

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.store import TrackingStore

log = logging.getLogger("airflow_provider_pipetrack.tracking")

_KEPT_DAYS = 7
_SWEEP_ABOVE = 2000


def announce_run(store: TrackingStore, dag: Any, context: Mapping[str, Any], *, asks_here: bool = False) -> None:
    """Write a pending record for each transfer of the run, once per host and run.

    Several first tasks of a run may start at once; announcing twice is harmless, so a marker file is enough.

    :param store: that of the task that announces them; others have their own.
    :param asks_here: True where only this thread may ask Airflow for the connections of the others.
    """
    run_id = context["run_id"]
    marker = _marker(dag.dag_id, run_id)
    if marker.exists() or is_temporary(run_id):  # whose other tasks never run
        return
    by_store: dict[int, tuple[TrackingStore, list[Change]]] = {id(store): (store, [])}
    for name, spec in binding_of(dag).specs.items():
        if dag.has_task(name) or not spec.transfer.transfer_enabled:
            target = store_for(spec)
            key = RecordKey(dag.dag_id, run_id, name, announced_index(dag, name, spec))
            by_store.setdefault(id(target), (target, []))[1].append(announced(spec, context, key))
    for target, changes in by_store.values():
        if changes:
            if asks_here and target is not store:
                target.hold_connections()
            target.submit(changes, durable=False)
    try:
        _mark(marker)
    except OSError as error:
        log.debug("this run will be announced again: %s", error)


def announced(spec: Spec, context: Mapping[str, Any], key: RecordKey) -> Change:
    """Return the change that announces one transfer of a run; a disabled one says so."""
    decision = None if spec.transfer.transfer_enabled else DISABLED
    return pending_change(describe_announced(spec, context, key), key, decision=decision)


def announced_index(dag: Any, name: str, spec: Spec) -> int:
    """Return the map index under which a transfer is announced.

    A mapped one, or one in a mapped group, is announced as its first index, so that no row is left over when its
    indexes appear.
    """
    return 0 if spec.transfer.expand or (dag.has_task(name) and is_mapped(dag, name)) else -1


def _marker(dag_id: str, run_id: str) -> Path:
    name = hashlib.sha256(f"{dag_id}\0{run_id}".encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return settings.state_dir() / "announced" / name


def _mark(marker: Path) -> None:
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    markers = list(marker.parent.iterdir())
    if len(markers) > _SWEEP_ABOVE:
        oldest = time.time() - _KEPT_DAYS * 86400
        for old in markers:
            if old.stat().st_mtime < oldest:
                old.unlink(missing_ok=True)
