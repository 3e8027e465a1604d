"""Small stages with everything a kill can hit: state, ranks, independent workers, many files."""

import time
from pathlib import Path

from pydantic import Field

from pipeline.errors import Preempted
from pipeline.spec.config import StageConfig
from pipeline.spec.context import StageContext
from pipeline.spec.ports import FOLDER, Port
from pipeline.spec.stage import Launch, StageSpec


class WorkConfig(StageConfig):
    """Writes `units` files, taking `pause_ms` for each."""

    units: int = Field(20, gt=0)
    pause_ms: float = 5.0
    salt: str = ""


def _read(ctx: StageContext[WorkConfig]) -> str:
    folders = ctx.input_list("in") if "in" in ctx.inputs else []
    texts = [
        f"{path.name}={path.read_text()}"
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return str(hash_of("".join(texts)))


def hash_of(text: str) -> int:
    """A checksum that is the same in every process."""
    value = 17
    for byte in text.encode():
        value = (value * 31 + byte) % (1 << 61)
    return value


def units(ctx: StageContext[WorkConfig]) -> None:
    """Worker i writes the files i, i + N, i + 2N, ..."""
    seen = _read(ctx)
    for unit in range(ctx.world.rank, ctx.config.units, ctx.world.size):
        if ctx.should_stop():
            msg = f"stopped before unit {unit}"
            raise Preempted(msg)
        time.sleep(ctx.config.pause_ms / 1000)
        (ctx.outputs["out"] / f"unit-{unit:04d}.txt").write_text(f"{seen} {unit} {ctx.config.salt}")


def steps(ctx: StageContext[WorkConfig]) -> None:
    """Adds up step by step with a checkpoint every fourth: a training loop in small."""
    value, first = hash_of(_read(ctx) + ctx.config.salt), 0
    done = sorted(ctx.state.path.glob("step-*"))
    if done:
        first = int(done[-1].name.removeprefix("step-"))
        value = int(done[-1].read_text())
    for step in range(first + 1, ctx.config.units + 1):
        time.sleep(ctx.config.pause_ms / 1000)
        value = hash_of(f"{value} {step}")
        stop = ctx.should_stop()
        if step % 4 == 0 or stop:
            _checkpoint(ctx, step, value)
        if stop:
            msg = f"stopped after step {step}"
            raise Preempted(msg)
    (ctx.outputs["out"] / f"value-{ctx.world.rank}.txt").write_text(str(value))


def _checkpoint(ctx: StageContext[WorkConfig], step: int, value: int) -> None:
    if ctx.world.rank:
        return
    path = ctx.state.path / f"step-{step:08d}"
    temporary = Path(f"{path.parent}/.{path.name}.tmp")
    temporary.write_text(str(value))
    temporary.rename(path)
    ctx.state.publish(path.name)


_IN = {"in": Port(FOLDER.kind, many=True, optional=True)}
UNITS = StageSpec(
    name="units",
    config=WorkConfig,
    run="toys:units",
    inputs=_IN,
    outputs={"out": FOLDER},
    launch=Launch.WORKERS,
)
STEPS = StageSpec(
    name="steps", config=WorkConfig, run="toys:steps", inputs=_IN, outputs={"out": FOLDER}
)
GANG = StageSpec(
    name="gang",
    config=WorkConfig,
    run="toys:steps",
    inputs=_IN,
    outputs={"out": FOLDER},
    launch=Launch.GANG,
)
