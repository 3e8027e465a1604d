"""A stage of the run that Prometheus watches: counts, and needs no torch."""

import time

from pipeline.spec.config import StageConfig
from pipeline.spec.context import StageContext
from pipeline.spec.ports import FOLDER
from pipeline.spec.stage import StageSpec


class CountConfig(StageConfig):
    """How many things there are to count."""

    items: int = 5


def count(ctx: StageContext[CountConfig]) -> None:
    for number in range(ctx.config.items):
        ctx.recorder.count("stage_items_total{unit=things}")
        ctx.recorder.progress(number + 1, ctx.config.items, None, 1.0, "things")
        time.sleep(0.4)
    (ctx.outputs["out"] / "done").write_text("yes")


COUNT = StageSpec(name="count", config=CountConfig, run="counting:count", outputs={"out": FOLDER})
