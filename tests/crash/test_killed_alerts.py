"""A process that is killed while it sends an alert loses none, and tells nobody twice that it knows to have told."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from airflow_provider_pipetrack.notifications.alerts import Retried, retry_alerts
from tests import mail_server

#: Raises alerts about several attempts, says so, and then waits for the mail server until it is killed.
SCRIPT = """
import sys, time
from airflow_provider_pipetrack.notifications.alerts import raise_alert
from airflow_provider_pipetrack.notifications.targets import AlertTargets
from airflow_provider_pipetrack.records.key import RecordKey

for number in range(1, 6):
    key = RecordKey("orders", "r", "load", -1, number)
    raise_alert(AlertTargets(("team@example.com",)), "failed", {**key.columns(), "pipeline_id": "orders"})
print("raised", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("is_down", [True, False], ids=["server hangs", "server answers"])
def test_alerts_of_a_killed_process_are_sent_once(tmp_path, monkeypatch, is_down):
    monkeypatch.setenv("AIRFLOW__PIPETRACK__JOURNAL_DIR", str(tmp_path))
    with mail_server.running() as server, mail_server.hanging() as hung:
        first = mail_server.connection(hung) if is_down else server.connection()
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, env={**os.environ, "AIRFLOW_CONN_SMTP_DEFAULT": first}
        )  # fmt: skip
        assert process.stdout.readline() == b"raised\n"
        if not is_down:
            server.wait(5, timeout=60)
            waiting = tmp_path / "_alerts" / "waiting"
            while any(waiting.glob("*.json")):  # the last note of what was sent follows the mail
                assert process.poll() is None
        process.kill()
        process.wait(10)
        process.stdout.close()
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", server.connection())
        assert retry_alerts() == Retried(sent=5 if is_down else 0)
        assert retry_alerts() == Retried()
        assert len({mail["Message-ID"] for mail in server.wait(5)}) == len(server.mails) == 5
