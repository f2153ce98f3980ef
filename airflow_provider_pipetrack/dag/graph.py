"""Levels and edges of a pipeline: what waits for what. Pure, without Airflow.

Nodes are transfers, their audits, turns and the join at the end. A turn stands between transfers that may not run at
the same time: it waits for the one before to end in whatever way, so that only real upstreams can stop the one behind
it. Airflow takes a run's state from its last tasks, so a transfer that nothing but a turn follows also leads into the
join ``pipeline_done``.
"""

from __future__ import annotations

import bisect
import graphlib
import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_pipetrack.config.checks import AUDIT_SUFFIX, RESERVED_NAME, TURN_SUFFIX, mapped_reference
from airflow_provider_pipetrack.config.content import plain_text

if TYPE_CHECKING:
    from airflow_provider_pipetrack.config import StageTransfer
    from airflow_provider_pipetrack.config.types import LiteralText


class Kind(str, Enum):
    """What a node is."""

    TRANSFER = "transfer"
    AUDIT = "audit"
    TURN = "turn"
    JOIN = "join"


class Node(NamedTuple):
    """A task of the Dag.

    :param task_id: the task's id.
    :param transfer: name of the transfer that it runs, audits or gives the turn to; None for the join.
    """

    task_id: str
    kind: Kind
    transfer: str | None = None


