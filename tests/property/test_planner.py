"""Laws of planning on drawn DAGs: what a change reruns, and what it leaves alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.planner.plan import Action, Plan
from pipeline.planner.selection import Selection, ancestors, descendants
from tests.planner.desk import Desk, actions

Edges = Mapping[int, Sequence[int]]


@st.composite
def edges(draw: st.DrawFn) -> Edges:
    """Stage -> stages before it that it reads; up to eight stages."""
    count = draw(st.integers(1, 8))
    return {n: sorted(draw(st.sets(st.integers(0, n - 1)))) if n else [] for n in range(count)}


def _text(graph: Edges) -> str:
    lines = ["name: drawn", "stages:"]
    for stage, reads in graph.items():
        ports = ", inputs: {i: 'folder[]'}" if reads else ""
        inputs = f", inputs: {{i: [{', '.join(f's{n}.o' for n in reads)}]}}" if reads else ""
        lines.append(
            f"  s{stage}: {{uses: command, with: {{argv: [x, {stage}]{ports}, "
            f"outputs: {{o: folder}}}}{inputs}}}"
        )
    return "\n".join(lines) + "\n"


def _set(stage: int) -> str:
    return f"stages.s{stage}.with.env={{CHANGED: x}}"


def _runs(plan: Plan) -> set[str]:
    return {address for address, planned in plan.stages.items() if planned.action is Action.RUN}


@settings(max_examples=12, deadline=None)
@given(edges(), st.data())
def test_changed_setting_runs_exactly_what_depends_on_it(graph: Edges, data: st.DataObject) -> None:
    changed = data.draw(st.sampled_from(sorted(graph)))
    with TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        first = desk.plan(_text(graph))
        desk.build(first)
        assert set(actions(desk.plan(_text(graph))).values()) == {"reuse"}
        plan = desk.plan(_text(graph), None, _set(changed))
        assert _runs(plan) == descendants(plan.dag, [f"s{changed}"])
        desk.build(plan)
        # Both sets of results stand side by side: going back costs nothing.
        assert set(actions(desk.plan(_text(graph))).values()) == {"reuse"}


@settings(max_examples=12, deadline=None)
@given(edges(), st.data())
def test_same_output_after_a_change_runs_nothing_further(graph: Edges, data: st.DataObject) -> None:
    changed = data.draw(st.sampled_from(sorted(graph)))
    with TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        says = {f"s{n}": str(n) for n in graph}
        desk.build(desk.plan(_text(graph)), says)
        only = desk.plan(_text(graph), Selection(until=(f"s{changed}",)), _set(changed))
        desk.build(only, says)
        assert set(actions(desk.plan(_text(graph), None, _set(changed))).values()) == {"reuse"}


@settings(max_examples=25, deadline=None)
@given(edges(), st.data())
def test_selected_stages_run_with_what_they_need_and_nothing_else(
    graph: Edges, data: st.DataObject
) -> None:
    chosen = sorted(data.draw(st.sets(st.sampled_from(sorted(graph)), min_size=1)))
    names = tuple(f"s{n}" for n in chosen)
    with TemporaryDirectory() as folder:
        plan = Desk(Path(folder)).plan(_text(graph), Selection(until=names))
        needed = ancestors(plan.dag, names)
        assert _runs(plan) == needed
        skipped = {a for a, one in plan.stages.items() if one.action is Action.SKIP}
        assert skipped == plan.dag.stages.keys() - needed
