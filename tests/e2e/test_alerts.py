"""A running Airflow tells people by mail how their transfers went: the right things, and each once."""

from __future__ import annotations

from collections import Counter

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PIPELINE = """
user_functions: told_functions.py
alerts:
  - {notifier: told_functions.File, on: [mismatched], kwargs: {text: "{{ ti.task_id }} of {{ record.transfer_process_owner_name }}"}}
defaults:
  max_retry_attempts: 0
  audit_enabled: false
  transfer_process_owner_name: shop_team
  transfer_process_email_alerts: [team@example.com, ops@example.com]
stage_transfers:
  - name: fails
    stage_i_details: "<b>shop</b>"
    stage_i_plus_1_details: staging
    python_callable: fails
    max_retry_attempts: 1
    retry_delay: 1s
  - name: refused
    python_callable: half
    can_partial_data_be_collected: false
  - name: cannot_render
    operator: airflow.providers.standard.operators.bash.BashOperator
    operator_args: {bash_command: "{{ 1 / 0 }}"}
  - name: killed
    python_callable: killed
  - name: cannot_be_undone
    python_callable: fails
    rollback: fails
  - name: undone
    python_callable: fails
    rollback: works
  - name: mismatched
    audit_enabled: true
    audit: {function: mismatched}
  - name: warned
    audit_enabled: true
    audit: {function: mismatched, on_mismatch: warn}
  - name: audit_breaks
    audit_enabled: true
    audit: {function: breaks}
  - name: audit_killed
    audit_enabled: true
    audit: {function: killed_audit}
  - name: untracked
    tracking_location: ["postgres@tracking_down||db||public||pipeline_tracking"]
  - name: mapped
    python_callable: fails
    expand: {number: [1, 2]}
  - name: works
    python_callable: works
    audit_enabled: true
    audit: {function: matched}
  - name: skips
    python_callable: skips
  - name: retried
    python_callable: fails_once
    max_retry_attempts: 1
    retry_delay: 1s
"""
FUNCTIONS = """
import os, pathlib, signal
from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowException

def fails(number=0):
    raise ValueError(f"the source is gone <i>{number}</i>")

def fails_once(ti):
    if ti.try_number == 1:
        fails()

def half():
    return {"records_succeeded": 700, "records_failed": 300}

def killed():
    os.kill(os.getpid(), signal.SIGKILL)

def killed_audit(source_stage, target_stage, audit_config):
    killed()

def works():
    return {"records_succeeded": 5, "records_failed": 0}

def skips():
    from airflow.providers.common.compat.sdk import AirflowSkipException
    raise AirflowSkipException("nothing to do")

def mismatched(source_stage, target_stage, audit_config):
    return {"audit_result": "mismatched", "source": 5, "target": 4}

def matched(source_stage, target_stage, audit_config):
    return True

def breaks(source_stage, target_stage, audit_config):
    raise ConnectionError("the warehouse does not answer")

class File(BaseNotifier):
    template_fields = ("text",)

    def __init__(self, text):
        super().__init__()
        self.text = text

    def notify(self, context):
        with pathlib.Path(__file__).with_name("heard.txt").open("a") as file:
            file.write(self.text + "\\n")
"""
LOADER = "# Airflow Dag loader\nfrom airflow_provider_pipetrack import load_pipelines\nload_pipelines(globals())\n"

FAILED, ROLLBACK = "{} failed and is not tried again", "{} failed and is not rolled back"
MISMATCHED = "The audit of {} found a mismatch"
EXPECTED = [
    FAILED.format("fails"),
    FAILED.format("refused"),
    FAILED.format("cannot_render"),
    FAILED.format("killed"),
    FAILED.format("cannot_be_undone"),
    ROLLBACK.format("cannot_be_undone"),
    FAILED.format("undone"),
    MISMATCHED.format("mismatched"),
    MISMATCHED.format("warned"),
    FAILED.format("audit_breaks"),
    FAILED.format("audit_killed"),
    "Tracking records of told are not delivered",
    FAILED.format("mapped[0]"),
    FAILED.format("mapped[1]"),
]


@pytest.fixture(scope="module")
def run(airflow_stack, mails_of_stack) -> str:
    folder = airflow_stack.dags / "told"
    folder.mkdir()
    (airflow_stack.dags / "told_functions.py").write_text(FUNCTIONS)
    (folder / "told_functions.py").write_text("from told_functions import *\n")
    (folder / "told.yaml").write_text(PIPELINE.replace("told_functions.py", "../told_functions.py"))
    (folder / "load_told.py").write_text(LOADER)
    airflow_stack.wait_dag("told", timeout=120)
    airflow_stack.unpause("told")
    run_id = airflow_stack.trigger("told")
    airflow_stack.wait_run("told", run_id, timeout=240)
    return run_id


