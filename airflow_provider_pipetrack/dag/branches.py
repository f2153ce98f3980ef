"""What goes wrong behind a transfer that chooses which of the tasks behind it run.

Airflow goes by the edges alone. It does not know that what waits for its turn does not depend on what was before.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum

from airflow_provider_pipetrack.config import StageTransfer
from airflow_provider_pipetrack.config.classes import ClassError
from airflow_provider_pipetrack.dag.graph import Graph, Kind
from airflow_provider_pipetrack.dag.operators import find_operator

#: Bases of the operators that skip what they do not choose.
_BRANCHES = {"BranchMixIn", "BranchSQLOperator"}
_ADVICE = "give it another transfer_order_number, or write can_process_be_parallelized: true"


class _Skips(Enum):
    """What an operator skips."""

    OTHERS = "those right behind it that it does not choose"
    NEXT = "all right behind it, or nothing"
    ALL = "all behind it, or nothing"


def branch_mistake(transfer: StageTransfer) -> str | None:
    """Return what is wrong with a transfer that chooses which of the tasks right behind it run, or None."""
    if not transfer.audit_enabled or _skips(transfer) is not _Skips.OTHERS:
        return None
    return (
        f"{_operator(transfer)} chooses among the tasks right behind it, and there is only its audit, so that all "
        "would be skipped; write audit_enabled: false"
    )


def turn_mistakes(graph: Graph, transfers: Mapping[str, StageTransfer]) -> Iterator[tuple[StageTransfer, str]]:
    """Yield each transfer that Airflow would skip, or run, only because it waits for its turn, and why.

    :param graph: what runs; without turns nothing is wrong.
    :param transfers: all transfers by name.
    """
    if all(node.kind is not Kind.TURN for node in graph.nodes.values()):
        return
    ways = _Ways(graph)
    for name in graph.upstreams:
        skips = _skips(transfers[name])
        if skips is None:
            continue
        operator = f"{_operator(transfers[name])} of {name!r}"
        for waits in ways.waiting(ways.reached(name) if skips is _Skips.ALL else ways.next_to(name), name):
            yield transfers[waits], f"{operator} may skip {waits!r}, which only waits for its turn; {_ADVICE}"
        for other, one in ways.rivals(name).items() if skips is _Skips.OTHERS else ():
            reason = f"{operator} chooses among those right behind it, and {other!r} waits for its turn behind {one!r}"
            advice = f"{_ADVICE} (a pool with one slot keeps them apart)"
            yield transfers[other], f"{reason}, so that it would run whenever {one!r} does; {advice}"


class _Ways:
    """Which tasks come behind which, with and without the turns."""

    def __init__(self, graph: Graph) -> None:
        self._nodes = graph.nodes
        self._downstream = graph.downstream()
        self._in_turn = {node.transfer for node in self._nodes.values() if node.kind is Kind.TURN}

    def next_to(self, name: str) -> list[str]:
        """Return the tasks right behind one."""
        return self._downstream.get(name, [])

    def reached(self, name: str) -> list[str]:
        """Return all tasks behind one."""
        return list(self._behind(name, turns=True))

    def waiting(self, tasks: Iterable[str], name: str) -> list[str]:
        """Return the transfers whose turns are among ``tasks``, and which do not depend on ``name``."""
        depend = self._behind(name, turns=False)
        turns = (self._nodes[task] for task in tasks if self._nodes[task].kind is Kind.TURN)
        return [str(turn.transfer) for turn in turns if turn.transfer not in depend]

    def rivals(self, name: str) -> dict[str, str]:
        """Return those right behind a transfer that another of them leads to by turns alone, each with that one."""
        found: dict[str, str] = {}
        choices = self._in_turn & set(self.next_to(name))
        for one in self.next_to(name) if choices else ():
            if self._nodes[one].kind is Kind.TRANSFER:
                for other in self.waiting(self.reached(one), one):
                    if other in choices:
                        found.setdefault(other, one)
        return found

    def _behind(self, name: str, *, turns: bool) -> dict[str, None]:
        found: dict[str, None] = {}
        todo = [name]
        while todo:
            for task in self.next_to(todo.pop(0)):
                if task not in found and (turns or self._nodes[task].kind is not Kind.TURN):
                    found[task] = None
                    todo.append(task)
        return found


def _skips(transfer: StageTransfer) -> _Skips | None:
    """Return what a transfer's operator skips, or None when it skips nothing or is none."""
    try:
        skips = _skips_by_class(transfer.operator) if transfer.operator else None
    except ClassError:
        return None
    if skips is _Skips.ALL and transfer.operator_args.get("ignore_downstream_trigger_rules") is False:
        return _Skips.NEXT
    return skips


@functools.cache
def _skips_by_class(path: str) -> _Skips | None:
    names = {base.__name__ for base in find_operator(path).__mro__}
    if "ShortCircuitOperator" in names:
        return _Skips.ALL
    if "LatestOnlyOperator" in names:  # a branch that chooses all or nothing
        return _Skips.NEXT
    return None if names.isdisjoint(_BRANCHES) else _Skips.OTHERS


def _operator(transfer: StageTransfer) -> str:
    return find_operator(str(transfer.operator)).__name__
