"""What `reconcile --retire` does: locations that are gone for good, to which nothing is owed any more."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from airflow_provider_pipetrack.cli.shown import plural, took

if TYPE_CHECKING:
    from airflow_provider_pipetrack.tracking.reconcile import Summary
    from airflow_provider_pipetrack.tracking.store import TrackingStore


def retired_names(texts: Sequence[str], configured: TrackingStore) -> set[str]:
    """Return the names of locations that a person says are gone.

    :param configured: the store of the chain that is in use.
    :raises click.UsageError: when one of them is in that chain.
    """
    from airflow_provider_pipetrack.tracking.upkeep import name_of

    names = {name_of(text) for text in texts}
    in_use = sorted(names.intersection(leg.name for leg in configured.legs))
    if in_use:
        raise click.UsageError(f"--retire {in_use[0]}: this location is in use; take it out of tracking_location first")
    return names


def say_uses(stores: Sequence[TrackingStore], retired: set[str]) -> None:
    """Say when retired locations were used last: a pipeline file may still name one, and is not read here."""
    from airflow_provider_pipetrack.tracking.upkeep import uses_of

    for name in sorted(retired):
        if used := uses_of(name, stores):
            ago = took(round(max(0.0, time.time() - max(used))))
            click.echo(
                f"{name} was used on this host {ago} ago. Pipeline files are not read here: take it out of each that "
                "names it (tracking_location), else its next run uses it again",
                err=True,
            )


def retire_chains(stores: Sequence[TrackingStore], retired: set[str], summary: Summary) -> None:
    """Let the chains that are remembered go on without retired locations; say so when there was nothing to retire."""
    if not retired:
        return
    from airflow_provider_pipetrack.tracking.upkeep import retire_from_chains

    chains = retire_from_chains(stores, retired)
    if not (chains or summary.retired):
        names = ", ".join(sorted(retired))
        click.echo(f"Nothing was owed to {names}, and no chain of this host has it", err=True)


def owed_outside(stores: Sequence[TrackingStore], summary: Summary) -> list[str]:
    """Return, for each location that something is owed to and that no chain here has, what a person can do."""
    known = {leg.name for store in stores for leg in store.legs}
    return [
        f"{plural(number, 'record')} owed to {name}, which no chain of this host has: name it in tracking_location "
        f"again or, when it is gone for good, run this with --retire '{name}'"
        for name, number in sorted(summary.owed_outside.items())
        if name not in known
    ]
