"""Counts: what a transfer reports, and what is decided from it."""

from __future__ import annotations

import os

import pytest

from airflow_provider_pipetrack.attempts import counts
from airflow_provider_pipetrack.attempts.counts import Counts, collect, judge, report
from airflow_provider_pipetrack.errors import ReportError


@pytest.fixture(autouse=True)
def _nothing_reported():
    counts.forget()
    yield
    counts.forget()


def test_reported_counts_win_over_returned_and_counted_ones():
    report(records_succeeded=5)
    report(records_failed=1)
    assert collect({"records_succeeded": 9, "records_failed": 9}, lambda: pytest.fail("not asked")) == Counts(5, 1)


def test_numbers_that_would_be_lost_with_a_process_of_the_transfers_own_are_refused_there():
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            report(records_failed=7)
        except ReportError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with open(reader) as said:
        assert "return them from there, and call report() in the transfer's own process" in said.read()
    report(records_failed=1)
    assert counts.reported() == Counts(None, 1)


def test_a_returned_dict_with_both_keys_counts():
    assert collect({"records_succeeded": 3, "records_failed": 0, "more": 1}, None) == Counts(3, 0)


def test_a_returned_dict_without_both_keys_does_not_count():
    assert collect({"records_succeeded": 3}, None) == Counts()


def test_the_counts_function_is_asked_last():
    assert collect(None, lambda: {"records_succeeded": 2, "records_failed": 2}) == Counts(2, 2)


@pytest.mark.parametrize("value", [-1, 1.5, "3", True, float("nan"), float("inf"), 10**30, None.__class__, [1]])
def test_counts_that_cannot_be_true_are_refused(value):
    with pytest.raises(ReportError, match="records_succeeded="):
        report(records_succeeded=value)
    with pytest.raises(ReportError, match="records_succeeded="):
        collect({"records_succeeded": value, "records_failed": 0}, None)


def test_a_counts_function_that_returns_nonsense_is_refused():
    with pytest.raises(ReportError, match="the counts function returned 'many'"):
        collect(None, lambda: "many")


@pytest.mark.parametrize(
    ("moved", "may_be_partial", "accepted", "is_partial", "decision"),
    [
        (Counts(), False, True, None, None),
        (Counts(10, 0), False, True, False, None),
        (Counts(0, 0), False, True, False, None),
        (Counts(700_000, 300_000), True, True, True, "partial data accepted: 700,000 of 1,000,000 records"),
        (Counts(700_000, 300_000), False, False, True, "partial data refused: 700,000 of 1,000,000 records"),
        (Counts(0, 5), True, False, False, "failed: no record succeeded (0 of 5 records)"),
        (
            Counts(None, 5),
            True,
            False,
            False,
            "failed: 5 of an unknown number of records failed; report records_succeeded, too",
        ),
    ],
)
def test_partial_data_is_judged_by_the_configuration(moved, may_be_partial, accepted, is_partial, decision):
    verdict = judge(moved, can_partial_data_be_collected=may_be_partial)
    assert (verdict.accepted, verdict.is_partial, verdict.decision) == (accepted, is_partial, decision)
