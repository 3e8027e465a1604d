"""Stage kinds that belong to no method; importing this needs no torch."""

from dataclasses import replace

from pipeline.spec.ports import SCORES, TABLE
from pipeline.spec.stage import StageSpec
from stages.common.config import CompareConfig

COMPARE = StageSpec(
    name="compare",
    config=CompareConfig,
    run="stages.common.compare:run",
    inputs={"scores": replace(SCORES, many=True)},
    outputs={"table": TABLE},
)
