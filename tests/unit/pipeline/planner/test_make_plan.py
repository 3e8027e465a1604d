"""What is run, reused or blocked, and the reason given for it."""

import shutil
from pathlib import Path

from pipeline.planner.plan import Action, Plan
from pipeline.planner.selection import Selection
from tests.planner.desk import COMMAND, Desk, actions, chain, reasons

KIND = """
from pipeline.spec.config import StageConfig
from pipeline.spec.ports import FOLDER
from pipeline.spec.stage import StageSpec


class Config(StageConfig):
    pass


def run(ctx):
    return {number}


SPEC = StageSpec(name="mine", config=Config, run="mine:run", outputs={{"o": FOLDER}})
READ = StageSpec(
    name="reader", config=Config, run="mine:run", inputs={{"i": FOLDER}}, outputs={{"o": FOLDER}}
)
"""
MINE = """name: mine
stages:
  a: {uses: ./mine.py:SPEC}
  b: {uses: ./mine.py:READ, inputs: {i: a.o}}
"""

DRIVER = """
from pipeline.spec.driver import DriverConfig
from pipeline.spec.ports import FOLDER
from pipeline.spec.stage import Launch, StageSpec


def next_cells(config, history):
    return []


DRIVER = StageSpec(
    name="d", config=DriverConfig, run="driver:next_cells", outputs={"o": FOLDER}, launch=Launch.DRIVER
)
"""


def _write_kind(desk: Desk, number: int) -> None:
    (desk.folder / "mine.py").write_text(KIND.format(number=number))


def test_plan_first_time_runs_all(desk: Desk) -> None:
    plan = desk.plan(chain("x", "y"))
    assert actions(plan) == {"a": "run", "b": "run"}
    assert reasons(plan, "b") == ["miss: no earlier result"]


def test_plan_unchanged_reuses_all(desk: Desk) -> None:
    desk.build(desk.plan(chain("x", "y")))
    plan = desk.plan(chain("x", "y"))
    assert actions(plan) == {"a": "reuse", "b": "reuse"}
    assert reasons(plan, "b") == ["same configuration, code and inputs"]
    assert list(plan.stages["b"].artifacts) == ["o"]


def test_plan_one_changed_field_runs_what_is_below_and_names_the_field(desk: Desk) -> None:
    text = chain("x", "y", "z") + f"  other: {COMMAND % 'o'}\n"
    desk.build(desk.plan(text))
    plan = desk.plan(text, None, "stages.b.with.argv=[why]")
    assert actions(plan) == {"a": "reuse", "b": "run", "c": "run", "other": "reuse"}
    assert reasons(plan, "b") == ['miss: with.argv[0] "y" -> "why"']
    assert reasons(plan, "c") == ["miss: input.i changed (b.o)"]


def test_plan_placement_is_in_no_key(desk: Desk) -> None:
    desk.build(desk.plan(chain("x")))
    moved = ("stages.a.resources.cpus_per_process=2", "stages.a.retry.max_attempts=9")
    assert actions(desk.plan(chain("x"), None, *moved)) == {"a": "reuse"}


def test_plan_of_a_renamed_stage_finds_its_result(desk: Desk) -> None:
    desk.build(desk.plan(chain("x")))
    renamed = chain("x").replace("  a:", "  z:")
    assert actions(desk.plan(renamed)) == {"z": "reuse"}


def test_plan_same_content_from_other_keys_is_reused(desk: Desk) -> None:
    desk.build(desk.plan(chain("x", "y")), {"a": "same"})
    salted = chain("salt", "y")
    desk.build(desk.plan(salted, Selection(until=("a",))), {"a": "same"})
    plan = desk.plan(salted)
    assert actions(plan) == {"a": "reuse", "b": "reuse"}
    assert reasons(plan, "b") == ["the inputs hold the same as before"]


def test_plan_removed_artifact_is_a_miss_that_says_so(desk: Desk) -> None:
    desk.build(desk.plan(chain("x")))
    shutil.rmtree(desk.folder / "store" / "artifacts")
    plan = desk.plan(chain("x"))
    assert actions(plan) == {"a": "run"}
    assert "is not in the store" in reasons(plan, "a")[0]


def test_plan_damaged_result_is_a_miss_that_says_so(desk: Desk) -> None:
    plan = desk.plan(chain("x"))
    desk.build(plan)
    (desk.folder / f"store/results/{plan.stages['a'].plan_key}.json").write_text("{")
    shutil.rmtree(desk.folder / "store/artifacts")
    assert "is damaged" in reasons(desk.plan(chain("x")), "a")[0]


def test_plan_many_changed_fields_counts_the_rest(desk: Desk) -> None:
    words = ", ".join(f"w{n}" for n in range(9))
    desk.build(desk.plan(chain(words)))
    found = reasons(desk.plan(chain(words.replace("w", "v"))), "a")
    assert len(found) == 7
    assert found[-1] == "and 3 more changes"


def test_plan_forced_stage_runs_and_what_is_below_goes_by_content(desk: Desk) -> None:
    text = chain("x", "y", "z") + f"  other: {COMMAND % 'o'}\n"
    desk.build(desk.plan(text))
    plan = desk.plan(text, Selection(force=("a",)))
    assert actions(plan) == {"a": "run", "b": "run", "c": "run", "other": "reuse"}
    assert plan.stages["a"].forced
    assert [plan.stages[name].by_content for name in "abc"] == [False, True, True]
    assert reasons(plan, "b") == ["a is made anew; kept if that gives the same"]


