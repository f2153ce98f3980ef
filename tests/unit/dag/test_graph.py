"""Levels and edges: what waits for what, and what a failure stops."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pipetrack.config import StageTransfer
from airflow_provider_pipetrack.config.types import LiteralText
from airflow_provider_pipetrack.dag.graph import Graph, Kind, plan_graph


def transfer(name: str, order: float = 1, **fields) -> StageTransfer:
    fields.setdefault("audit_enabled", False)
    return StageTransfer(name=name, transfer_order_number=float(order), **fields)


def edges(*transfers: StageTransfer) -> dict[str, set[str]]:
    graph = plan_graph(transfers)
    assert not graph.cycle
    return {task: set(waits_for) for task, waits_for in graph.upstream.items()}


def test_a_level_waits_for_all_of_the_level_before_it():
    assert edges(transfer("a"), transfer("b"), transfer("c", 2), transfer("d", 2)) == {
        "a": set(),
        "b": set(),
        "c": {"a", "b"},
        "d": {"a", "b"},
    }


def test_levels_are_those_of_the_numbers_and_not_of_the_file():
    graph = plan_graph([transfer("late", 10), transfer("early", 0.5), transfer("middle", 2)])
    assert graph.levels == [("early",), ("middle",), ("late",)]
    assert graph.upstreams == {"early": (), "middle": ("early",), "late": ("middle",)}


def test_an_audit_stands_between_the_stages():
    assert edges(transfer("a", audit_enabled=True), transfer("b", 2)) == {
        "a": set(),
        "a__audit": {"a"},
        "b": {"a__audit"},
    }


@pytest.mark.parametrize(
    "fields", [{}, {"dependent_on_previous_transfer": False}, {"depends_on": ["other"]}, {"depends_on": []}]
)
def test_whose_result_it_is_mapped_over_comes_first_with_its_audit_whatever_the_order_says(fields):
    graph = plan_graph(
        [
            transfer("other"),
            transfer("files", audit_enabled=True),
            transfer("each", 2, expand={"path": "transfer.files", "day": [1, 2]}, **fields),
        ]
    )
    assert "files" in graph.upstreams["each"]
    assert "files__audit" in graph.upstream["each"]


def test_transfers_that_are_mapped_over_each_other_are_a_circle():
    rows = [transfer("a", expand={"x": "transfer.b"}), transfer("b", expand={"x": "transfer.a"})]
    assert plan_graph(rows).cycle == ("a", "b", "a")
    # The order says one thing, the mapping the other.
    assert plan_graph([transfer("a", 1, expand={"x": "transfer.b"}), transfer("b", 2)]).cycle == ("a", "b", "a")


def test_a_transfer_that_depends_on_nothing_before_it_has_no_edge_and_is_warned_of():
    graph = plan_graph([transfer("a"), transfer("b", 2, dependent_on_previous_transfer=False)])
    assert graph.upstreams["b"] == ()
    assert graph.warnings == ["b (order 2) waits for nothing and may start before the levels above it"]


def test_it_waits_for_who_fills_its_source_when_upstreams_must_be_complete():
    found = edges(
        transfer("a", stage_i_plus_1_details="staging"),
        transfer("b", stage_i_plus_1_details="other"),
        transfer("late", 3, stage_i_plus_1_details="staging"),
        transfer(
            "c", 2, stage_i_details="staging", dependent_on_previous_transfer=False, upstream_completion_required=True
        ),
    )
    assert found["c"] == {"a"}, "what fills it later in the order is not waited for"


@pytest.mark.parametrize("stage", ["orders_{{ ds }}", 'f"{domain}_{ds}"', 'describe(env="prod")', "orders||raw"])
def test_a_stage_is_the_same_where_it_is_written_the_same(stage):
    insists = {"dependent_on_previous_transfer": False, "upstream_completion_required": True}
    rows = [
        transfer("a", stage_i_plus_1_details=stage),
        transfer("text", stage_i_plus_1_details=LiteralText(literal=stage)),
        transfer("other", stage_i_plus_1_details=stage.replace("o", "0")),
        transfer("c", 2, stage_i_details=stage, **insists),
        transfer("reads_text", 2, stage_i_details=LiteralText(literal=stage), **insists),
    ]
    graph, is_plain = plan_graph(rows), "|" in stage
    assert graph.upstreams["c"] == (("a", "text") if is_plain else ("a",))
    assert graph.upstreams["reads_text"] == (("a", "text") if is_plain else ("text",))
    assert not graph.warnings


def test_depends_on_replaces_everything_else():
    found = edges(transfer("a"), transfer("b", 2), transfer("c", 3, depends_on=("a",)), transfer("d", 4, depends_on=()))
    assert found["c"] == {"a"}
    assert found["d"] == set()


def test_the_neighbors_of_disabled_transfers_are_joined():
    graph = plan_graph(
        [
            transfer("a"),
            transfer("b", 2, transfer_enabled=False),
            transfer("c", 3, transfer_enabled=False, depends_on=("b",)),
            transfer("d", 4),
            transfer("e", 5, depends_on=("c",)),
        ]
    )
    assert graph.disabled == ("b", "c")
    assert graph.upstreams == {"a": (), "d": ("a",), "e": ("a",)}


def test_nobody_waits_for_a_stream():
    found = edges(
        transfer("load"), transfer("stream", 2, estimated_duration="continuous"), transfer("after", 3),
        transfer("named", 3, depends_on=("stream", "load")),
    )  # fmt: skip
    assert found["stream"] == {"load"}
    assert found["after"] == {"load"}
    assert found["named"] == {"load"}


def test_serial_transfers_take_turns_behind_the_parallel_ones():
    graph = plan_graph(
        [
            transfer("p"),
            transfer("q", audit_enabled=True),
            transfer("s", can_process_be_parallelized=False),
            transfer("t", can_process_be_parallelized=False),
            transfer("end", 2),
        ]
    )
    assert set(graph.upstream["s__turn"]) == {"p", "q__audit"}
    assert graph.upstream["s"] == ["s__turn"]
    assert graph.upstream["t__turn"] == ["s"]
    assert graph.upstream["t"] == ["t__turn"]
    assert set(graph.upstream["end"]) == {"p", "q__audit", "s", "t"}
    assert "pipeline_done" not in graph.nodes


def test_no_turn_waits_for_a_stream():
    graph = plan_graph(
        [
            transfer("stream", estimated_duration="continuous", audit_enabled=True),
            transfer("p"),
            transfer("s", can_process_be_parallelized=False),
            transfer("serial_stream", can_process_be_parallelized=False, estimated_duration="continuous"),
            transfer("t", can_process_be_parallelized=False),
        ]
    )
    turns = {task: waits_for for task, waits_for in graph.upstream.items() if graph.nodes[task].kind is Kind.TURN}
    assert turns == {"s__turn": ["p"], "serial_stream__turn": ["s"], "t__turn": ["s"]}


def test_what_only_a_turn_follows_leads_into_the_join():
    graph = plan_graph(
        [transfer("a", can_process_be_parallelized=False), transfer("b", can_process_be_parallelized=False)]
    )
    assert graph.upstream["pipeline_done"] == ["a"]
    assert graph.nodes["pipeline_done"].kind is Kind.JOIN


def test_a_lone_serial_transfer_needs_no_turn():
    assert set(plan_graph([transfer("a", can_process_be_parallelized=False)]).nodes) == {"a"}


def test_a_turn_never_waits_for_what_waits_for_it():
    graph = plan_graph(
        [transfer("s", can_process_be_parallelized=False), transfer("p", depends_on=("s",)), transfer("q")]
    )
    assert graph.upstream["s__turn"] == ["q"]


def test_a_circle_is_named():
    graph = plan_graph(
        [transfer("a", depends_on=("c",)), transfer("b", depends_on=("a",)), transfer("c", depends_on=("b",))]
    )
    assert set(graph.cycle) == {"a", "b", "c"}
    assert graph.cycle[0] == graph.cycle[-1]
    for waiting, waited_for in zip(graph.cycle, graph.cycle[1:], strict=False):
        assert waiting in graph.upstreams[waited_for] or waited_for in graph.upstreams[waiting]
    assert not graph.nodes


def test_two_ways_into_one_stage():
    found = edges(
        transfer("bypass", 1, stage_i_details="stage1", stage_i_plus_1_details="stage3"),
        transfer("prepare", 1, stage_i_details="stage1", stage_i_plus_1_details="stage2"),
        transfer(
            "through", 2, stage_i_details="stage2", stage_i_plus_1_details="stage3",
            dependent_on_previous_transfer=False, upstream_completion_required=True,
        ),
        transfer("serve", 3, depends_on=("bypass", "through")),
    )  # fmt: skip
    assert found == {"bypass": set(), "prepare": set(), "through": {"prepare"}, "serve": {"bypass", "through"}}


def test_only_who_insists_on_its_upstreams_waits_for_what_fills_its_stage():
    alone = {"dependent_on_previous_transfer": False}
    insists = {**alone, "upstream_completion_required": True}
    found = edges(
        transfer("fills", stage_i_plus_1_details="raw"),
        transfer("beside", stage_i_details="raw", **insists),
        transfer("reads", 2, stage_i_details="raw", **insists),
        transfer("free", 2, stage_i_details="raw", **alone),
    )
    assert found == {"fills": set(), "beside": {"fills"}, "reads": {"fills"}, "free": set()}


def test_stages_without_a_text_are_not_the_same_stage():
    insists = {"dependent_on_previous_transfer": False, "upstream_completion_required": True}
    empty = {"stage_i_details": "", "stage_i_plus_1_details": ""}
    assert edges(transfer("a", **empty), transfer("b", 2, **empty, **insists)) == {"a": set(), "b": set()}


def test_a_circle_of_stages_is_named():
    insists = {"dependent_on_previous_transfer": False, "upstream_completion_required": True}
    graph = plan_graph(
        [
            transfer("there", stage_i_details="s", stage_i_plus_1_details="t", **insists),
            transfer("back", stage_i_details="t", stage_i_plus_1_details="s", **insists),
        ]
    )
    assert set(graph.cycle) == {"there", "back"}
    assert not graph.nodes


def test_what_is_disabled_behind_all_others_is_replaced_by_the_last_of_them():
    found = edges(
        transfer("a"),
        transfer("b", 2, depends_on=()),
        transfer("off", 9, transfer_enabled=False),
        transfer("c", depends_on=("off",)),
    )
    assert found == {"a": set(), "b": set(), "c": {"b"}}


def test_a_pipeline_of_sixty_stages_and_one_of_two_thousand():
    assert len(plan_graph([transfer(f"t{i}", i) for i in range(60)]).nodes) == 60
    begin = time.process_time()
    graph = plan_graph([transfer(f"t{i}", i, audit_enabled=True) for i in range(2000)])
    assert len(graph.nodes) == 4000
    # Quadratic work would take minutes; the number only tells the two apart.
    assert time.process_time() - begin < 5


@st.composite
def pipelines(draw) -> list[StageTransfer]:
    number = draw(st.integers(1, 9))
    stages = st.sampled_from(["s1", "s2", "s3"])
    rows = []
    for index in range(number):
        earlier = [f"t{i}" for i in range(index)]
        chosen = draw(st.none() | st.lists(st.sampled_from(earlier), max_size=3, unique=True)) if earlier else None
        order = draw(st.integers(1, 4)) if chosen is None else draw(st.sampled_from([4, 9]))
        rows.append(
            transfer(
                f"t{index}",
                order,
                stage_i_details=draw(stages),
                stage_i_plus_1_details=draw(stages) + ("" if draw(st.booleans()) else "x"),
                depends_on=None if chosen is None else tuple(chosen),
                dependent_on_previous_transfer=draw(st.booleans()),
                upstream_completion_required=draw(st.booleans()),
                transfer_enabled=draw(st.integers(0, 3)) > 0,
                can_process_be_parallelized=draw(st.booleans()),
                audit_enabled=draw(st.booleans()),
                estimated_duration=draw(st.sampled_from(["1h", "1h", "continuous"])),
            )
        )
    return rows


def ancestors(graph: Graph, task: str) -> set[str]:
    found: set[str] = set()
    todo = list(graph.upstream[task])
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(graph.upstream[name])
    return found


def run(graph: Graph, failing: set[str]) -> dict[str, str]:
    """Run the tasks by Airflow's trigger rules: all_success, all_done for turns, none_failed for the join."""
    states: dict[str, str] = {}
    while len(states) < len(graph.nodes):
        ready = [t for t in graph.nodes if t not in states and all(u in states for u in graph.upstream[t])]
        assert ready, "the tasks wait for each other"
        for task in ready:
            above = {states[upstream] for upstream in graph.upstream[task]}
            stopped = bool(above & {"failed", "upstream_failed"}) and graph.nodes[task].kind is not Kind.TURN
            states[task] = "upstream_failed" if stopped else "failed" if task in failing else "success"
    return states


