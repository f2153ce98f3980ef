"""Run the demo pipeline in a real Airflow and print what pipetrack recorded.

python demo/run.py          run the pipeline once, print the tracking table, stop
python demo/run.py --ui     start Airflow with the same folder and keep it running
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sqlite3
import sys
import threading
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from airflow_provider_pipetrack import ConfigError, PipelineConfig  # noqa: E402
from demo.airflow_process import AirflowStack  # noqa: E402

PIPELINE = HERE / "dags" / "orders.yaml"
WORK = HERE.parent / ".demo"
COLUMNS = (
    "task_id AS transfer",
    "retry_attempt_number + 1 AS attempt",
    "transfer_status AS status",
    "actual_duration AS took",
    "records_succeeded AS ok",
    "records_failed AS failed",
    "coalesce(audit_result, '') AS audit",
    "trim(coalesce(error_message, '') || char(10) || coalesce(decision, ''), char(10)) AS remark",
    "transfer_process_owner_name AS owner",
)


def prepare() -> str:
    """Put the pipeline, its functions and its data where Airflow finds them; keep what earlier runs recorded.

    :return: the id of its Dag, which the file may say as it likes.
    :raises SystemExit: with everything that is wrong in the file, for which Airflow would be waited for in vain.
    """
    try:
        dag_id = PipelineConfig.from_file(PIPELINE).dag_id
    except ConfigError as error:
        sys.exit(str(error))
    for folder in ("dags", "data"):
        shutil.rmtree(WORK / folder, ignore_errors=True)
        shutil.copytree(PIPELINE.parents[1] / folder, WORK / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return dag_id


def stack() -> AirflowStack:
    """Return an Airflow that lives in the demo's folder."""
    return AirflowStack(home=WORK / "airflow", dags=WORK / "dags")


def demo() -> int:
    """Run the pipeline to its end and print what was recorded."""
    dag_id = prepare()
    print("Starting Airflow (its first start takes a minute) …", flush=True)
    with stack() as airflow:
        airflow.wait_dag(dag_id)
        airflow.unpause(dag_id)
        run_id = airflow.trigger(dag_id)
        print(f"Airflow is up; running {dag_id}, run {run_id} …", flush=True)
        state = airflow.wait_run(dag_id, run_id, timeout=240)
        show(run_id)
    print(f"\nThe run ended as: {state}")
    print_paths()
    return 0 if state == "success" else 1


def show(run_id: str) -> None:
    """Print the run's tracking records and audit results as tables."""
    order = "ORDER BY transfer_order_number, retry_attempt_number"
    table(
        "Tracking records of this run",
        f"SELECT {', '.join(COLUMNS)} FROM pipeline_tracking WHERE run_id = ? {order}",
        run_id,
    )
    table(
        "Audits of this run",
        "SELECT task_id AS transfer, audit_result AS result, audit_metadata AS evidence FROM pipeline_tracking "
        f"WHERE run_id = ? AND audit_result IS NOT NULL {order}",
        run_id,
    )


def table(title: str, query: str, run_id: str) -> None:
    """Print the rows of a query."""
    from rich.console import Console
    from rich.table import Table

    with closing(sqlite3.connect(tracking_database())) as database:
        rows = database.execute(query, (run_id,))
        printed = Table(title=title, title_justify="left", show_lines=True)
        for column in rows.description:
            printed.add_column(column[0])
        for row in rows:
            printed.add_row(*("" if value is None else str(value) for value in row))
    console = Console()
    # A pipe or a CI log has no width of its own.
    Console(width=console.width if console.is_terminal else 160).print(printed)


def tracking_database() -> Path:
    """Return the file where pipetrack keeps its records when nothing is configured."""
    return WORK / "airflow" / "pipetrack" / "tracking.db"


def print_paths() -> None:
    """Print where everything is."""
    print(f"Pipeline file:    {PIPELINE} (change it and run it again; Airflow reads a copy)")
    print(f"Tracking records: {tracking_database()} (table pipeline_tracking)")
    print(f"The data itself:  {WORK / 'warehouse.db'}")
    print("Next:             make ui   opens the same pipeline in Airflow")


def ui() -> int:
    """Keep Airflow running until Ctrl-C."""
    dag_id = prepare()
    print("Starting Airflow …", flush=True)
    with stack() as airflow:
        airflow.wait_dag(dag_id)
        airflow.unpause(dag_id)
        print(f"Airflow:  {airflow.url}\nLogin:    {airflow.login}\nStop:     Ctrl-C", flush=True)
        stopped = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        stopped.wait()
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ui", action="store_true", help="start Airflow with the demo's folder and keep it running")
    sys.exit(ui() if parser.parse_args().ui else demo())