@dataclass
class Graph:
    """What runs, and in which order.

    :param nodes: all tasks by id; transfers stand in the order of the levels.
    :param upstream: ids of the tasks that each task waits for.
    :param levels: names of the enabled transfers of each level.
    :param upstreams: for each enabled transfer, the enabled transfers that it really depends on.
    :param disabled: names of the transfers that were left out.
    :param warnings: what an author might not expect, as sentences.
    :param cycle: names along a circle of dependencies, the first one repeated at the end; empty when there is none.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    upstream: dict[str, list[str]] = field(default_factory=dict)
    levels: list[tuple[str, ...]] = field(default_factory=list)
    upstreams: dict[str, tuple[str, ...]] = field(default_factory=dict)
    disabled: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    cycle: tuple[str, ...] = ()

    def add(self, node: Node, upstream: Iterable[str] = ()) -> None:
        """Add a task behind others."""
        self.nodes[node.task_id] = node
        self.upstream[node.task_id] = list(upstream)

    def downstream(self) -> dict[str, list[str]]:
        """Return for each task that others wait for which ones these are."""
        found: dict[str, list[str]] = {}
        for task, waits_for in self.upstream.items():
            for upstream in waits_for:
                found.setdefault(upstream, []).append(task)
        return found


def plan_graph(transfers: Sequence[StageTransfer]) -> Graph:
    """Work out the tasks and edges of a pipeline.

    :param transfers: all its transfers, in the order of the file, with unique names.
    :return: the graph; when ``cycle`` is not empty, it has no nodes.
    """
    planner = _Planner(transfers)
    graph = Graph(
        levels=[tuple(t.name for t in level) for level in planner.levels],
        upstreams=planner.upstreams(),
        disabled=tuple(t.name for t in transfers if not t.transfer_enabled),
        warnings=planner.warnings,
    )
    if planner.may_circle:
        graph.cycle = _find_cycle(graph.upstreams)
    if not graph.cycle:
        _add_tasks(graph, planner)
    return graph


class _Planner:
    """Finds out which transfers each transfer depends on."""

    def __init__(self, transfers: Sequence[StageTransfer]) -> None:
        self.by_name = {transfer.name: transfer for transfer in transfers}
        self.warnings: list[str] = []
        enabled = [transfer for transfer in transfers if transfer.transfer_enabled]
        grouped: dict[float, list[StageTransfer]] = {}
        for transfer in enabled:
            grouped.setdefault(transfer.transfer_order_number, []).append(transfer)
        self.orders = sorted(grouped)
        self.levels = [grouped[order] for order in self.orders]
        #: Whether somebody waits for another than an earlier level; nothing else can lead in a circle.
        self.may_circle = any(
            t.depends_on is not None or not t.dependent_on_previous_transfer or t.expand for t in enabled
        )
        # For each level, the names of the nearest earlier level that ends at all.
        self._before: list[tuple[str, ...]] = []
        waited_for: tuple[str, ...] = ()
        for level in self.levels:
            self._before.append(waited_for)
            waited_for = tuple([t.name for t in level if not t.is_continuous]) or waited_for
        self._last = waited_for
        self._filling: dict[tuple[str, bool], list[str]] | None = None

    def upstreams(self) -> dict[str, tuple[str, ...]]:
        """Return what each enabled transfer depends on."""
        found = {}
        for number, level in enumerate(self.levels):
            shared = self._before[number]
            for transfer in level:
                names = self._direct(transfer, shared)
                found[transfer.name] = names
                self._warn(transfer, names, is_first=number == 0)
        return found

    def _direct(self, transfer: StageTransfer, previous: tuple[str, ...]) -> tuple[str, ...]:
        # Whose result it is mapped over comes first in any case.
        mapped = mapped_over(transfer) if transfer.expand else ()
        if transfer.depends_on is None and transfer.dependent_on_previous_transfer:
            return self._enabled((*previous, *mapped), transfer.name) if mapped else previous
        return self._enabled((*self._named(transfer), *mapped), transfer.name)

    def _named(self, transfer: StageTransfer) -> Iterable[str]:
        """Return whom a transfer names by its fields, whether they are enabled or not."""
        if transfer.depends_on is not None:
            return transfer.depends_on
        if transfer.dependent_on_previous_transfer:
            return self._previous_level(transfer.transfer_order_number)
        if not transfer.upstream_completion_required:
            return ()
        order = transfer.transfer_order_number
        filling = self._fill(_as_written(transfer.stage_i_details))
        return [name for name in filling if self.by_name[name].transfer_order_number <= order]

    def _previous_level(self, order: float) -> tuple[str, ...]:
        place = bisect.bisect_left(self.orders, order)
        return self._before[place] if place < len(self._before) else self._last

    def _fill(self, stage: tuple[str, bool]) -> list[str]:
        """Return the transfers whose target is this stage."""
        if self._filling is None:
            self._filling = {}
            for transfer in self.by_name.values():
                self._filling.setdefault(_as_written(transfer.stage_i_plus_1_details), []).append(transfer.name)
        return self._filling.get(stage, []) if stage[0] else []

    def _enabled(self, names: Iterable[str], waiting: str) -> tuple[str, ...]:
        """Return the enabled transfers among ``names``; a disabled one is replaced by what it depends on itself."""
        found: dict[str, None] = {}
        seen = {waiting}
        todo = list(reversed(list(names)))
        while todo:
            name = todo.pop()
            transfer = self.by_name.get(name)
            if transfer is None or name in seen:
                continue
            if not transfer.transfer_enabled:
                seen.add(name)
                todo.extend(reversed(list(self._named(transfer))))
            elif not transfer.is_continuous:
                found[name] = None
        return tuple(found)

    def _warn(self, transfer: StageTransfer, upstreams: Sequence[str], *, is_first: bool) -> None:
        """Warn of what an author might not expect of a transfer."""
        if transfer.depends_on and not upstreams:
            named = ", ".join(transfer.depends_on)
            self.warnings.append(
                f"{transfer.name} depends only on what is disabled or never ends ({named}), so it waits for nothing"
            )
        elif not is_first and not upstreams:
            self.warnings.append(
                f"{transfer.name} (order {transfer.transfer_order_number:g}) waits for nothing and may start before "
                "the levels above it"
            )
        if transfer.audit_enabled and transfer.is_continuous:
            self.warnings.append(
                f"{transfer.name} never ends (estimated_duration: continuous), so its audit waits until it is stopped"
            )


def _add_tasks(graph: Graph, planner: _Planner) -> None:
    transfers = planner.by_name
    exits = {name: exit_task(transfers[name]) for name in graph.upstreams}
    kind = Kind.TRANSFER  # members of an enum are slow to look up
    for level in planner.levels:
        for transfer in level:
            name = transfer.name
            graph.add(Node(name, kind, name), [exits[up] for up in graph.upstreams[name]])
            if transfer.audit_enabled:
                graph.add(Node(exits[name], Kind.AUDIT, name), [name])
    if any(not transfer.can_process_be_parallelized for level in planner.levels for transfer in level):
        place = _places(graph, planner)
        for level in planner.levels:
            _add_turns(graph, level, exits, place)
        _add_join(graph)


def _as_written(stage: str | LiteralText) -> tuple[str, bool]:
    """Return a stage's text and whether it is plain; what is resolved in a run is the same where it reads the same."""
    plain = plain_text(stage)
    return (str(stage), False) if plain is None else (plain, True)


def mapped_over(transfer: StageTransfer) -> tuple[str, ...]:
    """Return the names of the transfers over whose results a transfer is mapped."""
    references = (mapped_reference(value) for value in (transfer.expand or {}).values())
    return tuple(name for name in references if name is not None)