@settings(max_examples=600)
@given(pipelines(), st.randoms())
def test_every_pipeline_keeps_its_promises(rows, chance: random.Random):
    graph = plan_graph(rows)
    if graph.cycle:
        return
    enabled = {row.name for row in rows if row.transfer_enabled}
    assert (
        {node.task_id for node in graph.nodes.values() if node.kind is Kind.TRANSFER} == enabled == set(graph.upstreams)
    )
    work = [task for task, node in graph.nodes.items() if node.kind in (Kind.TRANSFER, Kind.AUDIT)]
    failing = {task for task in work if chance.random() < 0.25}
    states = run(graph, failing)
    exits = {row.name: f"{row.name}__audit" if row.audit_enabled else row.name for row in rows}
    for name in enabled:
        real = [states[exits[upstream]] for upstream in graph.upstreams[name]]
        assert (states[name] == "upstream_failed") == any(state != "success" for state in real), name
        assert {exits[upstream] for upstream in graph.upstreams[name]} <= ancestors(graph, name)
    streams = {row.name for row in rows if row.is_continuous}
    for task, node in graph.nodes.items():
        assert node.transfer in streams or not streams & ancestors(graph, task), "it waits for what never ends"
    leaves = set(graph.nodes) - {upstream for waits in graph.upstream.values() for upstream in waits}
    run_failed = any(states[leaf] in {"failed", "upstream_failed"} for leaf in leaves)
    assert run_failed == any(states[task] == "failed" for task in work)
    for level in graph.levels:
        serial = [row for row in rows if row.name in level and not row.can_process_be_parallelized]
        serial = [row for row in serial if not row.is_continuous]
        for first in serial:
            for second in serial:
                if first is not second:
                    above, below = ancestors(graph, first.name), ancestors(graph, second.name)
                    assert second.name in above or first.name in below, "two serial transfers could overlap"


