"""A stage that records curves and shows a picture of every type, under names that mean harm."""

import math

import numpy as np
from pydantic import Field

from pipeline.errors import DataError
from pipeline.metrics.pictures import Audio, Boxes, Heatmap, Images, Lines, Spans, Table
from pipeline.spec.config import StageConfig
from pipeline.spec.context import StageContext
from pipeline.spec.ports import FOLDER, SCORES
from pipeline.spec.scores import write_scores
from pipeline.spec.stage import StageSpec

HOSTILE = "</script><script>window.harm = 1</script>\u2028<img src=x onerror='window.harm = 1'>"


class ShowConfig(StageConfig):
    """`points` of each curve."""

    points: int = Field(200, gt=0)
    scale: float = 1.0
    text: str = ""
    token: str = ""
    fails: bool = False


def show(ctx: StageContext[ShowConfig]) -> None:
    """Records, shows, and leaves scores; or fails with a message that holds the token."""
    config, recorder = ctx.config, ctx.recorder
    for step in range(1, config.points + 1):
        loss = config.scale * (0.2 + 4 * math.exp(-step / 60) + 0.1 * math.sin(step * 1.7))
        recorder.scalar("train_loss", math.nan if step == 77 else loss, step)
        recorder.scalar("train_learning_rate", 1e-3 * min(1, step / 50), step)
        recorder.scalar(HOSTILE, step % 7, step)
        recorder.count("train_samples_total", 16)
    if config.fails:
        msg = f"cannot open the door with {config.token}"
        raise DataError(msg)
    for step in (100, 200):
        _show_all(ctx, step)
    write_scores(ctx.outputs["scores"], {"accuracy": 0.9 * config.scale, "loss": 0.25})
    (ctx.outputs["out"] / "x.txt").write_text("x")


def _show_all(ctx: StageContext[ShowConfig], step: int) -> None:
    draws = np.random.default_rng(step)
    image = np.zeros((48, 64, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, 64)
    image[..., 2] = np.linspace(0, 255, 48)[:, None]
    words = [f"w{n}" for n in range(24)]
    values = draws.random((8, 24), dtype=np.float32)
    values[0, 0] = np.nan
    time = np.linspace(0, 1, 16000, dtype=np.float32)
    for picture in (
        Table("A table", ["name", HOSTILE], [["first", 0.12345], [HOSTILE, 7]]),
        Lines(
            "Lines", "cost", "accuracy", [3, 1, 2], {HOSTILE: [0.3, 0.1, 0.2], "b": [3.0, 1.0, 2.0]}
        ),
        Heatmap("Attention", values, words[:8], words),
        Images("Images", np.stack([image] * 3), ["one", "two", HOSTILE]),
        Boxes(
            "Boxes",
            image,
            np.array([[4, 6, 30, 40], [20, 10, 60, 30]], np.float32),
            ["cat 0.91", HOSTILE],
        ),
        Spans("Spans", ["the ", "quick ", HOSTILE, " fox"], ["", "right", "wrong", "right"]),
        Audio("Audio", np.sin(2 * np.pi * 440 * time) * time, 16000),
    ):
        ctx.recorder.show(picture, step)


SHOW = StageSpec(
    name="show",
    config=ShowConfig,
    run="shows:show",
    inputs={"of": FOLDER},
    outputs={"out": FOLDER, "scores": SCORES},
    uses_seed=True,
)