def exit_task(transfer: StageTransfer) -> str:
    """Return the task that stands for a transfer's end: its audit when it has one."""
    return f"{transfer.name}{AUDIT_SUFFIX}" if transfer.audit_enabled else transfer.name


def _places(graph: Graph, planner: _Planner) -> dict[str, int]:
    """Return each task's place in one order of all tasks that fits every edge.

    Where edges leave a choice, lower order numbers come first, then parallel transfers, then the order of the file.
    Every turn follows this order, so turns can never wait for each other in a circle.
    """
    rows = {name: number for number, name in enumerate(planner.by_name)}

    def rank(task: str) -> tuple[float, bool, int, bool, str]:
        node = graph.nodes[task]
        transfer = planner.by_name[str(node.transfer)]
        serial = not transfer.can_process_be_parallelized
        return (transfer.transfer_order_number, serial, rows[transfer.name], node.kind is Kind.AUDIT, task)

    downstream = graph.downstream()
    waiting = {task: len(set(upstream)) for task, upstream in graph.upstream.items()}
    ready = [rank(task) for task, number in waiting.items() if not number]
    heapq.heapify(ready)
    place: dict[str, int] = {}
    while ready:
        task = heapq.heappop(ready)[-1]
        place[task] = len(place)
        for after in downstream.get(task, ()):
            waiting[after] -= 1
            if not waiting[after]:
                heapq.heappush(ready, rank(after))
    return place


def _add_turns(
    graph: Graph, level: Sequence[StageTransfer], exits: Mapping[str, str], place: Mapping[str, int]
) -> None:
    """Put the transfers of a level that may not run beside others one behind the other."""
    streams = {transfer.name for transfer in level if transfer.is_continuous}  # whose end nobody could wait for
    parallel = [transfer.name for transfer in level if transfer.can_process_be_parallelized]
    serial = [transfer.name for transfer in level if not transfer.can_process_be_parallelized]
    before = [exits[name] for name in parallel if name not in streams]
    for name in sorted(serial, key=place.__getitem__):
        waits_for = [task for task in before if place[task] < place[name] and task not in graph.upstream[name]]
        if waits_for:
            turn = f"{name}{TURN_SUFFIX}"
            graph.add(Node(turn, Kind.TURN, name), waits_for)
            graph.upstream[name].append(turn)
        if name not in streams:
            before = [exits[name]]


def _add_join(graph: Graph) -> None:
    """Lead every transfer that only turns follow into the join, so that its failure is the run's."""
    if not any(node.kind is Kind.TURN for node in graph.nodes.values()):
        return
    downstream = graph.downstream()
    hidden = [
        task
        for task in graph.nodes
        if task in downstream and all(graph.nodes[after].kind is Kind.TURN for after in downstream[task])
    ]
    if hidden:
        graph.add(Node(RESERVED_NAME, Kind.JOIN), hidden)


def overtaking(graph: Graph, transfers: Sequence[StageTransfer]) -> list[str]:
    """Return which transfers wait for some of the levels above them and may start before others, a sentence a level.

    Every edge is followed, which is too much for each time that a Dag is built.
    """
    by_name = {transfer.name: transfer for transfer in transfers}
    above: list[str] = []
    sentences = []
    for level in graph.levels:
        passed = {name: _passed(graph, by_name, name, above) for name in level}
        early = [name for name, others in passed.items() if others]
        if early:
            order = by_name[level[0]].transfer_order_number
            late = dict.fromkeys(other for others in passed.values() for other in others)
            sentences.append(f"{_some(early)} (order {order:g}) may start before {_some(late)} of the levels above")
        above += [name for name in level if not by_name[name].is_continuous]
    return sentences


def _passed(graph: Graph, by_name: Mapping[str, StageTransfer], name: str, above: Iterable[str]) -> list[str]:
    """Return whom of ``above`` a transfer does not wait for, if it waits for anybody and its flags say so."""
    transfer = by_name[name]
    if transfer.depends_on is not None or transfer.dependent_on_previous_transfer or not graph.upstreams[name]:
        return []
    behind = _ancestors(graph, name)
    return [other for other in above if exit_task(by_name[other]) not in behind]


def _ancestors(graph: Graph, task: str) -> set[str]:
    found: set[str] = set()
    todo = list(graph.upstream[task])
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(graph.upstream[name])
    return found


def _some(names: Iterable[str], most: int = 3) -> str:
    """Return the first few names, and how many more there are."""
    known = list(names)
    return ", ".join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")


def _find_cycle(upstreams: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    try:
        graphlib.TopologicalSorter(upstreams).prepare()
    except graphlib.CycleError as error:
        return tuple(reversed(error.args[1]))
    return ()
