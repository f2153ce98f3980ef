"""Metrics reach a statsd server through Airflow's own metrics, and the dashboard asks for what is sent."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import statsd_server

REPO = Path(__file__).resolve().parents[2]
DASHBOARD = REPO / "docs" / "grafana-dashboard.json"
PREFIX = "airflow.pipetrack."
#: A task process as far as metrics go: the task runner sets the SDK's up before it runs anything.
SCRIPT = """
import pathlib, sys
try:
    from airflow.sdk.observability.metrics import stats_utils
    from airflow.sdk.observability.stats import Stats
except ImportError:  # 3.1
    import airflow.stats
else:
    try:
        Stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=False)
    except TypeError:  # 3.2
        Stats.initialize(factory=stats_utils.get_stats_factory(Stats))
import airflow.sdk

from airflow_provider_pipetrack import TrackingStore, metrics
from airflow_provider_pipetrack.records.key import RecordKey
from airflow_provider_pipetrack.tracking.describe import audit_change, end_change, Outcome, verdict_change

home = sys.argv[1]

def ended(name, status, **more):
    base = {**RecordKey("orders", "r", name).columns(), "pipeline_id": "orders"}
    return verdict_change(base, Outcome(status, seconds=1.5, **more), by="task")

with TrackingStore([f"sqlite||{home}/a.db"], journal_dir=home) as store:
    store.submit([ended("load", "completed", records_succeeded=70, records_failed=3)], durable=True)
    store.submit([ended("clean", "failed"), ended("skip", "completed", decision="skipped: nothing new")], durable=True)
    store.submit([audit_change(ended("load", "pending"), "mismatched", {}, try_number=1, final=True)], durable=True)
    store.flush()
with TrackingStore(["local_file||/proc/no/file.json", f"sqlite||{home}/a.db"], journal_dir=home) as store:
    store.submit([ended("load", "completed")], durable=True)
    store.flush()
with TrackingStore(["local_file||/proc/no/file.json"], journal_dir=home) as store:
    store.submit([ended("load", "completed")], durable=True)
    store.flush()
metrics.gauge(metrics.WAITING, 5)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metrics")
    with statsd_server.running() as listening:
        env = {**os.environ, **listening.environment()}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder)], env=env, capture_output=True, text=True, timeout=100, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        listening.wait(f"{PREFIX}tracking.waiting")
        yield listening


def test_ends_are_counted_by_status(server):
    assert server.values(f"{PREFIX}transfers.completed", dag_id="orders", task_id="load") == [1, 1, 1]
    assert server.values(f"{PREFIX}transfers.failed", task_id="clean") == [1]
    assert server.values(f"{PREFIX}transfers.skipped", task_id="skip") == [1]


def test_durations_are_in_milliseconds(server):
    assert server.values(f"{PREFIX}transfers.duration", task_id="clean") == [1500]


def test_records_are_counted(server):
    assert server.values(f"{PREFIX}records.succeeded") == [70]
    assert server.values(f"{PREFIX}records.failed", task_id="load") == [3]


def test_audits_are_counted_by_result(server):
    assert server.values(f"{PREFIX}audits.mismatched", task_id="load") == [1]
    assert not server.values(f"{PREFIX}transfers.pending")


def test_deliveries_are_timed_and_counted_where_they_went_wrong(server):
    times = server.values(f"{PREFIX}tracking.delivery")
    assert len(times) >= 3
    assert all(0 < time < 60_000 for time in times)
    assert sum(server.values(f"{PREFIX}tracking.fallback_writes")) == 1
    assert sum(server.values(f"{PREFIX}tracking.undelivered")) == 1
    assert server.values(f"{PREFIX}tracking.waiting") == [5]


def test_the_dashboard_asks_for_numbers_that_exist():
    from airflow_provider_pipetrack import metrics

    known = {value for name, value in vars(metrics).items() if name.isupper() and isinstance(value, str)}
    words = {
        metrics.TRANSFERS: {"completed", "failed", "skipped"},
        metrics.AUDITS: {"matched", "mismatched", "pending"},
        metrics.ALERTS: {"sent", "waiting", "given_up"},
    }
    known |= {f"{name}.{word}" for name, ending in words.items() for word in ending}
    exported = {f"airflow_{name.replace('.', '_')}" for name in known}
    dashboard = json.loads(DASHBOARD.read_text())
    asked = set(re.findall(r"airflow_pipetrack_\w+", json.dumps(dashboard)))
    assert asked
    assert {re.sub(r"_(sum|count|bucket)$", "", name) for name in asked} <= exported


def test_the_dashboard_asks_for_quantiles_that_statsd_exporter_has_by_itself():
    asked = set(re.findall(r'quantile=\\"([\d.]+)\\"', DASHBOARD.read_text()))
    assert asked
    assert asked <= {"0.5", "0.9", "0.99"}


def test_a_plain_script_sends_nothing_and_loads_no_airflow():
    code = "import sys; from airflow_provider_pipetrack import metrics; metrics.count('x'); print('airflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
