"""Run one audit function, judge its answer and keep what it said as evidence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from airflow_provider_pipetrack.config.functions import call_plain
from airflow_provider_pipetrack.errors import PipetrackError
from airflow_provider_pipetrack.records.clean import unwrapped

#: Keys under which an audit function may give its result.
_RESULT_KEYS = ("audit_result", "result", "status")
_OFFERED = ("source_stage", "target_stage", "audit_config")


class AuditResult(str, Enum):
    """What an audit can find."""

    MATCHED = "matched"
    MISMATCHED = "mismatched"
    PENDING = "pending"


class AuditError(PipetrackError):
    """An audit could not be run, or did not give an answer that can be judged."""


@dataclass(frozen=True)
class Finding:
    """An audit's answer.

    :param result: matched, mismatched, or pending (ask again later).
    :param metadata: everything that the audit function returned.
    """

    result: AuditResult
    metadata: Mapping[str, Any] = field(default_factory=dict)


def run_audit(
    function: Callable[..., Any],
    *,
    source_stage: str,
    target_stage: str,
    audit_config: Mapping[str, Any],
    context: Mapping[str, Any],
) -> Finding:
    """Call an audit function and judge what it returns.

    The function is called with ``source_stage``, ``target_stage`` and ``audit_config``, by name or by position. It may
    also ask by name for ``context`` or for an entry of Airflow's context.

    :return: its finding. A bool counts as matched or mismatched; a dict has the result under ``audit_result``,
        ``result`` or ``status``, as one of the words or as a bool.
    :raises AuditError: when the answer is none of these.
    :raises FunctionError: when the function is async.
    :raises Exception: whatever the function raises.
    """
    named = {"source_stage": source_stage, "target_stage": target_stage, "audit_config": dict(audit_config)}
    return judge(_call(function, named, context))


def judge(answer: Any) -> Finding:
    """Turn what an audit function returned into a finding.

    :raises AuditError: when it is neither a bool, nor one of the three words, nor a dict that holds one of them.
    """
    answer = unwrapped(answer)
    if isinstance(answer, (bool, str)):
        return Finding(_result(answer, answer))
    if not isinstance(answer, Mapping):
        raise AuditError(f"the audit returned {_short(answer)}; expected a dict with audit_result, or a bool")
    for key in _RESULT_KEYS:
        if key in answer:
            return Finding(_result(answer[key], answer), {str(name): value for name, value in answer.items()})
    raise AuditError(
        f"the audit returned {_short(answer)}; expected the key audit_result with matched, mismatched or pending"
    )


def _call(function: Callable[..., Any], named: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some builtins have no signature
        return call_plain(function, *named.values())
    offered = {**context, **named, "context": context}
    wanted = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = parameters and parameters[-1].kind is inspect.Parameter.VAR_KEYWORD
    others = {p.kind for p in parameters} - {p.kind for p in wanted}
    known = all(p.name in offered or p.default is not p.empty for p in wanted)
    if not known or inspect.Parameter.POSITIONAL_ONLY in others or (others and not takes_any):
        # The names are the user's own: the three values go by position.
        return call_plain(function, *named.values())
    rest = {**named, "context": context} if takes_any else {}
    return call_plain(function, **{**rest, **{p.name: offered[p.name] for p in wanted if p.name in offered}})


def _result(value: Any, answer: Any) -> AuditResult:
    value = unwrapped(value)
    if isinstance(value, bool):
        return AuditResult.MATCHED if value else AuditResult.MISMATCHED
    try:
        return AuditResult(str(getattr(value, "value", value)).strip().lower())
    except ValueError:
        raise AuditError(
            f"the audit returned {_short(answer)}; expected matched, mismatched or pending, not {value!r}"
        ) from None


def _short(answer: Any) -> str:
    text = repr(answer)
    return text if len(text) <= 200 else text[:200] + "…"
