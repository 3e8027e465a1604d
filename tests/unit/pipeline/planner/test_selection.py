"""--only, --from, --until, --force and targets: what is run, reused, skipped and blocked."""

import pytest

from pipeline.errors import UserError
from pipeline.planner.selection import Selection
from tests.planner.desk import COMMAND, READER, Desk, actions, chain, reasons

TWO_CHAINS = chain("x", "y", "z") + f"  p: {COMMAND % 'p'}\n  q: {READER % ('q', 'p')}\n"
CELLS = (
    "name: cells\nstages:\n"
    "  m: {uses: command, matrix: {k: [1, 2]}, with: {argv: ['${matrix.k}'], outputs: {o: folder}}}\n"
)


def test_until_runs_the_stage_and_what_it_needs(desk: Desk) -> None:
    found = actions(desk.plan(TWO_CHAINS, Selection(until=("b",))))
    assert found == {"a": "run", "b": "run", "c": "skip", "p": "skip", "q": "skip"}


def test_targets_are_several_untils(desk: Desk) -> None:
    found = actions(desk.plan(TWO_CHAINS, Selection(targets=("a", "q"))))
    assert found == {"a": "run", "b": "skip", "c": "skip", "p": "run", "q": "run"}


def test_until_of_what_is_there_looks_no_further(desk: Desk) -> None:
    desk.build(desk.plan(TWO_CHAINS))
    found = actions(desk.plan(TWO_CHAINS, Selection(until=("b",))))
    assert found == {"a": "skip", "b": "reuse", "c": "skip", "p": "skip", "q": "skip"}


def test_only_without_its_inputs_is_blocked_with_the_way_out(desk: Desk) -> None:
    plan = desk.plan(TWO_CHAINS, Selection(only=("b",)))
    assert actions(plan)["a"] == "blocked"
    assert actions(plan)["b"] == "blocked"
    assert reasons(plan, "a") == [
        "a has no result for its present settings: run it first, or use --until"
    ]
    assert reasons(plan, "b") == ["needs a"]


def test_only_takes_inputs_that_are_there(desk: Desk) -> None:
    desk.build(desk.plan(TWO_CHAINS))
    plan = desk.plan(TWO_CHAINS, Selection(only=("b",)), "stages.b.with.argv=[other]")
    assert actions(plan) == {"a": "reuse", "b": "run", "c": "skip", "p": "skip", "q": "skip"}


def test_from_runs_the_stage_anew_with_all_below(desk: Desk) -> None:
    desk.build(desk.plan(TWO_CHAINS))
    plan = desk.plan(TWO_CHAINS, Selection(from_=("b",)))
    assert actions(plan) == {"a": "reuse", "b": "run", "c": "run", "p": "skip", "q": "skip"}
    assert plan.stages["b"].forced
    assert plan.stages["c"].forced


def test_resumed_run_forces_nothing_twice(desk: Desk) -> None:
    desk.build(desk.plan(TWO_CHAINS))
    plan = desk.plan(TWO_CHAINS, Selection(from_=("b",)).after(["b"]))
    assert actions(plan)["b"] == "reuse"
    assert plan.stages["c"].forced


def test_name_of_a_matrix_means_all_cells_and_an_address_one(desk: Desk) -> None:
    assert actions(desk.plan(CELLS, Selection(until=("m",)))) == {"m[k=1]": "run", "m[k=2]": "run"}
    assert actions(desk.plan(CELLS, Selection(until=("m[k=2]",)))) == {
        "m[k=1]": "skip",
        "m[k=2]": "run",
    }


def test_unknown_names_are_all_told_at_once(desk: Desk) -> None:
    with pytest.raises(UserError) as caught:
        desk.plan(TWO_CHAINS, Selection(only=("bb",), force=("nope",)))
    text = str(caught.value)
    assert "no stage 'bb'. Did you mean b? Stages: a, b, c, p, q." in text
    assert "no stage 'nope'" in text


def test_selection_survives_a_record() -> None:
    selection = Selection(targets=("a",), from_=("b",), accept_code=("c",))
    assert Selection.from_record(selection.as_record()) == selection


def test_selection_narrowed_keeps_what_was_forced_and_that_it_was_only_this() -> None:
    asked = Selection(targets=("a",), until=("b",), force=("c",), accept_code=("d",))
    narrowed = asked.narrowed_to(["e"])
    assert narrowed == Selection(targets=("e",), force=("c",), accept_code=("d",))
    assert Selection(only=("a", "b")).narrowed_to(["b"]) == Selection(only=("b",))
