"""What an alert says, whatever names and errors look like."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pipetrack.notifications.message import compose, one_line
from airflow_provider_pipetrack.notifications.targets import AlertKind
from airflow_provider_pipetrack.records.clean import clean_json
from airflow_provider_pipetrack.records.key import RecordKey

MOMENT = datetime(2026, 1, 31, 6, 30, tzinfo=timezone.utc)
KEY = RecordKey("shop", "scheduled__2026-01-31", "load_orders", -1, 4)
RECORD = {
    **KEY.columns(),
    "pipeline_id": "orders",
    "pipeline_version": "1.2",
    "max_retry_attempts": 3,
    "transfer_process_owner_name": "shop_team",
    "stage_i_details": "shop",
    "stage_i_plus_1_details": "staging.orders",
    "transfer_status": "failed",
    "error_message": "ValueError: the source is gone",
    "decision": "partial data refused: 700 of 1,000 records",
    "records_succeeded": 700,
    "records_failed": 300,
    "is_partial": True,
    "transfer_start_timestamp": MOMENT,
    "actual_duration": "2m",
    "estimated_duration": "30m",
    "log_url": "https://airflow.example.com/dags/shop/runs/scheduled__2026-01-31/tasks/load_orders?try_number=4",
}
TEXT = """load_orders failed and is not tried again.

Pipeline: orders, version 1.2
Dag and run: shop, scheduled__2026-01-31
Transfer: load_orders
Attempt: 4, 3 retries allowed
Owner: shop_team
From: shop
To: staging.orders
Status: failed
Error: ValueError: the source is gone
Decision: partial data refused: 700 of 1,000 records
Records: 700 moved, 300 failed, partial data
Started: 2026-01-31 06:30:00 UTC
Took: 2m
Estimated: 30m

Log in Airflow: https://airflow.example.com/dags/shop/runs/scheduled__2026-01-31/tasks/load_orders?try_number=4

Run in Airflow: https://airflow.example.com/dags/shop/runs/scheduled__2026-01-31
"""


class Page(HTMLParser):
    """Collects what a mail program would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data):
        self.words += data


def test_the_text_says_everything_that_is_known():
    message = compose(AlertKind.FAILED, RECORD)
    assert message.subject == "[pipetrack] orders: load_orders failed and is not tried again"
    assert message.text == TEXT


def test_a_record_that_was_kept_on_disk_says_the_same():
    kept = json.loads(json.dumps(clean_json(RECORD)))
    assert compose(AlertKind.FAILED, kept).text == TEXT


def test_the_page_says_the_same():
    page = Page(compose(AlertKind.FAILED, RECORD).html)
    for line in TEXT.splitlines():
        for part in line.split(": ", 1):
            assert part in page.words + " ".join(page.links)
    assert page.links == [line.split(": ")[1] for line in TEXT.splitlines() if "https" in line]


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("mismatched", "[pipetrack] orders: The audit of load_orders found a mismatch"),
        ("overdue", "[pipetrack] orders: load_orders takes longer than estimated"),
        ("rollback_owed", "[pipetrack] orders: load_orders failed and is not rolled back"),
        ("undelivered", "[pipetrack] orders: Tracking records of shop are not delivered"),
    ],
)
def test_each_kind_has_its_subject(kind, subject):
    assert compose(AlertKind(kind), RECORD).subject == subject


def test_an_index_of_a_mapped_transfer_is_named():
    record = {**RECORD, **RecordKey("shop", "r", "load", 7, 1).columns()}
    assert "load[7] failed" in compose(AlertKind.FAILED, record).subject


def test_a_record_of_which_nothing_is_known_is_told_too():
    message = compose(AlertKind.FAILED, {"record_id": KEY.record_id})
    assert message.text.splitlines()[2:] == [
        "Pipeline: shop",
        "Dag and run: shop, scheduled__2026-01-31",
        "Transfer: load_orders",
        "Attempt: 4",
    ]


@pytest.mark.parametrize("nasty", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "{{ 7 * 7 }}", "&lt;"])
def test_what_people_write_stays_text(nasty):
    page = Page(compose(AlertKind.FAILED, {**RECORD, "error_message": nasty, "stage_i_details": nasty}).html)
    assert set(page.tags) == set(Page(compose(AlertKind.FAILED, RECORD).html).tags)
    assert page.words.count(nasty) == 2


@pytest.mark.parametrize("address", ["javascript:alert(1)", "file:///etc/passwd", "", None])
def test_only_addresses_of_the_web_are_links(address):
    assert not Page(compose(AlertKind.FAILED, {**RECORD, "log_url": address}).html).links


@given(st.text())
def test_a_subject_is_one_line_without_what_steers(text):
    line = one_line(text, 50)
    assert len(line) <= 50
    assert line.isprintable()
    assert one_line(line, 50) == line


def test_a_subject_cannot_bring_a_header_along():
    record = {**RECORD, "pipeline_id": "orders\r\nBcc: everybody@example.com\u202e"}
    subject = compose(AlertKind.FAILED, record).subject
    assert subject == "[pipetrack] orders Bcc: everybody@example.com: load_orders failed and is not tried again"


def test_what_is_endless_is_cut():
    message = compose(AlertKind.FAILED, {**RECORD, "pipeline_id": "p" * 10_000, "error_message": "e" * 100_000})
    assert len(message.subject) == 150
    assert len(message.text) < 10_000


def test_evidence_is_told_without_secrets_and_own_notes():
    evidence = {"rows": 7, "db_password": "hunter2", "audit_ended": "failed"}
    message = compose(AlertKind.MISMATCHED, {**RECORD, "audit_result": "mismatched", "audit_metadata": evidence})
    assert '{"rows": 7, "db_password": "***"}' in message.text
    assert "hunter2" not in message.html