@pytest.fixture(scope="module")
def mails(run, mails_of_stack) -> dict[str, object]:
    """The mails of the run, by what they say."""
    prefix = "[pipetrack] told: "
    with mails_of_stack.arrived:
        mails_of_stack.arrived.wait_for(lambda: len(ours(mails_of_stack, prefix)) >= len(EXPECTED), 60)
    found = ours(mails_of_stack, prefix)
    assert Counter(subject for subject, _ in found) == Counter(EXPECTED)
    return dict(found)


def ours(server, prefix: str) -> list[tuple[str, object]]:
    return [
        (mail["Subject"].removeprefix(prefix), mail) for _, mail in server.mails if mail["Subject"].startswith(prefix)
    ]


def text(mail) -> str:
    return mail.get_body(("plain",)).get_content()


def test_everybody_is_told_the_right_things_once(mails):
    assert {mail["To"] for mail in mails.values()} == {"team@example.com, ops@example.com"}


def test_a_failure_is_told_after_the_last_attempt(mails, airflow_stack, run):
    mail = mails[FAILED.format("fails")]
    lines = text(mail).splitlines()
    for line in (
        f"Dag and run: told, {run}",
        "Attempt: 2, 1 retries allowed",
        "Owner: shop_team",
        "From: <b>shop</b>",
        "To: staging",
        "Status: failed",
        "Error: ValueError: the source is gone <i>0</i>",
    ):
        assert line in lines
    (link,) = (line for line in lines if line.startswith("Log in Airflow: "))
    assert link.startswith(f"Log in Airflow: {airflow_stack.url}/dags/told/runs/")
    html = mail.get_body(("html",)).get_content()
    assert "&lt;b&gt;shop&lt;/b&gt;" in html
    assert "<i>" not in html


def test_counts_and_decision_are_told(mails):
    lines = text(mails[FAILED.format("refused")]).splitlines()
    assert "Records: 700 moved, 300 failed, partial data" in lines
    assert "Decision: partial data refused: 700 of 1,000 records" in lines


def test_a_mismatch_is_told_with_its_evidence(mails):
    for name in ("mismatched", "warned"):
        (line,) = (line for line in text(mails[MISMATCHED.format(name)]).splitlines() if line.startswith("Audit: "))
        assert line.startswith("Audit: mismatched {")
        assert '"source": 5, "target": 4' in line


def test_an_audit_that_could_not_be_run_is_told(mails):
    assert "the audit gave no answer: ConnectionError: the warehouse does not answer" in text(
        mails[FAILED.format("audit_breaks")]
    )


def test_an_audit_that_was_killed_is_told(mails):
    assert "the audit ended without a word: killed, out of memory" in text(mails[FAILED.format("audit_killed")])


def test_the_cause_is_told_where_the_task_could_not_say_it(mails):
    assert "ended without a word; Airflow says failed" in text(mails[FAILED.format("killed")])
    assert "ZeroDivisionError: division by zero" in text(mails[FAILED.format("cannot_render")])


@pytest.mark.parametrize(
    ("subject", "task"),
    [
        (FAILED.format("cannot_render"), "cannot_render"),
        (FAILED.format("audit_breaks"), "audit_breaks__audit"),
        (MISMATCHED.format("mismatched"), "mismatched__audit"),
    ],
)
def test_the_link_leads_to_the_log_of_the_task_that_says_why(mails, airflow_stack, subject, task):
    (link,) = (line for line in text(mails[subject]).splitlines() if line.startswith("Log in Airflow: "))
    assert link.startswith(f"Log in Airflow: {airflow_stack.url}/dags/told/runs/")
    assert link.endswith(f"/tasks/{task}?try_number=1")


def test_a_notifier_hears_what_it_asked_for(mails, airflow_stack):
    heard = (airflow_stack.dags / "heard.txt").read_text().splitlines()
    assert sorted(heard) == ["mismatched of shop_team", "warned of shop_team"]


def test_nothing_waits_any_more(mails, airflow_stack):
    waiting = airflow_stack.home / "pipetrack" / "journal" / "_alerts" / "waiting"
    assert not list(waiting.iterdir())