@given(pipelines())
def test_the_order_of_the_file_changes_no_edge_of_parallel_transfers(rows):
    rows = [row.model_copy(update={"can_process_be_parallelized": True}) for row in rows]
    forward, backward = plan_graph(rows), plan_graph(rows[::-1])
    assert {k: set(v) for k, v in forward.upstream.items()} == {k: set(v) for k, v in backward.upstream.items()}


@pytest.mark.parametrize("number", [1, 5])
def test_a_level_of_serial_transfers_is_a_chain(number):
    graph = plan_graph([transfer(f"t{i}", can_process_be_parallelized=False) for i in range(number)])
    assert sum(node.kind is Kind.TURN for node in graph.nodes.values()) == number - 1


def test_disabled_transfers_that_fill_each_other_end_the_search():
    insists = {"dependent_on_previous_transfer": False, "upstream_completion_required": True}
    rows = [
        transfer("a", stage_i_details="s", stage_i_plus_1_details="t", transfer_enabled=False, **insists),
        transfer("b", stage_i_details="t", stage_i_plus_1_details="s", transfer_enabled=False, **insists),
        transfer("c", stage_i_details="t", **insists),
    ]
    assert plan_graph(rows).upstreams == {"c": ()}


def test_what_an_author_expects_is_not_warned_of():
    stream = transfer("stream", 2, estimated_duration="continuous")
    rows = [transfer("a", audit_enabled=True), stream, transfer("b", 3, audit_enabled=True)]
    assert plan_graph(rows).warnings == []


def test_flags_that_come_to_nothing_are_warned_of():
    graph = plan_graph(
        [
            transfer("off", transfer_enabled=False),
            transfer("stream", estimated_duration="continuous", audit_enabled=True),
            transfer("waits", 2, depends_on=("off", "stream"), upstream_completion_required=True),
        ]
    )
    assert graph.upstreams["waits"] == ()
    assert graph.warnings == [
        "stream never ends (estimated_duration: continuous), so its audit waits until it is stopped",
        "waits depends only on what is disabled or never ends (off, stream), so it waits for nothing",
    ]
