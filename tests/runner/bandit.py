"""A toy study: pulls the arms of a bandit, each pull a cell, by upper confidence bounds."""

import json
import math
from collections.abc import Sequence

from pydantic import Field

from pipeline.spec.config import StageConfig
from pipeline.spec.context import StageContext
from pipeline.spec.driver import Cell, CellOutput, CellResult, Done, DriverConfig, Written
from pipeline.spec.ports import SCORES, TABLE
from pipeline.spec.stage import Launch, StageSpec


class PullConfig(StageConfig):
    """One pull of one arm."""

    arm: int
    number: int = Field(description="of this arm's pulls")


class BanditConfig(DriverConfig):
    """`side_by_side` pulls are in flight at a time; `misbehave` breaks the contract."""

    arms: int = 3
    side_by_side: int = 2
    misbehave: str = ""


def reward(arm: int, number: int) -> float:
    """The middle arm is the best; a pinch of deterministic noise."""
    return 1.0 - abs(arm - 1) * 0.4 + 0.1 * math.sin(7 * arm + 13 * number)


def pull(ctx: StageContext[PullConfig]) -> None:
    value = reward(ctx.config.arm, ctx.config.number)
    (ctx.outputs["scores"] / "scores.json").write_text(json.dumps({"reward": value}))


def next_cells(config: BanditConfig, history: Sequence[CellResult]) -> list[Cell] | Done:
    if config.misbehave == "idle" and history:
        return []
    if config.misbehave == "crash" or (config.misbehave == "crash later" and history):
        msg = "no idea"
        raise RuntimeError(msg)
    total = config.max_cells + (config.misbehave == "greedy")
    if len(history) == total:
        return _done(config, history)
    # What is proposed after n results is a function of these alone, so the pulls in flight are
    # the ones of the n before.
    wanted = 1 if history else config.side_by_side
    first = len(history) + config.side_by_side - 1 if history else 0
    cells = []
    for index in range(first, min(first + wanted, total)):
        arm = _choose(config, history, index)
        name = "same" if config.misbehave == "twice" else f"pull-{index}"
        kind = "./nothing.py:X" if config.misbehave == "kind" else "./bandit.py:PULL"
        cells.append(Cell(name, kind, {"arm": arm, "number": index}))
    return cells


def _choose(config: BanditConfig, history: Sequence[CellResult], index: int) -> int:
    if index < config.arms:
        return index

    def bound(arm: int) -> float:
        rewards = [r.scores["reward"] for r in _good(history) if r.cell.config["arm"] == arm]
        if not rewards:
            return 2.0
        return sum(rewards) / len(rewards) + 0.3 * math.sqrt(math.log(index) / len(rewards))

    return max(range(config.arms), key=bound)


def _good(history: Sequence[CellResult]) -> list[CellResult]:
    return [result for result in history if not result.failure]


def _done(config: BanditConfig, history: Sequence[CellResult]) -> Done:
    best = max(_good(history), key=lambda result: result.scores["reward"])
    pulls = [[r.cell.name, r.cell.config["arm"], r.scores.get("reward")] for r in history]
    table = json.dumps({"columns": ["cell", "arm", "reward"], "rows": pulls}).encode()
    outputs: dict[str, CellOutput | Written] = {
        "best": CellOutput(best.cell.name, "scores"),
        "table": Written({"table.json": table}),
    }
    if config.misbehave == "forgets":
        del outputs["table"]
    return Done(outputs)


PULL = StageSpec(name="pull", config=PullConfig, run="bandit:pull", outputs={"scores": SCORES})
BANDIT = StageSpec(
    name="bandit",
    config=BanditConfig,
    run="bandit:next_cells",
    outputs={"best": SCORES, "table": TABLE},
    launch=Launch.DRIVER,
)
