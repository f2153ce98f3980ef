"""The audit engine: calling a function however it is written, and judging what it says."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from airflow_provider_pipetrack.audits.engine import AuditError, AuditResult, judge, run_audit
from airflow_provider_pipetrack.config.functions import FunctionError

STAGES = {"source_stage": "raw", "target_stage": "clean", "audit_config": {"limit": 3}, "context": {"run_id": "r1"}}


def by_name(source_stage, target_stage, audit_config):
    return {"audit_result": "matched", "seen": [source_stage, target_stage, audit_config]}


def by_position(a, b, c):
    return {"audit_result": "matched", "seen": [a, b, c]}


def keywords(**given):
    return {"audit_result": "matched", "seen": [given["source_stage"], given["target_stage"], given["audit_config"]]}


def own_names_and_more(a, b, c, **more):
    return {"audit_result": not more, "seen": [a, b, c]}


def names_and_more(target_stage, run_id, *more, audit_config=None, **given):
    assert (more, given["context"]["run_id"]) == ((), run_id)
    return {"audit_result": "matched", "seen": [given["source_stage"], target_stage, audit_config]}


def only_by_position(a, b, c, /, *more, **given):
    return {"audit_result": not more and not given, "seen": [a, b, c]}


def any_values(*given):
    return {"audit_result": "matched", "seen": list(given)}


@pytest.mark.parametrize(
    "function",
    [by_name, by_position, keywords, own_names_and_more, names_and_more, only_by_position, any_values],
)
def test_the_three_values_reach_any_function(function):
    found = run_audit(function, **STAGES)
    assert found.result is AuditResult.MATCHED
    assert found.metadata["seen"] == ["raw", "clean", {"limit": 3}]


def test_a_function_may_ask_for_entries_of_the_context():
    def asks(run_id, audit_config):
        return run_id == "r1" and audit_config["limit"] == 3

    assert run_audit(asks, **STAGES).result is AuditResult.MATCHED


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (True, "matched"),
        (False, "mismatched"),
        ("pending", "pending"),
        ({"audit_result": "MISMATCHED"}, "mismatched"),
        ({"result": True, "rows": 5}, "matched"),
        ({"status": AuditResult.PENDING}, "pending"),
        (np.int64(3) == 3, "matched"),
        ({"audit_result": np.int64(3) > 4, "rows": np.int64(3)}, "mismatched"),
    ],
)
def test_answers_are_understood(answer, result):
    assert judge(answer).result.value == result


def test_everything_returned_is_kept_as_evidence():
    assert judge({"audit_result": True, "rows": 5, 7: "x"}).metadata == {"audit_result": True, "rows": 5, "7": "x"}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        1,
        np.int64(1),
        np.array([True, True]),
        [],
        {},
        {"rows": 5},
        {"audit_result": "maybe"},
        "fine",
        {"result": None},
    ],
)
def test_nonsense_is_an_error_and_never_a_match(answer):
    with pytest.raises(AuditError, match="the audit returned"):
        judge(answer)


@pytest.mark.filterwarnings("error:coroutine .* was never awaited:RuntimeWarning")
def test_an_audit_that_nobody_awaits_is_refused():
    async def looks_later(source_stage, target_stage, audit_config):
        return True

    async def looks(*three):
        return True

    for function in (looks_later, looks, functools.partial(looks_later)):
        with pytest.raises(FunctionError, match=r"is an async function, .* write a plain one"):
            run_audit(function, **STAGES)


def test_what_the_function_raises_passes_through():
    def breaks(source_stage, target_stage, audit_config):
        raise ZeroDivisionError("no rows")

    with pytest.raises(ZeroDivisionError, match="no rows"):
        run_audit(breaks, **STAGES)
