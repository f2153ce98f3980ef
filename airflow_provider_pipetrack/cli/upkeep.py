"""Commands that keep the tracking in order."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

import click

from airflow_provider_pipetrack.cli.airflow_rest import (
    AirflowLogin,
    AirflowRest,
    AirflowUnreachableError,
    airflow_options,
)
from airflow_provider_pipetrack.cli.retiring import owed_outside, retire_chains, retired_names, say_uses
from airflow_provider_pipetrack.cli.shown import (
    location_option,
    opened_questions,
    opened_store,
    output_option,
    plural,
    print_json,
    print_table,
    progress_bar,
    took,
    warn_unreachable,
)

if TYPE_CHECKING:
    from airflow_provider_pipetrack.notifications.outbox import Standing
    from airflow_provider_pipetrack.tracking.health import Health
    from airflow_provider_pipetrack.tracking.reconcile import Summary
    from airflow_provider_pipetrack.tracking.store import TrackingStore

_LOCATION_TABLE = {
    "location": lambda row: row.name,
    "state": lambda row: row.state.value,
    "down since": lambda row: row.since,
    "owed to others": lambda row: row.owed or "",
    "only on this host": lambda row: row.host_local,
    "reason": lambda row: row.reason,
}


@click.command()
@click.argument("locations", metavar="LOCATION...", nargs=-1, required=True)
@output_option
def init(locations: Sequence[str], output: str) -> None:
    """Make the tables, collections or folders of each LOCATION; tables of an older version get what they lack.

    A LOCATION is written as in tracking_location, such as 'postgres@my_conn||tracking||public||pipeline_tracking'.
    """
    from airflow_provider_pipetrack.tracking.upkeep import upgrade_locations

    with opened_store(locations) as store, progress_bar("locations", len(locations), shown=output == "text") as bar:
        ready = upgrade_locations(store, bar)
    if output == "json":
        print_json([{"location": name, "added": added} for name, added in ready.items()])
        return
    for name, added in ready.items():
        click.echo(f"{name}: ready" + (f"; added {', '.join(added)}" if added else ""))


@click.command()
@click.option("--full", is_flag=True, help="Also compare all records of the locations, and try dead letters again.")
@click.option("--watch", is_flag=True, help="Do it again and again, until it is stopped.")
@click.option("--interval", type=click.FloatRange(1), default=60.0, show_default=True, help="Seconds between passes.")
@click.option("--adopt", metavar="HOST", help="Drain the journal of a host that is gone, from the same folder, too.")
@click.option(
    "--retire",
    metavar="LOCATION",
    multiple=True,
    help="A location that is gone for good, and that no tracking_location names any more, in pipeline files neither: "
    "nothing is owed to it any more. No record is removed anywhere.",
)
@click.option(
    "--from-log",
    type=click.File(errors="replace"),
    multiple=True,
    help="Take back the records that stand in a task's log, or in lost.ndjson, since nothing could keep them; may be "
    "given again.",
)
@airflow_options("Close attempts left open, by Airflow's REST API.")
@location_option
@output_option
def reconcile(
    interval: float,
    adopt: str | None,
    retire: Sequence[str],
    from_log: Sequence[TextIO],
    airflow: AirflowLogin | None,
    locations: Sequence[str],
    output: str,
    *,
    full: bool,
    watch: bool,
) -> None:
    """Deliver what waits on this host, and bring what fallbacks keep to the locations that lack it.

    Without --location this is done for the configured chain and for every other that was used on this host, and alerts
    that wait are sent. Exit code 1 when something still waits or is owed, 3 when nothing does but a location did not
    answer, and whenever Airflow was to be asked and did not. With --watch neither ends it, and only what was done or
    still waits is said.
    """
    if retire and watch:
        raise click.UsageError("--retire is done once; leave out --watch")
    for file in from_log:
        _take_back(locations, file)
    rest = AirflowRest(*airflow) if airflow else None
    with contextlib.suppress(KeyboardInterrupt) if watch else contextlib.nullcontext():
        while True:
            with _stores(locations) as stores:
                retired = retired_names(retire, stores[0])
                say_uses(stores, retired)
                summary = _reconciled(stores, adopt, output, retired, full=full)
                retire_chains(stores, retired, summary)
                outside = owed_outside(stores, summary)
                closed = _closed(stores, rest, summary.unreachable, whole_host=not locations)
                silent = _silent(stores, summary)
            alerts = None if locations else _alerted()
            _print_summary(summary, closed, alerts, output, quiet=watch or bool(silent))
            for text in outside:
                click.echo(text, err=True)
            failure = rest.failure if rest else None
            if failure is not None:
                click.echo(f"Not asked: {failure}", err=True)
            if not watch:
                left = any(_left(summary, alerts or {}).values())
                raise SystemExit(3 if failure else 1 if left else 3 if silent else 0)
            time.sleep(interval)


@click.command()
@location_option
@output_option
def doctor(locations: Sequence[str], output: str) -> None:
    """Say how the tracking of this host is: locations, what waits, alerts, and what holds when something dies.

    Exit code 1 when something needs a person.
    """
    from airflow_provider_pipetrack import settings
    from airflow_provider_pipetrack.notifications.outbox import Outbox
    from airflow_provider_pipetrack.tracking.health import health

    with opened_questions(locations) as questions:
        found = health(*questions.stores, writing=True)
        is_default = not locations and _is_default(questions.store)
        warn_unreachable(questions.left_out)
    alerts = Outbox(settings.alerts_dir()).standing()
    # That a host's loss loses its records is how a chain on one host is; all the rest is to be mended.
    holds = all(guarantee.holds or guarantee.against == "host loss" for guarantee in found.guarantees)
    is_well = found.is_well and alerts.is_well and holds
    if output == "json":
        letters = [letter.as_dict() for letter in found.dead_letters]
        print_json(
            {
                **asdict(found),
                "dead_letters": letters,
                "alerts": asdict(alerts),
                "is_well": is_well,
                "nothing_configured": is_default,
            }
        )
    else:
        _print_health(found, alerts, is_default=is_default)
    raise SystemExit(0 if is_well else 1)


@contextmanager
def _stores(locations: Sequence[str]) -> Iterator[list[TrackingStore]]:
    from airflow_provider_pipetrack.tracking.upkeep import stores_of_host

    if locations:
        with opened_store(locations) as store:
            yield [store]
    else:
        with opened_store(()):
            yield stores_of_host()


def _take_back(locations: Sequence[str], file: TextIO) -> None:
    from airflow_provider_pipetrack.tracking.losses import lost_in

    found = list(lost_in(file.read()))
    with opened_store(locations) as store:
        if not store.submit(found, durable=True) and not store.flush():
            raise click.ClickException(f"{file.name}: the records can be kept nowhere now, either")
    click.echo(f"{file.name}: {plural(len(found), 'change')} taken back", err=True)


def _reconciled(
    stores: Sequence[TrackingStore], adopt: str | None, output: str, retired: set[str], *, full: bool
) -> Summary:
    from airflow_provider_pipetrack.tracking.reconcile import Summary

    total = Summary()
    with progress_bar(shown=output == "text") as progress:
        for store in stores:
            done = store.reconcile(full=full, adopt_host=adopt, progress=progress, retired=retired)
            total.add_outside(done.owed_outside)
            for name in ("drained", "healed", "copied", "revived", "still_owed", "retired"):
                setattr(total, name, getattr(total, name) + getattr(done, name))
            # Every pass looks at the same journal; what the first one has set aside is gone from it.
            total.waiting, total.dead = done.waiting, max(total.dead, done.dead)
            total.unreachable.update(done.unreachable)
    return total


def _silent(stores: Sequence[TrackingStore], summary: Summary) -> dict[str, str]:
    """Return who should have answered and did not; a storage that can list nothing has answered all the same."""
    from airflow_provider_pipetrack.tracking.reading import silent_among
    from airflow_provider_pipetrack.tracking.reconcile import SIMPLE_STORAGE_SAYS

    failures = {name: reason for name, reason in summary.unreachable.items() if reason not in SIMPLE_STORAGE_SAYS}
    return silent_among((leg for store in stores for leg in store.legs), failures)


def _closed(
    stores: Sequence[TrackingStore], airflow: AirflowRest | None, unreachable: dict[str, str], *, whole_host: bool
) -> int | None:
    """Close what Airflow has decided about, and return how much that was; None when it was not asked.

    An Airflow that does not answer keeps that in mind itself.

    :param whole_host: whether to look after all that processes of this host have left, along whichever chain.
    """
    if airflow is None:
        return None
    from airflow_provider_pipetrack.attempts.closing import close_stale
    from airflow_provider_pipetrack.attempts.dead import close_dead_of_host

    try:
        airflow.log_in()
    except AirflowUnreachableError:
        return None
    dead = close_dead_of_host(stores, airflow.states) if whole_host else 0
    return dead + close_stale(stores, airflow.states, unreachable=unreachable)


def _alerted() -> dict[str, int]:
    """Send the alerts that wait, and return what became of them."""
    from airflow_provider_pipetrack import settings
    from airflow_provider_pipetrack.notifications.outbox import Outbox

    if not Outbox(settings.alerts_dir()).waiting():  # to send needs Airflow, which takes seconds to load
        return {"sent": 0, "waiting": 0, "given_up": 0}
    from airflow_provider_pipetrack.notifications.alerts import retry_alerts

    return vars(retry_alerts())


def _print_summary(
    summary: Summary, closed: int | None, alerts: dict[str, int] | None, output: str, *, quiet: bool
) -> None:
    if output == "json":
        print_json({**asdict(summary), "closed": closed, "alerts": alerts})
        return
    alerts = alerts or {}
    done = {
        plural(summary.drained, "change") + " delivered from the journal": summary.drained,
        plural(summary.healed, "record") + " brought home": summary.healed,
        plural(summary.copied, "record") + " copied where missing": summary.copied,
        plural(summary.revived, "dead letter") + " taken after all": summary.revived,
        plural(summary.retired, "debt") + " to a retired location dropped": summary.retired,
        plural(closed or 0, "attempt") + " closed by Airflow's word": closed,
        plural(alerts.get("sent", 0), "alert") + " sent": alerts.get("sent"),
    }
    told = [what for what, number in {**done, **_left(summary, alerts)}.items() if number]
    if told or not quiet:
        click.echo("; ".join(told) or "nothing to do")
    warn_unreachable(summary.unreachable)


def _left(summary: Summary, alerts: Mapping[str, int]) -> dict[str, int]:
    """Return what a pass has left behind, in words, with its number."""
    waiting, given_up = alerts.get("waiting", 0), alerts.get("given_up", 0)
    return {
        plural(summary.waiting, "change") + " still waiting": summary.waiting,
        plural(summary.still_owed, "record") + " still owed": summary.still_owed,
        plural(summary.dead, "dead letter"): summary.dead,
        plural(waiting, "alert") + " still waiting": waiting,
        plural(given_up, "alert") + " given up after days of tries": given_up,
    }


def _is_default(store: TrackingStore) -> bool:
    from airflow_provider_pipetrack import settings

    return store.shown_locations == [settings.default_location()]


def _print_health(found: Health, alerts: Standing, *, is_default: bool) -> None:
    chains = {"chain": lambda row: row.chain} if any(row.chain > 1 for row in found.locations) else {}
    print_table(f"Locations, seen from {found.host}", {**chains, **_LOCATION_TABLE}, found.locations)
    if is_default:
        click.echo(
            "No tracking_location is set: records are in SQLite under AIRFLOW_HOME, which only this host sees. With "
            "workers on several hosts, name a location that all of them reach."
        )
    age = f", the oldest for {took(found.oldest_seconds)}" if found.oldest_seconds is not None else ""
    click.echo(f"Journal {found.journal_folder}: {plural(found.undelivered, 'change')} undelivered{age}")
    for host, number in found.other_hosts.items():
        click.echo(f"Journal of {host}, beside it: {plural(number, 'change')} undelivered; --adopt takes them over")
    for letter in found.dead_letters:
        click.echo(f"Dead letter of {letter.at}: {letter.reason}")
    if alerts.waiting:
        age = took(round(alerts.oldest_seconds or 0))
        click.echo(f"{plural(alerts.waiting, 'alert')} to be sent, the oldest for {age}, in {alerts.folder}")
    if alerts.given_up:
        click.echo(f"{plural(alerts.given_up, 'alert')} given up after days of tries, in {alerts.folder}")
    if alerts.last_error:
        click.echo(f"The last one that was tried {alerts.last_error}")
    if found.lost:
        click.echo(_lost(found))
    if found.unnoted:
        told = plural(found.unnoted, "change")
        click.echo(f"{told} in a fallback alone, of which nobody has a note: run pipetrack reconcile --full")
    for guarantee in found.guarantees:
        click.echo(f"{'yes' if guarantee.holds else 'NO '}  after {guarantee.against}: {guarantee.sentence}")


def _lost(found: Health) -> str:
    """Return how much could be kept nowhere, where it stands, and what to do with that."""
    from airflow_provider_pipetrack.tracking.losses import counter_of, list_of

    give, remove = "task logs with 'pipetrack could not keep'", str(counter_of(found.journal_folder))
    if (listed := list_of(found.journal_folder)).exists():  # a full disk may have taken none
        give, remove = f"{listed}, which lists them, or what it lacks from {give}", f"it and {remove}"
    return (
        f"{plural(found.lost, 'record')} could not be kept anywhere: give {give} to reconcile --from-log, then "
        f"remove {remove}, which counts them"
    )