def test_plan_after_a_forced_stage_came_out_different_runs_what_is_below(desk: Desk) -> None:
    desk.build(desk.plan(chain("x", "y")), {"a": "first"})
    desk.build(desk.plan(chain("x", "y"), Selection(force=("a",), only=("a",))), {"a": "second"})
    plan = desk.plan(chain("x", "y"))
    assert actions(plan) == {"a": "reuse", "b": "run"}
    assert plan.stages["b"].by_content
    assert reasons(plan, "b") == [
        "miss: the inputs hold something else than when its result was made"
    ]


def test_plan_after_a_forced_stage_came_out_the_same_reuses_what_is_below(desk: Desk) -> None:
    desk.build(desk.plan(chain("x", "y")), {"a": "same"})
    desk.build(desk.plan(chain("x", "y"), Selection(force=("a",), only=("a",))), {"a": "same"})
    assert actions(desk.plan(chain("x", "y"))) == {"a": "reuse", "b": "reuse"}


def test_plan_of_an_evicted_stage_leaves_what_was_made_of_it(desk: Desk) -> None:
    plan = desk.plan(chain("x", "y"))
    desk.build(plan)
    shutil.rmtree(desk.folder / "store/artifacts" / _digest(desk, plan, "a"))
    assert actions(desk.plan(chain("x", "y"))) == {"a": "run", "b": "reuse"}
    assert actions(desk.plan(chain("x", "y"), Selection(until=("b",)))) == {
        "a": "skip",
        "b": "reuse",
    }


def _digest(desk: Desk, plan: Plan, address: str) -> str:
    result = desk.results.lookup(plan.stages[address].plan_key)
    assert result is not None
    return result.artifacts["o"]


def test_plan_code_change_runs_and_names_the_module(desk: Desk) -> None:
    _write_kind(desk, 1)
    desk.build(desk.plan(MINE))
    _write_kind(desk, 2)
    plan = desk.plan(MINE)
    assert actions(plan) == {"a": "run", "b": "run"}
    assert reasons(plan, "a") == ["miss: code.mine changed"]


def test_plan_accepted_code_keeps_the_result_and_what_is_below(desk: Desk) -> None:
    _write_kind(desk, 1)
    before = desk.plan(MINE)
    desk.build(before)
    _write_kind(desk, 2)
    plan = desk.plan(MINE, Selection(accept_code=("a", "b")))
    assert actions(plan) == {"a": "reuse", "b": "reuse"}
    assert [plan.stages[name].accepted for name in "ab"] == [True, True]
    assert reasons(plan, "a") == ["accepted: code.mine changed"]
    assert plan.stages["a"].artifacts == desk.results.lookup(before.stages["a"].plan_key).artifacts  # type: ignore[union-attr]  # built above


def test_plan_accepting_one_of_two_runs_the_other(desk: Desk) -> None:
    _write_kind(desk, 1)
    desk.build(desk.plan(MINE))
    _write_kind(desk, 2)
    plan = desk.plan(MINE, Selection(accept_code=("a",)))
    assert actions(plan) == {"a": "reuse", "b": "run"}
    # The other way round, b's input may come out different: its result cannot be kept.
    plan = desk.plan(MINE, Selection(accept_code=("b",)))
    assert actions(plan) == {"a": "run", "b": "run"}
    assert reasons(plan, "b")[0].startswith("more than code changed: input.i changed")


def test_plan_accepted_code_does_not_hide_a_changed_setting(desk: Desk) -> None:
    desk.build(desk.plan(chain("x")))
    plan = desk.plan(chain("y"), Selection(accept_code=("a",)))
    assert reasons(plan, "a") == ['more than code changed: with.argv[0] "x" -> "y"']
    assert plan.stages["a"].action is Action.RUN


def test_plan_writes_nothing_to_the_store(desk: Desk) -> None:
    desk.plan(chain("x", "y"))
    assert not (desk.folder / "store").exists()


def test_plan_source_content_and_names_are_in_the_key_and_places_are_not(
    desk: Desk, tmp_path: Path
) -> None:
    text = (
        "name: s\nstages:\n  a: {uses: command, with: {argv: ['{sources.data}'], "
        "sources: {data: raw}, outputs: {o: folder}}}\n"
    )
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.txt").write_text("one")
    first = desk.plan(text).stages["a"].plan_key
    shutil.copytree(raw, tmp_path / "copy")
    assert desk.plan(text, None, "stages.a.with.sources.data=copy").stages["a"].plan_key == first
    (raw / "a.txt").write_text("two")
    changed = desk.plan(text)
    assert changed.stages["a"].plan_key != first
    assert "source.sources.data" in changed.stages["a"].key_parts


def test_plan_of_a_driver_asks_again_and_what_is_below_goes_by_content(desk: Desk) -> None:
    for name in ("driver.py", "mine.py"):
        (desk.folder / name).write_text(DRIVER if name == "driver.py" else KIND.format(number=1))
    text = """name: study
stages:
  study: {uses: './driver.py:DRIVER', with: {max_cells: 1}}
  below: {uses: './mine.py:READ', inputs: {i: study.o}}
"""
    desk.build(desk.plan(text))
    plan = desk.plan(text)
    assert actions(plan) == {"study": "run", "below": "run"}
    assert reasons(plan, "study") == ["asked again; its cells are looked up one by one"]
    assert reasons(plan, "below") == ["study is asked again; kept if that gives the same"]
    assert plan.stages["below"].by_content
    alone = desk.plan(text, Selection(only=("below",)))
    assert reasons(alone, "study") == [
        "study is asked again whenever it is needed: name it too, or use --until"
    ]
