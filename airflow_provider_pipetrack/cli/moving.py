"""Commands that take tracking data elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from airflow_provider_pipetrack.cli.shown import (
    location_option,
    opened_store,
    opened_stores,
    output_option,
    plural,
    print_json,
    progress_bar,
    warn_unreachable,
)


@click.command()
@click.argument("source")
@click.argument("target")
@output_option
def copy(source: str, target: str, output: str) -> None:
    """Copy all tracking data from location SOURCE to location TARGET, and read it back.

    It can be stopped and begun again. Exit code 1 when a record is not the same in both after all.
    """
    from airflow_provider_pipetrack.tracking.moving import copy_records

    with opened_store([source]) as giver, opened_store([target]) as taker, progress_bar(shown=output == "text") as bar:
        done = copy_records(giver, taker, bar)
    if output == "json":
        print_json(asdict(done))
    else:
        click.echo(
            f"{plural(done.records, 'record')} in the source: {done.copied:,} copied, the rest was there; "
            f"{plural(done.events, 'change')} of history, {plural(done.configs, 'configuration')} copied"
        )
        if done.newer:
            click.echo(f"{plural(done.newer, 'record')} of the target are newer and were kept")
        click.echo(f"SHA-256 of the records: source {done.source_hash}, target {done.target_hash}")
        if done.source_history_hash:
            click.echo(f"SHA-256 of the history: source {done.source_history_hash}, target {done.target_history_hash}")
        else:
            click.echo("No history was copied: the source or the target keeps none")
        for record_id in done.differing:
            click.echo(f"Differs: {record_id}", err=True)
    raise SystemExit(1 if done.differing else 0)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(["ndjson", "csv"]), default="ndjson", help="Form of the files.")
@click.option("--pipeline", help="Only this pipeline.")
@click.option("--verify", "verifying", is_flag=True, help="Check an export that is there, offline; write nothing.")
@location_option
@output_option
def export(
    folder: Path, form: str, pipeline: str | None, locations: Sequence[str], output: str, *, verifying: bool
) -> None:
    """Write all records and their history into FOLDER, with a manifest of counts and SHA-256 hashes.

    They are those of every chain that is known here, as the manifest names them; a record that stands in several is
    written once.

    Exit code 1 when an export that is verified is not as it was written, 3 when a location could not be read.
    """
    from airflow_provider_pipetrack.tracking.export import export as write
    from airflow_provider_pipetrack.tracking.export import verify

    if verifying:
        wrong = verify(folder)
        if output == "json":
            print_json({"problems": wrong})
        else:
            click.echo("\n".join(wrong) or f"{folder} is as it was exported")
        raise SystemExit(1 if wrong else 0)
    with opened_stores(locations, every=True) as (stores, left_out), progress_bar(shown=output == "text") as bar:
        manifest = write(stores, folder, form, bar, pipeline, left_out)
    if output == "json":
        print_json(manifest)
    else:
        for name, facts in manifest["files"].items():
            click.echo(f"{folder / name}: {plural(facts['rows'], 'row')}, SHA-256 {facts['sha256']}")
        for name in manifest["without_history"]:
            click.echo(f"{name} keeps no history")
    warn_unreachable(manifest["unreachable"])
    raise SystemExit(3 if manifest["unreachable"] else 0)
