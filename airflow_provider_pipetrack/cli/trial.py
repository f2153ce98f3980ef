"""Run a pipeline file once, in an AIRFLOW_HOME of its own, with tracking of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_pipetrack import settings
from airflow_provider_pipetrack.config import PipelineConfig
from airflow_provider_pipetrack.errors import TrialError, TrialSetupError
from airflow_provider_pipetrack.tracking.questions import Questions
from airflow_provider_pipetrack.tracking.store import TrackingStore

_LOADER = """\
# Airflow Dag loader: the one pipeline that is tried
from pathlib import Path

from airflow_provider_pipetrack.cli.trial import trial_dag

dag = trial_dag(Path({path!r}))
"""
_STATE = "pipetrack: the run ended as "
#: What every transfer of a trial has instead of its own.
_OF_A_TRIAL = {
    "tracking_location": (),
    "retry_delay": timedelta(seconds=1),
    "transfer_process_email_alerts": (),
}
#: Seconds that making the metadata database may take.
_SETUP_LIMIT = 300.0
#: Seconds between two looks at how far it is.
_LOOK_ON = 1.0


@dataclass(frozen=True)
class Trial:
    """How a trial went.

    :param state: Airflow's state of the run.
    :param location: where its records are.
    :param log: what Airflow and the transfers printed.
    """

    dag_id: str
    state: str
    location: str
    log: Path


def run_trial(
    file: Path, home: Path, *, limit: float, logical_date: datetime | None = None, progress: Callable[[int], None]
) -> Trial:
    """Run a pipeline file once and say how it went; its records go into ``home``, wherever the file sends them.

    :param home: an empty folder, which becomes AIRFLOW_HOME; Airflow connections come from the environment.
    :param limit: seconds after which it is broken off.
    :param progress: called every second with how many transfers are completed.
    :raises ConfigError: when the file has mistakes.
    :raises TrialSetupError: when Airflow cannot be set up.
    :raises TrialError: when the run takes longer or ends before its state is known.
    """
    config = PipelineConfig.from_file(file)
    location = f"sqlite||{home / 'tracking.db'}||pipeline_tracking"
    dags = home / "dags"
    dags.mkdir(parents=True)
    (dags / "loader.py").write_text(_LOADER.format(path=str(file.resolve())), encoding="utf-8")
    environment = settings.child_environment(
        AIRFLOW_HOME=str(home),
        AIRFLOW__CORE__DAGS_FOLDER=str(dags),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__UNIT_TEST_MODE="False",
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{home / 'airflow.db'}",
        AIRFLOW__PIPETRACK__TRACKING_LOCATION=location,
        AIRFLOW__PIPETRACK__MODE="fallback",
        AIRFLOW__PIPETRACK__JOURNAL_DIR=str(home / "journal"),
    )
    log = home / "trial.log"
    setup = [sys.executable, "-m", "airflow", "db", "migrate"]
    try:
        _run(setup, environment, log, _SETUP_LIMIT, "set up Airflow")
    except TrialError as error:
        raise TrialSetupError(str(error)) from None
    date = logical_date.isoformat() if logical_date else ""
    command = [sys.executable, "-m", "airflow_provider_pipetrack.cli.trial", str(file.resolve()), date]
    with TrackingStore([location], journal_dir=home / "looking-on") as store:
        _run(command, environment, log, limit, "run the pipeline", lambda: progress(_completed(store)))
    return Trial(config.dag_id, _state_in(log), location, log)


def trial_dag(file: Path) -> Any:
    """Return the Dag of a pipeline file with tracking of its own, retries at once, and no alerts.

    It has no deadline either, of which people would be told; Airflow 3.3 does not run one with it by ``dag.test()``.
    """
    from airflow_provider_pipetrack.cli.check import make_importable
    from airflow_provider_pipetrack.dag.factory import build_dag

    make_importable([file])
    config = PipelineConfig.from_file(file)
    rows = tuple(row.model_copy(update=_OF_A_TRIAL) for row in config.stage_transfers)
    tracking = config.tracking.model_copy(update={"conn_id": None, "mode": None})
    dag = config.dag.model_copy(update={"deadline": None})
    changed = {"stage_transfers": rows, "alerts": (), "tracking": tracking, "dag": dag}
    return build_dag(config.model_copy(update=changed))


def _state_in(log: Path) -> str:
    """Return the state that the run ended in; a transfer may have printed whatever it liked before."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    states = [line.removeprefix(_STATE) for line in lines if line.startswith(_STATE)]
    return states[-1] if states else "unknown"


def _completed(store: TrackingStore) -> int:
    return Questions(store).ask("transfers", status="completed", limit=1).total


def _run(
    command: list[str],
    environment: dict[str, str],
    log: Path,
    limit: float,
    what: str,
    look_on: Callable[[], None] = lambda: None,
) -> None:
    until = time.monotonic() + limit
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  this Python, with our own arguments
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while (code := _waited(process, min(_LOOK_ON, until - time.monotonic()))) is None:
                if time.monotonic() >= until:
                    raise TrialError(f"could not {what} within {limit:g} s; see {log}")
                look_on()
        finally:
            # What it has started goes with it: a task that is broken off must not go on unseen.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if code != 0:
        raise TrialError(f"could not {what}; see {log}")


def _waited(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def _main() -> None:
    """Run the Dag in this process, which has an AIRFLOW_HOME of its own."""
    from airflow_provider_pipetrack.compat import keep_api_of_test_runs

    keep_api_of_test_runs()
    file, date = sys.argv[1:]
    dag = trial_dag(Path(file))
    run = dag.test(**({"logical_date": datetime.fromisoformat(date)} if date else {}))
    print(f"\n{_STATE}{run.state}", flush=True)


if __name__ == "__main__":
    _main()
